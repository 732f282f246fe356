//! `map`, `filter`, `flat_map`, `map_values`, `union` of views: row by row, nothing remembered.

use differential_dataflow::AsCollection;
use timely::dataflow::operators::Concat;

use crate::api::dstream::{merged, only};
use crate::api::view::View;
use crate::core::data::Key;
use crate::engine::flow::Site;

impl<'s, T: Key> View<'s, T> {
    /// Each row through `f`, which must be pure. Loses the presentation order.
    #[track_caller]
    pub fn map<U: Key>(&self, f: impl Fn(T) -> U + 'static) -> View<'s, U> {
        self.node.graph.note::<U>("view map", "");
        self.derive(self.plain().as_collection().map(f).inner, None)
    }

    /// The rows for which `test`, which must be pure, is true. Keeps the presentation order.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![1, 2], vec![3]], |s| s.accumulate().filter(|n| n % 2 == 1).complete(), [vec![1], vec![1, 3]]);
    /// ```
    #[track_caller]
    pub fn filter(&self, test: impl Fn(&T) -> bool + 'static) -> View<'s, T> {
        self.node.graph.note::<T>("view filter", "");
        let (order, placed) = (self.node.order.clone(), self.node.placed);
        self.derive(self.plain().as_collection().filter(test).inner, None).with(|node| {
            node.order = order;
            node.placed = placed;
        })
    }

    /// All rows that `f`, which must be pure, makes of each row.
    #[doc(alias = "flatMap")]
    #[track_caller]
    pub fn flat_map<U: Key, I: IntoIterator<Item = U> + 'static>(&self, f: impl Fn(T) -> I + 'static) -> View<'s, U> {
        self.node.graph.note::<U>("view flat_map", "");
        self.derive(self.plain().as_collection().flat_map(f).inner, None)
    }

    /// The rows of both views. Its grid is both grids; off its own grid a side stands as at its last time on it.
    #[track_caller]
    pub fn union(&self, other: &View<'s, T>) -> View<'s, T> {
        let graph = &self.node.graph;
        graph.note::<T>("view union", "");
        let both = self.plain().concat(other.plain());
        self.derive(both, other.node.retracts.as_deref()).with(|node| {
            node.grid = node.grid.union(&other.node.grid);
            node.lineage = merged(&node.lineage, &other.node.lineage);
            node.state = only(node.state.get(), other.node.state.get()).into();
        })
    }
}

impl<'s, K: Key, V: Key> View<'s, (K, V)> {
    /// Each value through `f`, which must be pure.
    #[doc(alias = "mapValues")]
    #[track_caller]
    pub fn map_values<U: Key>(&self, f: impl Fn(V) -> U + 'static) -> View<'s, (K, U)> {
        self.map(move |(k, v)| (k, f(v)))
    }
}

impl<T> View<'_, T> {
    /// Names the last verb of this chain that keeps state; see [`crate::prelude::DStream::named`].
    #[track_caller]
    pub fn named(self, name: &str) -> Self {
        self.node.graph.rename_state(&Site::of("named"), self.node.state.get(), name);
        self
    }
}
