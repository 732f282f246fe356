//! What each operator of a worker does for each batch: its time, its rows in, its rows out.
//!
//! Every step that is built for an operator has a [`Meter`]. When timely calls the step, the meter begins a [`Turn`], which reads the
//! clock when it enters a batch and when it ends: not for each container, and not if there is nothing to do. [`Work`] has the figures of
//! all meters of its worker until the planner gets them. Rows between two steps of one operator are not counted.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use timely::dataflow::{Scope, Stream};
use timely::progress::Timestamp;
use tracing::Level;
use tracing::span::EnteredSpan;

use crate::core::time::BatchTime;
use crate::engine::operator_id::{CurrentOperator, OperatorId};
use crate::metrics::OperatorWork;

/// The name of what a worker does outside of all operators of the program.
const REST: &str = "timely and differential";

/// The target of the spans of operators: `RUST_LOG=tidemill::operator=debug` shows them around lines of the program.
const SPANS: &str = "tidemill::operator";

/// The outputs that a step has at most.
const OUTPUTS: usize = 2;

/// A step of the graph, as timely knows it: its scope, and its number there.
type Node = (Vec<usize>, usize);

thread_local!(static HERE: Rc<Work> = Rc::default());

/// What the operators of one worker have done and not yet reported.
#[derive(Default)]
pub(crate) struct Work {
    steps: RefCell<Vec<Rc<Step>>>,
    /// The operators, in the order in which they were built. The figures of a batch have this order.
    operators: RefCell<Vec<OperatorId>>,
    by_node: RefCell<BTreeMap<Node, usize>>,
    /// Which operators give rows to which, by their places.
    edges: RefCell<BTreeSet<(usize, usize)>>,
    /// The program is built: all operators that are built later count as one, behind the others. Their rows are not counted.
    later: OnceCell<Rc<Step>>,
    /// The batches that are sealed and not computed, oldest first.
    sealed: RefCell<VecDeque<BatchTime>>,
    /// The oldest of them.
    waiting: Rc<Cell<Option<BatchTime>>>,
    /// The time of all turns since the last report, and the processor time of the thread at that report.
    in_turns: Rc<Cell<Duration>>,
    cpu: Cell<Option<Duration>>,
}

/// One step of an operator.
#[derive(Default)]
struct Step {
    /// The place of its operator in the figures.
    operator: usize,
    /// Which of its outputs another step of the same operator reads.
    inner: [Cell<bool>; OUTPUTS],
    batches: RefCell<Vec<(BatchTime, OperatorWork)>>,
}

impl Step {
    fn add(&self, time: BatchTime, change: impl FnOnce(&mut OperatorWork)) {
        let mut batches = self.batches.borrow_mut();
        // There are few, and the newest is the usual one.
        let at = batches.iter().rposition(|(t, _)| *t == time).unwrap_or_else(|| {
            batches.push((time, OperatorWork::default()));
            batches.len() - 1
        });
        change(&mut batches[at].1);
    }
}

impl Work {
    /// The work of the calling thread.
    pub fn here() -> Rc<Work> {
        HERE.with(Rc::clone)
    }

    /// The names of the operators, in the order of the figures.
    pub fn names(&self) -> Vec<Arc<str>> {
        let operators = self.operators.borrow();
        operators.iter().map(OperatorId::to_string).chain([REST.into()]).map(Arc::from).collect()
    }

    /// Which operators give rows to which: their places in the figures, from and to.
    pub fn edges(&self) -> Vec<(usize, usize)> {
        self.edges.borrow().iter().copied().collect()
    }

    /// The program is built.
    pub fn freeze(&self) {
        let inner = [true; OUTPUTS].map(Cell::new);
        let later = Rc::new(Step { operator: self.operators.borrow().len() + 1, inner, ..Step::default() });
        if self.later.set(later.clone()).is_ok() {
            self.steps.borrow_mut().push(later);
        }
    }

    /// A batch was sealed on this worker.
    pub fn sealed(&self, time: BatchTime) {
        self.sealed.borrow_mut().push_back(time);
        self.wait();
    }

    fn wait(&self) {
        self.waiting.set(self.sealed.borrow().front().copied());
    }

