//! What belongs to one batch: for each split of each source a half-open range.
//!
//! Sources make ranges, the planner (`batch/`) puts them together, every process sees the plan at close.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::core::time::BatchTime;

/// One thing a source reads in order: a split id belongs to exactly one split of a batch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Split {
    /// A Kafka partition; positions are offsets.
    Kafka {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
    },
    /// A file as it was when it was taken; positions are bytes, cut at line ends.
    File {
        /// Its path.
        path: Arc<str>,
        /// Its size in bytes.
        size: u64,
        /// When it was last changed, milliseconds since the epoch.
        modified_ms: i64,
    },
    /// What somebody sent us and nobody can send again: positions count records.
    Received {
        /// Whom from.
        from: Arc<str>,
    },
}

impl Split {
    /// The topic, path or address.
    pub fn name(&self) -> &Arc<str> {
        match self {
            Split::Kafka { topic, .. } => topic,
            Split::File { path, .. } => path,
            Split::Received { from } => from,
        }
    }

    /// The partition, 0 where there is none.
    pub fn partition(&self) -> i32 {
        match self {
            Split::Kafka { partition, .. } => *partition,
            _ => 0,
        }
    }
}

/// The part of one split that belongs to one batch: positions `from <= p < until`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The source, numbered in build order.
    pub source: u32,
    /// The split's number, numbered over all sources in the order the plans first name them; a file's number is used again.
    pub split_id: u32,
    /// What is read.
    pub split: Split,
    /// The first position in the batch.
    pub from: i64,
    /// The first position after the batch.
    pub until: i64,
}

/// A range as users see it: Spark's `OffsetRange`, with `from_offset` and `until_offset` called `from` and `until`.
///
/// For files the topic is the path and the positions are bytes; for sockets and queues the positions count records.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OffsetRange {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The first offset in the batch.
    pub from: i64,
    /// The first offset after the batch.
    pub until: i64,
}

impl OffsetRange {
    /// The range `[from, until)` of a partition.
    ///
    /// ```
    /// let r = tidemill::prelude::OffsetRange::new("twitter", 0, 0, 201);
    /// assert_eq!((r.until - r.from, &*r.topic), (201, "twitter"));
    /// ```
    pub fn new(topic: impl AsRef<str>, partition: i32, from: i64, until: i64) -> Self {
        OffsetRange { topic: topic.as_ref().into(), partition, from, until }
    }
}

impl From<&Range> for OffsetRange {
    fn from(r: &Range) -> Self {
        OffsetRange { topic: r.split.name().clone(), partition: r.split.partition(), from: r.from, until: r.until }
    }
}

/// All ranges of one batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The batch.
    pub time: BatchTime,
    /// Its ranges, by split_id.
    pub ranges: Vec<Range>,
    /// Whether outputs show this batch; `false` for the overdue times that `--catch-up skip` leaves out.
    pub shown: bool,
}

/// How many records each split of a source may give to one batch; `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    by_lane: BTreeMap<u32, u64>,
    others: Option<u64>,
}

impl Limits {
    /// These split ids may give so much, and all others so much.
    pub fn new(by_lane: BTreeMap<u32, u64>, others: Option<u64>) -> Self {
        Limits { by_lane, others }
    }

    /// Every split may give so much.
    ///
    /// ```
    /// use tidemill::core::plan::Limits;
    /// assert_eq!(Limits::each(10).of(3), Some(10));
    /// assert_eq!(Limits::default().of(3), None);
    /// ```
    pub fn each(records: u64) -> Self {
        Limits::new(BTreeMap::new(), Some(records))
    }

    /// What one split id may give.
    pub fn of(&self, split_id: u32) -> Option<u64> {
        self.by_lane.get(&split_id).copied().or(self.others)
    }

    /// No split may give more than `cap`, if there is one.
    pub(crate) fn capped(mut self, cap: Option<u64>) -> Self {
        let Some(cap) = cap else { return self };
        self.by_lane.values_mut().for_each(|n| *n = (*n).min(cap));
        self.others = Some(self.others.map_or(cap, |n| n.min(cap)));
        self
    }
}

/// What a checkpoint wants of states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Cut {
    /// What changed since the last one.
    Changed,
    /// Everything: nobody knows what became of the last one, or it is time to begin anew.
    All,
}

