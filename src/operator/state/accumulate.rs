//! `accumulate` and `sum_by_key`: all rows so far, and sums so far.

use crate::api::dstream::DStream;
use crate::api::view::View;
use crate::arrangement::interned::sums;
use crate::core::data::{F64, Key, Rows};
use crate::core::sum::add;
use crate::operator::kernel::partial_table::PartialTable;

impl<'s, T: 'static> DStream<'s, T> {
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
    pub fn accumulate(&self) -> View<'s, T>
    where
        T: Key,
    {
        let graph = &self.node.graph;
        let operator = self.operator::<T>("accumulate", "");
        let fold = |table: &mut PartialTable<_, _>, rows: Rows<T>| rows.rows.iter().for_each(|r| *table.of(r) += 1);
        let (codes, state) = sums(self.combine(&operator, 0, fold, |a, b| *a += b), &operator);
        View::new(graph, self.node.meta.every(graph.config.interval.millis()).with_state(state), codes, None)
    }
}

impl<'s, K: 'static> DStream<'s, (K, i64)> {
    /// A view with a row `(key, sum)` for each key: the sum of its numbers since the job began. A key whose sum is 0 has no row.
    ///
    /// A batch costs the keys in it. State: a sum per key, saved in checkpoints; it grows with the number of keys.
    ///
    /// A sum that does not fit into 64 bits ends the job with [`Error::SumTooLarge`](crate::Error::SumTooLarge), which names the key and
    /// the batch. So does one batch on one worker, even if the numbers of another one would balance it. For a wider sum fold into an
    /// `i128`: `fold_by_key(0i128, |sum, n| sum + i128::from(n))`.
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
    pub fn sum_by_key(&self) -> View<'s, (K, i64)>
    where
        K: Key,
    {
        let graph = &self.node.graph;
        let operator = self.operator::<K>("sum_by_key", "");
        let fold = |table: &mut PartialTable<_, _>, rows: Rows<(K, i64)>| {
            rows.take().into_iter().for_each(|(k, n)| add(table.of_own(k), n));
        };
        let keyed = if self.node.keyed { self.clone() } else { self.combine(&operator, 0, fold, add) };
        let (codes, state) = sums(keyed, &operator);
        let meta = self.node.meta.every(graph.config.interval.millis()).with_state(state);
        View::new(graph, meta, codes, None).counted(&operator)
    }
}

impl<'s, K: 'static> DStream<'s, (K, f64)> {
    /// A view with a row `(key, sum)` for each key: the sum of its floats since the job began. It is a
    /// [`fold_by_key`](DStream::fold_by_key): floats are added in stream order, so the sum is the same on any number of workers.
    ///
    /// All floats of a batch move to the workers that own their keys. State: a sum per key, saved in checkpoints.
    ///
    /// ```
    /// use tidemill::{prelude::F64, testing::check};
    /// check(
    ///     [vec![('a', 0.5), ('b', 2.0)], vec![('a', 0.25)]],
    ///     |s| s.sum_by_key().update(),
    ///     [vec![('a', F64::from(0.5)), ('b', F64::from(2.0))], vec![('a', F64::from(0.75))]],
    /// );
    /// ```
    #[track_caller]
    pub fn sum_by_key(&self) -> View<'s, (K, F64)>
    where
        K: Key,
    {
        let operator = self.operator::<(K, F64)>("sum_by_key", "");
        self.folded(&operator, F64::default(), |sum, x| sum + x)
    }
}
