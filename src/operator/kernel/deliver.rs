//! The kernel under every output operation: sends whole batches to the output thread. Operators never do I/O.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use timely::dataflow::operators::Probe;

use crate::api::context::Graph;
use crate::api::dstream::{DStream, RowOrder, in_order};
use crate::connector::sink::Part;
use crate::core::data::{Exchange, KEY_GROUPS, PartitionId, Rows, key_group, sort_by_encoded};
use crate::core::error::BoxError;
use crate::core::plan::Tick;
use crate::engine::flow::{Emitter, Routed, VecStream, batched, by_address, map_containers, route, route_to};
use crate::engine::operator_id::OperatorId;
use crate::engine::output::{Completion, Delivery, OutputSpec, Write};
use crate::operator::kernel::gather::size_of_rows;

/// Rows by partition.
type Parcels<T> = Vec<(PartitionId, Vec<T>)>;

/// How many shards an exchanged stream leaves in, unless said.
pub(crate) const SHARDS: u64 = 8;

/// How the rows of a batch are dealt to the processes that write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    /// They leave from where they are; a bag's parts are its partitions there.
    Local,
    /// Those of a bag by shard, of which there are so many; a part is a shard, or a source's partition.
    Bags(u64),
    /// All of them by shard, and a part is a shard: a bag's by key group, a source's by partition, a sequence is the first.
    #[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "only exactly-once sinks of Kafka ask"))]
    All(u64),
}

/// The shard of a key group.
pub(crate) fn shard_of(group: u64, shards: u64) -> u64 {
    group * shards / KEY_GROUPS
}

/// Hands what an output writes of a batch, so many bytes, to the output thread. `None`: this stream has no batch at this time.
fn deliver<P: Send + 'static>(graph: &Graph<'_>, output: usize) -> impl FnMut(&Arc<Tick>, Option<P>, usize) + 'static {
    let (deliveries, waiting) = (graph.deliveries.clone(), graph.waiting.clone());
    move |plan, rows: Option<P>, bytes| {
        if plan.restored {
            return;
        }
        let rows = rows.filter(|_| plan.shown);
        let bytes = if rows.is_some() { bytes } else { 0 };
        waiting.fetch_add(bytes, Ordering::Relaxed);
        let rows = rows.map(|r| Box::new(r) as Box<dyn Any + Send>);
        // The thread is gone only if the job has failed.
        let _ = deliveries.send(Delivery::Part { output, plan: plan.clone(), rows, bytes });
    }
}

/// What the output thread is given for an output: its parts' rows, put together.
fn writer<T: 'static>(mut write: impl FnMut(&Tick, Vec<&[T]>) -> Result<(), BoxError> + Send + 'static) -> Write {
    Box::new(move |plan, rows| {
        let rows = rows.iter().filter_map(|r| r.downcast_ref::<Vec<T>>()).map(|v| &v[..]).collect();
        write(plan, rows)
    })
}

