//! The toolkit over raw timely: act once a batch, when it is closed; expand rows as they come; split in two; go home.
//!
//! Every operator of tidemill is built by one of these few functions, so that each says where it is (for the message of a
//! panic), acts on silence (by ticks), and releases what it emits by the frontier. Invariant: nothing here does I/O.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use timely::container::NoopBuilder;
use timely::dataflow::channels::pact::{Exchange as ExchangePact, ParallelizationContract, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, InputCapability};
use timely::dataflow::{Scope, Stream};
use timely::{Accountable, Container};

use crate::core::data::{Exchange, PartitionId, Rows};
use crate::core::plan::{Plan, Tick};
use crate::core::time::BatchTime;

/// The stream under a `DStream`.
pub(crate) type RowStream<'s, T> = Stream<'s, BatchTime, Rows<T>>;
/// A stream of single records, as exchanges need it.
pub(crate) type VecStream<'s, T> = Stream<'s, BatchTime, Vec<T>>;
/// Takes one container.
pub(crate) type Give<'a, C> = dyn FnMut(C) + 'a;
/// How records of type `D` are routed by a boxed function.
pub(crate) type Route<D> = ExchangePact<D, Box<dyn FnMut(&D) -> u64>>;

/// What every operator needs to be built: the scope, and the tick of each batch.
#[derive(Clone)]
pub(crate) struct Flow<'s> {
    pub scope: Scope<'s, BatchTime>,
    /// One plan a batch, on every worker, also when the batch is empty: the capability to act on silence.
    pub ticks: VecStream<'s, Arc<Tick>>,
}

/// Which operator this is, for people: the verb and the line that called it.
#[derive(Clone, Debug)]
pub(crate) struct Site(Arc<str>);

/// Where a thread is: the operator it entered last, and the batch. Others may look.
#[derive(Default)]
pub(crate) struct Spot(Mutex<(Option<Site>, Option<BatchTime>)>);

thread_local!(static HERE: Arc<Spot> = Arc::default());

impl Spot {
    /// That of the calling thread.
    pub fn here() -> Arc<Spot> {
        HERE.with(Arc::clone)
    }

    /// The operator and batch that ran last.
    pub fn read(&self) -> (String, Option<BatchTime>) {
        let here = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (here.0.as_ref().map_or_else(|| "the engine".into(), Site::name), here.1)
    }
}

impl Site {
    /// The verb, and the place in the program that called it.
    #[track_caller]
    pub fn of(verb: &str) -> Self {
        let at = std::panic::Location::caller();
        let file = at.file().rsplit('/').next().unwrap_or_default();
        Site(format!("{verb} ({file}:{})", at.line()).into())
    }

    /// A step the engine adds to a verb.
    pub fn engine(step: &str) -> Self {
        Site(step.into())
    }

    pub fn name(&self) -> String {
        self.0.to_string()
    }

    /// From here on, this operator runs, on this batch.
    pub fn enter(&self, time: Option<BatchTime>) {
        HERE.with(|here| *here.0.lock().unwrap_or_else(PoisonError::into_inner) = (Some(self.clone()), time));
    }

    /// The operator and batch that ran last on this thread: what a panic is reported with.
    pub fn last() -> (String, Option<BatchTime>) {
        HERE.with(|here| here.read())
    }
}

/// The batches an operator has open: one accumulator each, made when the first record of its time arrives.
pub(crate) struct Slots<A> {
    open: BTreeMap<BatchTime, Slot<A>>,
    cap: Option<InputCapability<BatchTime>>,
}

struct Slot<A> {
    cap: Capability<BatchTime>,
    plan: Option<Arc<Tick>>,
    acc: A,
}

impl<A: Default> Slots<A> {
    /// The accumulator of the records that come at this time.
    pub fn at(&mut self, t: BatchTime) -> &mut A {
        &mut self.slot(t).acc
    }

    fn slot(&mut self, t: BatchTime) -> &mut Slot<A> {
        let cap = &self.cap;
        self.open.entry(t).or_insert_with(|| Slot {
            cap: cap.as_ref().expect("a record is being absorbed").delayed(&t, 0),
            plan: None,
            acc: A::default(),
        })
    }
}

