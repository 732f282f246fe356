//! The kernel of the verbs that choose the partition of each row: `repartition`, `coalesce`, `partition_by`.

use std::collections::BTreeMap;

use crate::api::dstream::{DStream, RowOrder, in_order};
use crate::core::data::{Exchange, PartitionId, Rows, sort_by_encoded};
use crate::engine::flow::{Routed, batched, by_address};
use crate::engine::operator_id::OperatorId;

/// Where a row is: the order of its branch, its partition, and how many rows of the batch come before it there.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub order: RowOrder,
    pub partition: PartitionId,
    pub position: u64,
}

impl<'s, T: Exchange> DStream<'s, T> {
    /// Moves each row to the partition that `to` chooses. Partition `i` lies on worker `i` modulo their number. Its rows are in the
    /// order of this stream. `lasting`: a key is in the same partition in every batch.
    ///
    /// Rows move while the batch is open, and leave when it is closed: only then is their order known.
    pub(crate) fn partitioned(
        &self,
        operator: &OperatorId,
        lasting: bool,
        mut to: impl FnMut(Place, &T) -> u32 + 'static,
    ) -> DStream<'s, T> {
        let (operator, orders) = (operator.clone(), self.node.orders.clone());
        self.wide(RowOrder::ByPartition { lasting }, move |s| {
            let order_of = orders.clone();
            let addressed = s.positioned(&operator, move |_, before, rows: Rows<T>, emit| {
                let partition = rows.partition;
                let order = order_of[partition.branch as usize];
                let mut chosen: BTreeMap<u64, Vec<T>> = BTreeMap::new();
                for (row, position) in rows.take().into_iter().zip(before..) {
                    chosen.entry(to(Place { order, partition, position }, &row).into()).or_default().push(row);
                }
                emit(chosen.into_iter().map(|(index, rows)| (index, partition, rows)).collect::<Vec<Routed<T>>>());
            });
            batched(
                &s.flow().silent_when_empty(),
                &operator,
                addressed,
                by_address(),
                |pending, t, batch: Vec<Routed<T>>| {
                    let chosen: &mut BTreeMap<u64, Vec<(PartitionId, Vec<T>)>> = pending.at(t);
                    batch.into_iter().for_each(|(index, from, rows)| chosen.entry(index).or_default().push((from, rows)));
                },
                move |_, chosen, emit| {
                    for (index, parts) in chosen {
                        let partition = PartitionId { branch: 0, index: index as u32 };
                        emit(Rows::new(partition, in_order(&orders, parts, sort_by_encoded)));
                    }
                },
            )
        })
    }

    /// Reports a number of partitions that cannot be; returns one that can.
    pub(crate) fn checked_partitions(&self, operator: &OperatorId, n: u32) -> u32 {
        let most = self.node.graph.key_groups().count();
        if !(1..=most).contains(&n.into()) {
            let remedy = "max_parallelism sets their number";
            self.node
                .graph
                .report(operator, format!("{n} partitions: there can be 1 to {most}, as there are key groups; {remedy}"));
        }
        n.clamp(1, most as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::millis;

    /// An exactly-once sink may commit several batches at once only if a key is in one shard.
    #[test]
    fn a_key_keeps_its_partition_unless_rows_are_dealt() {
        let lines = crate::testing::graph(millis(1), |ssc| {
            let lasting = |s: &DStream<'_, (u8, i64)>| s.node.orders.iter().all(|order| order.lasting());
            let s = ssc.test_stream(vec![vec![(1u8, 1i64)]]);
            let counts = s.reduce_by_key(|a, b| a + b);
            for kept in [&s, &counts, &s.coalesce(2), &counts.coalesce(2), &s.partition_by(2), &s.repartition(2).partition_by(2)]
            {
                assert!(lasting(kept) && lasting(&kept.union(&s)));
            }
            let view = counts.accumulate().map(|row| row).update();
            for moved in [&s.repartition(2), &s.repartition(2).coalesce(1), &counts.repartition(2), &view, &view.coalesce(2)] {
                assert!(!lasting(moved) && !lasting(&s.union(moved)));
            }
            s.print(1);
            Ok(())
        });
        assert!(lines.is_ok(), "{lines:?}");
    }
}
