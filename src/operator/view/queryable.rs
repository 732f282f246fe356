//! `queryable`: a view that answers questions while the job runs. It reads the arrangement of the view, and never stops a batch.
//!
//! Its operator holds compaction back, so that the batch of a question is still there when the question arrives: the planner asks as of
//! a batch that is computed, and at most `in_flight` batches are closed and not computed. A question looks at rows for [`FUEL`] at a
//! time, and other operators run between. What a question is, is in core/question.rs.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::TraceReader;
use serde::Serialize;
use serde_json::Value;
use timely::Container;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::Antichain;

use crate::api::config::SEALS_AHEAD;
use crate::api::context::{CommandQueue, Graph};
use crate::api::view::{FindCode, Form, View};
use crate::core::data::Key;
use crate::core::question::{Filter, Follow, MOST_BYTES, Part, Question, RankedRow, is_name};
use crate::core::time::BatchTime;
use crate::engine::dense::{Dense, DenseTrace, RowOf, SumsBefore, Tap};
use crate::engine::dictionary::Code;
use crate::engine::operator_id::OperatorId;
use crate::job::protocol::{Command, Event};

/// How long a question may look at rows before other operators run.
const FUEL: Duration = Duration::from_millis(1);
/// How many codes are looked at between two looks at the clock.
const CODES: Code = 256;
/// How many batches may close after the one that a follower knows. Then it is not held any more: a slow reader costs no more than that.
const MOST_BEHIND: u64 = 100;

/// A view that answers questions: how many batches it remembers for them.
///
/// ```
/// use tidemill::prelude::*;
/// let numbers = QueueSource::from_batches([vec![1, 2], vec![1]]);
/// let rows = MemorySink::new();
/// let sink = rows.clone();
/// StreamingContext::builder("numbers", millis(5)).run(move |ssc| {
///     let counts = ssc.queue_stream(&numbers).count_by_value().sum_by_key();
///     counts.queryable("counts").history(10);
///     counts.update().to_memory(&sink);
///     Ok(())
/// })?;
/// // Questions change nothing.
/// assert_eq!(rows.rows(), [(1, 1), (2, 1), (1, 2)]);
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Clone)]
pub struct Queryable {
    history: Rc<Cell<u32>>,
}

impl Queryable {
    /// Answers questions as of the last `batches` batches that are computed, besides the newest one (default: 0). Each costs memory for
    /// its changes, and a search in them for every key that a batch of this view changes.
    pub fn history(self, batches: u32) -> Self {
        self.history.set(batches);
        self
    }
}

impl<'s, T: Key> View<'s, T> {
    /// Lets the running job answer questions about this view by a name: [`JobHandle::query`](crate::job::JobHandle::query) in the
    /// program, and `tidemill query` or HTTP from outside, if the job listens. Flink's `asQueryableState`.
    ///
    /// Answers are as of one batch on all workers: at least the newest that was closed when the question came, or an earlier one that is
    /// held ([`Queryable::history`]). So an answer has what an output has shown before. Rows are JSON. Counts, sums and windows find a key at once; other views look at every row. The view is
    /// then computed also if no output reads it.
    ///
    /// # Errors
    /// The start fails if two views have one name, or the name is not made of letters, digits, `-`, `_` and `.`.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let words = QueueSource::new();
    /// let (feed, rows) = (words.clone(), MemorySink::new());
    /// let sink = rows.clone();
    /// let job = StreamingContext::builder("words", millis(5)).workers(2).start(move |ssc| {
    ///     let counts = ssc.queue_stream(&words).count_by_value().sum_by_key();
    ///     counts.queryable("counts");
    ///     counts.update().to_memory(&sink);
    ///     Ok(())
    /// })?;
    /// feed.push(vec!["tide", "mill", "tide"].into_iter().map(String::from).collect());
    /// while rows.rows().len() < 2 {
    ///     std::thread::yield_now();
    /// }
    /// let answer = job.query("counts").key("tide").ask()?;
    /// assert_eq!(answer.rows_as::<(String, i64)>().unwrap(), [("tide".to_string(), 2)]);
    /// assert_eq!(job.query("counts").top(1).ask()?.matched, 2);
    /// job.stop_now()?;
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[doc(alias = "asQueryableState")]
    #[track_caller]
    pub fn queryable(&self, name: &str) -> Queryable {
        let (graph, operator) = (&self.node.graph, OperatorId::of("queryable"));
        if !is_name(name) {
            graph.report(&operator, format!("{name:?} cannot be asked for: use letters, digits, '-', '_' and '.'"));
        }
        if !graph.queryable(name) {
            graph.report(&operator, format!("another view is called {name:?} already: choose another name"));
        }
        self.answering(name, operator)
    }

