//! `named`: a name for messages and for checkpoints.

use crate::api::dstream::DStream;
use crate::engine::operator_id::OperatorId;

impl<T> DStream<'_, T> {
    /// Names the last verb of this chain that keeps state (Flink's `uid`). A checkpoint finds the state again by this name, and
    /// messages use it. Default: the verb and its ordinal among the same verb, such as `update_state_by_key#1`; that changes when
    /// another such verb is added before it.
    ///
    /// The start fails if no verb of the chain keeps state, or if the name is in use. It also fails if two chains with state have met in
    /// a join or a union: name each before they meet.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![('a', 1), ('a', 2)]], |s| s.sum_by_key().named("totals").update().named("totals of a"), [vec![('a', 3)]]);
    /// ```
    #[track_caller]
    pub fn named(self, name: &str) -> Self {
        self.node.graph.rename_state(&OperatorId::of("named"), self.node.meta.state, name);
        self
    }
}
