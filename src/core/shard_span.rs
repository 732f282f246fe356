//! Between which sequence numbers of a shard a range is, for sources whose positions only count records.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Where positions of a shard are, by its sequence numbers. A plan has it in the split of each range, so a batch that runs again reads the
/// same records.
///
/// Two spans are always equal: a span says where a range is, and not what the split is.
///
/// ```
/// use tidemill::core::plan::{ShardSpan, Split};
/// let span = ShardSpan { from: 0, after: "".into(), until: 2, through: "4955".into(), ended: false };
/// let shard = |span| Split::Shard { stream: "clicks".into(), shard: "shardId-000000000003".into(), span };
/// assert_eq!(shard(span.clone()), shard(ShardSpan::at(2, "4955")));
/// assert_eq!((span.base(0), span.base(1), span.base(2)), ((0, "".into()), (0, "".into()), (2, "4955".into())));
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ShardSpan {
    /// The position after the record `after`.
    pub from: i64,
    /// The sequence number of the last record before the range. Empty: the range begins at the oldest record of the shard. `@` and a
    /// number: it begins at the first record of this time or later, in milliseconds since the epoch.
    pub after: Arc<str>,
    /// The position after the record `through`.
    pub until: i64,
    /// The sequence number of the last record, written as `after`; equal to `after` if there is none.
    pub through: Arc<str>,
    /// Whether the shard is closed, and has no record after `through`.
    pub ended: bool,
}

impl ShardSpan {
    /// A place between two records: `number` is the sequence number before it.
    pub fn at(position: i64, number: impl AsRef<str>) -> Self {
        let number: Arc<str> = number.as_ref().into();
        ShardSpan { from: position, after: number.clone(), until: position, through: number, ended: false }
    }

    /// The nearest place at or before a position whose sequence number is known.
    pub fn base(&self, position: i64) -> (i64, Arc<str>) {
        if position >= self.until { (self.until, self.through.clone()) } else { (self.from, self.after.clone()) }
    }
}

impl PartialEq for ShardSpan {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for ShardSpan {}

impl PartialOrd for ShardSpan {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ShardSpan {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}

impl Hash for ShardSpan {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}