    /// The program names this view. With `--queryable` it answers questions, unless another view does by this name.
    pub(super) fn queryable_if_asked(&self, name: &str, operator: OperatorId) {
        let graph = &self.node.graph;
        if !graph.config.runtime.queryable {
            return graph.askable(name);
        }
        if !is_name(name) {
            // The program is built on every worker, and once before that.
            if graph.dry {
                tracing::warn!("--queryable: {operator}: {name:?} cannot be asked for: use letters, digits, '-', '_' and '.'");
            }
            return;
        }
        let (view, name) = (self.clone(), name.to_owned());
        // Only when the program is there it is known which names it has called queryable itself.
        graph.on_built(move || {
            if view.node.graph.queryable(&name) {
                view.answering(&name, operator);
            }
        });
    }

    /// The view answers questions by a name that is its own.
    fn answering(&self, name: &str, operator: OperatorId) -> Queryable {
        let graph = &self.node.graph;
        let queryable = Queryable { history: Rc::default() };
        let (view, name, own) = (self.clone(), name.to_string(), queryable.clone());
        graph.on_built(move || {
            let (Arranged { stream, trace }, rows) = view.readable();
            let trace = Rc::new(RefCell::new(trace));
            view.node.graph.tap(&name, Tap { trace: trace.clone(), row: rows.row.clone() });
            build(&view.node.graph, &operator, stream.probe_with(&view.node.graph.probe), |queue| Answering {
                name,
                worker: view.node.graph.flow.scope.index(),
                held: Held {
                    trace,
                    ends: Ends::new(view.node.graph.config.in_flight + SEALS_AHEAD + own.history.get() as usize),
                    closed: 0,
                    followed: BTreeMap::new(),
                },
                interval: view.node.graph.config.interval.millis(),
                rows,
                queue,
                open: VecDeque::new(),
            });
        });
        queryable
    }

    /// The arrangement that answers for this view, and how its rows are read.
    fn readable(&self) -> (Dense<'s>, Readable) {
        if let Form::Counts(counts) = &self.node.form {
            let (render, find) = (counts.render.clone(), counts.find.clone());
            let row = move |code, n| (n != 0).then(|| (json(&render(code, n).1), 1));
            return (counts.arranged.clone(), Readable { row: Rc::new(row), find: Some(find) });
        }
        let dict = self.interned().dict;
        let row = move |code, n: i64| (n > 0).then(|| (json(dict.borrow().key(code)), n as u64));
        (self.arranged(), Readable { row: Rc::new(row), find: None })
    }
}

/// A row as JSON; its reason, if it has no JSON.
fn json(row: &impl Serialize) -> Value {
    serde_json::to_value(row).unwrap_or_else(|e| Value::String(format!("this row has no JSON: {e}")))
}

/// What the codes of an arrangement mean.
struct Readable {
    row: RowOf,
    /// The code of a key as JSON text, if keys have codes.
    find: Option<FindCode>,
}

/// What the operator of a queryable view has on one worker.
struct Answering {
    name: String,
    worker: usize,
    interval: u64,
    rows: Readable,
    held: Held,
    queue: CommandQueue,
    /// Questions that are being answered, oldest first.
    open: VecDeque<OpenQuestion>,
}

/// The batches that can be asked for.
struct Held {
    /// Also what added computations import.
    trace: Rc<RefCell<TraceAgent<DenseTrace>>>,
    ends: Ends,
    /// How many batches were closed.
    closed: u64,
    /// Of each follower, by the number of its first question: the batch of its last answer, and how many batches were closed then.
    followed: BTreeMap<u64, (BatchTime, u64)>,
}

/// The last batches that were closed, oldest first: at most `kept`. A question comes as of the newest computed batch. Behind it are as many
/// as may be closed and not computed.
struct Ends {
    kept: usize,
    times: VecDeque<BatchTime>,
}

impl Ends {
    fn new(kept: usize) -> Self {
        Ends { kept, times: VecDeque::new() }
    }

    /// Returns whether it is another batch than the last one: an added computation is complete from a batch on that was closed before.
    fn close(&mut self, end: BatchTime) -> bool {
        let new = self.times.back() != Some(&end);
        if new {
            self.times.push_back(end);
            if self.times.len() > self.kept {
                self.times.pop_front();
            }
        }
        new
    }

    fn first(&self) -> Option<BatchTime> {
        self.times.front().copied()
    }
}

