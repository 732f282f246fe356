//! What the planner gets from worker 0 when its graph is built.

use std::mem::take;
use std::sync::Arc;

use timely::scheduling::SyncActivator;

use crate::api::context::{BuiltGraph, Check};
use crate::checkpoint::StateId;
use crate::core::schedule::WindowSpec;
use crate::job::additions::Additions;
use crate::job::corrections::Corrections;
use crate::job::questions::Questions;
use crate::job::resumed::{ProgramStates, Shards};
use crate::job::shared::JobState;

/// The inputs of the planner, from worker 0 when its graph is built.
pub(crate) struct PlannerInputs {
    pub wake: SyncActivator,
    /// How many processes report written batches.
    pub writers: usize,
    /// The stateful operators.
    pub states: ProgramStates,
    /// The exactly-once sinks.
    pub shards: Shards,
    /// The names of the outputs, in program order.
    pub outputs: Vec<Arc<str>>,
    /// The names of the operators, in the order in which workers report what they did.
    pub operators: Vec<Arc<str>>,
    /// Which of them give rows to which: their places, from and to.
    pub edges: Vec<(usize, usize)>,
    /// The checkpoint interval in milliseconds.
    pub checkpoint_every: u64,
    /// Checks that run before the first batch.
    pub checks: Vec<Check>,
    pub questions: Questions,
    /// The windows of the program, each with the name of its verb.
    pub windows: Vec<(String, WindowSpec)>,
    pub corrections: Corrections,
    pub additions: Additions,
}

impl PlannerInputs {
    /// Takes them from a program that has been built. `operators`: their names, and which gives rows to which. `writers`: how many processes report written batches.
    pub fn new(
        built: &mut BuiltGraph,
        job: &JobState,
        wake: SyncActivator,
        (operators, edges): (Vec<Arc<str>>, Vec<(usize, usize)>),
        peers: usize,
        writers: usize,
    ) -> Self {
        let (states, outputs) = (&built.states, &built.outputs);
        PlannerInputs {
            wake,
            writers,
            states: ProgramStates {
                run: states.iter().map(|s| StateId { name: s.name.clone(), fingerprint: s.fingerprint.clone() }).collect(),
                unread: take(&mut built.unread),
            },
            shards: outputs.iter().filter_map(|o| o.transactional.as_ref()).map(|t| (t.sink.clone(), t.shards)).collect(),
            outputs: outputs.iter().map(|o| o.name.as_str().into()).collect(),
            operators,
            edges,
            checkpoint_every: built.checkpoint_every,
            checks: take(&mut built.checks),
            questions: Questions::new(job.askers.clone(), take(&mut built.queryable), peers),
            windows: states.iter().filter_map(|s| Some((s.name.clone(), s.handle.window()?))).collect(),
            corrections: Corrections::new(job.correctors.clone()),
            additions: Additions::new(job.adders.clone()),
        }
    }
}
