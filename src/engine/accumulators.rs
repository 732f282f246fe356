//! The accumulators of a program: what verbs add on each worker goes with the end of the batch to worker 0, which keeps the totals.
//!
//! Invariant: a part belongs to the batch of its rows. It is taken when the frontier has passed this batch behind every output, so
//! no function of the batch runs any more. The totals are state: what a batch added counts once, however often the batch runs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Concatenate;

use crate::core::data::{Rows, encoded};
use crate::core::error::BoxError;
use crate::core::lock::lock;
use crate::core::monoid::Monoid;
use crate::core::time::BatchTime;
use crate::engine::flow::{Emitter, Flow, RowStream, batched, route};
use crate::engine::operator_id::OperatorId;
use crate::engine::state::{Changes, Groups, KeyedState, UnbuiltState};
use crate::metrics::held::Held;
use crate::metrics::{AccumulatorInfo, Accumulators};

/// What one worker has added to an accumulator in the batches that are not computed.
pub(crate) struct Parts<A>(Mutex<BTreeMap<BatchTime, A>>);

impl<A> Default for Parts<A> {
    fn default() -> Self {
        Parts(Mutex::default())
    }
}

impl<A: Monoid> Parts<A> {
    pub fn add(&self, time: BatchTime, item: A::Item) {
        lock(&self.0).entry(time).or_default().add(item);
    }
}

/// An accumulator on one worker.
pub(crate) struct Accumulating {
    parts: Arc<dyn Encoded>,
    total: Rc<RefCell<dyn Total>>,
    state: UnbuiltState,
}

impl Accumulating {
    /// An accumulator whose total `register` makes a state.
    pub fn new<A: Monoid>(
        name: &Arc<str>,
        parts: &Arc<Parts<A>>,
        register: impl FnOnce(Rc<RefCell<dyn KeyedState>>) -> UnbuiltState,
    ) -> Self {
        let total = Rc::new(RefCell::new(TotalOf::<A> { name: name.clone(), total: None, shown: None, changed: false }));
        Accumulating { parts: parts.clone(), state: register(total.clone()), total }
    }
}

/// [`Parts`] of any type.
trait Encoded {
    /// Takes the part of a batch. `None`: nothing was added. Verbs that run for no output may be late: they add to a later batch.
    fn take(&self, time: BatchTime) -> Option<Vec<u8>>;
}

impl<A: Monoid> Encoded for Parts<A> {
    fn take(&self, time: BatchTime) -> Option<Vec<u8>> {
        let mut parts = lock(&self.0);
        let mut all: Option<A> = None;
        while let Some(first) = parts.first_entry().filter(|first| *first.key() <= time) {
            all.get_or_insert_default().merge(first.remove());
        }
        all.map(|part| encoded(&part))
    }
}

/// [`TotalOf`] any type.
trait Total {
    /// Adds a part.
    fn merge(&mut self, part: &[u8]);
    fn info(&mut self) -> AccumulatorInfo;
}

/// The sum of the parts of all batches. It belongs to key group 0, and so to worker 0.
struct TotalOf<A> {
    name: Arc<str>,
    /// `None` until something was added, and on other workers.
    total: Option<A>,
    /// What readers see of it; `None` after a change.
    shown: Option<AccumulatorInfo>,
    /// Whether it has changed since the last snapshot.
    changed: bool,
}

impl<A: Monoid> Total for TotalOf<A> {
    fn merge(&mut self, part: &[u8]) {
        let part = postcard::from_bytes(part).expect("a part was encoded by a worker of this job");
        self.total.get_or_insert_default().merge(part);
        (self.shown, self.changed) = (None, true);
    }

    fn info(&mut self) -> AccumulatorInfo {
        let value = || self.total.as_ref().map_or_else(|| A::default().value(), A::value);
        self.shown.get_or_insert_with(|| AccumulatorInfo::new(&self.name, &value())).clone()
    }
}

impl<A: Monoid> KeyedState for TotalOf<A> {
    fn snapshot(&mut self, _: BatchTime) -> Changes {
        Changes { groups: Groups::first(std::mem::take(&mut self.changed)), expired: None }
    }

    fn held(&self) -> Held {
        Held::of_keys(0, size_of::<A>())
    }

    fn save(&mut self, group: u64, _: BatchTime) -> Vec<u8> {
        self.total.as_ref().filter(|_| group == 0).map(encoded).unwrap_or_default()
    }

    fn load(&mut self, bytes: &[u8], _: BatchTime) -> Result<(), BoxError> {
        self.total = Some(postcard::from_bytes(bytes)?);
        self.shown = None;
        Ok(())
    }
}

/// An accumulator by its number, and a part of it.
type Part = (usize, Vec<u8>);

/// Builds what adds up the parts. `done`: what the outputs leave behind; a batch that has passed all of them is computed. `publish` gets
/// the totals after each batch on worker 0, and then `deliver` on the first worker of each process.
pub(crate) fn totals<'s>(
    flow: &Flow<'s>,
    done: Vec<RowStream<'s, ()>>,
    all: Vec<Accumulating>,
    workers: usize,
    mut publish: impl FnMut(BatchTime, Accumulators) + 'static,
    mut deliver: impl FnMut(BatchTime, Accumulators) + 'static,
) -> RowStream<'s, ()> {
    let operator = OperatorId::step("accumulators");
    let (worker, peers) = (flow.scope.index(), flow.scope.peers());
    let built = |a: Accumulating| (a.parts, (a.total, a.state.build()));
    let (parts, totals): (Vec<_>, Vec<_>) = all.into_iter().map(built).unzip();
    let added = batched(
        flow,
        &operator,
        flow.scope.concatenate(done),
        Pipeline,
        |_, _, _| {},
        move |tick, (), emit| {
            let parts = parts.iter().map(|parts| parts.take(tick.time)).enumerate();
            let parts: Vec<Part> = parts.filter_map(|(number, part)| Some((number, part?))).collect();
            // Functions run again on rows that are restored: the total has them.
            if !tick.restored {
                emit(parts);
            }
        },
    );
    let summed = batched(
        flow,
        &operator,
        added,
        route(|_: &Part| 0),
        |pending, t, parts: Vec<Part>| {
            let all: &mut Vec<Part> = pending.at(t);
            all.extend(parts);
        },
        move |tick, parts, emit| {
            for (number, (total, state)) in totals.iter().enumerate() {
                state.batch(tick, || {
                    parts.iter().filter(|(of, _)| *of == number).for_each(|(_, part)| total.borrow_mut().merge(part));
                });
            }
            if worker == 0 && !tick.restored {
                let after: Accumulators = totals.iter().map(|(total, _)| total.borrow_mut().info()).collect();
                publish(tick.time, after.clone());
                emit((0..peers).step_by(workers).map(|first| (first as u64, after.clone())).collect::<Vec<_>>());
            }
        },
    );
    batched(
        flow,
        &operator,
        summed,
        route(|(to, _): &(u64, Accumulators)| *to),
        |pending, t, totals: Vec<(u64, Accumulators)>| {
            let all: &mut Vec<_> = pending.at(t);
            all.extend(totals);
        },
        move |tick, totals, _: &mut Emitter<'_, Rows<()>>| totals.into_iter().for_each(|(_, after)| deliver(tick.time, after)),
    )
}
