//! The kernel of verbs that need a whole batch: its rows on worker 0, in order, at most `gather_cap` bytes.

use std::sync::Arc;

use timely::Container;
use timely::dataflow::Stream;

use crate::api::dstream::{DStream, RowOrder, in_order};
use crate::core::data::{Exchange, PartitionId, Rows, encoded, sort_by_encoded};
use crate::core::error::Error;
use crate::core::plan::{OffsetRange, Plan};
use crate::core::time::BatchTime;
use crate::engine::flow::{Emitter, batched, by_address, route_to};
use crate::engine::operator_id::OperatorId;
use crate::engine::tick::Tick;

/// One row in this many is encoded, to estimate the size of a gathered batch.
const MEASURED: usize = 64;

/// The rows of one batch that have been gathered.
struct Gathered<T> {
    parts: Vec<(PartitionId, Vec<T>)>,
    bytes: usize,
}

impl<T> Default for Gathered<T> {
    fn default() -> Self {
        Gathered { parts: Vec::new(), bytes: 0 }
    }
}

impl<'s, T: Exchange> DStream<'s, T> {
    /// Calls `finish` on worker 0 for every batch, with its rows in order; rows without an order are sorted by encoding.
    pub(crate) fn gather<O: Container + Clone>(
        &self,
        operator: &OperatorId,
        mut finish: impl FnMut(&Arc<Tick>, Vec<T>, &mut Emitter<'_, O>) + 'static,
    ) -> Stream<'s, BatchTime, O> {
        self.gather_every(operator, move |plan, rows, emit| {
            if let Some(rows) = rows {
                finish(plan, rows, emit);
            }
        })
    }

    /// As `gather`, at every batch time: `None` where this stream has no batch.
    pub(crate) fn gather_every<O: Container + Clone>(
        &self,
        operator: &OperatorId,
        mut finish: impl FnMut(&Arc<Tick>, Option<Vec<T>>, &mut Emitter<'_, O>) + 'static,
    ) -> Stream<'s, BatchTime, O> {
        let graph = &self.node.graph;
        let (on_worker_0, orders, schedule) = (graph.on_worker_0(), self.node.orders.clone(), self.node.meta.schedule.clone());
        let sent = route_to(&graph.flow, operator, self.inner(), 0);
        let flow = if on_worker_0 { graph.flow.clone() } else { graph.flow.silent_when_empty() };
        let (cap, fail, name) = (graph.config.gather_cap, graph.fail.clone(), operator.to_string());
        batched(
            &flow,
            operator,
            sent,
            by_address(),
            move |pending, t, batch| {
                let g: &mut Gathered<T> = pending.at(t);
                for (_, partition, rows) in batch {
                    g.bytes += size_of_rows(&rows);
                    if g.bytes > cap {
                        fail(Error::GatherCap { operator: name.clone(), time: t, cap });
                        return;
                    }
                    g.parts.push((partition, rows));
                }
            },
            move |plan, g, emit| {
                if on_worker_0 && !plan.restored {
                    let rows = schedule.has(plan.time).then(|| in_order(&orders, g.parts, sort_by_encoded));
                    finish(plan, rows, emit);
                }
            },
        )
    }

    /// A stream of the rows that `finish` makes of each whole batch on worker 0; they are ordered.
    pub(crate) fn gather_ordered<U: 'static>(
        &self,
        operator: &OperatorId,
        mut finish: impl FnMut(&Arc<Tick>, Vec<T>) -> Vec<U> + 'static,
    ) -> DStream<'s, U> {
        let operator = operator.clone();
        self.wide(RowOrder::Ordered, move |s| {
            s.gather(&operator, move |plan, rows, emit| emit(Rows::new(PartitionId::default(), finish(plan, rows))))
        })
    }
}

/// An estimate of the size of these rows in bytes: one row in `MEASURED` is encoded.
pub(crate) fn size_of_rows<T: Exchange>(rows: &[T]) -> usize {
    let measured: usize = rows.iter().step_by(MEASURED).map(|r| encoded(r).len()).sum();
    std::mem::size_of_val(rows) + measured * MEASURED.min(rows.len().max(1))
}

/// The ranges of a batch that the sources of one stream read.
pub(crate) fn lineage_ranges(plan: &Plan, lineage: &[u32]) -> Arc<[OffsetRange]> {
    plan.ranges.iter().filter(|r| lineage.contains(&r.source)).map(Into::into).collect()
}
