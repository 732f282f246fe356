//! `combine_by_key`, and the kernel `combined_by_key` under it and the other reductions by key.

use crate::api::dstream::DStream;
use crate::core::data::{Data, Exchange, Key, Rows};
use crate::engine::flow::map_containers;
use crate::engine::operator_id::OperatorId;
use crate::operator::kernel::partial_table::PartialTable;

impl<'s, K: 'static, V: 'static> DStream<'s, (K, V)> {
    /// A row `(key, combined)` per batch for each key of the batch. `create` makes the result of a first value, `fold` adds a further
    /// value, and `merge` joins two results. Rows are in no order; outputs sort them.
    ///
    /// Each worker folds the values that it has while the batch is open, and sends a result per key. The worker that owns the key
    /// merges these results. So the order of values must not matter, nor which of them were folded together. Keeps no state.
    ///
    /// [`DStream::aggregate_by_key`] starts with a given value, and [`DStream::reduce_by_key`] makes a value of values.
    ///
    /// The average of each key:
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 1.0), ('b', 5.0), ('a', 2.0)]],
    ///     |s| {
    ///         let sums = s.combine_by_key(|x| (x, 1), |(sum, n), x| (sum + x, n + 1), |a, b| (a.0 + b.0, a.1 + b.1));
    ///         sums.map_values(|(sum, n)| sum / f64::from(n))
    ///     },
    ///     [vec![('a', 1.5), ('b', 5.0)]],
    /// );
    /// ```
    #[doc(alias = "combineByKey")]
    #[track_caller]
    pub fn combine_by_key<C: Exchange>(
        &self,
        create: impl Fn(V) -> C + 'static,
        fold: impl Fn(C, V) -> C + 'static,
        merge: impl Fn(C, C) -> C + 'static,
    ) -> DStream<'s, (K, C)>
    where
        K: Key,
        V: Data,
    {
        let operator = self.operator::<(K, C)>("combine_by_key", "");
        self.combined_by_key(&operator, create, fold, merge)
    }

    /// The kernel: one row per key, on the worker that owns the key.
    pub(crate) fn combined_by_key<C: Exchange>(
        &self,
        operator: &OperatorId,
        create: impl Fn(V) -> C + 'static,
        fold: impl Fn(C, V) -> C + 'static,
        merge: impl Fn(C, C) -> C + 'static,
    ) -> DStream<'s, (K, C)>
    where
        K: Key,
        V: Data,
    {
        // `Option`, so that the functions may take their arguments by value.
        let fold = move |table: &mut PartialTable<K, Option<C>>, rows: Rows<(K, V)>| {
            for (k, v) in rows.take() {
                let acc = table.of_own(k);
                *acc = Some(match acc.take() {
                    Some(c) => fold(c, v),
                    None => create(v),
                });
            }
        };
        let merge = move |acc: &mut Option<C>, more: Option<C>| {
            *acc = match (acc.take(), more) {
                (Some(a), Some(b)) => Some(merge(a, b)),
                (a, b) => a.or(b),
            };
        };
        let (combined, operator) = (self.combine(operator, None, fold, merge), operator.clone());
        combined.narrow_keyed(move |s| {
            map_containers(s.flow(), &operator, s.inner(), |_, rows: Rows<(K, Option<C>)>, emit| {
                emit(Rows::new(rows.partition, rows.take().into_iter().filter_map(|(k, c)| c.map(|c| (k, c))).collect()));
            })
        })
    }
}
