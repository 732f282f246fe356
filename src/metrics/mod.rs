//! What a running job reports: a `BatchInfo` for each batch, `Statistics` at any time, and listeners.
//!
//! The planner of process 0 writes them; any thread reads them.

mod batch;
mod listener;
mod statistics;

use std::sync::{Arc, Mutex};

use crate::core::lock::lock;

pub use batch::{BatchInfo, InputInfo, OutputInfo};
pub use listener::StreamingListener;
pub use statistics::{Checkpoints, Statistics};

/// Written by the planner, read by any thread.
#[derive(Clone, Default)]
pub(crate) struct Metrics {
    now: Arc<Mutex<Statistics>>,
    listeners: Arc<Mutex<Vec<Arc<dyn StreamingListener>>>>,
}

impl Metrics {
    pub fn listen(&self, listener: Arc<dyn StreamingListener>) {
        lock(&self.listeners).push(listener);
    }

    pub fn snapshot(&self) -> Statistics {
        lock(&self.now).clone()
    }

    pub fn update(&self, f: impl FnOnce(&mut Statistics)) {
        f(&mut lock(&self.now));
    }

    /// Every output has processed the batch.
    pub fn complete(&self, batch: &BatchInfo) {
        self.update(|s| {
            s.batches += 1 + u64::from(batch.overdue);
            s.records += batch.records;
            s.lost += batch.lost.iter().map(|r| (r.until - r.from) as u64).sum::<u64>();
            s.last = Some(batch.clone());
        });
        self.tell(|l| l.on_batch_completed(batch));
    }

    pub fn tell(&self, f: impl Fn(&dyn StreamingListener)) {
        let listeners = lock(&self.listeners).clone();
        for l in &listeners {
            f(&**l);
        }
    }
}
