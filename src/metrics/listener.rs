//! `StreamingListener`: hears of the job, of each batch, and of receivers.

use crate::core::time::BatchTime;
use crate::metrics::batch::{BatchInfo, OutputInfo};
use crate::metrics::receiver::ReceiverInfo;

/// Hears of the start of the job, of the progress of each batch, and of what happens to receivers. Called on the planner's thread of process 0,
/// which waits: return quickly, do no I/O. A panic ends the job.
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
    /// The job runs. `first`: its first batch, or the first one that runs again after a restart. Not told to a listener that is added while
    /// the job runs.
    #[doc(alias = "onStreamingStarted")]
    fn on_streaming_started(&self, _first: BatchTime) {}
    /// The batch time has come, and the batch is being sealed.
    #[doc(alias = "onBatchStarted")]
    fn on_batch_started(&self, _batch: &BatchInfo) {}
    /// The batch is sealed: its ranges are known.
    #[doc(alias = "onBatchSubmitted")]
    fn on_batch_planned(&self, _batch: &BatchInfo) {}
    /// An output has processed the batch. Told for each output, in program order, right before [`on_batch_completed`](Self::on_batch_completed)
    /// of the batch.
    #[doc(alias = "onOutputOperationCompleted")]
    fn on_output_operation_completed(&self, _batch: &BatchInfo, _output: &OutputInfo) {}
    /// Every output has processed the batch.
    #[doc(alias = "onBatchCompleted")]
    fn on_batch_completed(&self, _batch: &BatchInfo) {}
    /// A receiver is started, also again after a stop. What happens to receivers is told when the sources have stopped for the next batch, in its
    /// order; of more than 100 events of a receiver within a batch, the last ones.
    #[doc(alias = "onReceiverStarted")]
    fn on_receiver_started(&self, _receiver: &ReceiverInfo) {}
    /// A receiver has reported a trouble, or could not start. It goes on, or its stop follows.
    #[doc(alias = "onReceiverError")]
    fn on_receiver_error(&self, _receiver: &ReceiverInfo) {}
    /// A receiver is stopped: for the rest of the job, until it is started again, or because the job stops gracefully.
    #[doc(alias = "onReceiverStopped")]
    fn on_receiver_stopped(&self, _receiver: &ReceiverInfo) {}
}
