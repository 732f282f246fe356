//! `transform_with`: any function of a whole batch of two streams.

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Concat;

use crate::api::dstream::{DStream, RowOrder};
use crate::core::data::{Exchange, PartitionId, Rows};
use crate::engine::flow::{RowStream, batched};
use crate::engine::operator_id::OperatorId;
use crate::operator::batch::Batch;
use crate::operator::kernel::gather::lineage_ranges;

impl<'s, T: Exchange> DStream<'s, T> {
    /// The rows that `f` returns for two whole batches: that of this stream and that of the other at the same time, each in its order. `f`
    /// runs once per batch on worker 0, in batch order, also for empty batches. The rows stay in the order in which `f` returns them.
    /// Keeps no state.
    ///
    /// If only one of the streams has a batch at a time, as of two windows that slide differently, the other batch is empty.
    ///
    /// All rows of both batches go to worker 0. Each has at most [`gather_cap`](crate::api::context::Builder::gather_cap) bytes: a larger
    /// batch ends the job with [`crate::Error::GatherCap`]. Joins and [`DStream::union`] are verbs of their own, and do not gather.
    ///
    /// ```
    /// use tidemill::testing::check2;
    /// check2(
    ///     [vec![3, 1, 2], vec![4]],
    ///     [vec![2], vec![]],
    ///     |numbers, limits| numbers.transform_with(limits, |batch, limit| match limit.first() {
    ///         Some(limit) => batch.filter(|n| n >= limit).collect(),
    ///         None => vec![],
    ///     }),
    ///     [vec![3, 2], vec![]],
    /// );
    /// ```
    #[doc(alias = "transformWith")]
    #[track_caller]
    pub fn transform_with<W: Exchange, U: Exchange, I: IntoIterator<Item = U>>(
        &self,
        other: &DStream<'s, W>,
        f: impl FnMut(Batch<T>, Batch<W>) -> I + 'static,
    ) -> DStream<'s, U> {
        let operator = self.operator::<(T, W, U)>("transform_with", "");
        let (left, right, meta) = (self.clone(), other.clone(), self.node.meta.join(&other.node.meta));
        DStream::new(&self.node.graph, move || left.transformed_with(&right, &operator, f), &[RowOrder::Ordered], meta)
    }

    /// Builds the operators of `transform_with`.
    fn transformed_with<W: Exchange, U: Exchange, I: IntoIterator<Item = U>>(
        &self,
        other: &DStream<'s, W>,
        operator: &OperatorId,
        mut f: impl FnMut(Batch<T>, Batch<W>) -> I + 'static,
    ) -> RowStream<'s, U> {
        let graph = &self.node.graph;
        let (on_worker_0, schedule) = (graph.on_worker_0(), self.node.meta.join(&other.node.meta).schedule);
        let (left_lineage, right_lineage) = (self.node.meta.lineage.clone(), other.node.meta.lineage.clone());
        let left = self.gather(operator, |_, rows, emit| emit(vec![(rows, Vec::new())]));
        let right = other.gather(operator, |_, rows, emit| emit(vec![(Vec::new(), rows)]));
        batched(
            &graph.flow,
            operator,
            left.concat(right),
            Pipeline,
            |pending, t, batches: Vec<(Vec<T>, Vec<W>)>| {
                let (left, right): &mut (Vec<T>, Vec<W>) = pending.at(t);
                for (ls, rs) in batches {
                    left.extend(ls);
                    right.extend(rs);
                }
            },
            move |tick, (left, right), emit| {
                if on_worker_0 && schedule.has(tick.time) && !tick.restored {
                    let left = Batch::new(tick.time, lineage_ranges(tick, &left_lineage), left);
                    let right = Batch::new(tick.time, lineage_ranges(tick, &right_lineage), right);
                    emit(Rows::new(PartitionId::default(), f(left, right).into_iter().collect()));
                }
            },
        )
    }
}
