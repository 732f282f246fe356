//! The kernel under every output: takes the rows of whole batches to the queue of the output. Operators never do I/O.
//!
//! Rows are exchanged to the process that writes them, collected until the batch is closed, and put into the output's typed
//! queue (engine/output.rs). What happens to them on the output thread is in connector/sink_task.rs.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use timely::dataflow::channels::pact::Pipeline;

use crate::api::context::Graph;
use crate::api::dstream::{DStream, RowOrder, in_order};
use crate::connector::sink::Distribution;
use crate::core::data::{Exchange, PartitionId, Rows};
use crate::core::key_groups::KeyGroups;
use crate::engine::flow::{Emitter, PendingBatches, Routed, VecStream, batched, by_address, map_containers, route, route_to};
use crate::engine::operator_id::OperatorId;
use crate::engine::output::{NewOutput, PartRows, RowQueue};
use crate::engine::tick::Tick;
use crate::format::row_text::row_text;
use crate::operator::kernel::gather::size_of_rows;

/// The shard of a key group.
pub(crate) fn shard_of(group: u64, shards: u64, groups: KeyGroups) -> u64 {
    group * shards / groups.count()
}

/// The shard of a partition. Unordered rows have been split by shard already.
fn shard(order: RowOrder, partition: PartitionId, shards: u64) -> u64 {
    match order {
        RowOrder::ByPartition { .. } => u64::from(partition.index) % shards,
        RowOrder::Ordered => 0,
        RowOrder::Unordered { .. } => u64::from(partition.index),
    }
}

/// Registers an output; returns what hands it the rows of a batch. `None` rows: the stream has no batch at this time.
fn deliver<R: Send + 'static>(
    graph: &Graph<'_>,
    operator: &OperatorId,
    senders: usize,
    all_processes: bool,
    new: impl FnOnce(RowQueue<R>) -> NewOutput,
) -> impl FnMut(&Arc<Tick>, Option<R>, usize) + 'static {
    let (output, queue) = graph.output(operator, senders, all_processes, new);
    let channel = graph.outputs.clone();
    move |tick, rows, bytes| channel.deliver(output, &queue, tick, rows, bytes)
}

impl<'s, T: Exchange> DStream<'s, T> {
    /// Takes each batch to an output of process 0, whole and in order.
    pub(crate) fn deliver_gathered(&self, operator: &OperatorId, new: impl FnOnce(RowQueue<Vec<T>>) -> NewOutput) {
        let graph = &self.node.graph;
        graph.register_operator::<T>(operator, "");
        let senders = usize::from(graph.has_worker_0());
        let mut deliver = deliver(graph, operator, senders, false, new);
        let done = self.gather_every(operator, move |tick, rows, _: &mut Emitter<'_, Rows<()>>| {
            let bytes = rows.as_deref().map_or(0, size_of_rows);
            deliver(tick, rows, bytes);
        });
        graph.delivered(done);
    }

    /// Takes each batch to an output of every process, in parts.
    pub(crate) fn deliver_parts(
        &self,
        operator: &OperatorId,
        distribution: Distribution,
        new: impl FnOnce(RowQueue<Vec<PartRows<T>>>) -> NewOutput,
    ) {
        let graph = &self.node.graph;
        graph.register_operator::<T>(operator, distribution.fingerprint());
        let mut deliver = deliver(graph, operator, graph.local_workers(), true, new);
        let (orders, schedule) = (self.node.orders.clone(), self.node.meta.schedule.clone());
        let peers = graph.flow.scope.peers();
        let addressed = match distribution {
            Distribution::Parts(shards) => self.by_shard(operator, shards.into(), false),
            Distribution::Shards(shards) => self.by_shard(operator, shards.into(), true),
            Distribution::Local | Distribution::Gathered => {
                route_to(&graph.flow, operator, self.inner(), graph.flow.scope.index() as u64)
            }
        };
        let part = move |partition: PartitionId| match distribution {
            Distribution::Shards(shards) => {
                let shard = shard(orders[partition.branch as usize], partition, shards.into());
                PartitionId { branch: 0, index: shard as u32 }
            }
            _ => partition,
        };
        let absorb = move |pending: &mut PendingBatches<Vec<PartRows<T>>>, t, batch: Vec<(u64, PartitionId, Vec<T>)>| {
            let rows = batch.into_iter().map(|(_, partition, rows)| PartRows { part: part(partition), partition, rows });
            pending.at(t).extend(rows);
        };
        let finish = move |tick: &Arc<Tick>, rows: Vec<PartRows<T>>, _: &mut Emitter<'_, Rows<()>>| {
            let bytes = rows.iter().map(|p| size_of_rows(&p.rows)).sum();
            deliver(tick, schedule.has(tick.time).then_some(rows), bytes)
        };
        let flow = &graph.flow.silent_when_empty();
        let done = if peers == 1 || distribution == Distribution::Local {
            batched(flow, operator, addressed, Pipeline, absorb, finish)
        } else {
            batched(flow, operator, addressed, by_address(), absorb, finish)
        };
        graph.delivered(done);
    }

    /// Addresses unordered rows to the worker that writes their shard. Other rows stay on their worker, unless `all` is set.
    fn by_shard(&self, operator: &OperatorId, shards: u64, all: bool) -> VecStream<'s, Routed<T>> {
        let (orders, me) = (self.node.orders.clone(), self.node.graph.flow.scope.index() as u64);
        let groups = self.node.graph.key_groups();
        map_containers(&self.node.graph.flow, operator, self.inner(), move |_, rows: Rows<T>, emit| {
            let partition = rows.partition;
            let order = orders[partition.branch as usize];
            let RowOrder::Unordered { grouped } = order else {
                let to = if all { shard(order, partition, shards) } else { me };
                return emit(vec![(to, partition, rows.take())]);
            };
            let mut by_shard: BTreeMap<u64, Vec<T>> = BTreeMap::new();
            if grouped {
                by_shard.insert(shard_of(partition.index.into(), shards, groups), rows.take());
            } else {
                for row in rows.take() {
                    by_shard.entry(shard_of(groups.of(&row), shards, groups)).or_default().push(row);
                }
            }
            let to = |(shard, rows)| (shard, PartitionId { branch: partition.branch, index: shard as u32 }, rows);
            emit(by_shard.into_iter().map(to).collect());
        })
    }
}

