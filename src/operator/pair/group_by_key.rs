//! `group_by_key`, and the kernel `cogroup` under it and under joins: all values of a key of one batch, in stream order.

use timely::dataflow::channels::pact::Pipeline;

use crate::api::dstream::{Case, DStream, in_order};
use crate::core::data::{Exchange, FastMap, Key, PartitionId, Rows, key_group, sort_by_encoded};
use crate::engine::flow::{RowStream, Site, VecStream, batched, route};
use crate::operator::kernel::combine::by_group;

/// The values of one key, with the partitions they came from.
type Lanes<V> = Vec<(PartitionId, Vec<V>)>;

/// All values of each key of a batch.
pub(crate) type Groups<K, V> = FastMap<K, Vec<V>>;

impl<'s, K: Key, V: Exchange> DStream<'s, (K, V)> {
    /// Each key of the batch with all its values in the order of the stream: of a source as they were read, of a counted or
    /// shuffled stream by encoded value.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![('a', 1), ('b', 5), ('a', 2)]], |s| s.group_by_key(), [vec![('a', vec![1, 2]), ('b', vec![5])]]);
    /// ```
    #[doc(alias = "groupByKey")]
    #[track_caller]
    pub fn group_by_key(&self) -> DStream<'s, (K, Vec<V>)> {
        let site = Site::of("group_by_key");
        self.node.graph.note::<(K, V)>("group_by_key", "");
        self.grouped(&site)
    }

    /// The kernel: all values of a key on the worker that owns it.
    pub(crate) fn grouped(&self, site: &Site) -> DStream<'s, (K, Vec<V>)> {
        let flow = &self.node.graph.flow;
        let cases = self.node.cases.clone();
        let local: VecStream<'s, (u64, K, Lanes<V>)> = batched(
            flow,
            site,
            self.inner(),
            Pipeline,
            |slots, t, rows: Rows<(K, V)>| {
                let map: &mut FastMap<K, Lanes<V>> = slots.at(t);
                let partition = rows.partition;
                for (k, v) in rows.take() {
                    let partitions = map.entry(k).or_default();
                    match partitions.last_mut() {
                        Some((l, vs)) if *l == partition => vs.push(v),
                        _ => partitions.push((partition, vec![v])),
                    }
                }
            },
            |_, map, give| give(map.into_iter().map(|(k, partitions)| (key_group(&k), k, partitions)).collect::<Vec<_>>()),
        );
        let owned: RowStream<'s, (K, Vec<V>)> = batched(
            flow,
            site,
            local,
            route(|(group, ..): &(u64, K, Lanes<V>)| *group),
            |slots, t, batch: Vec<(u64, K, Lanes<V>)>| {
                let map: &mut FastMap<K, (u64, Lanes<V>)> = slots.at(t);
                for (group, k, partitions) in batch {
                    map.entry(k).or_insert_with(|| (group, Vec::new())).1.extend(partitions);
                }
            },
            move |_, map, give| {
                // Under one key the encoded value orders as the encoded row does.
                let rows =
                    map.into_iter().map(|(k, (group, partitions))| (group, (k, in_order(&cases, partitions, sort_by_encoded))));
                by_group(0, rows.collect(), give);
            },
        );
        self.wide(owned, Case::Bag { grouped: true }).placed(true)
    }
}
