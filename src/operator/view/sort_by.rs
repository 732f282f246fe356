//! `sort_by` of a view: the order in which it is presented.

use std::rc::Rc;

use crate::api::view::{Form, View};
use crate::core::data::Key;
use crate::operator::sort_by::sorted;

impl<'s, T: Key> View<'s, T> {
    /// The same view, presented by ascending `key`, ties by encoded row: `complete` gives all rows in this order, `update` the
    /// changed ones, `changes` those that left, then those that entered. Costs nothing by itself; `map` loses it.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![1, 2], vec![3]], |s| s.accumulate().sort_by(|n| -n).complete(), [vec![2, 1], vec![3, 2, 1]]);
    /// ```
    #[doc(alias = "sortBy")]
    #[track_caller]
    pub fn sort_by<K: Ord + 'static>(&self, key: impl Fn(&T) -> K + 'static) -> View<'s, T> {
        let node = &self.node;
        node.graph.note::<T>("view sort_by", "");
        let view = View::new(&node.graph, &node.lineage, node.grid.clone(), Form::Plain(self.plain()), node.retracts.clone());
        view.node.state.set(node.state.get());
        view.with(|new| {
            new.order = Some(Rc::new(move |rows| sorted(rows, &key)));
            new.placed = node.placed;
        })
    }
}
