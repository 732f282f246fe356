//! What is left of a program when it has been built on a worker.

use crate::api::port::{Port, SourceHalf};
use crate::core::error::Result;
use crate::engine::dense::Tap;
use crate::engine::operator_id::OperatorId;
use crate::engine::output::OutputSpec;
use crate::engine::state::State;

/// A check that the planner runs before the job starts; it may wait for a few seconds.
pub(crate) type Check = Box<dyn FnOnce() -> Result<()> + Send>;

/// A built program: what the worker and the planner need of it.
pub(crate) struct BuiltGraph {
    /// Every operator of the program, in build order.
    #[cfg_attr(not(test), allow(dead_code, reason = "metrics and queries will list them"))]
    pub operators: Vec<OperatorId>,
    pub lines: Vec<String>,
    pub ports: Vec<Box<dyn Port>>,
    pub sources: Vec<SourceHalf>,
    pub outputs: Vec<OutputSpec>,
    /// Whether the program has accumulators.
    pub accumulates: bool,
    /// Whether any output is written by every process.
    pub spread: bool,
    pub states: Vec<State>,
    /// Milliseconds from checkpoint to checkpoint.
    pub checkpoint_every: u64,
    pub checks: Vec<Check>,
    /// The names of the views that answer questions.
    pub queryable: Vec<String>,
    /// The named views that have no operator, because no output reads them. With `--queryable` they would.
    pub unread: Vec<String>,
    /// What added computations read of the queryable views, by name.
    pub taps: Vec<(String, Tap)>,
}

/// An added computation: how commands reach it, and what other computations read of it.
pub(crate) struct BuiltAdded {
    pub ports: Vec<Box<dyn Port>>,
    pub taps: Vec<(String, Tap)>,
}
