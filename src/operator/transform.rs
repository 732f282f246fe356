//! `transform`: any function of a whole batch.

use crate::api::dstream::DStream;
use crate::core::data::Exchange;
use crate::operator::batch::Batch;
use crate::operator::kernel::gather::lineage_ranges;

impl<'s, T: 'static> DStream<'s, T> {
    /// The rows that `f` returns for each whole batch, in its order: a [`Batch`], a vector, or another iterator. `f` runs once per batch
    /// on worker 0, in batch order, also for an empty batch. Keeps no state.
    ///
    /// All rows of the batch go to worker 0, at most [`gather_cap`](crate::api::context::Builder::gather_cap) bytes: a larger batch ends
    /// the job with [`crate::Error::GatherCap`]. Most programs use `sort_by`, `take` and `top_by`, which are verbs of their own.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![3, 1, 2]], |s| s.transform(|b| b.sort_by(|n| *n).take(1)), [vec![1]]);
    /// ```
    #[track_caller]
    pub fn transform<U: Exchange, I: IntoIterator<Item = U>>(&self, mut f: impl FnMut(Batch<T>) -> I + 'static) -> DStream<'s, U>
    where
        T: Exchange,
    {
        let operator = self.operator::<U>("transform", "");
        let lineage = self.node.meta.lineage.clone();
        self.gather_ordered(&operator, move |plan, rows| {
            f(Batch::new(plan.time, lineage_ranges(plan, &lineage), rows)).into_iter().collect()
        })
    }
}
