//! The watermark of a stream. Each worker sends the largest time of each source partition to worker 0, once per batch. Worker 0 keeps
//! them, and tells all workers the watermark before the batch and after it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Concat;

use super::max_drift;
use crate::api::context::Outbox;
use crate::api::dstream::{DStream, Lazy, RowOrder, lazy};
use crate::core::data::{Data, FastMap, PartitionId, Rows, encoded};
use crate::core::error::BoxError;
use crate::core::event_time::{Timestamped, WatermarkStrategy, shown};
use crate::core::plan::Plan;
use crate::core::time::BatchTime;
use crate::engine::flow::{Emitter, Flow, PendingBatches, VecStream, batched, map_containers, route};
use crate::engine::operator_id::OperatorId;
use crate::engine::state::{Changes, Groups, KeyedState};
use crate::engine::tick::Tick;
use crate::job::protocol::Event;
use crate::metrics::EventTimeInfo;
use crate::metrics::held::Held;
use crate::operator::kernel::to_one::partial;

/// The watermark before a batch, behind which its rows are late, and after it, which closes windows. In microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Watermark {
    pub before: i64,
    pub now: i64,
    /// The largest time of a row of the stream in this batch, on any worker. `None`: it had no row with a time.
    pub largest: Option<i64>,
}

/// The watermark of each batch, on every worker.
pub(super) type Watermarks<'s> = Rc<Lazy<'s, VecStream<'s, Watermark>>>;

impl Watermark {
    /// Both, this much earlier.
    pub fn earlier(self, by: i64) -> Self {
        Watermark { before: self.before.saturating_sub(by), now: self.now.saturating_sub(by), ..self }
    }
}

/// The key group whose chunk has all of the state. Worker 0 owns it, on any number of workers.
const GROUP: u64 = 0;

/// The partition of all rows of a branch that have none of their own.
const SHARED: u32 = u32::MAX;

/// A source partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Partition {
    /// The largest time.
    largest: i64,
    /// How long batches had no row of it, but had others: milliseconds of batch time.
    quiet: u64,
}

/// The source partitions that have rows, on worker 0.
struct Partitions {
    strategy: WatermarkStrategy,
    /// The batch interval in milliseconds.
    interval: u64,
    partitions: BTreeMap<PartitionId, Partition>,
    watermark: Watermark,
    /// Whether it changed since the last snapshot.
    changed: bool,
}

impl Partitions {
    fn new(strategy: WatermarkStrategy, interval: u64) -> Self {
        let watermark = Watermark { before: i64::MIN, now: i64::MIN, largest: None };
        Partitions { strategy, interval, partitions: BTreeMap::new(), watermark, changed: false }
    }

    /// The watermark of a batch with these largest times.
    fn batch(&mut self, largest: Vec<(PartitionId, i64)>, plan: &Plan) -> Watermark {
        let Watermark { now, .. } = self.watermark;
        (self.watermark.before, self.watermark.largest) = (now, largest.iter().map(|(_, time)| *time).max());
        self.changed = true;
        if largest.is_empty() {
            return self.watermark;
        }
        // A split id is used again when its split was read at once.
        let at_once: BTreeSet<u32> = plan.ranges.iter().filter(|r| r.split.read_at_once()).map(|r| r.split_id).collect();
        self.partitions.values_mut().for_each(|p| p.quiet = p.quiet.saturating_add(self.interval));
        for (mut id, largest) in largest {
            if at_once.contains(&id.index) {
                id.index = SHARED;
            }
            let partition = self.partitions.entry(id).or_insert(Partition { largest, quiet: 0 });
            *partition = Partition { largest: largest.max(partition.largest), quiet: 0 };
        }
        let idle = self.strategy.idle.as_millis();
        self.partitions.retain(|_, partition| u128::from(partition.quiet) < idle);
        let smallest = self.partitions.values().map(|partition| partition.largest).min();
        self.watermark.now = smallest.map_or(now, |smallest| now.max(self.strategy.below(smallest)));
        self.watermark
    }
}

impl KeyedState for Partitions {
    fn snapshot(&mut self, _: BatchTime) -> Changes {
        Changes { groups: Groups::first(std::mem::take(&mut self.changed)), expired: None }
    }

    fn held(&self) -> Held {
        Held::of_keys(self.partitions.len(), self.partitions.len() * size_of::<(PartitionId, Partition)>())
    }

    fn save(&mut self, group: u64, _: BatchTime) -> Vec<u8> {
        let known = group == GROUP && !self.partitions.is_empty();
        let Watermark { before, now, .. } = self.watermark;
        if known { encoded(&(&self.partitions, (before, now))) } else { Vec::new() }
    }

    fn load(&mut self, bytes: &[u8], _: BatchTime) -> Result<(), BoxError> {
        (self.partitions, (self.watermark.before, self.watermark.now)) = postcard::from_bytes(bytes)?;
        Ok(())
    }
}

