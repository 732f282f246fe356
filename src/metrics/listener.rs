//! `StreamingListener`: hears of each batch.

use crate::metrics::batch::BatchInfo;

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
    #[doc(alias = "onBatchStarted")]
    fn on_batch_started(&self, _batch: &BatchInfo) {}
    /// The batch is sealed: its ranges are known.
    #[doc(alias = "onBatchSubmitted")]
    fn on_batch_planned(&self, _batch: &BatchInfo) {}
    /// Every output has processed the batch.
    #[doc(alias = "onBatchCompleted")]
    fn on_batch_completed(&self, _batch: &BatchInfo) {}
}
