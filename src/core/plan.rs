//! The plan of a batch: for each split of each source, the half-open range that belongs to the batch.
//!
//! Sources make [`SplitRange`]s. The planner (`job/`) adds their addresses and makes the plan. Every process sees it at close.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use crate::core::shard_span::ShardSpan;
use crate::core::time::BatchTime;

/// A part of a source that is read in order. It tells the engine its own properties: [`Split::replayable`], [`Split::end`],
/// [`Split::read_at_once`].
///
/// Checkpoints and plans contain splits with their properties. A split with other properties is another split.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Split {
    /// A Kafka partition; positions are offsets.
    Kafka {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
    },
    /// A file as it was when it was planned; positions are bytes, cut at line ends.
    File {
        /// Its path.
        path: Arc<str>,
        /// Its size in bytes.
        size: u64,
        /// When it was last changed, milliseconds since the epoch.
        modified_ms: i64,
    },
    /// Records that a peer sends once; positions count records.
    Received {
        /// The peer.
        from: Arc<str>,
    },
    /// A split of any other source; see [`Split::custom`]. The source decides what positions count. They must ascend.
    Custom {
        /// The stream, table or shard that is read.
        name: Arc<str>,
        /// The number of the part.
        partition: i32,
        /// Whether a range gives the same records when it is read again.
        replayable: bool,
        /// The position where it ends, if one batch reads all of it.
        end: Option<i64>,
    },
    /// A version of a small file. The plan has its bytes, so a batch that runs again needs no file.
    Content {
        /// The path of the file.
        path: Arc<str>,
        /// The bytes.
        bytes: Arc<[u8]>,
    },
    /// Records that belong to an earlier batch. The plan has them, so a batch that runs again needs no source; positions count them.
    Correction {
        /// The batch that they belong to.
        of: BatchTime,
        /// Where they were read first: the topic, path or address.
        name: Arc<str>,
        /// The partition.
        partition: i32,
        /// How many records there are.
        count: u32,
        /// The records.
        records: Arc<[u8]>,
    },
    /// A shard whose records have sequence numbers, which are too large for positions. Positions count its records.
    Shard {
        /// The stream.
        stream: Arc<str>,
        /// The name of the shard.
        shard: Arc<str>,
        /// Between which sequence numbers a range is. It is not part of what the split is: a shard with another one is the same split.
        span: ShardSpan,
    },
}

impl Split {
    /// A split of a source of your own: replayable, without an end, read over many batches.
    ///
    /// ```
    /// use tidemill::core::plan::Split;
    /// let shard = Split::custom("clicks", 3);
    /// assert!(shard.replayable() && !shard.read_at_once());
    /// assert_eq!(shard.to_string(), "clicks/3");
    /// ```
    pub fn custom(name: impl AsRef<str>, partition: i32) -> Self {
        Split::Custom { name: name.as_ref().into(), partition, replayable: true, end: None }
    }

    /// Like [`Split::custom`], for records that cannot be read a second time: a crash loses those of unfinished batches.
    /// Positions must count records, because the log says how many were lost.
    pub fn custom_received(name: impl AsRef<str>, partition: i32) -> Self {
        Split::Custom { name: name.as_ref().into(), partition, replayable: false, end: None }
    }

    /// Like [`Split::custom`], for a split that one batch reads completely, up to position `end`.
    ///
    /// ```
    /// use tidemill::core::plan::Split;
    /// let object = Split::custom_whole("bucket/part-7.bin", 0, 4096);
    /// assert_eq!((object.read_at_once(), object.end()), (true, Some(4096)));
    /// ```
    pub fn custom_whole(name: impl AsRef<str>, partition: i32, end: i64) -> Self {
        Split::Custom { name: name.as_ref().into(), partition, replayable: true, end: Some(end) }
    }

    /// The topic, path, address or name.
    pub fn name(&self) -> &Arc<str> {
        match self {
            Split::Kafka { topic: name, .. }
            | Split::File { path: name, .. }
            | Split::Received { from: name }
            | Split::Content { path: name, .. }
            | Split::Correction { name, .. }
            | Split::Shard { stream: name, .. }
            | Split::Custom { name, .. } => name,
        }
    }

    /// The partition; 0 if there is none.
    pub fn partition(&self) -> i32 {
        match self {
            Split::Kafka { partition, .. } | Split::Custom { partition, .. } | Split::Correction { partition, .. } => *partition,
            // "shardId-000000000003" is number 3.
            Split::Shard { shard, .. } => shard.rsplit('-').next().and_then(|digits| digits.parse().ok()).unwrap_or(0),
            Split::File { .. } | Split::Received { .. } | Split::Content { .. } => 0,
        }
    }

