//! The output modes of a view: `complete`, `update`, `append`, `changes`. Each makes a DStream, at the times of the view's schedule.
//!
//! Differential emits changes of several batches under one capability: the kernel sorts them by batch and releases each batch when
//! it is closed. Invariant: a mode emits the rows of t once, all together.

use std::rc::Rc;

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Probe;

use crate::api::dstream::{DStream, RowOrder};
use crate::api::view::{Changes, Form, LostOrder, Order, OutputMode, Presentation, View};
use crate::arrangement::interned::sums;
use crate::core::data::{Change, FastMap, Key, Rows};
use crate::core::schedule::Schedule;
use crate::core::sum::add;
use crate::core::time::BatchTime;
use crate::engine::dictionary::Code;
use crate::engine::flow::{Emitter, Flow, RowStream, batched, by_batch, route};
use crate::engine::operator_id::OperatorId;
use crate::operator::kernel::combine::by_group;
use crate::operator::kernel::partial_table::PartialTable;
use crate::operator::view::presentation;

impl<'s, T: Key> View<'s, T> {
    /// All rows of the view, at every time of its schedule, in its presentation order, if it has one; else in no order. Structured
    /// Streaming's complete mode.
    ///
    /// A batch costs all rows of the view. Each worker keeps the rows that it returns.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![2], vec![], vec![1]], |s| s.accumulate().complete(), [vec![2], vec![2], vec![1, 2]]);
    /// ```
    #[track_caller]
    pub fn complete(&self) -> DStream<'s, T> {
        let operator = self.node.graph.operator::<T>("complete", "");
        self.rows_in(&operator, OutputMode::Complete)
    }

    /// The changes since the previous time of the schedule: first rows that left, with a negative difference, then rows that entered.
    /// A batch costs the changes. Keeps no state. [`DStream::changes_to_view`] is the inverse.
    ///
    /// ```
    /// use tidemill::{core::data::Change, prelude::*, testing::check};
    /// check(
    ///     [vec![('a', 1)], vec![('a', 2)]],
    ///     |s| s.sum_by_key().changes(),
    ///     [vec![Change { row: ('a', 1), diff: 1 }], vec![Change { row: ('a', 1), diff: -1 }, Change { row: ('a', 3), diff: 1 }]],
    /// );
    /// ```
    #[track_caller]
    pub fn changes(&self) -> DStream<'s, Change<T>> {
        let operator = self.node.graph.operator::<T>("changes", "");
        match self.presentation(&operator) {
            Some(order) => presentation::changes(&*order, &operator),
            None => self.unordered(&operator, OutputMode::Changes, |row, diff| Change { row, diff }),
        }
    }

    /// The rows that are new since the previous time of the schedule, or that occur more often than then, once each. Rows that only
    /// left are not returned: [`View::changes`] has them. Structured Streaming's update mode.
    ///
    /// A batch costs the changes. Keeps no state.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![('a', 1), ('b', 5)], vec![('a', 2)]], |s| s.sum_by_key().update(), [vec![('a', 1), ('b', 5)], vec![('a', 3)]]);
    /// ```
    #[track_caller]
    pub fn update(&self) -> DStream<'s, T> {
        let operator = self.node.graph.operator::<T>("update", "");
        self.rows_in(&operator, OutputMode::Update)
    }

    /// The rows that entered since the previous time of the schedule, each as often as it entered. Structured Streaming's append mode.
    ///
    /// Only for views that never lose rows: `accumulate`, and `map`, `filter`, `flat_map`, `union` of it. For any other view the
    /// start fails with an error that names the verb that removes rows. A batch costs the changes. Keeps no state.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![1, 1], vec![2]], |s| s.accumulate().append(), [vec![1, 1], vec![2]]);
    /// ```
    #[track_caller]
    pub fn append(&self) -> DStream<'s, T> {
        let operator = self.node.graph.operator::<T>("append", "");
        if let Some(verb) = &self.node.retracts {
            self.node.graph.report(&operator, format!("{verb} takes rows back; use update() or changes(), or complete()"));
        }
        self.rows_in(&operator, OutputMode::Append)
    }

    /// Prints the first `n` rows of the view at every time of its schedule: short for `complete().print(n)`.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let queue = QueueSource::from_batches([vec![('a', 1)], vec![('a', 2)]]);
    /// let job = StreamingContext::builder("sums", millis(5)).run(move |ssc| {
    ///     ssc.queue_stream(&queue).sum_by_key().print(10);
    ///     Ok(())
    /// });
    /// assert!(job.is_ok());
    /// ```
    #[doc(alias = "pprint")]
    #[track_caller]
    pub fn print(&self, n: usize) {
        self.complete().print(n);
    }

    /// The order of the rows; `None`: they have none. Reports an order that a verb of the chain has lost.
    fn presentation(&self, operator: &OperatorId) -> Option<Rc<dyn Presentation<'s, T> + 's>> {
        match &self.node.order {
            Order::None => None,
            Order::By(presentation) => Some(presentation.clone()),
            Order::Lost(LostOrder { by, given }) => {
                self.node.graph.report(operator, format!("{by} cannot keep the order of {given}; call sort_by after it"));
                None
            }
        }
    }

    fn rows_in(&self, operator: &OperatorId, mode: OutputMode) -> DStream<'s, T> {
        match self.presentation(operator) {
            Some(order) => presentation::rows(&*order, operator, mode),
            None => self.unordered(operator, mode, |row, _| row),
        }
    }

    /// The rows of each batch in a mode, in no order; rows that left before rows that entered.
    pub(super) fn unordered<U: 'static>(&self, operator: &OperatorId, mode: OutputMode, wrap: fn(T, i64) -> U) -> DStream<'s, U> {
        let node = &self.node;
        // Counts lie in the partitions of their key groups, other rows in one partition.
        let order = RowOrder::Unordered { grouped: matches!(node.form, Form::Counts(_)) };
        let sides = if mode == OutputMode::Changes { 2 } else { 1 };
        let (view, operator) = (self.clone(), operator.clone());
        DStream::new(&node.graph, move || view.in_mode(&operator, mode, wrap), &vec![order; sides], node.meta.clone())
    }

    /// As `unordered`. A row of a count is made only if the mode emits it.
    fn in_mode<U: 'static>(&self, operator: &OperatorId, mode: OutputMode, wrap: fn(T, i64) -> U) -> RowStream<'s, U> {
        let node = &self.node;
        let (flow, schedule) = (&node.graph.flow, node.meta.schedule.clone());
        if let Form::Counts(counts) = &node.form {
            let items = CountItems { render: counts.render.clone(), all: Vec::new() };
            let named = settled(flow, operator, counts.changes.clone(), Pipeline, mode, schedule, items, wrap);
            // The probe keeps codes from reuse until these rows have been emitted, also if no output reads them.
            return named.probe_with(&node.graph.probe);
        }
        let items = RowItems { all: FastMap::default() };
        if mode == OutputMode::Complete || node.co_located || flow.scope.peers() == 1 {
            return settled(flow, operator, self.rows(), Pipeline, mode, schedule, items, wrap);
        }
        let groups = node.graph.key_groups();
        let by_row = route(move |(row, _, _): &(T, BatchTime, i64)| groups.of(row));
        settled(flow, operator, self.rows(), by_row, mode, schedule, items, wrap)
    }
}