struct OpenQuestion {
    id: u64,
    at: BatchTime,
    question: Question,
    /// Whether its batch was held when it came. Then it is held until the answer.
    held: bool,
    /// The next code.
    next: Code,
    /// For a follower, the codes that may have changed, as many as are left.
    changed: Option<VecDeque<Code>>,
    part: Part,
    bytes: usize,
}

/// Builds the operator, which commands wake.
fn build<'s, C: Container>(
    graph: &Rc<Graph<'s>>,
    operator: &OperatorId,
    stream: Stream<'s, BatchTime, C>,
    make: impl FnOnce(CommandQueue) -> Answering,
) {
    let mut builder = OperatorBuilder::new(operator.to_string(), graph.flow.scope);
    let mut input = builder.new_input(stream, Pipeline);
    let queue = CommandQueue::new(graph.flow.scope, builder.operator_info().address);
    graph.port(Box::new(queue.clone()));
    let (mut answering, outbox) = (make(queue), graph.outbox.clone());
    let operator = operator.clone();
    builder.build(move |_caps| {
        move |frontiers| {
            operator.enter(None);
            input.for_each(|_, _| {});
            let complete = |t: BatchTime| !frontiers[0].less_equal(&t);
            answering.step(complete).into_iter().for_each(|event| outbox.send(event));
        }
    });
}

impl Answering {
    /// Takes commands, and looks at rows for a while. Returns answers. `complete`: whether the view is, as of a time. Only that of an added
    /// computation may not be: the planner does not wait for those.
    fn step(&mut self, complete: impl Fn(BatchTime) -> bool) -> Vec<Event> {
        let commands = std::mem::take(&mut *self.queue.commands.borrow_mut());
        for command in commands {
            command.completes(self.interval).into_iter().for_each(|end| self.held.close(end));
            match command {
                Command::Ask { id, at, question } if question.view == self.name => {
                    let (next, changed, part, bytes) = (0, None, Part::default(), 0);
                    let held = self.held.first().is_some_and(|first| at >= first) || question.since().is_some();
                    self.open.push_back(OpenQuestion { id, at, question, held, next, changed, part, bytes });
                }
                Command::Forget { id } => {
                    self.open.retain(|open| open.id != id);
                    self.held.followed.remove(&id);
                }
                _ => {}
            }
        }
        let (until, mut answers) = (Instant::now() + FUEL, Vec::new());
        let mut waits = false;
        while let Some(open) = self.open.front_mut() {
            waits = !complete(open.at);
            if waits {
                // The operator runs again when the frontier moves.
                break;
            }
            let done = match self.held.first() {
                _ if open.question.since().is_some() => self.rows.look_at_changes(open, &self.held, until),
                _ if open.held => self.rows.look(open, &self.held.trace.borrow(), until),
                first => {
                    let first = first.map_or(0, |t| t.millis());
                    open.next = Code::MAX;
                    Some(Err(format!(
                        "the batch of {} is not held any more: the first that is held is {first}",
                        open.at.millis()
                    )))
                }
            };
            let Some(part) = done else { break };
            if part.is_ok() {
                self.held.follow(open);
            }
            answers.push(Event::Answer { id: open.id, worker: self.worker, part });
            self.open.pop_front();
        }
        self.held.release(self.open.iter().filter(|open| open.held).map(|open| open.at).min());
        if !waits && !self.open.is_empty() {
            self.queue.activator.activate();
        }
        answers
    }
}

impl Held {
    fn close(&mut self, end: BatchTime) {
        self.closed += u64::from(self.ends.close(end));
        self.followed.retain(|_, (_, closed)| self.closed - *closed <= MOST_BEHIND);
    }

    /// Holds the batch of an answer to a follower.
    fn follow(&mut self, open: &OpenQuestion) {
        let first = match open.question.follow {
            None => return,
            Some(Follow::Begin) => open.id,
            Some(Follow::Next { first, .. }) => first,
        };
        self.followed.insert(first, (open.at, self.closed));
    }

    /// The first batch that can be asked for.
    fn first(&self) -> Option<BatchTime> {
        self.ends.first()
    }

    /// Lets the trace compact what can no longer be asked for, and what no open question reads.
    fn release(&mut self, asked: Option<BatchTime>) {
        if let Some(first) = self.first() {
            let followed = self.followed.values().map(|(t, _)| *t).min();
            let hold = Antichain::from_elem(first.min(asked.unwrap_or(first)).min(followed.unwrap_or(first)));
            let mut trace = self.trace.borrow_mut();
            trace.set_logical_compaction(hold.borrow());
            trace.set_physical_compaction(hold.borrow());
        }
    }
}

