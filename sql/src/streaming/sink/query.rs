//! `StreamingQuery`: a query that was started, while its job runs and afterwards.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidemill::prelude::{BatchInfo, BatchTime, JobHandle};

use super::progress::{SinkProgress, StreamingQueryProgress, StreamingQueryStatus, event_time};
use crate::error::{Result, SqlError};
use crate::streaming::identity::fnv;

/// How many progresses are kept, as in Spark.
const KEPT: usize = 100;

/// When batches come: Spark's triggers, as far as the batch interval of a job lets them have a meaning.
///
/// ```
/// use tidemill_sql::Trigger;
/// assert_ne!(Trigger::AvailableNow, Trigger::ProcessingTime(std::time::Duration::from_secs(1)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// At this interval. It is the batch interval of the job, and another one is an error.
    ProcessingTime(Duration),
    /// All that is there, and then the job ends: here the same as [`Trigger::AvailableNow`].
    Once,
    /// All that is there when the job starts, in as many batches as it needs, and then the job ends. All queries of a job have it, or none.
    AvailableNow,
}

impl Trigger {
    /// Whether the job ends when all that is there is processed.
    pub(super) fn ends_job(self) -> bool {
        matches!(self, Trigger::AvailableNow | Trigger::Once)
    }
}

/// The queries that one build of a program has started.
pub(crate) type Started = Rc<RefCell<Vec<(String, bool)>>>;

/// The queries that the programs of a session have declared, by their names in program order.
#[derive(Clone, Default)]
pub(crate) struct Definitions(Arc<Mutex<Vec<Arc<Definition>>>>);