/// One output of an operator under construction, and the stream of what is given to it.
fn output<'s, O: Container + Clone>(builder: &mut OperatorBuilder<'s, BatchTime>) -> (Port<O>, Stream<'s, BatchTime, O>) {
    let (port, stream) = builder.new_output::<O>();
    (Port::from(port), stream)
}

/// Containers go out as they are given.
type Port<O> = OutputBuilder<BatchTime, NoopBuilder<O>>;

/// The one kernel of everything that works by the batch: `absorb` takes containers as they come, already while the batch is
/// open; `finish` is called once for every batch, in order, when it is closed and complete here, also when it is empty.
pub(crate) fn batched<'s, C, P, A, O>(
    flow: &Flow<'s>,
    site: &Site,
    input: Stream<'s, BatchTime, C>,
    pact: P,
    mut absorb: impl FnMut(&mut Slots<A>, BatchTime, C) + 'static,
    mut finish: impl FnMut(&Arc<Tick>, A, &mut Give<'_, O>) + 'static,
) -> Stream<'s, BatchTime, O>
where
    C: Container,
    P: ParallelizationContract<BatchTime, C>,
    A: Default + 'static,
    O: Container + Clone,
{
    let mut builder = OperatorBuilder::new(site.name(), flow.scope);
    let mut data = builder.new_input(input, pact);
    let mut ticks = builder.new_input(flow.ticks.clone(), Pipeline);
    let (mut out, stream) = output::<O>(&mut builder);
    let site = site.clone();
    builder.build(move |caps| {
        drop(caps);
        let mut slots = Slots { open: BTreeMap::new(), cap: None };
        move |frontiers| {
            // In the order of arrival: what a worker tells another about keys builds on what it said before.
            let mut at = None;
            data.for_each(|cap, container| {
                let t = *cap.time();
                if at.replace(t) != Some(t) {
                    site.enter(Some(t));
                }
                slots.cap = Some(cap);
                absorb(&mut slots, t, std::mem::take(container));
                slots.cap = None;
            });
            ticks.for_each(|cap, plans| {
                slots.cap = Some(cap);
                for plan in plans.drain(..) {
                    let t = plan.time;
                    slots.slot(t).plan = Some(plan);
                }
                slots.cap = None;
            });
            let mut out = out.activate();
            while let Some(first) = slots.open.first_entry() {
                let t = *first.key();
                if frontiers.iter().any(|f| f.less_equal(&t)) {
                    break;
                }
                let slot = first.remove();
                site.enter(Some(t));
                let plan = slot.plan.unwrap_or_else(|| {
                    let plan = Plan { time: t, ranges: Vec::new(), shown: true };
                    Arc::new(Tick { plan, ..Tick::default() })
                });
                let mut session = out.session_with_builder(&slot.cap);
                finish(&plan, slot.acc, &mut |mut c| {
                    if !Accountable::is_empty(&c) {
                        session.give_container(&mut c);
                    }
                });
            }
        }
    });
    stream
}

/// What `batched` absorbs of changes: those of each batch. Differential gives them by key, times mixed; most often there is one time.
pub(crate) fn by_batch<X>(slots: &mut Slots<Vec<(X, i64)>>, _: BatchTime, changes: Vec<(X, BatchTime, i64)>) {
    let mut changes = changes.into_iter().peekable();
    while let Some((x, t, n)) = changes.next() {
        let at = slots.at(t);
        at.push((x, n));
        while let Some((x, _, n)) = changes.next_if(|(_, u, _)| *u == t) {
            at.push((x, n));
        }
    }
}

