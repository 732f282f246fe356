//! `reduce` on batches: all rows into one.

use timely::dataflow::channels::pact::Pipeline;

use crate::api::dstream::{Case, DStream};
use crate::core::data::{Exchange, PartitionId, Rows};
use crate::engine::flow::{Site, batched, route};

impl<'s, T: Exchange> DStream<'s, T> {
    /// One row a batch: all its rows through `f`, which must be associative and commutative (Spark asks for the same).
    /// An empty batch gives nothing.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![1, 2, 3], vec![]], |s| s.reduce(|a, b| a + b), [vec![6], vec![]]);
    /// ```
    #[track_caller]
    pub fn reduce(&self, f: impl Fn(T, T) -> T + Clone + 'static) -> DStream<'s, T> {
        let site = Site::of("reduce");
        let graph = &self.node.graph;
        graph.note::<T>("reduce", "");
        let (f2, f3) = (f.clone(), f);
        let local = batched(
            &graph.flow,
            &site,
            self.inner(),
            Pipeline,
            move |slots, t, rows: Rows<T>| fold_into(slots.at(t), rows.take(), &f2),
            |_, one: Option<T>, give| give(one.into_iter().collect::<Vec<T>>()),
        );
        let all = batched(
            &graph.flow,
            &site,
            local,
            route(|_: &T| 0),
            move |slots, t, rows: Vec<T>| fold_into(slots.at(t), rows, &f3),
            |_, one: Option<T>, give| give(Rows::new(PartitionId::default(), one.into_iter().collect())),
        );
        self.wide(all, Case::Sequence)
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