    /// All batches before this time are computed: what the operators did for each of them.
    pub fn take(&self, before: BatchTime) -> Vec<(BatchTime, Vec<OperatorWork>)> {
        self.sealed.borrow_mut().retain(|t| *t >= before);
        self.wait();
        let len = self.operators.borrow().len();
        let all = len + 1 + usize::from(self.later.get().is_some());
        let mut taken: BTreeMap<BatchTime, Vec<OperatorWork>> = BTreeMap::new();
        for step in self.steps.borrow().iter() {
            for (time, work) in step.batches.borrow_mut().extract_if(.., |(time, _)| *time < before) {
                taken.entry(time).or_insert_with(|| vec![OperatorWork::default(); all])[step.operator] += work;
            }
        }
        let rest = self.rest();
        if let Some(mut last) = taken.last_entry() {
            let rest = OperatorWork { time: rest, ..OperatorWork::default() };
            last.get_mut()[len] = rest;
        }
        taken.into_iter().collect()
    }

    /// Processor time since the last call, outside of all turns.
    fn rest(&self) -> Duration {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        let now = Duration::new(now.tv_sec as u64, now.tv_nsec as u32);
        let before = self.cpu.replace(Some(now)).unwrap_or(now);
        (now - before).saturating_sub(self.in_turns.take())
    }
}

/// The step and the output that a stream is from.
pub(crate) struct MadeBy(Node, usize);

impl MadeBy {
    pub fn of<T: Timestamp, C>(stream: &Stream<'_, T, C>) -> MadeBy {
        let source = stream.name();
        MadeBy((stream.scope().addr().to_vec(), source.node), source.port)
    }
}

/// Measures one step of an operator.
pub(crate) struct Meter {
    operator: OperatorId,
    step: Rc<Step>,
    /// Whether its rows come from another operator.
    enters: bool,
    waiting: Rc<Cell<Option<BatchTime>>>,
    in_turns: Rc<Cell<Duration>>,
}

impl Meter {
    /// A meter for the step of this number in the scope. `from`: where its rows come from.
    pub fn new<T: Timestamp>(operator: &OperatorId, scope: Scope<'_, T>, number: usize, from: &[MadeBy]) -> Meter {
        let work = Work::here();
        let (waiting, in_turns) = (work.waiting.clone(), work.in_turns.clone());
        if let Some(later) = work.later.get() {
            return Meter { operator: operator.clone(), step: later.clone(), enters: false, waiting, in_turns };
        }
        let step = Rc::new(Step { operator: work.place_of(operator), ..Step::default() });
        let (mut steps, mut by_node) = (work.steps.borrow_mut(), work.by_node.borrow_mut());
        let mut enters = false;
        for MadeBy(node, output) in from {
            let maker = by_node.get(node).map(|maker| &steps[*maker]);
            // An operator without a meter, such as a probe, is built behind what it reads.
            let before = || by_node.range((node.0.clone(), 0)..node.clone()).next_back().map(|(_, maker)| &steps[*maker]);
            if let Some(giver) = maker.or_else(before).filter(|giver| giver.operator != step.operator) {
                work.edges.borrow_mut().insert((giver.operator, step.operator));
            }
            let maker = maker.filter(|maker| maker.operator == step.operator);
            enters |= maker.is_none();
            if let Some(maker) = maker {
                maker.inner[*output].set(true);
            }
        }
        by_node.insert((scope.addr().to_vec(), number), steps.len());
        steps.push(step.clone());
        Meter { operator: operator.clone(), step, enters, waiting, in_turns }
    }

    /// The span of an operator for a batch. What the functions of the program log, and the spans that they make, are inside.
    #[cold]
    fn span(&self, time: BatchTime) -> EnteredSpan {
        let (batch, worker) = (time.millis(), CurrentOperator::worker());
        tracing::debug_span!(target: SPANS, "operator", operator = %self.operator, batch, worker).entered()
    }

    /// Timely calls the step.
    pub fn turn(&self) -> Turn<'_> {
        Turn { meter: self, at: None, work: OperatorWork::default(), span: None }
    }
}

impl Work {
    /// The place of an operator in the figures.
    fn place_of(&self, operator: &OperatorId) -> usize {
        let mut operators = self.operators.borrow_mut();
        operators.iter().position(|other| other.is(operator)).unwrap_or_else(|| {
            operators.push(operator.clone());
            operators.len() - 1
        })
    }
}

/// One call of a step.
pub(crate) struct Turn<'a> {
    meter: &'a Meter,
    /// The batch that the step works on, and since when.
    at: Option<(BatchTime, Instant)>,
    work: OperatorWork,
    /// A span around its work for the batch, if a subscriber wants it.
    span: Option<EnteredSpan>,
}