/// The watermark of each batch, on every worker, also at the time of a checkpoint that was loaded.
pub(super) fn watermarks<'s, T: 'static>(
    rows: &DStream<'s, Timestamped<T>>,
    operator: &OperatorId,
    strategy: WatermarkStrategy,
) -> Lazy<'s, VecStream<'s, Watermark>> {
    let graph = rows.node.graph.clone();
    let state = Rc::new(RefCell::new(Partitions::new(strategy, graph.config.interval.millis())));
    let (_, owner) = graph.register_state(operator, state.clone());
    let (rows, operator) = (rows.clone(), operator.clone());
    lazy(move || {
        max_drift::align(&rows, &operator, strategy);
        let (owner, orders) = (owner.build(), rows.node.orders.clone());
        let largest = move |pending: &mut PendingBatches<FastMap<PartitionId, i64>>, t, rows: Rows<Timestamped<T>>| {
            let mut id = rows.partition;
            if !matches!(orders.get(usize::from(id.branch)), Some(RowOrder::ByPartition { lasting: true })) {
                id.index = SHARED;
            }
            let Some(new) = rows.rows.iter().map(|row| row.time).max() else { return };
            pending.at(t).entry(id).and_modify(|largest| *largest = new.max(*largest)).or_insert(new);
        };
        let partials = partial(&graph, &operator, rows.inner(), largest, |partitions| partitions.into_iter().collect());
        let (on_worker_0, peers) = (graph.on_worker_0(), graph.flow.scope.peers() as u64);
        let (outbox, reports) = (graph.outbox.clone(), operator.clone());
        let merge = |pending: &mut PendingBatches<Vec<(PartitionId, i64)>>, t, largest: Vec<_>| pending.at(t).extend(largest);
        let sent =
            batched(&graph.flow, &operator, partials, route(|_: &(PartitionId, i64)| 0), merge, move |tick, largest, emit| {
                let watermark = owner.batch(tick, || {
                    let mut state = state.borrow_mut();
                    if tick.restored { state.watermark } else { state.batch(largest, &tick.plan) }
                });
                if on_worker_0 {
                    report(&outbox, &reports, tick, watermark);
                    emit((0..peers).map(|worker| (worker, watermark)).collect());
                }
            });
        told_to_all(&graph.flow, &operator, sent)
    })
}

/// Tells the planner the event time of a stream after a batch.
pub(super) fn report(outbox: &Outbox, operator: &OperatorId, tick: &Tick, watermark: Watermark) {
    let Some(place) = operator.index().filter(|_| !tick.restored) else { return };
    let Watermark { now, largest: max, .. } = watermark;
    let (name, watermark) = (operator.to_string().into(), (now > i64::MIN).then_some(now));
    outbox.send(Event::Watermark { time: tick.time, info: EventTimeInfo { operator: place, name, watermark, max } });
}

/// Takes what worker 0 tells each worker to it.
pub(super) fn told_to_all<'s>(
    flow: &Flow<'s>,
    operator: &OperatorId,
    sent: VecStream<'s, (u64, Watermark)>,
) -> VecStream<'s, Watermark> {
    let keep = |pending: &mut PendingBatches<Vec<(u64, Watermark)>>, t, sent: Vec<_>| pending.at(t).extend(sent);
    batched(flow, operator, sent, route(|(worker, _): &(u64, Watermark)| *worker), keep, |_, sent, emit| {
        emit(sent.into_iter().map(|(_, watermark)| watermark).collect());
    })
}

/// The same watermarks, this much earlier.
pub(super) fn earlier<'s>(
    watermarks: &VecStream<'s, Watermark>,
    by: i64,
    operator: &OperatorId,
    flow: &Flow<'s>,
) -> VecStream<'s, Watermark> {
    map_containers(flow, operator, watermarks.clone(), move |_, watermarks: Vec<Watermark>, emit| {
        emit(watermarks.into_iter().map(|watermark| watermark.earlier(by)).collect());
    })
}

/// Reports the late rows of a batch that no stream takes: they are counted and logged like bad records.
pub(super) fn report_late(outbox: &Outbox, operator: &OperatorId, time: BatchTime, watermark: Watermark, records: u64) {
    if records > 0 {
        let (stream, first) = (format!("late rows of {operator}"), format!("behind the watermark {}", shown(watermark.before)));
        outbox.send(Event::BadRecords { stream, time, records, first, taken: false });
    }
}

/// A container of rows, or the watermark of their batch.
#[derive(Clone)]
enum Input<T> {
    Rows(Rows<T>),
    Watermark(Watermark),
}

