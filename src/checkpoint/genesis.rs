//! The genesis of a checkpoint directory: facts that never change, written once before the first batch.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::frame::{Kind, frame, unframe_all};
use super::store::Store;
use crate::core::error::{Error, Result};
use crate::core::key_groups::KeyGroups;
use crate::core::plan::Split;

pub(super) const FILE: &str = "genesis";
/// The maximum length in bytes: room for over a thousand splits with the longest possible names.
const LIMIT: u64 = 64 << 20;

/// The identity of a checkpoint directory. Every file contains it, so that a file of another directory is recognized. Displays as
/// 32 hex digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DirectoryId(pub u128);

impl fmt::Display for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl DirectoryId {
    /// A new random id.
    pub(super) fn new(now_ms: u64) -> Self {
        // std seeds its hash maps from the system's randomness.
        let half = |n: u64| {
            let mut h = std::hash::RandomState::new().build_hasher();
            h.write_u64(now_ms ^ n);
            h.write_u32(std::process::id());
            u128::from(h.finish())
        };
        DirectoryId(half(0) << 64 | half(1))
    }
}

/// A stateful operator, as a checkpoint identifies it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StateId {
    /// Its name: the same in every run of the program.
    pub name: String,
    /// The verb and its types. State that was saved under another fingerprint is not loaded.
    pub fingerprint: String,
}

/// The position of one split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The index of the source, in build order.
    pub source: u32,
    /// The split id.
    pub split_id: u32,
    /// The split.
    pub split: Split,
    /// The first offset that is not read.
    pub next: i64,
}

/// The program at the creation of the directory; see [`Checkpoints::begin`](super::Checkpoints::begin).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Number of shards of each exactly-once sink, by its name.
    pub shards: BTreeMap<String, u32>,
    /// The stateful operators.
    pub operators: Vec<StateId>,
    /// The first position of each split.
    pub starts: Vec<Position>,
}

/// The genesis of a checkpoint directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    /// The directory's identity.
    pub id: DirectoryId,
    /// The name of the job.
    pub job: String,
    /// The batch interval in milliseconds.
    pub interval_ms: u64,
    /// The number of key groups: `max_parallelism`.
    pub key_groups: u64,
    /// When it was written, in milliseconds since the epoch.
    pub written_ms: u64,
    /// The program that created the directory.
    pub origin: Origin,
}

impl Genesis {
    pub(super) fn read(store: &dyn Store) -> Result<Option<Genesis>> {
        let Some(bytes) = store.read(FILE, LIMIT)? else { return Ok(None) };
        unframe_all(Kind::Genesis, FILE, &bytes).map(Some)
    }

    /// Writes the file; it must not exist.
    pub(super) fn write(&self, store: &dyn Store) -> Result<()> {
        match store.put_new(FILE, &frame(Kind::Genesis, self))? {
            true => Ok(()),
            false => Err(Error::checkpoint(FILE, "already exists: another run has started in this directory")),
        }
    }

    /// Checks that the directory belongs to this job.
    pub(super) fn check(&self, place: &str, job: &str, interval: Duration, groups: KeyGroups) -> Result<()> {
        let other = |what: String| {
            let remedy = "choose another directory, or run the job that this one belongs to";
            Err(Error::checkpoint(FILE, format!("the directory {place} is {what}: {remedy}")))
        };
        if self.job != job {
            return other(format!("of the job \"{}\", but this job is \"{job}\"", self.job));
        }
        let interval = interval.as_millis() as u64;
        if self.interval_ms != interval {
            return other(format!("for a batch interval of {} ms, but this job has {interval} ms", self.interval_ms));
        }
        let (was, is) = (self.key_groups, groups.count());
        if was == is {
            return Ok(());
        }
        let what = format!("the directory {place} was made with max_parallelism {was}, and this start has {is}");
        let remedy = format!("say max_parallelism({was}) or --max-parallelism {was}, or begin in an empty directory");
        Err(Error::checkpoint(FILE, format!("{what}: {remedy}")))
    }
}
