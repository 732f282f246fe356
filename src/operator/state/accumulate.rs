//! `accumulate` and `sum_by_key`: all rows so far, and sums so far.

use crate::api::dstream::DStream;
use crate::api::view::{Form, View};
use crate::arrangement::interned::sums;
use crate::core::data::{Key, Rows};
use crate::operator::kernel::partial_table::PartialTable;

impl<'s, T: Key> DStream<'s, T> {
    /// A view of all rows since the job began: the input table of Structured Streaming. Rows only enter it, each as often as it
    /// occurs.
    ///
    /// A batch costs its distinct rows. State: every distinct row with its count, saved in checkpoints; it grows without bound.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![1], vec![], vec![1, 2]], |s| s.accumulate().complete(), [vec![1], vec![1], vec![1, 1, 2]]);
    /// ```
    #[track_caller]
    pub fn accumulate(&self) -> View<'s, T> {
        let graph = &self.node.graph;
        let operator = self.operator::<T>("accumulate", "");
        let fold = |table: &mut PartialTable<_, _>, rows: Rows<T>| rows.rows.iter().for_each(|r| *table.of(r) += 1);
        let (ids, state) = sums(&self.combine(&operator, 0, fold, |a, b| *a += b), &operator);
        View::new(graph, self.node.meta.every(graph.config.interval.millis()).with_state(state), Form::Interned(ids), None)
    }
}

impl<'s, K: Key> DStream<'s, (K, i64)> {
    /// A view with a row `(key, sum)` for each key: the sum of its numbers since the job began. A key whose sum is 0 has no row.
    ///
    /// A batch costs the keys in it. State: a sum per key, saved in checkpoints; it grows with the number of keys.
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
        let graph = &self.node.graph;
        let operator = self.operator::<K>("sum_by_key", "");
        let fold = |table: &mut PartialTable<_, _>, rows: Rows<(K, i64)>| {
            rows.take().into_iter().for_each(|(k, n)| *table.of_own(k) += n);
        };
        let keyed = if self.node.keyed { self.clone() } else { self.combine(&operator, 0, fold, |a, b| *a += b) };
        let (ids, state) = sums(&keyed, &operator);
        let meta = self.node.meta.every(graph.config.interval.millis()).with_state(state);
        View::new(graph, meta, Form::Interned(ids), None).counted(&operator)
    }
}