impl Turn<'_> {
    /// The step works on this batch now.
    pub fn enter(&mut self, time: BatchTime) {
        if self.begin(time) {
            self.meter.operator.enter(Some(time));
        }
    }

    /// The step works on this round of a batch now.
    pub fn enter_round(&mut self, time: BatchTime, round: u64) {
        self.begin(time);
        self.meter.operator.enter_round(time, round);
    }

    /// Whether this is another batch than before.
    fn begin(&mut self, time: BatchTime) -> bool {
        let other = self.at.is_none_or(|(before, _)| before != time);
        if other {
            let now = Instant::now();
            self.leave(now);
            self.at = Some((time, now));
            if tracing::enabled!(target: SPANS, Level::DEBUG) {
                self.span = Some(self.meter.span(time));
            }
        }
        other
    }

    /// Rows came in.
    pub fn took(&mut self, rows: usize) {
        if self.meter.enters {
            self.work.rows_in += rows as u64;
        }
    }

    /// Rows went out through one of the outputs. Bad records are not counted: a step of the verb reads them, to count them.
    pub fn gave(&mut self, output: usize, rows: usize) {
        if !self.meter.step.inner[output].get() {
            self.work.rows_out += rows as u64;
        }
    }

    fn leave(&mut self, now: Instant) {
        let Some((time, since)) = self.at.take() else { return };
        self.span = None;
        let spent = now - since;
        let Meter { step, waiting, in_turns, .. } = self.meter;
        in_turns.set(in_turns.get() + spent);
        let work = OperatorWork { time: spent, ..std::mem::take(&mut self.work) };
        step.add(time, |sum| *sum += work);
        if let Some(waiting) = waiting.get() {
            step.add(waiting, |sum| sum.waited += spent);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.at.is_some() {
            self.leave(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use timely::container::CapacityContainerBuilder;
    use timely::dataflow::operators::core::UnorderedInput;
    use timely::dataflow::operators::vec::ToStream;

    use super::*;
    use crate::engine::flow::{Flow, concat, map_containers};

    #[test]
    fn rows_between_steps_of_one_operator_are_not_counted_and_time_counts_for_the_sealed_batch() {
        let [first, second] = [10, 20].map(BatchTime::from_millis);
        timely::execute_directly(move |worker| {
            let (doubled, last) = (OperatorId::step("doubled"), OperatorId::step("last"));
            let (mut input, cap) = worker.dataflow(|scope| {
                let (input, stream) = scope.new_unordered_input::<CapacityContainerBuilder<Vec<u64>>>();
                let flow = Flow::new(scope, Vec::new().to_stream(scope));
                let step = |stream| map_containers(&flow, &doubled, stream, |_, rows: Vec<u64>, emit| emit(rows));
                let both = concat(&doubled, step(stream.clone()), step(stream));
                map_containers(&flow, &last, step(both), |_, rows: Vec<u64>, emit| emit(rows));
                input
            });
            let work = Work::here();
            assert_eq!(work.names().iter().map(|name| &**name).collect::<Vec<_>>(), ["doubled", "last", REST]);
            assert_eq!(work.edges(), [(0, 1)]);
            let caps = [first, second].map(|t| cap.delayed(&t));
            drop(cap);
            work.sealed(first);
            for (cap, rows) in caps.iter().zip([vec![1, 2, 3], vec![4]]) {
                input.activate().session(cap).give_iterator(rows.into_iter());
            }
            drop(caps);
            while worker.step() {}
            let rows = |work: &[OperatorWork]| work.iter().map(|w| (w.rows_in, w.rows_out)).collect::<Vec<_>>();
            let taken = work.take(second);
            assert_eq!(
                taken.iter().map(|(t, work)| (*t, rows(work))).collect::<Vec<_>>(),
                [(first, vec![(6, 6), (6, 6), (0, 0)])]
            );
            let later = work.take(BatchTime::from_millis(u64::MAX));
            assert_eq!(
                later.iter().map(|(t, work)| (*t, rows(work))).collect::<Vec<_>>(),
                [(second, vec![(2, 2), (2, 2), (0, 0)])]
            );
            // All of it was done while the first batch was sealed and not computed.
            let waited = |work: &[OperatorWork]| work[0].waited;
            assert_eq!(waited(&taken[0].1), taken[0].1[0].time + later[0].1[0].time);
            assert!(waited(&later[0].1).is_zero());
        });
    }
}