/// The kernel of everything that treats containers one by one and keeps nothing.
pub(crate) fn expand<'s, C, O>(
    flow: &Flow<'s>,
    site: &Site,
    input: Stream<'s, BatchTime, C>,
    mut each: impl FnMut(BatchTime, C, &mut Give<'_, O>) + 'static,
) -> Stream<'s, BatchTime, O>
where
    C: Container,
    O: Container + Clone,
{
    let (stream, _none) = fork(flow, site, input, move |t, c, give, _: &mut Give<'_, Rows<()>>| each(t, c, give));
    stream
}

/// As `expand`, into two streams: what went well and what did not.
pub(crate) fn fork<'s, C, O, E>(
    flow: &Flow<'s>,
    site: &Site,
    input: Stream<'s, BatchTime, C>,
    mut each: impl FnMut(BatchTime, C, &mut Give<'_, O>, &mut Give<'_, E>) + 'static,
) -> (Stream<'s, BatchTime, O>, Stream<'s, BatchTime, E>)
where
    C: Container,
    O: Container + Clone,
    E: Container + Clone,
{
    let mut builder = OperatorBuilder::new(site.name(), flow.scope);
    let mut data = builder.new_input(input, Pipeline);
    builder.set_notify_for(0, timely::progress::operate::FrontierInterest::Never);
    let (mut oks, ok_stream) = output::<O>(&mut builder);
    let (mut errs, err_stream) = output::<E>(&mut builder);
    let site = site.clone();
    builder.build(move |caps| {
        drop(caps);
        move |_frontiers| {
            let (mut oks, mut errs) = (oks.activate(), errs.activate());
            // Not `for_each_time`: it sorts by time, and may change the places of containers of one time.
            data.for_each(|cap, container| {
                let t = *cap.time();
                site.enter(Some(t));
                let (ok_cap, err_cap) = (cap.retain(0), cap.retain(1));
                let (mut ok, mut err) = (oks.session_with_builder(&ok_cap), errs.session_with_builder(&err_cap));
                each(t, std::mem::take(container), &mut |mut o| give_rows(&mut o, |o| ok.give_container(o)), &mut |mut e| {
                    give_rows(&mut e, |e| err.give_container(e))
                });
            });
        }
    });
    (ok_stream, err_stream)
}

/// As `batched`, with a second output for what is given at once: `absorb` may give to it, `finish` gives to the first. If `eager`,
/// what is there of a batch goes on its way when a container of a later one comes, and the rest, if any comes, at its end.
pub(crate) fn batched_fork<'s, C, A, O, E>(
    flow: &Flow<'s>,
    site: &Site,
    input: Stream<'s, BatchTime, C>,
    eager: bool,
    mut absorb: impl FnMut(&mut A, BatchTime, C, &mut Give<'_, E>) + 'static,
    mut finish: impl FnMut(A, &mut Give<'_, O>) + 'static,
) -> (Stream<'s, BatchTime, O>, Stream<'s, BatchTime, E>)
where
    C: Container,
    A: Default + 'static,
    O: Container + Clone,
    E: Container + Clone,
{
    let mut builder = OperatorBuilder::new(site.name(), flow.scope);
    let mut data = builder.new_input(input, Pipeline);
    let (mut oks, ok_stream) = output::<O>(&mut builder);
    let (mut errs, err_stream) = output::<E>(&mut builder);
    let site = site.clone();
    builder.build(move |caps| {
        drop(caps);
        let mut open: BTreeMap<BatchTime, (Capability<BatchTime>, A)> = BTreeMap::new();
        let mut newest = None;
        move |frontiers| {
            let (mut oks, mut errs) = (oks.activate(), errs.activate());
            let mut finish = |cap: &Capability<BatchTime>, acc| {
                let mut ok = oks.session_with_builder(cap);
                finish(acc, &mut |mut o| give_rows(&mut o, |o| ok.give_container(o)));
            };
            data.for_each(|cap, container| {
                let t = *cap.time();
                site.enter(Some(t));
                if newest < Some(t) {
                    let before = newest.replace(t).and_then(|before| open.get_mut(&before));
                    if eager && let Some((cap, acc)) = before {
                        finish(cap, std::mem::take(acc));
                    }
                }
                let err_cap = cap.retain(1);
                let mut err = errs.session_with_builder(&err_cap);
                let (_, acc) = open.entry(t).or_insert_with(|| (cap.retain(0), A::default()));
                absorb(acc, t, std::mem::take(container), &mut |mut e| give_rows(&mut e, |e| err.give_container(e)));
            });
            while let Some(first) = open.first_entry() {
                let t = *first.key();
                if frontiers[0].less_equal(&t) {
                    break;
                }
                site.enter(Some(t));
                let (cap, acc) = first.remove();
                finish(&cap, acc);
            }
        }
    });
    (ok_stream, err_stream)
}

/// Empty containers are not sent: progress would have to count them.
fn give_rows<C: Accountable>(container: &mut C, give: impl FnOnce(&mut C)) {
    if !Accountable::is_empty(container) {
        give(container);
    }
}

/// Routes records by a function: to the worker whose index is the result modulo the workers.
pub(crate) fn route<D: Exchange>(to: impl FnMut(&D) -> u64 + 'static) -> Route<D> {
    ExchangePact::new(Box::new(to) as Box<dyn FnMut(&D) -> u64>)
}

/// Rows of one partition, on their way to another worker.
pub(crate) type Parcel<T> = (u64, PartitionId, Vec<T>);

/// Addresses rows to a worker, partitions kept; the home worker is 0.
pub(crate) fn to<'s, T: Exchange>(
    flow: &Flow<'s>,
    site: &Site,
    input: RowStream<'s, T>,
    worker: u64,
) -> VecStream<'s, Parcel<T>> {
    expand(flow, site, input, move |_, rows: Rows<T>, give| give(vec![(worker, rows.partition, rows.take())]))
}

