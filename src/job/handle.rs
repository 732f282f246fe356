//! The handle of a running job: waits for its end, stops it, returns its statistics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::api::stopper::Stopper;
use crate::core::added::{Added, Request};
use crate::core::correction::Corrected;
use crate::core::data::BadRecord;
use crate::core::error::{Error, Result};
use crate::core::lock::lock;
use crate::job::protocol::Event;
use crate::job::query::Query;
use crate::job::shared::{End, JobState, Summary};
use crate::metrics::{Metrics, Statistics, StreamingListener};

/// A running job. Dropping the handle stops the job at once and waits for its threads.
///
/// ```
/// use tidemill::prelude::*;
/// let queue = QueueSource::from_batches(vec![vec![1, 2], vec![3]]);
/// let rows = MemorySink::new();
/// let sink = rows.clone();
/// let job = StreamingContext::builder("numbers", millis(5))
///     .start(move |ssc| {
///         ssc.queue_stream(&queue).to_memory(&sink);
///         Ok(())
///     })
///     .unwrap();
/// // The job ends after the batches of the queue.
/// let summary = job.await_termination().unwrap();
/// assert_eq!((summary.batches, summary.records, rows.rows()), (2, 3, vec![1, 2, 3]));
/// ```
#[must_use = "dropping the handle stops the job"]
pub struct JobHandle {
    pub(super) state: Arc<JobState>,
    pub(crate) metrics: Metrics,
    pub(super) end: End,
    pub(super) address: Option<SocketAddr>,
    pub(super) thread: Option<JoinHandle<()>>,
}

impl JobHandle {
    /// Waits until the job ends. Returns how many batches and records it has processed.
    ///
    /// # Errors
    /// The error that ended the job. A stop is not an error.
    #[doc(alias = "awaitTermination")]
    pub fn await_termination(self) -> Result<Summary> {
        self.wait(None).unwrap_or_else(|| Ok(Summary::default()))
    }

    /// Waits until the job ends, for at most `timeout`. Returns `true` if the job has ended, `false` if it still runs.
    ///
    /// # Errors
    /// The error that ended the job. Later calls return it as [`Error::Ended`], with the same text.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use std::time::Duration;
    /// let queue = QueueSource::<i64>::new();
    /// let (feed, rows) = (queue.clone(), MemorySink::new());
    /// let sink = rows.clone();
    /// let job = StreamingContext::builder("numbers", millis(5))
    ///     .start(move |ssc| {
    ///         ssc.queue_stream(&queue).to_memory(&sink);
    ///         Ok(())
    ///     })?;
    /// // The queue is open, so the job runs until it is stopped.
    /// assert!(!job.await_termination_or_timeout(Duration::from_millis(20))?);
    /// job.stop_now()?;
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[doc(alias = "awaitTerminationOrTimeout")]
    pub fn await_termination_or_timeout(&self, timeout: Duration) -> Result<bool> {
        match self.wait(Some(timeout)) {
            None => Ok(false),
            Some(end) => end.map(|_| true),
        }
    }

