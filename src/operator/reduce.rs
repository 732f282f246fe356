//! `reduce` on batches: all rows into one.

use crate::api::dstream::{DStream, RowOrder};
use crate::core::data::{Exchange, PartitionId, Rows};
use crate::operator::kernel::to_one::{partial, to_one};

impl<'s, T: 'static> DStream<'s, T> {
    /// One row per batch: all its rows reduced by `f`; an empty batch has none. Each worker sends one row. Keeps no state.
    ///
    /// `f` must be associative and commutative, as in Spark: rows are combined on every worker, in no order. A `+`
    /// in `f` wraps round in a release build, if the sum does not fit: [`DStream::reduce_by_key`] says what helps.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![1, 2, 3], vec![]], |s| s.reduce(|a, b| a + b), [vec![6], vec![]]);
    /// ```
    #[track_caller]
    pub fn reduce(&self, f: impl Fn(T, T) -> T + Clone + 'static) -> DStream<'s, T>
    where
        T: Exchange,
    {
        let operator = self.operator::<T>("reduce", "");
        self.wide(RowOrder::Ordered, move |s| {
            let (graph, f2, f3) = (&s.node.graph, f.clone(), f);
            let partials = partial(
                graph,
                &operator,
                s.inner(),
                move |pending, t, rows: Rows<T>| fold_into(pending.at(t), rows.take(), &f2),
                |one: Option<T>| one.into_iter().collect::<Vec<T>>(),
            );
            to_one(
                graph,
                &operator,
                partials,
                move |acc, rows: Vec<T>| fold_into(acc, rows, &f3),
                |_, one: Option<T>, emit| emit(Rows::new(PartitionId::default(), one.into_iter().collect())),
            )
        })
    }
}

fn fold_into<T>(acc: &mut Option<T>, rows: Vec<T>, f: impl Fn(T, T) -> T) {
    for row in rows {
        *acc = Some(match acc.take() {
            Some(a) => f(a, row),
            None => row,
        });
    }
}
