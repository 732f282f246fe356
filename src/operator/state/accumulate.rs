//! `accumulate` and `sum_by_key`: what only grows, and what is added up, since the beginning.

use crate::api::dstream::DStream;
use crate::api::view::{Form, View};
use crate::arrangement::keyed::sums;
use crate::core::data::{Key, Rows};
use crate::core::time::Grid;
use crate::engine::flow::Site;
use crate::operator::kernel::partial_table::Book;

impl<'s, T: Key> DStream<'s, T> {
    /// All rows so far: the input table of Structured Streaming.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![1], vec![], vec![1, 2]], |s| s.accumulate().complete(), [vec![1], vec![1], vec![1, 1, 2]]);
    /// ```
    #[track_caller]
    pub fn accumulate(&self) -> View<'s, T> {
        let site = Site::of("accumulate");
        let graph = &self.node.graph;
        let name = graph.note::<T>("accumulate", "");
        let fold = |sums: &mut Book<_, _>, rows: Rows<T>| rows.rows.iter().for_each(|r| *sums.of(r) += 1);
        let (keyed, state) = sums(&self.combine(&site, 0, fold, |a, b| *a += b), &site, name);
        let view = View::new(graph, &self.node.lineage, Grid::every(graph.config.interval.millis()), Form::Keyed(keyed), None);
        view.node.state.set(Some(state));
        view
    }
}

impl<'s, K: Key> DStream<'s, (K, i64)> {
    /// Each key with the sum of its numbers so far; a batch costs only the keys in it. A key whose sum is 0 has no row.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 1), ('b', 2)], vec![('a', 4)]],
    ///     |s| s.sum_by_key().update(),
    ///     [vec![('a', 1), ('b', 2)], vec![('a', 5)]],
    /// );
    /// ```
    #[track_caller]
    pub fn sum_by_key(&self) -> View<'s, (K, i64)> {
        let site = Site::of("sum_by_key");
        let graph = &self.node.graph;
        let name = graph.note::<K>("sum_by_key", "");
        let fold = |sums: &mut Book<_, _>, rows: Rows<(K, i64)>| {
            rows.take().into_iter().for_each(|(k, n)| *sums.of_own(k) += n);
        };
        let placed = if self.node.placed { self.clone() } else { self.combine(&site, 0, fold, |a, b| *a += b) };
        let (keyed, state) = sums(&placed, &site, name);
        let every = Grid::every(graph.config.interval.millis());
        let sums = View::new(graph, &self.node.lineage, every, Form::Keyed(keyed), None).counts(&site);
        sums.node.state.set(Some(state));
        sums
    }
}