impl<'s, T: Exchange> DStream<'s, T> {
    /// Writes each batch in process 0, whole and in order. Rows are lent: those of a batch that failed are given again.
    pub(crate) fn attach_gathered(
        &self,
        operator: &OperatorId,
        verb: &str,
        mut write: impl FnMut(&Tick, &mut Vec<T>) -> Result<(), BoxError> + Send + 'static,
    ) {
        let graph = &self.node.graph;
        graph.register_operator::<T>(operator, verb, "");
        let parts = usize::from(graph.has_worker_0());
        let write: Write = Box::new(move |plan, parts| match parts.first_mut().and_then(|p| p.downcast_mut()) {
            Some(rows) => write(plan, rows),
            None => write(plan, &mut Vec::new()),
        });
        let output = graph.output(OutputSpec { name: operator.to_string(), parts, write, out: Completion::Written }, false);
        let mut deliver = deliver(graph, output);
        let done = self.gather_every(operator, move |plan, rows, _: &mut Emitter<'_, Rows<()>>| {
            let bytes = rows.as_deref().map_or(0, size_of_rows);
            deliver(plan, rows, bytes);
        });
        done.probe_with(&graph.probe);
    }

    /// Writes each batch by parts: one a source partition, a shard, or one for a sequence.
    pub(crate) fn attach_spread(
        &self,
        operator: &OperatorId,
        verb: &str,
        spread: Spread,
        out: Completion,
        mut write: impl FnMut(&Tick, &[Part<T>]) -> Result<(), BoxError> + Send + 'static,
    ) {
        let graph = &self.node.graph;
        graph.register_operator::<T>(operator, verb, format_args!("{spread:?}"));
        let orders = self.node.orders.to_vec();
        let write: Write = Box::new(move |plan, workers| {
            // Rows are put in order here, beside the workers; once, however often it is tried. All workers' together: a bag
            // without key groups has the same partition on each.
            if !workers[0].is::<Vec<Part<T>>>() {
                let parcels = workers.iter_mut().filter_map(|w| w.downcast_mut::<Parcels<T>>());
                let all = parcels.flat_map(std::mem::take).collect();
                workers[0] = Box::new(parts(&orders, spread, all));
            }
            write(plan, workers[0].downcast_ref::<Vec<Part<T>>>().expect("put there just now"))
        });
        let spec = OutputSpec { name: operator.to_string(), parts: graph.local_workers(), write, out };
        let output = graph.output(spec, true);
        let mut deliver = deliver(graph, output);
        let schedule = self.node.meta.schedule.clone();
        let peers = graph.flow.scope.peers();
        let addressed = match spread {
            Spread::Local => route_to(&graph.flow, operator, self.inner(), graph.flow.scope.index() as u64),
            Spread::Bags(shards) => self.by_shard(operator, shards, false),
            Spread::All(shards) => self.by_shard(operator, shards, true),
        };
        let absorb =
            |pending: &mut crate::engine::flow::PendingBatches<Parcels<T>>, t, batch: Vec<(u64, PartitionId, Vec<T>)>| {
                pending.at(t).extend(batch.into_iter().map(|(_, partition, rows)| (partition, rows)))
            };
        let finish = move |plan: &Arc<Tick>, parcels: Parcels<T>, _: &mut Emitter<'_, Rows<()>>| {
            let bytes = parcels.iter().map(|(_, rows)| size_of_rows(rows)).sum();
            deliver(plan, schedule.has(plan.time).then_some(parcels), bytes)
        };
        let done = if peers == 1 || spread == Spread::Local {
            batched(&graph.flow, operator, addressed, timely::dataflow::channels::pact::Pipeline, absorb, finish)
        } else {
            batched(&graph.flow, operator, addressed, by_address(), absorb, finish)
        };
        done.probe_with(&graph.probe);
    }

    /// Addresses the rows of bags to the worker that writes their shard; others stay, unless `all` are to go.
    fn by_shard(&self, operator: &OperatorId, shards: u64, all: bool) -> VecStream<'s, Routed<T>> {
        let (orders, me) = (self.node.orders.clone(), self.node.graph.flow.scope.index() as u64);
        map_containers(&self.node.graph.flow, operator, self.inner(), move |_, rows: Rows<T>, emit| {
            let partition = rows.partition;
            let order = orders[partition.branch as usize];
            let RowOrder::Unordered { grouped } = order else {
                let to = if all { shard(order, partition, shards) } else { me };
                return emit(vec![(to, partition, rows.take())]);
            };
            let mut by_shard: BTreeMap<u64, Vec<T>> = BTreeMap::new();
            if grouped {
                by_shard.insert(shard_of(partition.index as u64, shards), rows.take());
            } else {
                for row in rows.take() {
                    by_shard.entry(shard_of(key_group(&row), shards)).or_default().push(row);
                }
            }
            let to = |(shard, rows)| (shard, PartitionId { branch: partition.branch, index: shard as u32 }, rows);
            emit(by_shard.into_iter().map(to).collect());
        })
    }
}

/// The shard of a partition: of a bag's it is the partition by now.
fn shard(order: RowOrder, partition: PartitionId, shards: u64) -> u64 {
    match order {
        RowOrder::Source => u64::from(partition.index) % shards,
        RowOrder::Ordered => 0,
        RowOrder::Unordered { .. } => u64::from(partition.index),
    }
}

