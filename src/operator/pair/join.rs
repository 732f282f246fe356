//! `join` on batches: the pairs of values that two streams have under the same key in the same batch.

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Concat;

use crate::api::dstream::{Case, DStream, merged, only};
use crate::core::data::{Exchange, Key, PartitionId, Rows};
use crate::engine::flow::{Site, batched, expand};
use crate::operator::pair::Groups;

/// Values from the left or from the right.
type Sides<V, W> = (Option<Vec<V>>, Option<Vec<W>>);

/// The left values of a batch by key, and the right ones in their partitions.
type Batch<K, V, W> = (Groups<K, V>, Vec<(PartitionId, K, Vec<W>)>);

impl<'s, K: Key, V: Exchange> DStream<'s, (K, V)> {
    /// For each key that is in both batches, every value of this stream with every value of the other.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 1), ('b', 2), ('a', 3)]],
    ///     |s| s.join(&s.filter(|(_, n)| *n == 1).map_values(|_| true)),
    ///     [vec![('a', (1, true)), ('a', (3, true))]],
    /// );
    /// ```
    #[track_caller]
    pub fn join<W: Exchange>(&self, other: &DStream<'s, (K, W)>) -> DStream<'s, (K, (V, W))> {
        let site = Site::of("join");
        let graph = &self.node.graph;
        graph.note::<(K, V, W)>("join", "");
        let left = expand(&graph.flow, &site, self.grouped(&site).inner(), |_, rows: Rows<(K, Vec<V>)>, give| {
            let side = |(k, vs)| (k, (Some(vs), None));
            give(Rows::<(K, Sides<V, W>)>::new(rows.partition, rows.take().into_iter().map(side).collect()));
        });
        let right = expand(&graph.flow, &site, other.grouped(&site).inner(), |_, rows: Rows<(K, Vec<W>)>, give| {
            let side = |(k, ws)| (k, (None, Some(ws)));
            give(Rows::<(K, Sides<V, W>)>::new(rows.partition, rows.take().into_iter().map(side).collect()));
        });
        let joined = batched(
            &graph.flow,
            &site,
            left.concat(right),
            Pipeline,
            |slots, t, rows: Rows<(K, Sides<V, W>)>| {
                let (ls, rs): &mut Batch<K, V, W> = slots.at(t);
                let partition = rows.partition;
                for (k, sides) in rows.take() {
                    match sides {
                        (Some(vs), _) => drop(ls.insert(k, vs)),
                        (_, Some(ws)) => rs.push((partition, k, ws)),
                        _ => {}
                    }
                }
            },
            |_, (ls, rs), give| {
                for (partition, k, ws) in rs {
                    let Some(vs) = ls.get(&k) else { continue };
                    let pairs = vs.iter().flat_map(|v| ws.iter().map(|w| (k.clone(), (v.clone(), w.clone()))));
                    give(Rows::new(partition, pairs.collect()));
                }
            },
        );
        let lineage = merged(&self.node.lineage, &other.node.lineage);
        DStream::new(graph, joined, &[Case::Bag { grouped: true }], &lineage)
            .on_grid(self.node.grid.union(&other.node.grid))
            .with_state(only(self.node.state.get(), other.node.state.get()))
            .placed(true)
    }
}