/// The changes that a mode reads: rows, or counts by code, of which a row is made only where it is emitted.
trait Items: 'static {
    type Item: 'static;
    type Row: Clone;
    /// Consolidates the changes of one batch, so that each item occurs once.
    fn settle(&self, changes: &mut Vec<(Self::Item, i64)>);
    /// Applies a change to the kept rows, for `complete`.
    fn apply(&mut self, item: Self::Item, n: i64);
    /// All rows, with their partition and their count.
    fn all(&self, each: impl FnMut(u64, Self::Row, i64));
    /// The row of an item, with its partition.
    fn row(&self, item: Self::Item) -> (u64, Self::Row);
}

struct RowItems<T> {
    all: FastMap<T, i64>,
}

impl<T: Key> Items for RowItems<T> {
    type Item = T;
    type Row = T;

    fn settle(&self, changes: &mut Vec<(T, i64)>) {
        differential_dataflow::consolidation::consolidate(changes);
    }

    fn apply(&mut self, row: T, n: i64) {
        use hashbrown::hash_map::Entry;
        match self.all.entry(row) {
            Entry::Occupied(mut e) => {
                *e.get_mut() += n;
                if *e.get() == 0 {
                    e.remove();
                }
            }
            Entry::Vacant(e) => drop(e.insert(n)),
        }
    }

    fn all(&self, mut each: impl FnMut(u64, T, i64)) {
        self.all.iter().for_each(|(row, n)| each(0, row.clone(), *n));
    }

    fn row(&self, row: T) -> (u64, T) {
        (0, row)
    }
}

/// Counts; rows lie in the partitions of their key groups.
struct CountItems<T> {
    render: Rc<dyn Fn(Code, i64) -> (u64, T)>,
    /// The count of each code; 0 if it has none.
    all: Vec<i64>,
}

