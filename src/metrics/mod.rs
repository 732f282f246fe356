//! What a job says about itself while it runs: one record a batch, a snapshot at any time, and listeners.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::core::plan::OffsetRange;
use crate::core::time::BatchTime;

/// One batch, as far as it has come. Spark's `BatchInfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchInfo {
    /// The batch.
    pub time: BatchTime,
    /// Records read, over all sources and workers.
    pub records: u64,
    /// What each source read.
    pub ranges: Vec<OffsetRange>,
    /// What of these ranges was not in the source any more, and was passed over:
    /// [`fail_on_data_loss(false)`](crate::connector::kafka::source::KafkaSource::fail_on_data_loss).
    pub lost: Vec<OffsetRange>,
    /// From the batch's time to the moment it was sealed.
    pub scheduling_delay: Duration,
    /// From then until every output was through; zero until it is.
    pub processing_time: Duration,
    /// Overdue, empty times that follow this one.
    pub overdue: u32,
}

impl BatchInfo {
    /// From the batch's time until every output was through.
    pub fn total_delay(&self) -> Duration {
        self.scheduling_delay + self.processing_time
    }
}

/// Is told what happens to each batch, on the planner's thread of process 0: be quick.
pub trait StreamingListener: Send + Sync {
    /// The batch is being sealed: its time has come.
    fn on_batch_started(&self, _batch: &BatchInfo) {}
    /// Its ranges are known.
    fn on_batch_planned(&self, _batch: &BatchInfo) {}
    /// Every output operation is through.
    fn on_batch_completed(&self, _batch: &BatchInfo) {}
}

/// A job at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Batches through every output, overdue ones included.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Positions that were not in the sources any more and have been passed over, since the job was started.
    pub lost: u64,
    /// The last batch that is through.
    pub last: Option<BatchInfo>,
    /// Batches closed and not through.
    pub in_flight: usize,
    /// Records in the sources that are not read yet, where sources can say.
    pub lag: Option<u64>,
    /// Records a second that all sources together may be read with, as back-pressure estimates it; `None` is no limit.
    pub rate: Option<u64>,
    /// What is wrong at the moment, by source: a broker that is away.
    pub trouble: Vec<String>,
    /// Bytes that wait at outputs.
    pub waiting_bytes: u64,
}

/// What the planner writes and everybody reads.
#[derive(Clone, Default)]
pub(crate) struct Metrics {
    now: Arc<Mutex<Statistics>>,
    listeners: Arc<Mutex<Vec<Arc<dyn StreamingListener>>>>,
}

impl Metrics {
    pub fn listen(&self, listener: Arc<dyn StreamingListener>) {
        self.listeners.lock().unwrap_or_else(|e| e.into_inner()).push(listener);
    }

    pub fn snapshot(&self) -> Statistics {
        self.now.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    pub fn update(&self, f: impl FnOnce(&mut Statistics)) {
        f(&mut self.now.lock().unwrap_or_else(|e| e.into_inner()));
    }

    pub fn tell(&self, f: impl Fn(&dyn StreamingListener)) {
        let listeners = self.listeners.lock().unwrap_or_else(|e| e.into_inner()).clone();
        for l in &listeners {
            f(&**l);
        }
    }
}
