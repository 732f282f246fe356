//! `join` on batches: the pairs of values that two streams have for the same key in the same batch.

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Concat;

use crate::api::dstream::DStream;
use crate::core::data::{Exchange, Key, PartitionId, Rows};
use crate::engine::flow::{RowStream, batched, map_containers};
use crate::engine::operator_id::OperatorId;
use crate::operator::pair::Groups;

/// Values from the left or from the right.
type Sides<V, W> = (Option<Vec<V>>, Option<Vec<W>>);

/// The left values of a batch by key, and the right ones in their partitions.
type Batch<K, V, W> = (Groups<K, V>, Vec<(PartitionId, K, Vec<W>)>);

impl<'s, K: 'static, V: 'static> DStream<'s, (K, V)> {
    /// A row `(key, (left, right))` per batch for each key in both batches: every value of this stream with every value of the other.
    /// Rows are in no order; outputs sort them.
    ///
    /// The values of both streams move to the workers that own their keys. Keeps no state: rows of different batches do not meet
    /// ([`DStream::join_view`], or a join of views).
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
    pub fn join<W: Exchange>(&self, other: &DStream<'s, (K, W)>) -> DStream<'s, (K, (V, W))>
    where
        K: Key,
        V: Exchange,
    {
        let operator = self.operator::<(K, V, W)>("join", "");
        let (left, right) = (self.clone(), other.clone());
        let meta = self.node.meta.join(&other.node.meta);
        DStream::new_keyed(&self.node.graph, move || left.joined(&right, &operator), meta)
    }

    /// Builds the operators of `join`.
    fn joined<W: Exchange>(&self, other: &DStream<'s, (K, W)>, operator: &OperatorId) -> RowStream<'s, (K, (V, W))>
    where
        K: Key,
        V: Exchange,
    {
        let flow = self.flow();
        let left = map_containers(flow, operator, self.grouped(operator).inner(), |_, rows: Rows<(K, Vec<V>)>, emit| {
            let side = |(k, vs)| (k, (Some(vs), None));
            emit(Rows::<(K, Sides<V, W>)>::new(rows.partition, rows.take().into_iter().map(side).collect()));
        });
        let right = map_containers(flow, operator, other.grouped(operator).inner(), |_, rows: Rows<(K, Vec<W>)>, emit| {
            let side = |(k, ws)| (k, (None, Some(ws)));
            emit(Rows::<(K, Sides<V, W>)>::new(rows.partition, rows.take().into_iter().map(side).collect()));
        });
        batched(
            flow,
            operator,
            left.concat(right),
            Pipeline,
            |pending, t, rows: Rows<(K, Sides<V, W>)>| {
                let (ls, rs): &mut Batch<K, V, W> = pending.at(t);
                let partition = rows.partition;
                for (k, sides) in rows.take() {
                    match sides {
                        (Some(vs), _) => drop(ls.insert(k, vs)),
                        (_, Some(ws)) => rs.push((partition, k, ws)),
                        _ => {}
                    }
                }
            },
            |_, (ls, rs), emit| {
                for (partition, k, ws) in rs {
                    let Some(vs) = ls.get(&k) else { continue };
                    let pairs = vs.iter().flat_map(|v| ws.iter().map(|w| (k.clone(), (v.clone(), w.clone()))));
                    emit(Rows::new(partition, pairs.collect()));
                }
            },
        )
    }
}
