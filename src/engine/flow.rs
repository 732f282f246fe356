//! The toolkit over timely: act once per closed batch, map containers, split into two streams, route rows to workers.
//!
//! These few functions build every operator. So each operator names itself (for the message of a panic), acts on an empty batch
//! (by its tick), and releases its output by the frontier. Invariant: nothing here does I/O.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use timely::container::NoopBuilder;
use timely::dataflow::channels::pact::{Exchange as ExchangePact, ParallelizationContract, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, Concat, InputCapability};
use timely::dataflow::{Scope, Stream};
use timely::{Accountable, Container};

use crate::core::data::{Exchange, PartitionId, Rows};
use crate::core::plan::Plan;
use crate::core::time::BatchTime;
use crate::engine::meter::{MadeBy, Meter, Turn};
use crate::engine::operator_id::OperatorId;
use crate::engine::tick::Tick;

/// The stream under a `DStream`.
pub(crate) type RowStream<'s, T> = Stream<'s, BatchTime, Rows<T>>;
/// A stream of single records, as exchanges need it.
pub(crate) type VecStream<'s, T> = Stream<'s, BatchTime, Vec<T>>;
/// Takes one container and sends it on.
pub(crate) type Emitter<'a, C> = dyn FnMut(C) + 'a;
/// Routes records of type `D` by a boxed function.
pub(crate) type Route<D> = ExchangePact<D, Box<dyn FnMut(&D) -> u64>>;

/// The inputs of every operator: the scope, and the tick of each batch.
#[derive(Clone)]
pub(crate) struct Flow<'s> {
    pub scope: Scope<'s, BatchTime>,
    /// One tick per batch on every worker, also for an empty batch. It carries the capability to act without input.
    ticks: VecStream<'s, Arc<Tick>>,
    /// Whether an operator keeps the capability of a tick, to emit in a batch in which it gets nothing.
    keeps_ticks: bool,
}

impl<'s> Flow<'s> {
    pub fn new(scope: Scope<'s, BatchTime>, ticks: VecStream<'s, Arc<Tick>>) -> Self {
        Flow { scope, ticks, keeps_ticks: true }
    }

    /// For operators that emit only in batches in which they got something on this worker.
    ///
    /// Every worker tells every other worker that it has dropped a capability. So an empty batch costs messages that grow with the square
    /// of the workers for each operator that keeps its ticks, and none for the others.
    pub fn silent_when_empty(&self) -> Self {
        Flow { keeps_ticks: false, ..self.clone() }
    }
}

/// The open batches of an operator. Each has an accumulator, created when the first record of its time arrives.
pub(crate) struct PendingBatches<A> {
    open: BTreeMap<BatchTime, PendingBatch<A>>,
    cap: Option<InputCapability<BatchTime>>,
}

struct PendingBatch<A> {
    /// Set if the operator may emit: it got something, or keeps its ticks.
    cap: Option<Capability<BatchTime>>,
    tick: Option<Arc<Tick>>,
    acc: A,
}

impl<A: Default> PendingBatches<A> {
    /// The accumulator of the batch of this time.
    pub fn at(&mut self, t: BatchTime) -> &mut A {
        let cap = self.cap.as_ref().expect("a record is being absorbed");
        let batch = self.open.entry(t).or_default();
        batch.cap.get_or_insert_with(|| cap.delayed(&t, 0));
        &mut batch.acc
    }

    /// Takes the tick of a batch; `cap` lets the operator emit.
    fn end(&mut self, tick: Arc<Tick>, cap: Option<&InputCapability<BatchTime>>) {
        let t = tick.time;
        let batch = self.open.entry(t).or_default();
        batch.tick = Some(tick);
        batch.cap = batch.cap.take().or_else(|| cap.map(|cap| cap.delayed(&t, 0)));
    }
}

impl<A: Default> Default for PendingBatch<A> {
    fn default() -> Self {
        PendingBatch { cap: None, tick: None, acc: A::default() }
    }
}

/// An operator under construction that reads this stream, and its meter.
fn step<'s, C>(
    flow: &Flow<'s>,
    operator: &OperatorId,
    input: &Stream<'s, BatchTime, C>,
) -> (OperatorBuilder<'s, BatchTime>, Meter) {
    let builder = OperatorBuilder::new(operator.to_string(), flow.scope);
    let meter = Meter::new(operator, flow.scope, builder.index(), &[MadeBy::of(input)]);
    (builder, meter)
}

