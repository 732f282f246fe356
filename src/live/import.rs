//! Reads a queryable view of the job in the dataflow of an added computation: all rows as of one batch, and then what each batch changes.
//!
//! The rows as of the first batch are brought in parts, at times before that batch, so that a large view does not hold up the batches
//! of the job. Nothing tells these times apart: `base` is the first batch that anybody can ask for.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use differential_dataflow::operators::arrange::{Arranged, ShutdownButton, TraceAgent};
use differential_dataflow::trace::TraceReader;
use timely::container::NoopBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::CapabilitySet;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::Antichain;

use super::json::Json;
use crate::api::view::Changes;
use crate::core::time::{BatchTime, millis};
use crate::engine::dense::{DenseBatch, DenseTrace, RowOf, SumsBefore, Tap};
use crate::engine::dictionary::Code;
use crate::engine::flow::Flow;
use crate::engine::meter::{MadeBy, Meter};
use crate::engine::operator_id::OperatorId;

/// How long rows are read before other operators run.
const FUEL: Duration = Duration::from_millis(1);
/// How many codes are looked at between two looks at the clock.
const CODES: Code = 64;

/// What ends the dataflow of an added computation.
#[derive(Clone, Default)]
pub(crate) struct Stop {
    stopped: Rc<Cell<bool>>,
    sources: Rc<RefCell<Vec<ShutdownButton<CapabilitySet<BatchTime>>>>>,
}

impl Stop {
    /// No more rows come: the operators of the dataflow end, and timely drops it.
    pub fn stop(&self) {
        self.stopped.set(true);
        self.sources.borrow_mut().drain(..).for_each(|mut source| source.press());
    }
}

/// The view behind a tap, as of `base` and after it.
pub(super) fn import<'s>(flow: &Flow<'s>, tap: &Tap, base: BatchTime, stop: &Stop) -> Changes<'s, Json> {
    let operator = OperatorId::step("import");
    let (arranged, button) = tap.trace.borrow_mut().import_core(flow.scope, "import");
    stop.sources.borrow_mut().push(button);
    let Arranged { stream, trace } = arranged;
    let mut builder = OperatorBuilder::new(operator.to_string(), flow.scope);
    let meter = Meter::new(&operator, flow.scope, builder.index(), &[MadeBy::of(&stream)]);
    let activator = flow.scope.activator_for(builder.operator_info().address);
    let mut input = builder.new_input(stream, Pipeline);
    let (out, changes) = builder.new_output::<Changed>();
    let mut out = OutputBuilder::<_, NoopBuilder<Changed>>::from(out);
    let stopped = stop.stopped.clone();
    let mut importing = Some(Importing { row: tap.row.clone(), trace, base, next: Some(0), batches: VecDeque::new() });
    builder.build(move |mut caps| {
        let mut cap = caps.pop();
        move |frontiers| {
            if stopped.get() {
                (cap, importing) = (None, None);
            }
            let mut turn = meter.turn();
            let (Some(capability), Some(import)) = (&mut cap, &mut importing) else { return input.for_each(|_, _| {}) };
            input.for_each(|_, spans| import.batches.extend(spans.drain(..).filter_map(|span| span.inner)));
            let mut out = out.activate();
            // As of `base` the view is complete here when its frontier has passed.
            if import.next.is_some() && !frontiers[0].less_equal(&base) {
                turn.enter(base);
                let (rows, more) = import.rows(Instant::now() + FUEL);
                let t = if more { part_time(*capability.time(), base) } else { base };
                capability.downgrade(&t);
                if !rows.is_empty() {
                    let mut rows = rows.into_iter().map(|(row, n)| (row, t, n)).collect();
                    out.session_with_builder(&*capability).give_container(&mut rows);
                }
                if more {
                    activator.activate();
                }
            }
            if import.next.is_none() {
                for (t, mut changes) in import.changes() {
                    turn.enter(t);
                    out.session_with_builder(&capability.delayed(&t)).give_container(&mut changes);
                }
                match frontiers[0].frontier().first() {
                    Some(first) => {
                        capability.downgrade(first.max(&base));
                        import.release(*first);
                    }
                    None => (cap, importing) = (None, None),
                }
            }
        }
    });
    changes
}

/// The time at which the next part of the first rows comes.
fn part_time(last: BatchTime, base: BatchTime) -> BatchTime {
    (last + millis(1)).min(base)
}

/// What a batch has changed.
type Changed = Vec<(Json, BatchTime, i64)>;

struct Importing {
    row: RowOf,
    trace: TraceAgent<DenseTrace>,
    base: BatchTime,
    /// The next code of the first rows; `None`: they have come.
    next: Option<Code>,
    /// What has changed and is not out, oldest first.
    batches: VecDeque<DenseBatch>,
}

impl Importing {
    /// The rows of the next codes as of `base`, and whether there are more.
    fn rows(&mut self, until: Instant) -> (Vec<(Json, i64)>, bool) {
        let mut rows = Vec::new();
        let mut sums = SumsBefore::as_of(&self.trace, self.base);
        let (mut next, end) = (self.next.unwrap_or(Code::MAX), sums.end());
        while next < end {
            for code in next..end.min(next.saturating_add(CODES)) {
                rows.extend((self.row)(code, sums.of(code)).map(|(row, n)| (Json::from(row), n as i64)));
            }
            next = end.min(next.saturating_add(CODES));
            if Instant::now() >= until && next < end {
                self.next = Some(next);
                return (rows, true);
            }
        }
        self.next = None;
        (rows, false)
    }

    /// What each batch after `base` has changed, as far as it has come.
    fn changes(&mut self) -> Vec<(BatchTime, Changed)> {
        let mut all = Vec::new();
        while let Some(batch) = self.batches.pop_front() {
            let t = batch.time();
            if t <= self.base {
                continue;
            }
            let mut before = SumsBefore::as_of(&self.trace, BatchTime::from_millis(t.millis() - 1));
            let mut changes = Vec::with_capacity(2 * batch.len());
            for (code, n) in batch.changes() {
                let sum = before.of(code);
                let (then, now) = ((self.row)(code, sum), (self.row)(code, sum.wrapping_add(n)));
                match (then, now) {
                    (Some((was, m)), Some((is, n))) if was == is => {
                        changes.extend((m != n).then(|| (Json::from(is), t, n as i64 - m as i64)));
                    }
                    (then, now) => {
                        changes.extend(then.map(|(row, n)| (Json::from(row), t, -(n as i64))));
                        changes.extend(now.map(|(row, n)| (Json::from(row), t, n as i64)));
                    }
                }
            }
            if !changes.is_empty() {
                all.push((t, changes));
            }
        }
        all
    }

    /// All before this time is out: the trace need not hold it for this reader.
    fn release(&mut self, frontier: BatchTime) {
        let passed = Antichain::from_elem(frontier.max(self.base));
        self.trace.set_logical_compaction(passed.borrow());
        self.trace.set_physical_compaction(passed.borrow());
    }
}
