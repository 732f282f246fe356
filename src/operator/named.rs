//! `named`: a name for people and for checkpoints.

use crate::api::dstream::DStream;
use crate::engine::flow::Site;

impl<T> DStream<'_, T> {
    /// Names the last verb of this chain that keeps state: its part of a checkpoint is found again by this name, and messages
    /// show it. Without it the name is the verb and its ordinal among the same verb, `update_state_by_key#1`.
    ///
    /// A chain without state is an error at start, and so is one in which two chains with state have met, in a join or a union:
    /// each is named before.
    #[track_caller]
    pub fn named(self, name: &str) -> Self {
        self.node.graph.rename_state(&Site::of("named"), self.node.state.get(), name);
        self
    }
}