/// Two streams of steps of one operator, for its next step.
pub(crate) fn concat<'s, C: Container>(
    operator: &OperatorId,
    left: Stream<'s, BatchTime, C>,
    right: Stream<'s, BatchTime, C>,
) -> Stream<'s, BatchTime, C> {
    let from = [MadeBy::of(&left), MadeBy::of(&right)];
    let both = left.concat(right);
    let _unread = Meter::new(operator, both.scope(), both.name().node, &from);
    both
}

/// One output of an operator under construction, and the stream of what it emits.
fn output<'s, O: Container + Clone>(builder: &mut OperatorBuilder<'s, BatchTime>) -> (Port<O>, Stream<'s, BatchTime, O>) {
    let (port, stream) = builder.new_output::<O>();
    (Port::from(port), stream)
}

/// Containers are sent as they are.
type Port<O> = OutputBuilder<BatchTime, NoopBuilder<O>>;

/// The batch time of a container. Differential may send changes of several batches in one container: then it is the first of them.
fn time(cap: &InputCapability<BatchTime>) -> BatchTime {
    *cap.least().expect("containers are sent at a batch time")
}

/// The kernel of every operator that works by the batch. `absorb` takes containers as they arrive, also while the batch is open.
/// `finish` runs once per batch, in order, when the batch is closed and complete on this worker; also for an empty batch. With
/// [`Flow::silent_when_empty`], it must not emit for a batch of which `absorb` took nothing, except for restored rows.
pub(crate) fn batched<'s, C, P, A, O>(
    flow: &Flow<'s>,
    operator: &OperatorId,
    input: Stream<'s, BatchTime, C>,
    pact: P,
    absorb: impl FnMut(&mut PendingBatches<A>, BatchTime, C) + 'static,
    mut finish: impl FnMut(&Arc<Tick>, A, &mut Emitter<'_, O>) + 'static,
) -> Stream<'s, BatchTime, O>
where
    C: Container,
    P: ParallelizationContract<BatchTime, C>,
    A: Default + 'static,
    O: Container + Clone,
{
    batched_until(flow, operator, input, pact, absorb, move |tick, acc, emit| {
        finish(tick, acc, emit);
        true
    })
}

/// Like `batched`, for an operator that may end the job. If `finish` returns `false`, the batch never completes: no operator below, on any
/// worker, finishes it.
pub(crate) fn batched_until<'s, C, P, A, O>(
    flow: &Flow<'s>,
    operator: &OperatorId,
    input: Stream<'s, BatchTime, C>,
    pact: P,
    mut absorb: impl FnMut(&mut PendingBatches<A>, BatchTime, C) + 'static,
    mut finish: impl FnMut(&Arc<Tick>, A, &mut Emitter<'_, O>) -> bool + 'static,
) -> Stream<'s, BatchTime, O>
where
    C: Container,
    P: ParallelizationContract<BatchTime, C>,
    A: Default + 'static,
    O: Container + Clone,
{
    let (mut builder, meter) = step(flow, operator, &input);
    let mut data = builder.new_input(input, pact);
    let mut ticks = builder.new_input(flow.ticks.clone(), Pipeline);
    let (mut out, stream) = output::<O>(&mut builder);
    let keeps_ticks = flow.keeps_ticks;
    builder.build(move |caps| {
        drop(caps);
        let mut pending = PendingBatches { open: BTreeMap::new(), cap: None };
        let mut held = None;
        move |frontiers| {
            let mut turn = meter.turn();
            // In order of arrival: a code refers to a key that the same worker sent earlier (kernel/partial_table).
            data.for_each(|cap, container| {
                let t = time(&cap);
                turn.enter(t);
                turn.took(rows(container));
                pending.cap = Some(cap);
                absorb(&mut pending, t, std::mem::take(container));
                pending.cap = None;
            });
            ticks.for_each(|cap, ticks| {
                for tick in ticks.drain(..) {
                    let keeps = keeps_ticks || tick.restored;
                    pending.end(tick, keeps.then_some(&cap));
                }
            });
            let mut out = out.activate();
            while let Some(first) = pending.open.first_entry() {
                let t = *first.key();
                if frontiers.iter().any(|f| f.less_equal(&t)) {
                    break;
                }
                let batch = first.remove();
                turn.enter(t);
                let tick = batch.tick.unwrap_or_else(|| {
                    let plan = Plan { time: t, ranges: Vec::new(), shown: true };
                    Arc::new(Tick { plan, ..Tick::default() })
                });
                let mut session = batch.cap.as_ref().map(|cap| out.session_with_builder(cap));
                let done = finish(&tick, batch.acc, &mut |mut c| {
                    give_rows(&mut c, |c| {
                        turn.gave(0, rows(c));
                        session.as_mut().expect("an operator that keeps its ticks, or got rows").give_container(c);
                    });
                });
                drop(session);
                if !done {
                    held = held.take().or(batch.cap);
                }
            }
        }
    });
    stream
}

