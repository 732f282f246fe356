//! `count_approx_distinct`: an estimate of the number of distinct rows, by HyperLogLog.

use crate::api::dstream::{DStream, RowOrder};
use crate::core::data::{Exchange, PartitionId, Rows};
use crate::engine::operator_id::OperatorId;
use crate::operator::kernel::hyperloglog::{Sketch, precision};
use crate::operator::kernel::to_one::{partial, to_one};

impl<'s, T: Exchange> DStream<'s, T> {
    /// One row per batch: an estimate of the number of distinct rows in it; 0 for an empty batch. Its relative standard deviation is
    /// `relative_sd`, so of three estimates two are as near as that. 0.05 is Spark's default. Small numbers are nearly exact.
    ///
    /// Rows do not move. Each worker sends a sketch (HyperLogLog) of about `1.1 / relative_sd²` bytes: 512 for 0.05, 16 KiB for 0.01. The
    /// estimate depends only on the rows of the batch, not on the number of workers. Rows are the same if their encodings are. Keeps
    /// no state. `distinct().count()` is exact, and sends each distinct row.
    ///
    /// Constraints: `relative_sd` is 0.0021 to below 1, else the start fails.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![7, 8, 7, 9], vec![]], |s| s.count_approx_distinct(0.05), [vec![3], vec![0]]);
    /// ```
    #[doc(alias = "countApproxDistinct")]
    #[track_caller]
    pub fn count_approx_distinct(&self, relative_sd: f64) -> DStream<'s, i64> {
        let operator = self.operator::<T>("count_approx_distinct", relative_sd);
        self.sketched(&operator, relative_sd, |sketch| Some(sketch.map_or(0, |sketch| sketch.estimate())))
    }

    /// The kernel: at most one row per batch, which `row` makes of the sketch of all rows; `None`: the batch is empty.
    pub(crate) fn sketched<R: Clone + 'static>(
        &self,
        operator: &OperatorId,
        relative_sd: f64,
        row: impl Fn(Option<Sketch>) -> Option<R> + 'static,
    ) -> DStream<'s, R> {
        let precision = precision(relative_sd).unwrap_or_else(|e| {
            self.node.graph.report(operator, e);
            4
        });
        let operator = operator.clone();
        self.wide(RowOrder::Ordered, move |s| {
            let (graph, schedule) = (&s.node.graph, s.node.meta.schedule.clone());
            let partials = partial(
                graph,
                &operator,
                s.inner(),
                move |pending, t, rows: Rows<T>| {
                    let sketch: &mut Option<Sketch> = pending.at(t);
                    let sketch = sketch.get_or_insert_with(|| Sketch::new(precision));
                    rows.rows.iter().for_each(|row| sketch.add(row));
                },
                |sketch| sketch.into_iter().collect::<Vec<_>>(),
            );
            to_one(
                graph,
                &operator,
                partials,
                |all: &mut Option<Sketch>, sketches: Vec<Sketch>| {
                    *all = all.take().into_iter().chain(sketches).reduce(Sketch::merge);
                },
                move |tick, all, emit| {
                    if schedule.has(tick.time) && !tick.restored {
                        emit(Rows::new(PartitionId::default(), row(all).into_iter().collect()));
                    }
                },
            )
        })
    }
}