impl Readable {
    /// Looks at rows until the fuel is used up. Returns the part of this worker when all were looked at.
    fn look(&self, open: &mut OpenQuestion, trace: &TraceAgent<DenseTrace>, until: Instant) -> Option<Result<Part, String>> {
        let mut sums = SumsBefore::as_of(trace, open.at);
        if let (Filter::Key(key), Some(find)) = (&open.question.filter, &self.find) {
            if let Some(code) = find(key) {
                self.take(open, code, sums.of(code));
            }
            return Some(Ok(std::mem::take(&mut open.part)));
        }
        let end = sums.end();
        while open.next < end {
            for code in open.next..end.min(open.next.saturating_add(CODES)) {
                self.take(open, code, sums.of(code));
                if open.bytes > MOST_BYTES {
                    return Some(Err(format!("the rows of one worker have more than {MOST_BYTES} bytes: ask for fewer")));
                }
            }
            open.next = end.min(open.next.saturating_add(CODES));
            if Instant::now() >= until && open.next < end {
                return None;
            }
        }
        let mut part = std::mem::take(&mut open.part);
        part.add(Part::default(), open.question.limit);
        Some(Ok(part))
    }

    /// Like `look`, for a follower: at what has changed since its last answer, whose batch is held.
    fn look_at_changes(&self, open: &mut OpenQuestion, held: &Held, until: Instant) -> Option<Result<Part, String>> {
        let (trace, (first, since)) = (&*held.trace.borrow(), open.question.since()?);
        if held.followed.get(&first).is_none_or(|(held, _)| *held != since) {
            return Some(Err(format!("who follows has read nothing for more than {MOST_BEHIND} batches: follow again")));
        }
        let mut codes = open.changed.take().unwrap_or_else(|| match (&open.question.filter, &self.find) {
            (Filter::Key(key), Some(find)) => find(key).into_iter().collect(),
            _ => SumsBefore::changed(trace, since, open.at).into(),
        });
        let (mut then, mut now) = (SumsBefore::as_of(trace, since), SumsBefore::as_of(trace, open.at));
        while !codes.is_empty() {
            for code in codes.drain(..codes.len().min(CODES as usize)) {
                self.take_change(open, [(self.row)(code, then.of(code)), (self.row)(code, now.of(code))]);
            }
            if open.bytes > MOST_BYTES {
                return Some(Err(format!("the changes of one worker have more than {MOST_BYTES} bytes: follow fewer rows")));
            }
            if Instant::now() >= until && !codes.is_empty() {
                open.changed = Some(codes);
                return None;
            }
        }
        let mut part = std::mem::take(&mut open.part);
        part.add(Part::default(), open.question.limit);
        Some(Ok(part))
    }

    /// Takes what became of the row of a code, if it is asked for: what it was, and what it is.
    fn take_change(&self, open: &mut OpenQuestion, [then, now]: [Option<(Value, u64)>; 2]) {
        let kept = match (&then, &now) {
            (Some((was, before)), Some((is, after))) if was == is => *before.min(after),
            _ => 0,
        };
        for (row, rows) in [(then, &mut open.part.removed), (now, &mut open.part.rows)] {
            let Some((row, copies)) = row.filter(|(row, _)| open.question.filter.takes(row)) else { continue };
            let row = RankedRow::new(&row, false);
            for _ in kept..copies {
                open.bytes += row.json.len();
                rows.push(row.clone());
            }
        }
    }

    /// Takes the row of a code into the answer, if it is asked for.
    fn take(&self, open: &mut OpenQuestion, code: Code, sum: i64) {
        let Some((row, copies)) = (self.row)(code, sum).filter(|(row, _)| open.question.filter.takes(row)) else { return };
        open.part.matched += copies;
        let (limit, ranked) = (open.question.limit as usize, RankedRow::new(&row, open.question.top));
        for _ in 0..copies.min(limit as u64) {
            open.bytes += ranked.json.len();
            open.part.rows.push(ranked.clone());
        }
        // Only the first rows are wanted: the others go when they are as many again.
        if open.part.rows.len() > 2 * limit.max(1_000) {
            open.part.add(Part::default(), open.question.limit);
            open.bytes = open.part.rows.iter().map(|row| row.json.len()).sum();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_takes_no_place_of_a_batch() {
        let (mut ends, t) = (Ends::new(3), BatchTime::from_millis);
        let closed = [1, 2, 3, 3, 3].map(|end| ends.close(t(end)));
        assert_eq!((closed, ends.first()), ([true, true, true, false, false], Some(t(1))));
        assert!(ends.close(t(4)) && ends.first() == Some(t(2)));
    }
}