/// Like `batched`, for containers that are kept in order of arrival until their batch is complete. They stay on their worker.
pub(crate) fn collect_batches<'s, C, O>(
    flow: &Flow<'s>,
    operator: &OperatorId,
    input: Stream<'s, BatchTime, C>,
    finish: impl FnMut(&Arc<Tick>, Vec<C>, &mut Emitter<'_, O>) + 'static,
) -> Stream<'s, BatchTime, O>
where
    C: Container,
    O: Container + Clone,
{
    batched(flow, operator, input, Pipeline, |pending, t, container| pending.at(t).push(container), finish)
}

/// An `absorb` for changes, which sorts them into their batches. Differential emits them by key, so a container may have several
/// times. Usually it has one.
pub(crate) fn by_batch<X>(pending: &mut PendingBatches<Vec<(X, i64)>>, _: BatchTime, changes: Vec<(X, BatchTime, i64)>) {
    let mut changes = changes.into_iter().peekable();
    while let Some((x, t, n)) = changes.next() {
        let at = pending.at(t);
        at.reserve(1 + changes.len());
        at.push((x, n));
        while let Some((x, _, n)) = changes.next_if(|(_, u, _)| *u == t) {
            at.push((x, n));
        }
    }
}

/// The kernel of every operator that maps containers one by one and keeps nothing.
pub(crate) fn map_containers<'s, C, O>(
    flow: &Flow<'s>,
    operator: &OperatorId,
    input: Stream<'s, BatchTime, C>,
    mut each: impl FnMut(BatchTime, C, &mut Emitter<'_, O>) + 'static,
) -> Stream<'s, BatchTime, O>
where
    C: Container,
    O: Container + Clone,
{
    let (stream, _none) = split_map(flow, operator, input, move |t, c, emit, _: &mut Emitter<'_, Rows<()>>| each(t, c, emit));
    stream
}

/// Like `map_containers`, into two streams: results and errors.
pub(crate) fn split_map<'s, C, O, E>(
    flow: &Flow<'s>,
    operator: &OperatorId,
    input: Stream<'s, BatchTime, C>,
    mut each: impl FnMut(BatchTime, C, &mut Emitter<'_, O>, &mut Emitter<'_, E>) + 'static,
) -> (Stream<'s, BatchTime, O>, Stream<'s, BatchTime, E>)
where
    C: Container,
    O: Container + Clone,
    E: Container + Clone,
{
    let (mut builder, meter) = step(flow, operator, &input);
    let mut data = builder.new_input(input, Pipeline);
    builder.set_notify_for(0, timely::progress::operate::FrontierInterest::Never);
    let (mut oks, ok_stream) = output::<O>(&mut builder);
    let (mut errs, err_stream) = output::<E>(&mut builder);
    builder.build(move |caps| {
        drop(caps);
        move |_frontiers| {
            let turn = RefCell::new(meter.turn());
            let (mut oks, mut errs) = (oks.activate(), errs.activate());
            // Not `for_each_time`: it sorts by time, and may reorder containers of one time.
            data.for_each(|cap, container| {
                let t = time(&cap);
                turn.borrow_mut().enter(t);
                turn.borrow_mut().took(rows(container));
                let (ok_cap, err_cap) = (cap.delayed(&t, 0), cap.delayed(&t, 1));
                let (mut ok, mut err) = (oks.session_with_builder(&ok_cap), errs.session_with_builder(&err_cap));
                let mut ok = |mut o| {
                    give_rows(&mut o, |o| {
                        turn.borrow_mut().gave(0, rows(o));
                        ok.give_container(o);
                    })
                };
                let mut err = |mut e| {
                    give_rows(&mut e, |e| {
                        turn.borrow_mut().gave(1, rows(e));
                        err.give_container(e);
                    })
                };
                each(t, std::mem::take(container), &mut ok, &mut err);
            });
        }
    });
    (ok_stream, err_stream)
}