/// What a program says of a query.
pub(super) struct Definition {
    pub name: String,
    /// Whether the program gave the name.
    pub named: bool,
    pub job: String,
    pub sink: String,
    pub trigger: Option<Trigger>,
    /// Whether the job reads a source whose end is known by its offsets, as that of Kafka.
    pub has_offsets: bool,
    /// The place of its sink among the outputs of the job.
    pub output: usize,
    /// The operators that make its watermarks.
    pub watermarks: Vec<usize>,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Definitions {
    /// Another job begins: queries that are declared from now on are its own.
    pub(super) fn next_job(&self) {
        locked(&self.0).clear();
    }

    /// Notes a query. Every worker declares the same ones, so one that is known is that.
    pub(super) fn declare(&self, definition: Definition) {
        let mut all = locked(&self.0);
        if !all.iter().any(|d| d.name == definition.name && d.job == definition.job) {
            all.push(Arc::new(definition));
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<Definition>> {
        locked(&self.0).clone()
    }
}

/// A query that was started by [`DataStreamWriter::start`](crate::DataStreamWriter::start), while its job runs and afterwards: Spark's
/// `StreamingQuery`. Cheap to clone. [`StreamingQueries`](crate::StreamingQueries) has it, with an asserting example.
#[derive(Clone)]
pub struct StreamingQuery {
    state: Arc<QueryState>,
    job: Arc<JobHandle>,
}

/// What is known of a query. It does not keep the job alive.
pub(super) struct QueryState {
    id: String,
    run_id: String,
    of: Arc<Definition>,
    recent: Mutex<Recent>,
}

#[derive(Default)]
struct Recent {
    progress: VecDeque<StreamingQueryProgress>,
    last: Option<BatchTime>,
    /// Whether a batch is being processed.
    active: bool,
}

impl QueryState {
    pub(super) fn new(of: Arc<Definition>) -> Self {
        let id = format!("{}\0{}", of.job, of.name);
        let seeds = RandomState::new();
        let random = u128::from(seeds.hash_one(&id)) << 64 | u128::from(seeds.hash_one(std::process::id()));
        QueryState { id: uuid(fnv(id.as_bytes())), run_id: uuid(random), of, recent: Mutex::default() }
    }

    fn name(&self) -> Option<&str> {
        self.of.named.then_some(&*self.of.name)
    }

    pub(super) fn began(&self) {
        locked(&self.recent).active = true;
    }

    /// A batch of the job is written. Returns what the query did.
    pub(super) fn completed(&self, batch: &BatchInfo) -> StreamingQueryProgress {
        let mut recent = locked(&self.recent);
        let mut progress = StreamingQueryProgress::of(batch, recent.last);
        (progress.id, progress.run_id) = (self.id.clone(), self.run_id.clone());
        progress.name = self.name().map(str::to_owned);
        let rows = batch.outputs.get(self.of.output).map_or(-1, |output| output.rows as i64);
        progress.sink = SinkProgress { description: self.of.sink.clone(), num_output_rows: rows };
        progress.event_time = event_time(batch, &self.of.watermarks);
        recent.progress.push_back(progress.clone());
        if recent.progress.len() > KEPT {
            recent.progress.pop_front();
        }
        (recent.last, recent.active) = (Some(batch.time), false);
        progress
    }
}

impl StreamingQuery {
    pub(super) fn new(state: Arc<QueryState>, job: &Arc<JobHandle>) -> Self {
        StreamingQuery { state, job: job.clone() }
    }

    /// The query's identity: a job and a query of these names have the same one after a restart.
    pub fn id(&self) -> &str {
        &self.state.id
    }

    /// The identity of this run.
    #[doc(alias = "runId")]
    pub fn run_id(&self) -> &str {
        &self.state.run_id
    }

    /// The name that `query_name` gave. `None`: it gave none.
    pub fn name(&self) -> Option<&str> {
        self.state.name()
    }

    /// Whether the job of this query runs.
    #[doc(alias = "isActive")]
    pub fn is_active(&self) -> bool {
        self.job.is_active()
    }

    /// How the query is at this moment.
    pub fn status(&self) -> StreamingQueryStatus {
        let recent = locked(&self.state.recent);
        let has_data = recent.progress.back().is_some_and(|p| p.num_input_rows > 0);
        let message = match (self.is_active(), recent.active, recent.last) {
            (false, ..) => match self.exception() {
                Some(e) => format!("Terminated with exception: {e}"),
                None => "Stopped".to_owned(),
            },
            (true, true, _) => "Processing new data".to_owned(),
            (true, false, None) => "Initializing sources".to_owned(),
            (true, false, Some(_)) if has_data => "Waiting for next trigger".to_owned(),
            (true, false, Some(_)) => "Waiting for data to arrive".to_owned(),
        };
        StreamingQueryStatus { message, is_data_available: has_data, is_trigger_active: recent.active }
    }

    /// The last batch. `None`: there was none since the job started.
    #[doc(alias = "lastProgress")]
    pub fn last_progress(&self) -> Option<StreamingQueryProgress> {
        locked(&self.state.recent).progress.back().cloned()
    }

    /// The last 100 batches, the oldest first.
    #[doc(alias = "recentProgress")]
    pub fn recent_progress(&self) -> Vec<StreamingQueryProgress> {
        locked(&self.state.recent).progress.iter().cloned().collect()
    }

    /// Waits until the job ends, which is the end of all of its queries.
    ///
    /// # Errors
    /// The error that ended the job.
    #[doc(alias = "awaitTermination")]
    pub fn await_termination(&self) -> Result<()> {
        while !self.await_termination_or_timeout(Duration::from_secs(3_600))? {}
        Ok(())
    }

    /// Waits until the job ends, for at most `timeout`. Says whether it has ended.
    ///
    /// # Errors
    /// The error that ended the job.
    #[doc(alias = "awaitTermination")]
    pub fn await_termination_or_timeout(&self, timeout: Duration) -> Result<bool> {
        self.job.await_termination_or_timeout(timeout).map_err(|e| SqlError::new(&self.state.of.name, e))
    }

    /// Stops the job after the data that it has received, and with it all of its queries; waits for its end.
    ///
    /// # Errors
    /// The error that ended the job.
    pub fn stop(&self) -> Result<()> {
        self.job.stopper().stop_gracefully();
        self.await_termination()
    }

    /// Why the job ended. `None`: it runs, or was stopped.
    pub fn exception(&self) -> Option<String> {
        match self.job.is_active() {
            true => None,
            false => self.await_termination_or_timeout(Duration::ZERO).err().map(|e| e.to_string()),
        }
    }
}

impl fmt::Debug for StreamingQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamingQuery").field("name", &self.name()).field("id", &self.state.id).finish_non_exhaustive()
    }
}

/// 128 bits as text, in the form of version 8 of RFC 9562.
fn uuid(bits: u128) -> String {
    let hex = format!("{:032x}", bits & !(0xf << 76) & !(0x3 << 62) | 8 << 76 | 2 << 62);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_the_form_of_a_uuid_and_stays() {
        let id = uuid(fnv(b"job\0query"));
        assert_eq!(id, uuid(fnv(b"job\0query")));
        assert_ne!(id, uuid(fnv(b"job\0other")));
        assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert!(id.split('-').nth(2).unwrap().starts_with('8'));
    }
}
