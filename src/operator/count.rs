//! `count` on batches: the number of rows.

use crate::api::dstream::{DStream, RowOrder};
use crate::core::data::{Data, PartitionId, Rows};
use crate::operator::kernel::to_one::{partial, to_one};

impl<'s, T: Data> DStream<'s, T> {
    /// One row per batch: the number of rows in it; 0 for an empty batch. Each worker sends one number. Keeps no state.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![7, 7], vec![]], |s| s.count(), [vec![2], vec![0]]);
    /// ```
    #[track_caller]
    pub fn count(&self) -> DStream<'s, i64> {
        let operator = self.operator::<T>("count", "");
        self.wide(RowOrder::Ordered, move |s| {
            let (graph, schedule) = (&s.node.graph, s.node.meta.schedule.clone());
            let partials = partial(
                graph,
                &operator,
                s.inner(),
                |pending, t, rows: Rows<T>| *pending.at(t) += rows.rows.len() as i64,
                |n: i64| if n == 0 { vec![] } else { vec![n] },
            );
            to_one(
                graph,
                &operator,
                partials,
                |sum, ns: Vec<i64>| *sum += ns.iter().sum::<i64>(),
                move |tick, n: i64, emit| {
                    if schedule.has(tick.time) && !tick.restored {
                        emit(Rows::new(PartitionId::default(), vec![n]));
                    }
                },
            )
        })
    }
}