    /// Stops the job after the data that it has received: that goes into a last batch, and every output writes this batch.
    /// Files in a watched directory count as received. They may take several batches, and young files a batch interval more.
    ///
    /// # Errors
    /// The error that ended the job. A stop is not an error.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use std::time::Duration;
    /// let queue = QueueSource::<i64>::new();
    /// let (feed, rows) = (queue.clone(), MemorySink::new());
    /// let sink = rows.clone();
    /// let job = StreamingContext::builder("numbers", millis(5))
    ///     .start(move |ssc| {
    ///         ssc.queue_stream(&queue).to_memory(&sink);
    ///         Ok(())
    ///     })?;
    /// feed.push(vec![1, 2, 3]);
    /// let summary = job.stop_gracefully()?;
    /// assert_eq!((summary.records, rows.rows()), (3, vec![1, 2, 3]));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn stop_gracefully(self) -> Result<Summary> {
        self.state.post(Event::Stop { graceful: true });
        self.await_termination()
    }

    /// Stops the job at once: batches that are not written are abandoned. With a checkpoint directory, they run again at the
    /// next start.
    ///
    /// # Errors
    /// The error that ended the job. A stop is not an error.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use std::time::Duration;
    /// let queue = QueueSource::<i64>::new();
    /// let (feed, rows) = (queue.clone(), MemorySink::new());
    /// let sink = rows.clone();
    /// let job = StreamingContext::builder("numbers", millis(5))
    ///     .start(move |ssc| {
    ///         ssc.queue_stream(&queue).to_memory(&sink);
    ///         Ok(())
    ///     })?;
    /// let summary = job.stop_now()?;
    /// assert_eq!((summary.records, rows.rows()), (0, vec![]));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn stop_now(self) -> Result<Summary> {
        self.state.post(Event::Stop { graceful: false });
        self.await_termination()
    }

    /// What asks the job to end from another thread, or from a listener. It does not wait, and it does not stop the job when it is dropped.
    pub fn stopper(&self) -> Stopper {
        self.state.stopper()
    }

    /// Whether the job has not ended. Of the states of Spark's context, a [`Builder`](crate::api::builder::Builder) is initialized; a handle is
    /// active, and then stopped.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let queue = QueueSource::<i64>::new();
    /// let job = StreamingContext::builder("active", millis(5)).without_checkpoint().start(move |ssc| {
    ///     ssc.queue_stream(&queue).print(1);
    ///     Ok(())
    /// })?;
    /// assert!(job.is_active() && StreamingContext::get_active().is_some());
    /// job.stopper().stop_gracefully();
    /// assert!(job.await_termination_or_timeout(mins(5))?);
    /// assert!(!job.is_active());
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[doc(alias = "getState")]
    pub fn is_active(&self) -> bool {
        lock(&self.end.0).is_none()
    }

    /// Figures of the job until now. They are kept in process 0; in other processes they are all 0.
    pub fn statistics(&self) -> Statistics {
        self.metrics.snapshot()
    }

    /// A question to a view that is [`queryable`](crate::prelude::View::queryable) by this name. [`Query::ask`] gets the answer, as of one
    /// batch.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let numbers = QueueSource::new();
    /// let (feed, seen) = (numbers.clone(), MemorySink::new());
    /// let sink = seen.clone();
    /// let job = StreamingContext::builder("numbers", millis(5)).start(move |ssc| {
    ///     let all = ssc.queue_stream(&numbers).accumulate();
    ///     all.queryable("all");
    ///     all.update().to_memory(&sink);
    ///     Ok(())
    /// })?;
    /// feed.push(vec![3i64, 1, 2]);
    /// while seen.rows().len() < 3 {
    ///     std::thread::yield_now();
    /// }
    /// let answer = job.query("all").top(2).ask()?;
    /// assert_eq!((answer.rows_as::<i64>().unwrap(), answer.matched), (vec![3, 2], 3));
    /// let error = job.query("everything").ask().unwrap_err();
    /// assert!(error.to_string().contains("there are: all"));
    /// job.stop_now()?;
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn query(&self, view: &str) -> Query<'_> {
        Query::new(&self.state, view)
    }

    /// Adds a computation over [`queryable`](crate::prelude::View::queryable) views while the job runs: `best = authors | top 10`. Its result is
    /// a queryable view, complete as of the newest batch, on all workers and processes. docs/guide/live.md has the language.
    ///
    /// Without a name in the text one is made of the view and the verbs. A batch costs what it changes in the views. At most 32 run at a
    /// time. It ends with the job; [`add_kept`](JobHandle::add_kept) lets it run again.
    ///
    /// # Errors
    /// [`Error::Added`]: the text is wrong, which names the character and the word; there is no such view, or another one has the name; the job
    /// does not run. Only process 0 of a job can add.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let words = QueueSource::new();
    /// let (feed, seen) = (words.clone(), MemorySink::new());
    /// let sink = seen.clone();
    /// let job = StreamingContext::builder("words", millis(5)).workers(2).start(move |ssc| {
    ///     let counts = ssc.queue_stream(&words).count_by_value().sum_by_key();
    ///     counts.queryable("counts");
    ///     counts.update().to_memory(&sink);
    ///     Ok(())
    /// })?;
    /// feed.push(["tide", "mill", "tide"].map(str::to_string).to_vec());
    /// while seen.rows().len() < 2 {
    ///     std::thread::yield_now();
    /// }
    /// let added = job.add("counts | map _2 | sum _1")?;
    /// assert_eq!(added.name, "counts.map.sum");
    /// assert_eq!(job.query(&added.name).ask()?.rows, [3]);
    /// assert_eq!(job.added(), [added]);
    /// let error = job.add("count | top 10").unwrap_err();
    /// assert!(error.to_string().ends_with("character 1: no view \"count\"; there are: counts, counts.map.sum"));
    /// job.remove("counts.map.sum")?;
    /// assert!(job.query("counts.map.sum").ask().is_err() && job.added().is_empty());
    /// job.stop_now()?;
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn add(&self, text: &str) -> Result<Added> {
        self.state.change_added_now(text, Request::Add { text: text.into(), keep: false })
    }

    /// As [`add`](JobHandle::add), and stores the text in the checkpoint directory: the computation runs again after a restart, until it is
    /// removed. Then it is complete as of the checkpoint that is loaded; a window begins again.
    ///
    /// # Errors
    /// As `add`; the job has no checkpoint directory, or it cannot be written.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// # let dir = std::env::temp_dir().join(format!("tidemill-doc-kept-{}", std::process::id()));
    /// let start = || {
    ///     let numbers = QueueSource::<i64>::new();
    ///     StreamingContext::builder("kept", millis(5)).checkpoint(&dir).start(move |ssc| {
    ///         let all = ssc.queue_stream(&numbers).accumulate();
    ///         all.queryable("all");
    ///         all.update().print(1);
    ///         Ok(())
    ///     })
    /// };
    /// let job = start()?;
    /// let added = loop {
    ///     // Until the first batch is open, nothing can be added.
    ///     if let Ok(added) = job.add_kept("largest = all | top 1") {
    ///         break added;
    ///     }
    /// };
    /// assert!(added.kept);
    /// job.stop_gracefully()?;
    /// let job = start()?;
    /// while job.added().is_empty() {
    ///     std::thread::yield_now();
    /// }
    /// assert_eq!(job.added()[0].to_string(), "largest = all | top 1");
    /// job.stop_now()?;
    /// # std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn add_kept(&self, text: &str) -> Result<Added> {
        self.state.change_added_now(text, Request::Add { text: text.into(), keep: true })
    }

    /// The computations that were added and run, oldest first. In other processes than 0 there are none.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let numbers = QueueSource::<i64>::new();
    /// let builder = StreamingContext::builder("listed", millis(5)).without_checkpoint().add("large = all | filter _1 > 1000");
    /// let job = builder.start(move |ssc| {
    ///     let all = ssc.queue_stream(&numbers);
    ///     all.accumulate().queryable("all");
    ///     all.print(1);
    ///     Ok(())
    /// })?;
    /// while job.added().is_empty() {
    ///     std::thread::yield_now();
    /// }
    /// assert_eq!(job.added()[0].text, "all | filter _1 > 1000");
    /// job.stop_now()?;
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn added(&self) -> Vec<Added> {
        self.state.adders.running()
    }

    /// Removes a computation that was added: its state is freed, and who follows it is told. Returns it.
    ///
    /// # Errors
    /// [`Error::Added`]: no computation has this name, another one reads it, or the checkpoint directory cannot be written.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let numbers = QueueSource::<i64>::new();
    /// let job = StreamingContext::builder("removed", millis(5)).without_checkpoint().start(move |ssc| {
    ///     let all = ssc.queue_stream(&numbers);
    ///     all.accumulate().queryable("all");
    ///     all.print(1);
    ///     Ok(())
    /// })?;
    /// while job.query("all").ask().is_err() {
    ///     std::thread::yield_now();
    /// }
    /// job.add("most = all | top 5")?;
    /// job.add("first = most | top 1")?;
    /// assert_eq!(job.remove("most").unwrap_err().to_string(), "most: first reads it: remove that first");
    /// job.remove("first")?;
    /// assert_eq!(job.remove("most")?.text, "all | top 5");
    /// assert_eq!(job.remove("most").unwrap_err().to_string(), "most: no computation was added as \"most\"; there are: none");
    /// job.stop_now()?;
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn remove(&self, name: &str) -> Result<Added> {
        self.state.change_added_now(name, Request::Remove { name: name.into() })
    }

    /// Reads bad records once more, after the job has learned to read them. Each goes to the batch that it was in: windows that still hold this
    /// batch have the record as if it had been read then, at their next slide. Running totals have it from now on. Outputs of single
    /// rows write it in the batch that reads it.
    ///
    /// Each batch that is corrected costs a batch in which no source is read; its records come one batch later. Returns when all are in plans,
    /// which are durable with a checkpoint directory: a restart and a replay read them again. Records that are given twice are read twice.
    /// A record that is bad again is a bad record of the batch that reads it. Stop the job gracefully before the mended program starts: batches
    /// that run again after a kill have the records then, without a correction.
    ///
    /// # Errors
    /// [`Error::Correction`]: no source takes records back, because its rows are not messages, lines, texts or bytes; the batch is not sealed;
    /// more than 10,000 records or 4 MiB are of one batch; or the job ends. Records of earlier batches are corrected then, by batch time. Only
    /// process 0 of a job can correct.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicBool, Ordering};
    /// use tidemill::prelude::*;
    /// static MENDED: AtomicBool = AtomicBool::new(false);
    /// let (queue, counts, dead) = (QueueSource::new(), MemorySink::new(), MemorySink::new());
    /// let (texts, out, letters) = (queue.clone(), counts.clone(), dead.clone());
    /// let job = StreamingContext::builder("mended", millis(5)).start(move |ssc| {
    ///     let numbers = ssc.queue_stream(&texts).try_map(|text: &String| match text.strip_prefix('#') {
    ///         Some(number) if MENDED.load(Ordering::SeqCst) => Ok(number.parse::<i64>()?),
    ///         _ => Ok(text.parse::<i64>()?),
    ///     });
    ///     numbers.errors().dead_letters(letters.clone());
    ///     numbers.over(mins(5), millis(5)).complete().to_memory(&out);
    ///     Ok(())
    /// })?;
    /// queue.push(["1", "#2"].map(str::to_string).to_vec());
    /// while dead.rows().is_empty() {
    ///     std::thread::yield_now();
    /// }
    /// MENDED.store(true, Ordering::SeqCst);
    /// let corrected = job.correct(&dead.rows())?;
    /// assert_eq!((corrected[0].of, corrected[0].records, corrected[0].left.len()), (dead.rows()[0].time, 1, 0));
    /// job.stop_gracefully()?;
    /// assert_eq!(counts.batches().last().unwrap().1, [1, 2]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn correct(&self, letters: &[BadRecord]) -> Result<Vec<Corrected>> {
        self.state.correct_all(letters)
    }

    /// Where this process serves the page or the metrics of the job; `None` without [`listen`](crate::api::context::Builder::listen).
    /// The port may be a later one than asked for.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Adds a listener, which hears of every batch from now on. Only listeners in process 0 are called, on the planner's thread:
    /// a slow listener delays batches.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
    /// #[derive(Default)]
    /// struct Records(AtomicU64);
    /// impl StreamingListener for Records {
    ///     fn on_batch_completed(&self, batch: &BatchInfo) {
    ///         self.0.fetch_add(batch.records, Ordering::SeqCst);
    ///     }
    /// }
    /// let (queue, listener) = (QueueSource::new(), Arc::new(Records::default()));
    /// let feed = queue.clone();
    /// let job = StreamingContext::builder("listened", millis(5)).start(move |ssc| {
    ///     ssc.queue_stream(&queue).to_memory(&MemorySink::new());
    ///     Ok(())
    /// })?;
    /// job.add_streaming_listener(listener.clone());
    /// feed.push(vec![1, 2]);
    /// job.stop_gracefully()?;
    /// assert_eq!(listener.0.load(Ordering::SeqCst), 2);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[doc(alias = "addStreamingListener")]
    pub fn add_streaming_listener(&self, listener: Arc<dyn StreamingListener>) {
        self.metrics.listen(listener);
    }

    /// The end of the job; `None`: the time is up. A second call gets the same end, an error as text.
    fn wait(&self, timeout: Option<Duration>) -> Option<Result<Summary>> {
        let due = timeout.map(|t| Instant::now() + t);
        let mut end = lock(&self.end.0);
        loop {
            if let Some(result) = end.take() {
                *end = Some(match &result {
                    Ok(summary) => Ok(summary.clone()),
                    Err(Error::Ended(told)) => Err(Error::Ended(told.clone())),
                    Err(e) => Err(Error::Ended(e.to_string())),
                });
                return Some(result);
            }
            end = match due {
                None => self.end.1.wait(end).unwrap_or_else(|e| e.into_inner()),
                Some(due) => {
                    let left = due.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    self.end.1.wait_timeout(end, left).unwrap_or_else(|e| e.into_inner()).0
                }
            };
        }
    }
}

impl Drop for JobHandle {
    fn drop(&mut self) {
        self.state.post(Event::Stop { graceful: false });
        let _ = self.wait(None);
        // A thread that is stuck in user code cannot be ended: it is left behind.
        if let Some(thread) = self.thread.take().filter(|_| !self.state.abandoned()) {
            let _ = thread.join();
        }
    }
}