/// One run of a checkpoint directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunId {
    /// The checkpoint directory: a random number that is chosen when the directory is made.
    pub directory: u128,
    /// The run's number in it, from 1; a later run has a larger one. 0 in a replay, which writes nothing.
    pub generation: u64,
}

/// Identifies a batch for good: exactly-once sinks store it with the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlanStamp {
    /// The run that writes the batch.
    pub generation: u64,
    /// The checksum of its plan in the plan log.
    pub plan: u64,
}

/// How far one shard of an exactly-once sink is, as its own progress record says; docs/formats.md has its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub job: String,
    pub sink: String,
    pub shard: u32,
    pub shards: u32,
    /// The checkpoint directory.
    pub directory: u128,
    pub generation: u64,
    /// The last batch that is out.
    pub time: BatchTime,
    /// The checksum of its plan.
    pub plan: u64,
}

/// A batch time as operators are told of it: its plan, when it is closed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tick {
    pub plan: Plan,
    /// There if the job has a checkpoint directory.
    pub stamp: Option<PlanStamp>,
    /// No batch: the time of the checkpoint that was loaded. What was loaded enters views here, and nothing leaves them.
    pub restored: bool,
    /// Whether states are saved as they are after this batch.
    pub cut: Option<Cut>,
}

impl std::ops::Deref for Tick {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.plan
    }
}

/// What a rate allows each source, by its number; one that is not in it has no such limit.
pub(crate) type RateLimits = BTreeMap<u32, Limits>;

/// What the planner tells every worker, over the control dataflow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// A split has a split id; the worker whose turn it is reads it.
    Assign {
        source: u32,
        split_id: u32,
        split: Split,
        /// Where it begins; `None`: given ranges will say.
        from: Option<i64>,
    },
    /// The first batch is open. `live`: sources that are not planned read ahead; else everything is given.
    Open { time: BatchTime, live: bool, limits: RateLimits },
    /// Stop at a record and say how far you are; the batch after the overdue ones is open from now on.
    Seal {
        time: BatchTime,
        /// Overdue times after `time`, all empty.
        run: u32,
        /// Ranges that are read whole: planned, replayed or given.
        pieces: Vec<Range>,
        /// Whether live sources add what they have read.
        live: bool,
        /// The last batch of a graceful stop.
        last: bool,
        /// How much sources may give to the batch that is open from now on.
        limits: RateLimits,
    },
    /// The plan is made: give up the capability, tick. `cut`: the last tick of it is the time of a checkpoint.
    Close { plan: Plan, run: u32, fill: bool, cut: Option<Cut>, stamp: Option<PlanStamp> },
    /// Before anything else, if there is a checkpoint directory: what each worker needs of it, as `job/snapshotter.rs` reads it;
    /// which run of it this is, and the time of the checkpoint that is loaded, if there is one.
    Restore { time: Option<BatchTime>, run: RunId, what: Vec<u8> },
    /// All replayed batches are sealed: from now on sources read ahead.
    Live,
    /// No batch will follow.
    End,
    /// Drop everything, now.
    Stop,
}

/// What workers and output threads tell the planner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// One source on one worker is sealed at `time`.
    Sealed {
        worker: usize,
        source: u32,
        time: BatchTime,
        ranges: Vec<Range>,
        /// What of them was not in the source any more.
        lost: Vec<Range>,
        records: u64,
        lag: BTreeMap<u32, u64>,
        trouble: Option<String>,
        /// Bytes waiting at the outputs of the worker's process.
        waiting: u64,
    },
    /// Every output's rows of all batches before this time have left the dataflow, on all workers.
    Computed { before: BatchTime },
    /// Every output operation of one process is through `time`; so many bytes still wait there. The first of them began with it
    /// so long `ago`, and since the last report of this kind the thread worked for so long.
    Out { process: usize, time: BatchTime, waiting: u64, ago: Duration, worked: Duration },
    /// The exactly-once sinks of one process have shut out who wrote before; this is how far their shards are.
    Ready { progress: Vec<Progress> },
    /// What one worker has written for the checkpoint of `time`, as `job/snapshot_writer.rs` says it; or why it could not.
    Pieces { worker: usize, time: BatchTime, written: Result<Vec<u8>, String> },
    /// Somebody asked the job to end.
    Stop { graceful: bool },
}
