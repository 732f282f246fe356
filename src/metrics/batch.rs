//! `BatchInfo`: what is known of one batch.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::core::plan::OffsetRange;
use crate::core::time::BatchTime;
use crate::metrics::Accumulators;
use crate::metrics::operator::{OperatorInfo, most};

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
    /// What was read of each split, in the order of the plan.
    pub inputs: Vec<InputInfo>,
    /// The parts of these ranges that the source no longer had, and that were skipped:
    /// [`fail_on_data_loss(false)`](crate::connector::kafka::source::KafkaSource::fail_on_data_loss).
    pub lost: Vec<OffsetRange>,
    /// Bad records, over all workers, also those that a stream takes.
    pub bad: u64,
    /// From the batch time until the batch was sealed.
    pub scheduling_delay: Duration,
    /// From then until every output had processed the batch. Zero before that.
    pub processing_time: Duration,
    /// The part of the processing time until the plan of the batch was made. With a checkpoint directory, it is durable then.
    pub planning_time: Duration,
    /// The part of the processing time from then until all workers had computed the batch.
    pub computing_time: Duration,
    /// What the workers did in each operator: the first ones are sources, and the last ones outputs and what no operator did. All figures
    /// are 0 until every output has processed the batch.
    pub operators: Vec<OperatorInfo>,
    /// The program's accumulators after the batch. Empty until all workers have computed it.
    pub accumulators: Accumulators,
    /// What each output did, in program order. Empty until every output has processed the batch.
    pub outputs: Vec<OutputInfo>,
    /// The watermark of each stream with event time that an output reads, in program order. Empty until every output has processed the batch.
    pub event_times: Vec<EventTimeInfo>,
    /// Whether the clock set the time of the batch. A given batch, as of files that are already there, or one that runs again after a
    /// restart, follows the previous one without waiting.
    pub on_clock: bool,
    /// Number of overdue, empty batch times that follow this one.
    pub overdue: u32,
}

impl BatchInfo {
    /// From the batch time until every output had processed the batch.
    pub fn total_delay(&self) -> Duration {
        self.scheduling_delay + self.processing_time
    }

    /// The part of the processing time in which outputs wrote, and committed, after the batch was computed.
    pub fn output_time(&self) -> Duration {
        self.processing_time.saturating_sub(self.planning_time + self.computing_time)
    }

    /// The part of the output time in which the batch waited for commits, and was committed. Zero without an exactly-once output.
    pub fn commit_time(&self) -> Duration {
        self.outputs.iter().map(|output| output.commit_time).max().unwrap_or_default().min(self.output_time())
    }

    /// The operator that took the most time for the batch on one worker, and the number of that worker. `None`: nothing was done.
    pub fn slowest(&self) -> Option<(&OperatorInfo, usize)> {
        most(&self.operators, |work| work.time)
    }

    /// The operator and the worker that the batch waited for after it was sealed: what took most of that time on one worker. `None`: no
    /// operator did anything then.
    pub fn waited_for(&self) -> Option<(&OperatorInfo, usize)> {
        most(&self.operators, |work| work.waited)
    }

    /// For how long the oldest record that the sources had left had waited. `None`: no source knows.
    pub fn lag_time(&self) -> Option<Duration> {
        self.inputs.iter().filter_map(|input| input.lag_time).max()
    }

    /// The range that was read of each split.
    pub fn ranges(&self) -> impl Iterator<Item = &OffsetRange> {
        self.inputs.iter().map(|input| &input.range)
    }

    /// How many positions the sources no longer had.
    pub(crate) fn lost_positions(&self) -> u64 {
        self.lost.iter().map(|r| (r.until - r.from) as u64).sum()
    }

    /// Records that the sources had left when the batch was sealed. `None`: no source knows.
    pub fn lag(&self) -> Option<u64> {
        let known: Vec<u64> = self.inputs.iter().filter_map(|input| input.lag).collect();
        (!known.is_empty()).then(|| known.iter().sum())
    }
}