    /// Whether a range gives the same records when it is read again, also in a later run. If not, positions count records.
    pub fn replayable(&self) -> bool {
        match self {
            Split::Kafka { .. } | Split::File { .. } | Split::Content { .. } | Split::Correction { .. } | Split::Shard { .. } => {
                true
            }
            Split::Received { .. } => false,
            Split::Custom { replayable, .. } => *replayable,
        }
    }

    /// The position where it ends, if that is known from the start.
    pub fn end(&self) -> Option<i64> {
        match self {
            Split::File { size, .. } => Some(i64::try_from(*size).unwrap_or(i64::MAX)),
            Split::Content { bytes, .. } => Some(bytes.len() as i64),
            Split::Correction { count, .. } => Some((*count).into()),
            Split::Custom { end, .. } => *end,
            Split::Kafka { .. } | Split::Received { .. } | Split::Shard { .. } => None,
        }
    }

    /// Whether one batch reads all of it. The job then forgets it after that batch, and another split may get its split id.
    pub fn read_at_once(&self) -> bool {
        self.end().is_some()
    }
}

/// The split as messages name it.
impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Split::Kafka { topic: name, partition } | Split::Custom { name, partition, .. } => write!(f, "{name}/{partition}"),
            Split::File { path, size, .. } => write!(f, "{path} ({size} bytes)"),
            Split::Content { path, bytes } => write!(f, "{path} ({} bytes)", bytes.len()),
            Split::Received { from } => write!(f, "from {from}"),
            Split::Shard { stream, shard, .. } => write!(f, "{stream}/{shard}"),
            Split::Correction { of, name, partition, .. } => {
                write!(f, "correction of the batch of {}: {name}/{partition}", of.millis())
            }
        }
    }
}

/// The position at which a source begins to read a split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitOffset {
    /// The split.
    pub split: Split,
    /// Its first position.
    pub from: i64,
}

/// A range of one split: positions `from <= p < until`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitRange {
    /// The split.
    pub split: Split,
    /// The first position.
    pub from: i64,
    /// The first position after it.
    pub until: i64,
}

/// A [`SplitRange`] in a plan, with its address: which source reads it, under which split id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The source, numbered in build order.
    pub source: u32,
    /// The number of the split over all sources, in the order in which plans first name splits. If one batch reads all of a
    /// split, a later split may get its number.
    pub split_id: u32,
    /// The split.
    pub split: Split,
    /// The first position in the batch.
    pub from: i64,
    /// The first position after the batch.
    pub until: i64,
}

impl Range {
    /// The range `range` of source `source`, under this split id.
    pub fn new(source: u32, split_id: u32, range: SplitRange) -> Self {
        let SplitRange { split, from, until } = range;
        Range { source, split_id, split, from, until }
    }

    /// The range without its address.
    pub fn split_range(&self) -> SplitRange {
        SplitRange { split: self.split.clone(), from: self.from, until: self.until }
    }
}

/// A range as users see it: Spark's `OffsetRange`, with `from_offset` and `until_offset` called `from` and `until`.
///
/// For files the topic is the path and the positions are bytes; for sockets and queues the positions count records. For a source
/// of your own the topic is the name of its split.
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

impl OffsetRange {
    /// Positions of a correction are no offsets of its topic, so it has a name of its own.
    fn of(split: &Split, from: i64, until: i64) -> Self {
        let topic = match split {
            Split::Correction { of, name, .. } => format!("correction of the batch of {}: {name}", of.millis()).into(),
            split => split.name().clone(),
        };
        OffsetRange { topic, partition: split.partition(), from, until }
    }
}

impl From<&Range> for OffsetRange {
    fn from(r: &Range) -> Self {
        OffsetRange::of(&r.split, r.from, r.until)
    }
}

impl From<&SplitRange> for OffsetRange {
    fn from(r: &SplitRange) -> Self {
        OffsetRange::of(&r.split, r.from, r.until)
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

impl Plan {
    /// The earlier batch that all rows of this one belong to, if it is a correction.
    ///
    /// ```
    /// use tidemill::{core::plan::{Plan, Range, Split, SplitRange}, prelude::*};
    /// let (of, time) = (BatchTime::from_millis(5), BatchTime::from_millis(9));
    /// let split = Split::Correction { of, name: "words".into(), partition: 0, count: 1, records: [].into() };
    /// let ranges = vec![Range::new(0, 0, SplitRange { split, from: 0, until: 1 })];
    /// assert_eq!(Plan { time, ranges, shown: true }.corrects(), Some(of));
    /// assert_eq!(Plan { time, ..Plan::default() }.corrects(), None);
    /// ```
    pub fn corrects(&self) -> Option<BatchTime> {
        self.ranges.iter().find_map(|r| match &r.split {
            Split::Correction { of, .. } => Some(*of),
            _ => None,
        })
    }
}

/// A batch and the overdue batch times after it, which are empty: they are sealed and closed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BatchSpan {
    /// The batch.
    pub first: BatchTime,
    /// How many overdue batch times follow it.
    pub overdue: u32,
}

impl BatchSpan {
    /// The last batch time of the span.
    pub fn end(&self, interval_ms: u64) -> BatchTime {
        let overdue = u64::from(self.overdue).saturating_mul(interval_ms);
        BatchTime::from_millis(self.first.millis().saturating_add(overdue))
    }
}

/// How many records each split of a source may give to one batch; `None`: no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    by_split: BTreeMap<u32, u64>,
    others: Option<u64>,
}

