//! `StreamingQueries`: a job that runs, as its queries.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use tidemill::api::context::Builder;
use tidemill::prelude::{BatchInfo, BoxError, JobHandle, Stopper, StreamingContext, StreamingListener};

use super::progress::StreamingQueryProgress;
use super::query::{QueryState, StreamingQuery, Trigger, locked};
use crate::error::{Result, SqlError};
use crate::session::TableSession;

/// A job that runs, as its queries: Spark's `StreamingQueryManager`. Dropping it and all of its queries stops the job.
///
/// A program declares queries in the closure that builds its graph, by [`DataStreamWriter::start`](crate::DataStreamWriter::start). The job runs
/// when the closure has returned, and then the queries have handles, here.
///
/// ```
/// use tidemill::prelude::*;
/// use tidemill_sql::{OutputMode, StreamTables, StreamingQueries, TableSession};
///
/// let words = QueueSource::from_batches([vec!["to".to_owned(), "be".to_owned()], vec!["to".to_owned()]]);
/// let session = TableSession::new();
/// let tables = session.clone();
/// let queries = StreamingQueries::start(&session, StreamingContext::builder("words", millis(10)).without_checkpoint(), move |ssc| {
///     let tables = StreamTables::new(&tables);
///     tables.register_stream("words", &ssc.queue_stream(&words))?;
///     let counts = tables.sql("select value, count(*) as n from words group by value")?;
///     counts.write_stream().format("memory").output_mode(OutputMode::Complete).query_name("counts").start(ssc)?;
///     Ok(())
/// })?;
/// let counts = queries.get("counts").unwrap();
/// counts.await_termination()?;
/// assert_eq!(session.sql("select n from counts order by n desc")?.collect::<i64>()?, [2, 1]);
/// assert!(!counts.is_active() && counts.exception().is_none());
/// # Ok::<(), tidemill_sql::SqlError>(())
/// ```
pub struct StreamingQueries {
    queries: Vec<StreamingQuery>,
    job: Arc<JobHandle>,
    listeners: Listeners,
}

type Listeners = Arc<Mutex<Vec<Box<dyn Fn(&StreamingQueryProgress) + Send>>>>;

impl StreamingQueries {
    /// Starts the job of these queries. A query with the trigger `AvailableNow` or `Once` ends the job when all that is there is processed.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn start<F>(session: &TableSession, builder: Builder, build: F) -> Result<Self>
    where
        F: for<'s> Fn(&StreamingContext<'s>) -> std::result::Result<(), BoxError> + Send + Sync + 'static,
    {
        session.definitions().next_job();
        let own = session.clone();
        let build = move |ssc: &StreamingContext<'_>| {
            build(ssc)?;
            match own.definitions().all().is_empty() {
                true => Err(
                    "the closure started no query of this session; make its StreamTables of a clone of it, and call start(ssc)"
                        .into(),
                ),
                false => Ok(()),
            }
        };
        let job = builder.start(build).map_err(|e| SqlError::new("start", e))?;
        let declared = session.definitions().all();
        let ends = declared.iter().any(|query| query.trigger.is_some_and(Trigger::ends_job));
        let has_offsets = declared.iter().any(|query| query.has_offsets);
        let states: Vec<_> = declared.into_iter().map(|definition| Arc::new(QueryState::new(definition))).collect();
        let (job, listeners) = (Arc::new(job), Listeners::default());
        let end = (ends && has_offsets).then(|| Mutex::new(Available { ends: None, stopper: job.stopper() }));
        job.add_streaming_listener(Arc::new(Listener { queries: states.clone(), listeners: listeners.clone(), end }));
        let queries = states.into_iter().map(|state| StreamingQuery::new(state, &job)).collect();
        // A graceful stop reads the files that are there. Of Kafka it has only what was read ahead.
        if ends && !has_offsets {
            job.stopper().stop_gracefully();
        }
        Ok(StreamingQueries { queries, job, listeners })
    }

    /// The queries of the job, in program order. They run while the job runs.
    pub fn active(&self) -> Vec<StreamingQuery> {
        self.queries.iter().filter(|query| query.is_active()).cloned().collect()
    }

    /// The query of a name, or of an id.
    pub fn get(&self, name: &str) -> Option<StreamingQuery> {
        self.queries.iter().find(|query| query.name() == Some(name) || query.id() == name).cloned()
    }

    /// All queries, in program order.
    pub fn all(&self) -> &[StreamingQuery] {
        &self.queries
    }

    /// The job.
    pub fn job(&self) -> &JobHandle {
        &self.job
    }

    /// Calls `f` with what each query did in each batch from now on: Spark's `onQueryProgress`. It runs on a thread of the job, which waits:
    /// return quickly.
    #[doc(alias = "addListener")]
    #[doc(alias = "onQueryProgress")]
    pub fn on_progress(&self, f: impl Fn(&StreamingQueryProgress) + Send + 'static) {
        locked(&self.listeners).push(Box::new(f));
    }

    /// Waits until the job ends.
    ///
    /// # Errors
    /// The error that ended the job.
    #[doc(alias = "awaitAnyTermination")]
    pub fn await_termination(&self) -> Result<()> {
        while !self
            .job
            .await_termination_or_timeout(std::time::Duration::from_secs(3_600))
            .map_err(|e| SqlError::new("the job", e))?
        {}
        Ok(())
    }
}

impl fmt::Debug for StreamingQueries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamingQueries").field("queries", &self.queries).finish_non_exhaustive()
    }
}

/// What tells the queries of batches. It does not keep the job alive.
struct Listener {
    queries: Vec<Arc<QueryState>>,
    listeners: Listeners,
    /// When the job ends, if it does so by itself.
    end: Option<Mutex<Available>>,
}

/// The number of a source, and the topic and partition in it.
type Partition = (u32, Arc<str>, i32);

/// The ends of all partitions when the first batch that knows them was read, and who ends the job when they are reached.
struct Available {
    ends: Option<BTreeMap<Partition, i64>>,
    stopper: Stopper,
}

impl Available {
    fn completed(&mut self, batch: &BatchInfo) {
        let known = batch.inputs.iter().filter_map(|input| {
            let key = (input.source, input.range.topic.clone(), input.range.partition);
            input.lag.map(|lag| (key, input.range.until, input.range.until + lag as i64))
        });
        let known: Vec<_> = known.collect();
        if known.is_empty() {
            return;
        }
        let ends = self.ends.get_or_insert_with(|| known.iter().map(|(key, _, end)| (key.clone(), *end)).collect());
        known.iter().for_each(|(key, until, _)| {
            if ends.get(key).is_some_and(|end| until >= end) {
                ends.remove(key);
            }
        });
        if ends.is_empty() {
            self.stopper.stop_gracefully();
        }
    }
}

impl StreamingListener for Listener {
    fn on_batch_started(&self, _batch: &BatchInfo) {
        self.queries.iter().for_each(|query| query.began());
    }

    fn on_batch_completed(&self, batch: &BatchInfo) {
        for query in &self.queries {
            let progress = query.completed(batch);
            locked(&self.listeners).iter().for_each(|listener| listener(&progress));
        }
        self.end.iter().for_each(|end| locked(end).completed(batch));
    }
}
