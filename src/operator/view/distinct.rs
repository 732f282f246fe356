//! `distinct` of a view: each row once.

use crate::api::view::{Form, View};
use crate::arrangement::count::distinct;
use crate::core::data::Key;

impl<'s, T: Key> View<'s, T> {
    /// Each row that is in the view, once, until its last copy leaves. Nothing comes of an empty view.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec!['b', 'a', 'a'], vec!['a'], vec![]],
    ///     |s| s.over(millis(2), millis(1)).distinct().complete(),
    ///     [vec!['a', 'b'], vec!['a', 'b'], vec!['a']],
    /// );
    /// ```
    #[track_caller]
    pub fn distinct(&self) -> View<'s, T> {
        let node = &self.node;
        node.graph.note::<T>("view distinct", "");
        let form = Form::Keyed(distinct(&self.keyed(), &node.graph));
        // What only grows has rows that only come.
        let view = View::new(&node.graph, &node.lineage, node.grid.clone(), form, node.retracts.clone());
        view.node.state.set(node.state.get());
        view
    }
}
