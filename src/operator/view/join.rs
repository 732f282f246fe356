//! `join` of two views: the pairs of values they have under the same key, kept up to date when either changes.

use crate::api::dstream::{merged, only};
use crate::api::view::View;
use crate::arrangement::pairs::joined;
use crate::core::data::Key;

impl<'s, K: Key, V: Key> View<'s, (K, V)> {
    /// For each key in both views every value of this one with every value of the other, as often as both are there. Its grid
    /// is both grids; off its own grid a side stands as at its last time on it. Costs a batch what changed and its partners;
    /// both views are remembered. A view joined to nothing is empty.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 1), ('b', 2)], vec![('a', 3)], vec![]],
    ///     |s| s.over(millis(2), millis(1)).join(&s.accumulate().map_values(|n| -n)).complete(),
    ///     [
    ///         vec![('a', (1, -1)), ('b', (2, -2))],
    ///         vec![('a', (1, -1)), ('a', (1, -3)), ('a', (3, -1)), ('a', (3, -3)), ('b', (2, -2))],
    ///         vec![('a', (3, -1)), ('a', (3, -3))],
    ///     ],
    /// );
    /// ```
    #[track_caller]
    pub fn join<W: Key>(&self, other: &View<'s, (K, W)>) -> View<'s, (K, (V, W))> {
        let graph = &self.node.graph;
        graph.note::<(K, V, W)>("view join", "");
        let both = joined(self.plain(), other.plain(), graph);
        self.derive(both, other.node.retracts.as_deref()).with(|node| {
            node.grid = node.grid.union(&other.node.grid);
            node.lineage = merged(&node.lineage, &other.node.lineage);
            node.placed = true;
            node.state = only(node.state.get(), other.node.state.get()).into();
        })
    }
}