/// Like `batched`, with a second output to which `absorb` may write immediately; `finish` writes to the first. If `eager`, a batch's
/// accumulator is flushed when the first container of a later batch arrives, and again when the batch closes.
pub(crate) fn batched_split<'s, C, A, O, E>(
    flow: &Flow<'s>,
    operator: &OperatorId,
    input: Stream<'s, BatchTime, C>,
    eager: bool,
    mut absorb: impl FnMut(&mut A, BatchTime, C, &mut Emitter<'_, E>) + 'static,
    mut finish: impl FnMut(A, &mut Emitter<'_, O>) + 'static,
) -> (Stream<'s, BatchTime, O>, Stream<'s, BatchTime, E>)
where
    C: Container,
    A: Default + 'static,
    O: Container + Clone,
    E: Container + Clone,
{
    let (mut builder, meter) = step(flow, operator, &input);
    let mut data = builder.new_input(input, Pipeline);
    let (mut oks, ok_stream) = output::<O>(&mut builder);
    let (mut errs, err_stream) = output::<E>(&mut builder);
    builder.build(move |caps| {
        drop(caps);
        let mut open: BTreeMap<BatchTime, (Capability<BatchTime>, A)> = BTreeMap::new();
        let mut newest = None;
        move |frontiers| {
            let mut turn = meter.turn();
            let (mut oks, mut errs) = (oks.activate(), errs.activate());
            let mut finish = |turn: &mut Turn<'_>, cap: &Capability<BatchTime>, acc| {
                let mut ok = oks.session_with_builder(cap);
                finish(acc, &mut |mut o| {
                    give_rows(&mut o, |o| {
                        turn.gave(0, rows(o));
                        ok.give_container(o);
                    })
                });
            };
            data.for_each(|cap, container| {
                let t = time(&cap);
                turn.enter(t);
                turn.took(rows(container));
                if newest < Some(t) {
                    let before = newest.replace(t).and_then(|before| open.get_mut(&before));
                    if eager && let Some((cap, acc)) = before {
                        finish(&mut turn, cap, std::mem::take(acc));
                    }
                }
                let err_cap = cap.delayed(&t, 1);
                let mut err = errs.session_with_builder(&err_cap);
                let (_, acc) = open.entry(t).or_insert_with(|| (cap.delayed(&t, 0), A::default()));
                absorb(acc, t, std::mem::take(container), &mut |mut e| {
                    give_rows(&mut e, |e| {
                        turn.gave(1, rows(e));
                        err.give_container(e);
                    })
                });
            });
            while let Some(first) = open.first_entry() {
                let t = *first.key();
                if frontiers[0].less_equal(&t) {
                    break;
                }
                turn.enter(t);
                let (cap, acc) = first.remove();
                finish(&mut turn, &cap, acc);
            }
        }
    });
    (ok_stream, err_stream)
}

/// How many rows a container has.
fn rows(container: &impl Accountable) -> usize {
    Accountable::record_count(container) as usize
}

/// Skips empty containers, because progress tracking would count them.
fn give_rows<C: Accountable>(container: &mut C, emit: impl FnOnce(&mut C)) {
    if !Accountable::is_empty(container) {
        emit(container);
    }
}

/// Sends each record to worker `to(record)`, modulo the number of workers.
pub(crate) fn route<D: Exchange>(to: impl FnMut(&D) -> u64 + 'static) -> Route<D> {
    ExchangePact::new(Box::new(to) as Box<dyn FnMut(&D) -> u64>)
}

/// Rows of one partition, addressed to a worker.
pub(crate) type Routed<T> = (u64, PartitionId, Vec<T>);

/// Addresses all rows to one worker; they keep their partitions.
pub(crate) fn route_to<'s, T: Exchange>(
    flow: &Flow<'s>,
    operator: &OperatorId,
    input: RowStream<'s, T>,
    worker: u64,
) -> VecStream<'s, Routed<T>> {
    map_containers(flow, operator, input, move |_, rows: Rows<T>, emit| emit(vec![(worker, rows.partition, rows.take())]))
}

