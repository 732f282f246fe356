//! `group_by_key`, and the kernel `grouped` under it, joins and states: all values of a key of one batch, in stream order.

use timely::dataflow::channels::pact::Pipeline;

use crate::api::dstream::{DStream, in_order};
use crate::core::data::{Exchange, FastMap, Key, PartitionId, Rows, sort_by_encoded};
use crate::engine::flow::{RowStream, VecStream, batched, route};
use crate::engine::operator_id::OperatorId;
use crate::operator::kernel::combine::by_group;

/// The values of one key, with the partitions that they came from.
type ByPartition<V> = Vec<(PartitionId, Vec<V>)>;

impl<'s, K: 'static, V: 'static> DStream<'s, (K, V)> {
    /// A row `(key, values)` per batch for each key of the batch. Values are in the order of the stream: those of a source as they were
    /// read, those of a counted or shuffled stream by encoding. Rows are in no order; outputs sort them.
    ///
    /// All values move to the worker that owns the key: to reduce them, [`DStream::reduce_by_key`] costs less. Keeps no state.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![('a', 1), ('b', 5), ('a', 2)]], |s| s.group_by_key(), [vec![('a', vec![1, 2]), ('b', vec![5])]]);
    /// ```
    #[doc(alias = "groupByKey")]
    #[track_caller]
    pub fn group_by_key(&self) -> DStream<'s, (K, Vec<V>)>
    where
        K: Key,
        V: Exchange,
    {
        let operator = self.operator::<(K, V)>("group_by_key", "");
        self.grouped(&operator)
    }

    /// The kernel: all values of a key, on the worker that owns the key.
    pub(crate) fn grouped(&self, operator: &OperatorId) -> DStream<'s, (K, Vec<V>)>
    where
        K: Key,
        V: Exchange,
    {
        let (stream, operator) = (self.clone(), operator.clone());
        DStream::new_keyed(&self.node.graph, move || stream.values_by_owner(&operator), self.node.meta.clone())
    }

    /// Builds the operators of `grouped`.
    fn values_by_owner(&self, operator: &OperatorId) -> RowStream<'s, (K, Vec<V>)>
    where
        K: Key,
        V: Exchange,
    {
        let flow = &self.flow().silent_when_empty();
        let (orders, groups) = (self.node.orders.clone(), self.node.graph.key_groups());
        let local: VecStream<'s, (u64, K, ByPartition<V>)> = batched(
            flow,
            operator,
            self.inner(),
            Pipeline,
            |pending, t, rows: Rows<(K, V)>| {
                let map: &mut FastMap<K, ByPartition<V>> = pending.at(t);
                let partition = rows.partition;
                for (k, v) in rows.take() {
                    let partitions = map.entry(k).or_default();
                    match partitions.last_mut() {
                        Some((l, vs)) if *l == partition => vs.push(v),
                        _ => partitions.push((partition, vec![v])),
                    }
                }
            },
            move |_, map, emit| emit(map.into_iter().map(|(k, partitions)| (groups.of(&k), k, partitions)).collect::<Vec<_>>()),
        );
        batched(
            flow,
            operator,
            local,
            route(|(group, ..): &(u64, K, ByPartition<V>)| *group),
            |pending, t, batch: Vec<(u64, K, ByPartition<V>)>| {
                let map: &mut FastMap<K, (u64, ByPartition<V>)> = pending.at(t);
                for (group, k, partitions) in batch {
                    map.entry(k).or_insert_with(|| (group, Vec::new())).1.extend(partitions);
                }
            },
            move |_, map, emit| {
                // Under one key the encoded value orders as the encoded row does.
                let rows =
                    map.into_iter().map(|(k, (group, partitions))| (group, (k, in_order(&orders, partitions, sort_by_encoded))));
                by_group(0, rows.collect(), emit);
            },
        )
    }
}
