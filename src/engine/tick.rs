//! The tick of a batch. When a batch closes, every worker sends one tick with the plan to its operators.

use crate::core::plan::{Plan, PlanStamp};
use serde::{Deserialize, Serialize};

/// How much of the state a snapshot saves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SnapshotScope {
    /// The changes since the previous snapshot.
    Changed,
    /// All state, because the previous snapshot failed or its files are sparse.
    Full,
}

/// The end of one batch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tick {
    pub plan: Plan,
    /// Set if the job has a checkpoint directory.
    pub stamp: Option<PlanStamp>,
    /// Whether this is the time of the loaded checkpoint, which is not a batch. Restored rows enter views at this time, and outputs do
    /// not see it.
    pub restored: bool,
    /// Set if the state after this batch is saved.
    pub snapshot: Option<SnapshotScope>,
}

impl std::ops::Deref for Tick {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.plan
    }
}