/// Groups a batch's parcels into numbered parts: left partitions of a union before right ones, bags in encoded order.
fn parts<T: Exchange>(orders: &[RowOrder], spread: Spread, parcels: Parcels<T>) -> Vec<Part<T>> {
    let mut partitions: BTreeMap<PartitionId, Parcels<T>> = BTreeMap::new();
    for (partition, rows) in parcels {
        let part = match spread {
            Spread::All(shards) => {
                PartitionId { branch: 0, index: shard(orders[partition.branch as usize], partition, shards) as u32 }
            }
            _ => partition,
        };
        partitions.entry(part).or_default().push((partition, rows));
    }
    let part = |(partition, parcels): (PartitionId, Vec<_>)| {
        let number = partition.index + ((partition.branch as u32) << 16);
        Part { number, rows: in_order(orders, parcels, sort_by_encoded) }
    };
    partitions.into_iter().map(part).collect()
}

impl<'s, T: Debug + 'static> DStream<'s, T> {
    /// Writes the first `n` rows of each batch as text in process 0; `more` says whether there were others.
    pub(crate) fn attach_text(
        &self,
        operator: &OperatorId,
        verb: &str,
        n: usize,
        mut write: impl FnMut(&Tick, &[String], bool) -> Result<(), BoxError> + Send + 'static,
    ) {
        let graph = &self.node.graph;
        graph.register_operator::<T>(operator, verb, n);
        let home = graph.on_worker_0();
        let write = writer(move |plan, parts: Vec<&[String]>| {
            let rows = parts.first().copied().unwrap_or_default();
            write(plan, &rows[..rows.len().min(n)], rows.len() > n)
        });
        let output = graph.output(
            OutputSpec { name: operator.to_string(), parts: usize::from(graph.has_worker_0()), write, out: Completion::Written },
            false,
        );
        let mut deliver = deliver(graph, output);
        let (orders, schedule) = (self.node.orders.clone(), self.node.meta.schedule.clone());
        let first = batched(
            &graph.flow,
            operator,
            self.inner(),
            timely::dataflow::channels::pact::Pipeline,
            {
                let orders = orders.clone();
                move |pending, t, rows: Rows<T>| {
                    let partitions: &mut BTreeMap<PartitionId, Vec<String>> = pending.at(t);
                    shortlist(&orders, partitions, &rows, n);
                }
            },
            |_, partitions, emit| emit(partitions.into_iter().collect::<Vec<_>>()),
        );
        let done = batched(
            &graph.flow,
            operator,
            first,
            route(|_: &(PartitionId, Vec<String>)| 0),
            |pending, t, batch: Vec<(PartitionId, Vec<String>)>| {
                let all: &mut Vec<(PartitionId, Vec<String>)> = pending.at(t);
                all.extend(batch);
            },
            move |plan, all, _: &mut Emitter<'_, Rows<()>>| {
                if home {
                    let mut rows = in_order(&orders, all, |rows| rows.sort_unstable());
                    rows.truncate(n.saturating_add(1));
                    let bytes = rows.iter().map(String::len).sum();
                    deliver(plan, schedule.has(plan.time).then_some(rows), bytes);
                }
            },
        );
        done.probe_with(&graph.probe);
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

/// The text of a row: a string as it is, anything else as `{:?}`.
pub(crate) fn row_text<T: Debug + 'static>(row: &T) -> String {
    let any: &dyn Any = row;
    match (any.downcast_ref::<String>(), any.downcast_ref::<&'static str>()) {
        (Some(s), _) => s.clone(),
        (_, Some(s)) => s.to_string(),
        _ => format!("{row:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::context::StreamingContext;
    use crate::connector::queue::QueueSource;
    use std::sync::Mutex;

    /// The rows of each batch as a spread output without shards gets them.
    fn written(workers: u16, view: bool) -> Vec<Vec<(String, i64)>> {
        let words = |n: u64| (0..n).map(|i| format!("word {}", i * i % 40)).collect::<Vec<_>>();
        let queue = QueueSource::from_batches([words(30), words(0), words(50)]);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let job = StreamingContext::builder("spread", crate::core::time::millis(1)).workers(workers);
        let build = move |ssc: &StreamingContext<'_>| {
            let counts = ssc.queue_stream(&queue).count_by_value();
            let counts = if view { counts.sum_by_key().update() } else { counts };
            let log = log.clone();
            counts.attach_spread(&OperatorId::of("test"), "test", Spread::Local, Completion::Written, move |_, parts| {
                log.lock().unwrap().push(parts.iter().flat_map(|p| p.rows.clone()).collect());
                Ok(())
            });
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