impl Limits {
    /// A limit for each of these split ids, and one for every other.
    pub fn new(by_split: BTreeMap<u32, u64>, others: Option<u64>) -> Self {
        Limits { by_split, others }
    }

    /// Every split may give at most `records`.
    ///
    /// ```
    /// use tidemill::core::plan::Limits;
    /// assert_eq!(Limits::each(10).of(3), Some(10));
    /// assert_eq!(Limits::default().of(3), None);
    /// ```
    pub fn each(records: u64) -> Self {
        Limits::new(BTreeMap::new(), Some(records))
    }

    /// How many records the split with this id may give.
    pub fn of(&self, split_id: u32) -> Option<u64> {
        self.by_split.get(&split_id).copied().or(self.others)
    }

    /// Lowers every limit to at most `cap`.
    pub(crate) fn capped(mut self, cap: Option<u64>) -> Self {
        let Some(cap) = cap else { return self };
        self.by_split.values_mut().for_each(|n| *n = (*n).min(cap));
        self.others = Some(self.others.map_or(cap, |n| n.min(cap)));
        self
    }
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

/// The limits of each source, by its number. A source that is not in it has no limit.
pub(crate) type RateLimits = BTreeMap<u32, Limits>;

#[cfg(test)]
mod tests {
    use super::*;

    /// The engine asks a split for these and never which kind it is.
    #[test]
    fn a_split_says_what_it_is_like() {
        let kafka = Split::Kafka { topic: "t".into(), partition: 2 };
        let file = Split::File { path: "/in/a".into(), size: 9, modified_ms: 1 };
        let received = Split::Received { from: "h:1".into() };
        let of = |s: &Split| (s.replayable(), s.end(), s.read_at_once(), s.partition(), s.to_string());
        assert_eq!(of(&kafka), (true, None, false, 2, "t/2".into()));
        assert_eq!(of(&file), (true, Some(9), true, 0, "/in/a (9 bytes)".into()));
        assert_eq!(of(&received), (false, None, false, 0, "from h:1".into()));
        assert_eq!(of(&Split::custom("n", 1)), (true, None, false, 1, "n/1".into()));
        assert_eq!(of(&Split::custom_received("n", 1)), (false, None, false, 1, "n/1".into()));
        assert_eq!(of(&Split::custom_whole("n", 1, 5)), (true, Some(5), true, 1, "n/1".into()));
        let correction =
            Split::Correction { of: BatchTime::from_millis(7), name: "n".into(), partition: 1, count: 2, records: [].into() };
        assert_eq!(of(&correction), (true, Some(2), true, 1, "correction of the batch of 7: n/1".into()));
    }

    /// Checkpoints hold these bytes: docs/formats.md.
    #[test]
    fn the_bytes_of_a_split_stay() {
        let bytes = |s: &Split| crate::core::data::encoded(s);
        assert_eq!(bytes(&Split::Kafka { topic: "t".into(), partition: 2 }), [0, 1, b't', 4]);
        assert_eq!(bytes(&Split::File { path: "p".into(), size: 9, modified_ms: 1 }), [1, 1, b'p', 9, 2]);
        assert_eq!(bytes(&Split::Received { from: "h".into() }), [2, 1, b'h']);
        assert_eq!(bytes(&Split::custom("n", 1)), [3, 1, b'n', 2, 1, 0]);
        assert_eq!(bytes(&Split::custom_whole("n", 1, 5)), [3, 1, b'n', 2, 1, 1, 10]);
        let correction =
            Split::Correction { of: BatchTime::from_millis(7), name: "n".into(), partition: 1, count: 2, records: [9, 8].into() };
        assert_eq!(bytes(&correction), [5, 7, 1, b'n', 2, 2, 2, 9, 8]);
        let span = ShardSpan { from: 1, after: "49".into(), until: 3, through: "50".into(), ended: true };
        let shard = Split::Shard { stream: "s".into(), shard: "shardId-3".into(), span };
        let name = b"shardId-3";
        let bytes_of_shard = [&[6, 1, b's', 9][..], name, &[2, 2, b'4', b'9', 6, 2, b'5', b'0', 1]].concat();
        assert_eq!(bytes(&shard), bytes_of_shard);
        assert_eq!(
            (shard.to_string(), shard.partition(), shard.replayable(), shard.end()),
            ("s/shardId-3".into(), 3, true, None)
        );
    }
}
