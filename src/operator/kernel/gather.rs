//! The kernel under everything that needs a batch whole: its rows at home, in order, under a cap.

use std::rc::Rc;
use std::sync::Arc;

use timely::Container;
use timely::dataflow::Stream;

use crate::api::dstream::{Case, DStream, in_order};
use crate::core::data::{Exchange, PartitionId, Rows, encoded, sort_by_encoded};
use crate::core::error::Error;
use crate::core::plan::{Plan, Tick};
use crate::core::time::BatchTime;
use crate::engine::flow::{Give, Site, batched, parcels, to};

/// One row in so many is measured, to know how large a gathered batch is.
const MEASURED: usize = 64;

/// What has been gathered of one batch.
struct Gathered<T> {
    parcels: Vec<(PartitionId, Vec<T>)>,
    bytes: usize,
}

impl<T> Default for Gathered<T> {
    fn default() -> Self {
        Gathered { parcels: Vec::new(), bytes: 0 }
    }
}

impl<'s, T: Exchange> DStream<'s, T> {
    /// Calls `finish` at home for every batch, with its rows in order: bags by encoded row.
    pub(crate) fn gather<O: Container + Clone>(
        &self,
        site: &Site,
        mut finish: impl FnMut(&Arc<Tick>, Vec<T>, &mut Give<'_, O>) + 'static,
    ) -> Stream<'s, BatchTime, O> {
        self.gather_every(site, move |plan, rows, give| {
            if let Some(rows) = rows {
                finish(plan, rows, give);
            }
        })
    }

    /// As `gather`, at every batch time: `None` where this stream has no batch.
    pub(crate) fn gather_every<O: Container + Clone>(
        &self,
        site: &Site,
        mut finish: impl FnMut(&Arc<Tick>, Option<Vec<T>>, &mut Give<'_, O>) + 'static,
    ) -> Stream<'s, BatchTime, O> {
        let graph = &self.node.graph;
        let (home, cases, grid) = (graph.home(), self.node.cases.clone(), self.node.grid.clone());
        let sent = to(&graph.flow, site, self.inner(), 0);
        let (cap, fail, name) = (graph.config.gather_cap, graph.fail.clone(), site.name());
        batched(
            &graph.flow,
            site,
            sent,
            parcels(),
            move |slots, t, batch| {
                let g: &mut Gathered<T> = slots.at(t);
                for (_, partition, rows) in batch {
                    g.bytes += size_of_rows(&rows);
                    if g.bytes > cap {
                        fail(Error::GatherCap { operator: name.clone(), time: t, cap });
                        return;
                    }
                    g.parcels.push((partition, rows));
                }
            },
            move |plan, g, give| {
                if home && !plan.restored {
                    let rows = grid.has(plan.time).then(|| in_order(&cases, g.parcels, sort_by_encoded));
                    finish(plan, rows, give);
                }
            },
        )
    }

    /// A stream of the rows that `finish` makes at home of each whole batch: a Sequence.
    pub(crate) fn sequence<U: 'static>(
        &self,
        site: &Site,
        mut finish: impl FnMut(&Arc<Tick>, Vec<T>) -> Vec<U> + 'static,
    ) -> DStream<'s, U> {
        let rows = self.gather(site, move |plan, rows, give| give(Rows::new(PartitionId::default(), finish(plan, rows))));
        self.wide(rows, Case::Sequence)
    }
}

/// About how many bytes these rows are: one in so many is encoded.
pub(crate) fn size_of_rows<T: Exchange>(rows: &[T]) -> usize {
    let measured: usize = rows.iter().step_by(MEASURED).map(|r| encoded(r).len()).sum();
    std::mem::size_of_val(rows) + measured * MEASURED.min(rows.len().max(1))
}

/// The ranges of a batch that one stream comes from.
pub(crate) fn lineage_ranges(plan: &Plan, lineage: &Rc<[u32]>) -> Vec<crate::core::plan::OffsetRange> {
    plan.ranges.iter().filter(|r| lineage.contains(&r.source)).map(Into::into).collect()
}
