//! What a running job reports: a `BatchInfo` for each batch, `Statistics` at any time, and listeners.
//!
//! The planner of process 0 writes them; any thread reads them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::core::lock::lock;
use crate::core::plan::OffsetRange;
use crate::core::time::BatchTime;

/// One batch and its progress: Spark's `BatchInfo`.
///
/// ```
/// use std::time::Duration;
/// use tidemill::prelude::*;
/// let batch = BatchInfo {
///     scheduling_delay: Duration::from_millis(20),
///     processing_time: Duration::from_millis(300),
///     ..BatchInfo::default()
/// };
/// assert_eq!(batch.total_delay(), Duration::from_millis(320));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchInfo {
    /// The batch.
    pub time: BatchTime,
    /// Records read, over all sources and workers.
    pub records: u64,
    /// The ranges that each source read.
    pub ranges: Vec<OffsetRange>,
    /// The parts of these ranges that the source no longer had, and that were skipped:
    /// [`fail_on_data_loss(false)`](crate::connector::kafka::source::KafkaSource::fail_on_data_loss).
    pub lost: Vec<OffsetRange>,
    /// From the batch time until the batch was sealed.
    pub scheduling_delay: Duration,
    /// From then until every output had processed the batch. Zero before that.
    pub processing_time: Duration,
    /// Number of overdue, empty batch times that follow this one.
    pub overdue: u32,
}

impl BatchInfo {
    /// From the batch time until every output had processed the batch.
    pub fn total_delay(&self) -> Duration {
        self.scheduling_delay + self.processing_time
    }
}

/// Receives the progress of each batch. Called on the planner's thread of process 0, which waits: return quickly, do no I/O.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use tidemill::prelude::*;
///
/// #[derive(Default)]
/// struct Records(AtomicU64);
/// impl StreamingListener for Records {
///     fn on_batch_completed(&self, batch: &BatchInfo) {
///         self.0.fetch_add(batch.records, Ordering::Relaxed);
///     }
/// }
///
/// let (numbers, records) = (QueueSource::from_batches([vec![1, 2], vec![3]]), Arc::new(Records::default()));
/// let job = StreamingContext::builder("counted", millis(20)).without_checkpoint().start(move |ssc| {
///     ssc.queue_stream(&numbers).print(1);
///     Ok(())
/// }).unwrap();
/// job.add_streaming_listener(records.clone());
/// let summary = job.await_termination().unwrap();
/// assert!(records.0.load(Ordering::Relaxed) <= summary.records, "batches before the listener was added are not reported");
/// ```
pub trait StreamingListener: Send + Sync {
    /// The batch time has come, and the batch is being sealed.
    fn on_batch_started(&self, _batch: &BatchInfo) {}
    /// The batch is sealed: its ranges are known.
    fn on_batch_planned(&self, _batch: &BatchInfo) {}
    /// Every output has processed the batch.
    fn on_batch_completed(&self, _batch: &BatchInfo) {}
}

/// A job at one moment: [`JobHandle::statistics`](crate::prelude::JobHandle::statistics).
///
/// ```
/// use tidemill::prelude::*;
/// let numbers = QueueSource::from_batches([vec![1, 2, 3]]);
/// let job = StreamingContext::builder("watched", millis(5)).without_checkpoint().start(move |ssc| {
///     ssc.queue_stream(&numbers).print(1);
///     Ok(())
/// }).unwrap();
/// while !job.await_termination_or_timeout(millis(10)).unwrap() {
///     let now = job.statistics();
///     println!("{} batches, {} records, {} in flight", now.batches, now.records, now.in_flight);
/// }
/// assert_eq!(job.statistics().records, 3);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Batches that every output has processed, overdue ones included.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Positions that the sources no longer had, and that were skipped, since the job was started.
    pub lost: u64,
    /// The last batch that every output has processed.
    pub last: Option<BatchInfo>,
    /// Batches that are closed and not yet processed by every output.
    pub in_flight: usize,
    /// Records in the sources that are not yet read. `None` if no source knows.
    pub lag: Option<u64>,
    /// The rate of all sources together that back-pressure allows, in records a second. `None`: not limited.
    pub rate: Option<u64>,
    /// Current problems, by source: a broker that does not answer.
    pub trouble: Vec<String>,
    /// Bytes that wait at outputs.
    pub waiting_bytes: u64,
}

/// Written by the planner, read by any thread.
#[derive(Clone, Default)]
pub(crate) struct Metrics {
    now: Arc<Mutex<Statistics>>,
    listeners: Arc<Mutex<Vec<Arc<dyn StreamingListener>>>>,
    bad: Arc<AtomicU64>,
}

impl Metrics {
    pub fn listen(&self, listener: Arc<dyn StreamingListener>) {
        lock(&self.listeners).push(listener);
    }

    pub fn snapshot(&self) -> Statistics {
        lock(&self.now).clone()
    }

    /// Bad records that no stream takes, of all workers.
    pub fn bad(&self) -> u64 {
        self.bad.load(Ordering::Relaxed)
    }

    pub fn add_bad(&self, records: u64) {
        self.bad.fetch_add(records, Ordering::Relaxed);
    }

    pub fn update(&self, f: impl FnOnce(&mut Statistics)) {
        f(&mut lock(&self.now));
    }

    pub fn tell(&self, f: impl Fn(&dyn StreamingListener)) {
        let listeners = lock(&self.listeners).clone();
        for l in &listeners {
            f(&**l);
        }
    }
}
