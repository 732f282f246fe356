//! A computation that was added to a running job.

use serde::{Deserialize, Serialize};

use crate::core::time::BatchTime;

/// A computation that was added to a running job: [`JobHandle::add`](crate::job::JobHandle::add).
///
/// ```
/// use tidemill::core::added::Added;
/// use tidemill::prelude::*;
/// let best = Added { name: "best".into(), text: "authors | top 10".into(), kept: false, since: BatchTime::from_millis(5) };
/// assert_eq!(best.to_string(), "best = authors | top 10");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// The name by which its result is asked.
    pub name: String,
    /// What it computes, in the language of docs/guide/live.md.
    pub text: String,
    /// Whether it is in the checkpoint directory, so that it runs again after a restart.
    pub kept: bool,
    /// The first batch as of which it is complete: the newest one when it was added.
    #[serde(with = "in_millis")]
    pub since: BatchTime,
}

/// `NAME = TEXT`, as it can be added again.
impl std::fmt::Display for Added {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} = {}", self.name, self.text)
    }
}

/// What is asked of the computations of a job, over HTTP.
#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only the server asks"))]
pub(crate) enum Request {
    /// Add a computation. `keep`: it runs again after a restart.
    Add { text: String, keep: bool },
    /// Remove the one of this name.
    Remove { name: String },
}

/// What becomes of a computation that is added or removed, on the thread of the planner.
pub(crate) type Reply = Box<dyn FnOnce(Result<Added, String>) + Send>;

/// A batch time as milliseconds.
mod in_millis {
    use super::*;

    pub(super) fn serialize<S: serde::Serializer>(time: &BatchTime, serializer: S) -> Result<S::Ok, S::Error> {
        time.millis().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<BatchTime, D::Error> {
        u64::deserialize(deserializer).map(BatchTime::from_millis)
    }
}