impl<T: Clone + 'static> Items for CountItems<T> {
    type Item = (Code, i64);
    type Row = T;

    /// A batch has at most one old and one new count of each code.
    fn settle(&self, _: &mut Vec<((Code, i64), i64)>) {}

    fn apply(&mut self, (code, count): (Code, i64), n: i64) {
        let code = code as usize;
        if self.all.len() <= code {
            self.all.resize(code + 1, 0);
        }
        if n > 0 {
            self.all[code] = count;
        } else if self.all[code] == count {
            self.all[code] = 0;
        }
    }

    fn all(&self, mut each: impl FnMut(u64, T, i64)) {
        for (code, count) in self.all.iter().enumerate().filter(|(_, n)| **n != 0) {
            let (partition, row) = (self.render)(code as Code, *count);
            each(partition, row, 1);
        }
    }

    fn row(&self, (code, count): (Code, i64)) -> (u64, T) {
        (self.render)(code, count)
    }
}

/// The kernel: consolidates the changes of each batch and emits the rows that the mode asks for.
#[allow(clippy::too_many_arguments)]
fn settled<'s, I, U, P>(
    flow: &Flow<'s>,
    operator: &OperatorId,
    changes: Changes<'s, I::Item>,
    pact: P,
    mode: OutputMode,
    schedule: Schedule,
    mut items: I,
    wrap: fn(I::Row, i64) -> U,
) -> RowStream<'s, U>
where
    I: Items,
    I::Item: Clone,
    U: 'static,
    P: timely::dataflow::channels::pact::ParallelizationContract<BatchTime, Vec<(I::Item, BatchTime, i64)>>,
{
    let plus_side = u16::from(mode == OutputMode::Changes);
    // The view has about as many rows as at its last output.
    let mut rows_before = 0;
    let finish = move |plan: &std::sync::Arc<crate::engine::tick::Tick>,
                       mut changes: Vec<(I::Item, i64)>,
                       emit: &mut Emitter<'_, Rows<U>>| {
        items.settle(&mut changes);
        let (mut minus, mut plus) = (Vec::new(), Vec::new());
        let entering = changes.iter().filter(|(_, n)| *n > 0).count();
        let wrap = |(partition, row), n| (partition, wrap(row, n));
        match mode {
            // Restored rows were emitted before the checkpoint.
            _ if plan.restored && mode != OutputMode::Complete => {}
            OutputMode::Complete => {
                changes.into_iter().for_each(|(x, n)| items.apply(x, n));
                if schedule.has(plan.time) && !plan.restored {
                    plus.reserve(rows_before);
                    items.all(|partition, row, n| {
                        (1..n).for_each(|_| plus.push(wrap((partition, row.clone()), 1)));
                        if n > 0 {
                            plus.push(wrap((partition, row), 1));
                        }
                    });
                    rows_before = plus.len();
                }
            }
            OutputMode::Update => {
                plus.reserve(entering);
                plus.extend(changes.into_iter().filter(|c| c.1 > 0).map(|(x, _)| wrap(items.row(x), 1)));
            }
            OutputMode::Append => {
                for (x, n) in changes {
                    plus.extend((0..n).map(|_| wrap(items.row(x.clone()), 1)));
                }
            }
            OutputMode::Changes => {
                plus.reserve(entering);
                minus.reserve(changes.len() - entering);
                for (x, n) in changes {
                    if n < 0 { &mut minus } else { &mut plus }.push(wrap(items.row(x), n));
                }
            }
        }
        by_group(0, minus, emit);
        by_group(plus_side, plus, emit);
    };
    let flow = if mode == OutputMode::Complete { flow.clone() } else { flow.silent_when_empty() };
    batched(&flow, operator, changes, pact, by_batch, finish)
}

impl<'s, T: Key> DStream<'s, Change<T>> {
    /// The view that these changes make: the inverse of [`View::changes`]. A batch costs the changes in it. State: every distinct row
    /// with its count, saved in checkpoints.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![1, 1], vec![2]],
    ///     |s| s.accumulate().changes().changes_to_view().complete(),
    ///     [vec![1, 1], vec![1, 1, 2]],
    /// );
    /// ```
    #[track_caller]
    pub fn changes_to_view(&self) -> View<'s, T> {
        let operator = self.operator::<T>("changes_to_view", "");
        let fold = |table: &mut PartialTable<_, _>, rows: Rows<Change<T>>| {
            rows.take().into_iter().for_each(|c| add(table.of_own(c.row), c.diff));
        };
        // A row may leave on another worker than it entered: the worker that owns the row combines both.
        let (codes, state) = sums(self.combine(&operator, 0, fold, add), &operator);
        let (meta, why) = (self.node.meta.with_state(state), Some(operator.to_string()));
        View::new(&self.node.graph, meta, codes, why)
    }
}