/// The pact of parcels: each names its worker.
pub(crate) fn parcels<T: Exchange>() -> Route<Parcel<T>> {
    route(|(to, _, _): &Parcel<T>| *to)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use timely::container::CapacityContainerBuilder;
    use timely::dataflow::operators::core::UnorderedInput;
    use timely::dataflow::operators::vec::ToStream;

    use super::*;

    /// What a worker is sent of two batches at once waits in one queue.
    #[test]
    fn containers_of_one_time_keep_their_places_however_many_wait() {
        let seen = timely::execute_directly(|worker| {
            let seen: Rc<RefCell<Vec<(BatchTime, u64)>>> = Rc::default();
            let own = seen.clone();
            let (mut input, cap) = worker.dataflow(|scope| {
                let (input, stream) = scope.new_unordered_input::<CapacityContainerBuilder<Vec<u64>>>();
                let flow = Flow { scope, ticks: Vec::new().to_stream(scope) };
                let _: VecStream<'_, u64> = expand(&flow, &Site::engine("test"), stream, move |t, rows: Vec<u64>, _| {
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

    /// What a fork that adds up lets go, batch by batch: after each of the containers, and at the end of them all.
    fn let_go(eager: bool, containers: &'static [(u64, u64)]) -> Vec<Vec<(u64, u64)>> {
        timely::execute_directly(move |worker| {
            let seen: Rc<RefCell<Vec<(u64, u64)>>> = Rc::default();
            let own = seen.clone();
            let (mut input, cap) = worker.dataflow(|scope| {
                let (input, stream) = scope.new_unordered_input::<CapacityContainerBuilder<Vec<u64>>>();
                let flow = Flow { scope, ticks: Vec::new().to_stream(scope) };
                let site = Site::engine("test");
                let add = |sum: &mut u64, _, rows: Vec<u64>, _: &mut Give<'_, Vec<()>>| *sum += rows.into_iter().sum::<u64>();
                let (sums, _) = batched_fork(&flow, &site, stream, eager, add, |sum, give| give(vec![sum; usize::from(sum > 0)]));
                let _: VecStream<'_, u64> = expand(&flow, &site, sums, move |t, rows: Vec<u64>, _| {
                    own.borrow_mut().extend(rows.into_iter().map(|n| (t.millis(), n)));
                });
                input
            });
            let caps = [1, 2, 3].map(|t| cap.delayed(&BatchTime::from_millis(t)));
            drop(cap);
            let mut gone = Vec::new();
            for (t, n) in containers {
                input.activate().session(&caps[*t as usize - 1]).give(*n);
                (0..5).for_each(|_| _ = worker.step());
                gone.push(seen.take());
            }
            drop(caps);
            while worker.step() {}
            gone.push(seen.take());
            gone
        })
    }

    #[test]
    fn what_is_eager_goes_when_a_later_batch_comes_and_the_rest_at_its_end() {
        let containers = &[(1, 1), (1, 2), (2, 10), (1, 4), (2, 20), (3, 100), (2, 40)];
        let nothing = Vec::new;
        assert_eq!(
            let_go(true, containers),
            [nothing(), nothing(), vec![(1, 3)], nothing(), nothing(), vec![(2, 30)], nothing(), vec![(1, 4), (2, 40), (3, 100)],]
        );
        let mut late = vec![nothing(); 7];
        late.push(vec![(1, 7), (2, 70), (3, 100)]);
        assert_eq!(let_go(false, containers), late);
    }
}
