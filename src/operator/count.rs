//! `count` on batches: how many rows.

use timely::dataflow::channels::pact::Pipeline;

use crate::api::dstream::{Case, DStream};
use crate::core::data::{Data, PartitionId, Rows};
use crate::engine::flow::{Site, batched, route};

impl<'s, T: Data> DStream<'s, T> {
    /// One row a batch: how many rows were in it; 0 for an empty one.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec!["a", "b"], vec![]].map(|b| b.into_iter().map(str::to_owned).collect::<Vec<_>>()), |s| s.count(), [vec![2], vec![0]]);
    /// ```
    #[track_caller]
    pub fn count(&self) -> DStream<'s, i64> {
        let site = Site::of("count");
        let graph = &self.node.graph;
        graph.note::<T>("count", "");
        let local = batched(
            &graph.flow,
            &site,
            self.inner(),
            Pipeline,
            |slots, t, rows: Rows<T>| *slots.at(t) += rows.rows.len() as i64,
            |_, n: i64, give| give(if n == 0 { vec![] } else { vec![n] }),
        );
        let (home, grid) = (graph.home(), self.node.grid.clone());
        let total = batched(
            &graph.flow,
            &site,
            local,
            route(|_: &i64| 0),
            |slots, t, ns: Vec<i64>| *slots.at(t) += ns.iter().sum::<i64>(),
            move |plan, n: i64, give| {
                if home && grid.has(plan.time) && !plan.restored {
                    give(Rows::new(PartitionId::default(), vec![n]));
                }
            },
        );
        self.wide(total, Case::Sequence)
    }
}