/// The kernel of all verbs by event time: `absorb` takes containers while their batch is open. `finish` runs once per batch, with its
/// watermark.
pub(super) fn with_watermark<'s, T: Data, A: Default + 'static, O: timely::Container + Clone>(
    rows: &DStream<'s, T>,
    watermarks: &VecStream<'s, Watermark>,
    operator: &OperatorId,
    mut absorb: impl FnMut(&mut A, Rows<T>) + 'static,
    mut finish: impl FnMut(&Tick, Watermark, A, &mut Emitter<'_, O>) + 'static,
) -> timely::dataflow::Stream<'s, BatchTime, O> {
    let flow = rows.flow();
    let own = map_containers(flow, operator, rows.inner(), |_, rows: Rows<T>, emit| emit(vec![Input::Rows(rows)]));
    let all = map_containers(flow, operator, watermarks.clone(), |_, watermarks: Vec<Watermark>, emit| {
        emit(watermarks.into_iter().map(Input::Watermark).collect());
    });
    let each = move |pending: &mut PendingBatches<(A, Option<Watermark>)>, t, inputs: Vec<Input<T>>| {
        let (rows, watermark) = pending.at(t);
        for input in inputs {
            match input {
                Input::Rows(container) => absorb(rows, container),
                Input::Watermark(of_batch) => *watermark = Some(of_batch),
            }
        }
    };
    batched(flow, operator, own.concat(all), Pipeline, each, move |tick, (rows, watermark), emit| {
        finish(tick, watermark.expect("worker 0 sends the watermark of each batch"), rows, emit);
    })
}

/// See [`crate::engine::state::take_any`].
#[cfg(any(test, feature = "testing"))]
pub(super) fn take_any(bytes: &[u8]) -> bool {
    crate::engine::state::take_any(Partitions::new(crate::core::time::secs(1).into(), 1), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::plan::{Range, Split};
    use crate::core::time::{millis, secs};

    fn id(index: u32) -> PartitionId {
        PartitionId { branch: 0, index }
    }

    fn partitions(idle: u64) -> Partitions {
        let strategy = WatermarkStrategy::max_out_of_orderness(std::time::Duration::from_micros(10)).idle_after(millis(idle));
        Partitions::new(strategy, 1)
    }

    /// The watermarks after batches with these largest times.
    fn after(partitions: &mut Partitions, batches: &[&[(u32, i64)]]) -> Vec<i64> {
        let batch = |largest: &&[(u32, i64)]| {
            let largest = largest.iter().map(|(index, time)| (id(*index), *time)).collect();
            partitions.batch(largest, &Plan::default()).now
        };
        batches.iter().map(batch).collect()
    }

    #[test]
    fn the_slowest_partition_holds_the_watermark_until_it_is_idle() {
        let mut two = partitions(3);
        let batches: &[&[(u32, i64)]] =
            &[&[], &[(0, 100), (1, 50)], &[(0, 200)], &[(0, 180)], &[(0, 300)], &[(1, 60)], &[(0, 310), (1, 400)]];
        assert_eq!(after(&mut two, batches), [i64::MIN, 40, 40, 40, 290, 290, 300]);
    }

    #[test]
    fn batches_without_rows_make_no_partition_idle() {
        let mut two = partitions(2);
        let batches: &[&[(u32, i64)]] = &[&[(0, 100), (1, 50)], &[], &[], &[], &[(0, 200)], &[(0, 300)]];
        assert_eq!(after(&mut two, batches), [40, 40, 40, 40, 40, 290]);
    }

    #[test]
    fn files_are_one_partition() {
        let mut files = partitions(1_000);
        let file = |split_id| Range { source: 0, split_id, split: Split::custom_whole("object", 0, 9), from: 0, until: 9 };
        let plan = Plan { time: BatchTime::from_millis(1), ranges: vec![file(3), file(4)], shown: true };
        let Watermark { now, largest, .. } = files.batch(vec![(id(4), 500), (id(3), 100)], &plan);
        assert_eq!((now, largest), (490, Some(500)));
        assert_eq!(after(&mut files, &[&[(7, 300)]]), [490], "a partition that is read over many batches is apart");
        assert_eq!(files.partitions.len(), 2);
    }

    #[test]
    fn the_watermark_is_saved_in_one_group() {
        let mut before = partitions(3);
        let batches: &[&[(u32, i64)]] = &[&[(0, 100), (1, 50)], &[(0, 200)]];
        after(&mut before, batches);
        assert_eq!(before.snapshot(BatchTime::from_millis(2)).groups, Groups::first(true));
        assert_eq!(before.save(1, BatchTime::default()), [0u8; 0]);
        let mut again = partitions(3);
        again.load(&before.save(0, BatchTime::default()), BatchTime::from_millis(2)).unwrap();
        let saved = Watermark { largest: None, ..before.watermark };
        assert_eq!((again.watermark, &again.partitions), (saved, &before.partitions));
        assert_eq!(after(&mut again, &[&[(0, 210)], &[(0, 220)]]), after(&mut before, &[&[(0, 210)], &[(0, 220)]]));
        assert_eq!(partitions(3).save(0, BatchTime::default()), [0u8; 0], "nothing before the first row");
        let of = |before, now| Watermark { before, now, largest: Some(now) };
        assert_eq!(of(i64::MIN, 5).earlier(7), Watermark { largest: Some(5), ..of(i64::MIN, -2) });
        assert!(WatermarkStrategy::from(secs(1)).idle > secs(1));
    }
}
