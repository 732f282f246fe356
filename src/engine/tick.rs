//! A batch time as operators hear of it. When a batch closes, every worker sends its operators one tick with the plan.

use crate::core::plan::{Plan, PlanStamp};
use serde::{Deserialize, Serialize};

/// How much of the state a snapshot saves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SnapshotScope {
    /// What changed since the previous snapshot.
    Changed,
    /// Everything: the previous snapshot failed, or its files are sparse.
    Full,
}

/// The end of one batch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tick {
    pub plan: Plan,
    /// There if the job has a checkpoint directory.
    pub stamp: Option<PlanStamp>,
    /// The time of the loaded checkpoint, which is not a batch. Restored rows enter views at this time, and no output sees it.
    pub restored: bool,
    /// There if the state after this batch is saved.
    pub snapshot: Option<SnapshotScope>,
}

impl std::ops::Deref for Tick {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.plan
    }
}