/// Strings of a partition.
type Texts = (PartitionId, Vec<String>);

impl<'s, T: Debug + 'static> DStream<'s, T> {
    /// Takes the first `n` rows of each batch, as text, to an output of process 0; and one more, if there are more.
    pub(crate) fn deliver_first(&self, operator: &OperatorId, n: usize, new: impl FnOnce(RowQueue<Vec<String>>) -> NewOutput) {
        let graph = &self.node.graph;
        graph.register_operator::<T>(operator, n);
        let on_worker_0 = graph.on_worker_0();
        let mut deliver = deliver(graph, operator, usize::from(graph.has_worker_0()), false, new);
        let (orders, schedule) = (self.node.orders.clone(), self.node.meta.schedule.clone());
        let kept_of = orders.clone();
        let flow = &graph.flow.silent_when_empty();
        let first = batched(
            flow,
            operator,
            self.inner(),
            Pipeline,
            move |pending, t, rows: Rows<T>| {
                let partitions: &mut BTreeMap<PartitionId, Vec<String>> = pending.at(t);
                shortlist(&kept_of, partitions, &rows, n);
            },
            |_, partitions, emit| emit(partitions.into_iter().collect::<Vec<_>>()),
        );
        let done = batched(
            flow,
            operator,
            first,
            route(|_: &Texts| 0),
            |pending, t, batch: Vec<Texts>| {
                let all: &mut Vec<Texts> = pending.at(t);
                all.extend(batch);
            },
            move |tick, all, _: &mut Emitter<'_, Rows<()>>| {
                if on_worker_0 {
                    let mut rows = in_order(&orders, all, |rows| rows.sort_unstable());
                    rows.truncate(n.saturating_add(1));
                    let bytes = rows.iter().map(String::len).sum();
                    deliver(tick, schedule.has(tick.time).then_some(rows), bytes);
                }
            },
        );
        graph.delivered(done);
    }
}

/// Keeps of each partition what may be among the first `n` rows, and one more to know that there are others.
fn shortlist<T: Debug + 'static>(
    orders: &[RowOrder],
    partitions: &mut BTreeMap<PartitionId, Vec<String>>,
    rows: &Rows<T>,
    n: usize,
) {
    let wanted = n.saturating_add(1);
    if matches!(orders[rows.partition.branch as usize], RowOrder::Unordered { .. }) {
        let kept = partitions.entry(PartitionId { branch: rows.partition.branch, index: 0 }).or_default();
        kept.extend(rows.rows.iter().map(row_text));
        if kept.len() > wanted.max(64).saturating_mul(2) {
            kept.sort_unstable();
            kept.truncate(wanted);
        }
    } else {
        let kept = partitions.entry(rows.partition).or_default();
        let room = wanted.saturating_sub(kept.len());
        kept.extend(rows.rows.iter().take(room).map(row_text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::context::StreamingContext;
    use crate::connector::queue::QueueSource;
    use crate::connector::sink::{Part, Sink, SinkBatch};
    use crate::core::error::BoxError;
    use std::sync::Mutex;

    type Log = Arc<Mutex<Vec<Vec<(String, i64)>>>>;

    struct Logged(Log);

    impl Sink<(String, i64)> for Logged {
        fn write(&mut self, _: &SinkBatch, parts: &[Part<(String, i64)>]) -> Result<(), BoxError> {
            self.0.lock().unwrap().push(parts.iter().flat_map(|p| p.rows.clone()).collect());
            Ok(())
        }
    }

    /// The rows of each batch, as an output of every process without shards gets them.
    fn written(workers: u16, view: bool) -> Vec<Vec<(String, i64)>> {
        let words = |n: u64| (0..n).map(|i| format!("word {}", i * i % 40)).collect::<Vec<_>>();
        let queue = QueueSource::from_batches([words(30), words(0), words(50)]);
        let seen = Log::default();
        let log = seen.clone();
        let job = StreamingContext::builder("spread", crate::core::time::millis(1)).workers(workers);
        let build = move |ssc: &StreamingContext<'_>| {
            let counts = ssc.queue_stream(&queue).count_by_value();
            let counts = if view { counts.sum_by_key().update() } else { counts };
            counts.sink_to(Logged(log.clone()), Distribution::Local);
            Ok(())
        };
        job.run(build).unwrap();
        std::mem::take(&mut *seen.lock().unwrap())
    }

    #[test]
    fn an_output_without_shards_gets_rows_in_one_order_on_any_number_of_workers() {
        for view in [false, true] {
            let alone = written(1, view);
            assert_eq!(alone.iter().map(Vec::is_empty).collect::<Vec<_>>(), [false, true, false]);
            for workers in [2, 4] {
                assert_eq!(written(workers, view), alone, "{workers} workers, of a view: {view}");
            }
        }
    }
}