/// The pact of routed rows: each goes to the worker that it names.
pub(crate) fn by_address<T: Exchange>() -> Route<Routed<T>> {
    route(|(to, _, _): &Routed<T>| *to)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use timely::container::CapacityContainerBuilder;
    use timely::dataflow::operators::core::UnorderedInput;
    use timely::dataflow::operators::vec::ToStream;

    use super::*;

    /// Containers of two batches wait in one queue.
    #[test]
    fn containers_of_one_time_stay_in_order() {
        let seen = timely::execute_directly(|worker| {
            let seen: Rc<RefCell<Vec<(BatchTime, u64)>>> = Rc::default();
            let own = seen.clone();
            let (mut input, cap) = worker.dataflow(|scope| {
                let (input, stream) = scope.new_unordered_input::<CapacityContainerBuilder<Vec<u64>>>();
                let flow = Flow::new(scope, Vec::new().to_stream(scope));
                let _: VecStream<'_, u64> =
                    map_containers(&flow, &OperatorId::step("test"), stream, move |t, rows: Vec<u64>, _| {
                        own.borrow_mut().extend(rows.into_iter().map(|n| (t, n)));
                    });
                input
            });
            let caps = [1, 2].map(|t| cap.delayed(&BatchTime::from_millis(t)));
            drop(cap);
            for n in 0..200u64 {
                let mut input = input.activate();
                input.session(&caps[(n % 7 % 2) as usize]).give(n);
            }
            drop(caps);
            while worker.step() {}
            seen.take()
        });
        assert_eq!(seen.len(), 200);
        for t in [1, 2].map(BatchTime::from_millis) {
            assert!(seen.iter().filter(|(u, _)| *u == t).map(|(_, n)| n).is_sorted(), "{seen:?}");
        }
    }

    /// The output of a split that adds: after each container, and at the end.
    fn flushed(eager: bool, containers: &'static [(u64, u64)]) -> Vec<Vec<(u64, u64)>> {
        timely::execute_directly(move |worker| {
            let seen: Rc<RefCell<Vec<(u64, u64)>>> = Rc::default();
            let own = seen.clone();
            let (mut input, cap) = worker.dataflow(|scope| {
                let (input, stream) = scope.new_unordered_input::<CapacityContainerBuilder<Vec<u64>>>();
                let flow = Flow::new(scope, Vec::new().to_stream(scope));
                let operator = OperatorId::step("test");
                let add = |sum: &mut u64, _, rows: Vec<u64>, _: &mut Emitter<'_, Vec<()>>| *sum += rows.into_iter().sum::<u64>();
                let (sums, _) =
                    batched_split(&flow, &operator, stream, eager, add, |sum, emit| emit(vec![sum; usize::from(sum > 0)]));
                let _: VecStream<'_, u64> = map_containers(&flow, &operator, sums, move |t, rows: Vec<u64>, _| {
                    own.borrow_mut().extend(rows.into_iter().map(|n| (t.millis(), n)));
                });
                input
            });
            let caps = [1, 2, 3].map(|t| cap.delayed(&BatchTime::from_millis(t)));
            drop(cap);
            let mut emitted = Vec::new();
            for (t, n) in containers {
                input.activate().session(&caps[*t as usize - 1]).give(*n);
                (0..5).for_each(|_| _ = worker.step());
                emitted.push(seen.take());
            }
            drop(caps);
            while worker.step() {}
            emitted.push(seen.take());
            emitted
        })
    }

    #[test]
    fn an_eager_batch_is_flushed_when_a_later_one_begins_and_when_it_closes() {
        let containers = &[(1, 1), (1, 2), (2, 10), (1, 4), (2, 20), (3, 100), (2, 40)];
        let nothing = Vec::new;
        assert_eq!(
            flushed(true, containers),
            [nothing(), nothing(), vec![(1, 3)], nothing(), nothing(), vec![(2, 30)], nothing(), vec![(1, 4), (2, 40), (3, 100)],]
        );
        let mut late = vec![nothing(); 7];
        late.push(vec![(1, 7), (2, 70), (3, 100)]);
        assert_eq!(flushed(false, containers), late);
    }
}