/// What one batch read of one split of a source: Spark's `StreamInputInfo`, by partition.
///
/// ```
/// use tidemill::prelude::*;
/// let numbers = QueueSource::from_batches([vec![1, 2], vec![3]]);
/// let job = StreamingContext::builder("inputs", millis(5)).without_checkpoint().start(move |ssc| {
///     ssc.queue_stream(&numbers).to_memory(&MemorySink::new());
///     Ok(())
/// })?;
/// assert!(job.await_termination_or_timeout(mins(5))?);
/// // The positions of a bounded queue count batches.
/// let input = &job.statistics().last.unwrap().inputs[0];
/// assert_eq!((input.source, input.records, input.range.from, input.range.until), (0, 1, 1, 2));
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputInfo {
    /// The number of the source, in program order from 0.
    pub source: u32,
    /// The range of offsets. A compacted topic has fewer records than offsets.
    pub range: OffsetRange,
    /// Records read.
    pub records: u64,
    /// About how many bytes these records have.
    pub bytes: u64,
    /// Records that the split had left when the batch was sealed. `None`: the source does not know.
    pub lag: Option<u64>,
    /// For how long the oldest of them had waited: since its timestamp, if the source has read ahead so far and records have one, or else
    /// since the first batch at which this run knew of it. Zero if no record is left, `None` if the source does not know.
    pub lag_time: Option<Duration>,
}

/// What one output did with one batch: Spark's `OutputOperationInfo`.
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use tidemill::prelude::*;
/// static CALLS: AtomicU32 = AtomicU32::new(0);
/// let numbers = QueueSource::from_batches([vec![1, 2]]);
/// let job = StreamingContext::builder("outputs", millis(5)).without_checkpoint().start(move |ssc| {
///     ssc.queue_stream(&numbers).foreach_batch(|_| match CALLS.fetch_add(1, Ordering::Relaxed) {
///         0 => Err("the database is down".into()),
///         _ => Ok(()),
///     });
///     Ok(())
/// })?;
/// assert!(job.await_termination_or_timeout(mins(5))?);
/// let output = &job.statistics().last.unwrap().outputs[0];
/// assert!(output.name.starts_with("foreach_batch ("));
/// assert_eq!((output.tries, output.rows), (2, 2));
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputInfo {
    /// The verb, and the line that called it.
    pub name: Arc<str>,
    /// How often the batch was tried, the successful try included. Over several processes: the most.
    pub tries: u32,
    /// From when the output began to write the batch until the batch had arrived there, or was committed. Over several processes or
    /// overdue batch times: the longest.
    pub time: Duration,
    /// The part of it after the output had written the batch, until the batch was committed. Zero if the output does not commit.
    pub commit_time: Duration,
    /// Rows of the batch that came to the output, over all processes. A batch that runs again after a restart has all of its rows, also those
    /// that an exactly-once output had committed before. `print` has those that it prints, and a sink says by
    /// [`Sink::row_count`](crate::connector::sink::Sink::row_count) if its rows are something else.
    pub rows: u64,
    /// About how many bytes the rows had in memory, over all processes.
    pub bytes: u64,
}

/// The event time of a stream in one batch: of [`DStream::event_time`](crate::prelude::DStream::event_time), or of two such streams that a verb joins.
/// Times are microseconds since 1970-01-01 00:00 UTC.
///
/// ```
/// use tidemill::prelude::*;
/// let times = QueueSource::from_batches([vec![7_i64, 12]]);
/// let job = StreamingContext::builder("event times", millis(5)).without_checkpoint().start(move |ssc| {
///     let events = ssc.queue_stream(&times).event_time(|time| *time, std::time::Duration::from_micros(2));
///     events.tumbling(std::time::Duration::from_micros(10)).count().append().to_memory(&MemorySink::new());
///     Ok(())
/// })?;
/// assert!(job.await_termination_or_timeout(mins(5))?);
/// let info = &job.statistics().last.unwrap().event_times[0];
/// assert!(info.name.starts_with("event_time ("));
/// assert_eq!((info.watermark, info.max), (Some(10), Some(12)));
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventTimeInfo {
    /// The place of the verb in the program: [`EventTimeStream::watermark_operator`](crate::prelude::EventTimeStream::watermark_operator) has it.
    pub operator: usize,
    /// The verb, and the line that called it.
    pub name: Arc<str>,
    /// The watermark after the batch, which closes windows in this batch. `None`: the stream has had no row with a time.
    pub watermark: Option<i64>,
    /// The largest time of a row of the batch, also of a late one. `None`: the batch has no row with a time.
    pub max: Option<i64>,
}

impl EventTimeInfo {
    /// What is known after a later batch time of the same batch.
    pub(crate) fn then(self, later: EventTimeInfo) -> EventTimeInfo {
        EventTimeInfo { max: self.max.max(later.max), ..later }
    }
}
