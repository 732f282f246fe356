//! The genesis of a checkpoint directory: what holds for its whole life, written once before the first batch.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::frame::{Kind, frame, unframe_all};
use super::store::Store;
use crate::core::data::KEY_GROUPS;
use crate::core::error::{Error, Result};
use crate::core::plan::Split;

pub(super) const FILE: &str = "genesis";
/// More than a thousand splits with the longest names there are.
const LIMIT: u64 = 64 << 20;

/// The identity of a checkpoint directory: every file in it carries this number, so that no other directory's file passes for
/// one of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DirectoryId(pub u128);

impl fmt::Display for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl DirectoryId {
    /// One that nobody has.
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

/// An operator that keeps state, as a checkpoint knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StateId {
    /// Its name, the same in every run of the program.
    pub name: String,
    /// What its state is made of: bytes that were saved under another fingerprint are not loaded.
    pub fingerprint: String,
}

/// How far one split is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The source, numbered in build order.
    pub source: u32,
    /// The split's split_id.
    pub split_id: u32,
    /// What is read.
    pub split: Split,
    /// The first position that is not read.
    pub next: i64,
}

/// What a program knows of itself when it makes a checkpoint directory; see [`Checkpoints::begin`](super::Checkpoints::begin).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// How many shards each sink has, by the sink's name.
    pub shards: BTreeMap<String, u32>,
    /// The operators that keep state.
    pub operators: Vec<StateId>,
    /// Where each split begins.
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
    /// Into how many groups keys are put.
    pub key_groups: u64,
    /// When it was written, milliseconds since the epoch.
    pub written_ms: u64,
    /// What the program was when the directory was made.
    pub origin: Origin,
}

impl Genesis {
    pub(super) fn read(store: &dyn Store) -> Result<Option<Genesis>> {
        let Some(bytes) = store.read(FILE, LIMIT)? else { return Ok(None) };
        unframe_all(Kind::Genesis, FILE, &bytes).map(Some)
    }

    /// Makes the file.
    pub(super) fn write(&self, store: &dyn Store) -> Result<()> {
        match store.put_new(FILE, &frame(Kind::Genesis, self))? {
            true => Ok(()),
            false => Err(Error::checkpoint(FILE, "is there already: another run has begun in this directory")),
        }
    }

    /// Whether this is the directory of such a job.
    pub(super) fn check(&self, place: &str, job: &str, interval: Duration) -> Result<()> {
        let other = |what: String| {
            let remedy = "choose another directory, or run the job that it belongs to";
            Err(Error::checkpoint(FILE, format!("the directory {place} is {what}: {remedy}")))
        };
        if self.job != job {
            return other(format!("that of the job \"{}\", and this is \"{job}\"", self.job));
        }
        let interval = interval.as_millis() as u64;
        if self.interval_ms != interval {
            return other(format!("for a batch interval of {} ms, and this job's is {interval} ms", self.interval_ms));
        }
        if self.key_groups != KEY_GROUPS {
            return other(format!("for {} key groups, and this program makes {KEY_GROUPS}", self.key_groups));
        }
        Ok(())
    }
}
