//! `Statistics`: a job at one moment.

use std::time::Duration;

use crate::core::time::BatchTime;
use crate::metrics::Accumulators;
use crate::metrics::batch::BatchInfo;

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
    /// Bad records of all workers, also those that a stream takes.
    pub bad: u64,
    /// Positions that the sources no longer had, and that were skipped, since the job was started.
    pub lost: u64,
    /// The program's accumulators after the last of them.
    pub accumulators: Accumulators,
    /// The last batch that every output has processed.
    pub last: Option<BatchInfo>,
    /// Batches that are closed and not yet processed by every output.
    pub in_flight: usize,
    /// Records in the sources that are not yet read. `None` if no source knows.
    pub lag: Option<u64>,
    /// The rate of all sources together that back-pressure allows, in records a second. `None`: not limited.
    pub rate: Option<u64>,
    /// What holds the next batch, which is due: back-pressure from workers, outputs, or sources. `None`: nothing does.
    pub held_by: Option<&'static str>,
    /// Current problems, by source: a broker that does not answer.
    pub trouble: Vec<String>,
    /// Bytes that wait at outputs.
    pub waiting_bytes: u64,
    /// The checkpoints of this run.
    pub checkpoints: Checkpoints,
}

/// The checkpoints that a job has made since it was started.
///
/// ```
/// use tidemill::prelude::*;
/// # let dir = std::env::temp_dir().join(format!("tidemill-doc-made-{}", std::process::id()));
/// let (words, checkpoint) = (QueueSource::from_batches([vec![1, 2]]), dir.clone());
/// let job = StreamingContext::builder("made", millis(5)).checkpoint(checkpoint).start(move |ssc| {
///     ssc.queue_stream(&words).to_memory(&MemorySink::new());
///     Ok(())
/// })?;
/// assert!(job.await_termination_or_timeout(mins(5))?);
/// // The last batch of a job has a checkpoint.
/// let now = job.statistics();
/// assert_eq!((now.checkpoints.made, now.checkpoints.last), (1, now.last.map(|batch| batch.time)));
/// # std::fs::remove_dir_all(dir).unwrap();
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoints {
    /// How many were made.
    pub made: u64,
    /// How many failed.
    pub failed: u64,
    /// The batch of the last one that was made. A restart continues after it.
    pub last: Option<BatchTime>,
    /// How long the last one took, from the seal of its batch until it was valid.
    pub took: Duration,
    /// The state that it holds, in bytes.
    pub bytes: u64,
}
