//! `iterate` of a view: what a closure makes of its rows, and of that, until nothing changes.
//!
//! A nested scope of timely, whose times are batches and rounds. Differential keeps what each round made, so a batch costs what is
//! different in its rounds, and not the whole loop again.

use std::fmt;
use std::rc::Rc;

use differential_dataflow::AsCollection;
use differential_dataflow::operators::iterate::Variable;
use timely::dataflow::channels::pact::Pipeline;
use timely::order::Product;

use crate::api::loop_view::{Lap, LoopChanges, LoopUses, LoopView};
use crate::api::view::{Changes, Form, View};
use crate::arrangement::rounds::consolidated;
use crate::core::data::Key;
use crate::core::error::Error;
use crate::engine::flow::{batched, by_batch};
use crate::engine::operator_id::OperatorId;
use crate::engine::rounds::{LoopTime, before};

/// How many rounds a loop has. Default: until nothing changes, at most 10,000.
///
/// ```
/// use tidemill::{prelude::*, testing::check};
/// check([vec![1]], |s| s.accumulate().iterate_with(Rounds::Exactly(3), |v| v.map(|n| n * 2)).complete(), [vec![8]]);
/// check([vec![100]], |s| s.accumulate().iterate_with(Rounds::AtMost(9), |v| v.map(|n| n / 2)).complete(), [vec![0]]);
/// assert_eq!(Rounds::default(), Rounds::AtMost(10_000));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounds {
    /// Until nothing changes. If rows still change after this many rounds, at least 1, the job ends with
    /// [`Error::TooManyRounds`](crate::Error::TooManyRounds).
    AtMost(u64),
    /// This many rounds, or fewer if nothing changes before.
    Exactly(u64),
}

impl Default for Rounds {
    fn default() -> Self {
        Rounds::AtMost(10_000)
    }
}

impl fmt::Display for Rounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rounds::AtMost(n) => write!(f, "at most {n}"),
            Rounds::Exactly(n) => write!(f, "{n}"),
        }
    }
}

impl<'s, T: Key> View<'s, T> {
    /// A view of what `step` makes of the rows of this view, and of that, and so on until nothing changes. Short for
    /// [`View::iterate_with`] and `Rounds::default()`: at most 10,000 rounds.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// // Every number with its divisors of the form n / 2 / 2 ..
    /// check(
    ///     [vec![6], vec![4]],
    ///     |s| s.accumulate().iterate(|v| v.filter(|n| n % 2 == 0).map(|n| n / 2).union(v).distinct()).complete(),
    ///     [vec![3, 6], vec![1, 2, 3, 4, 6]],
    /// );
    /// ```
    #[track_caller]
    pub fn iterate(&self, step: impl for<'i> Fn(&LoopView<'i, T>) -> LoopView<'i, T> + 's) -> View<'s, T> {
        self.iterate_with(Rounds::default(), step)
    }

    /// A view of what `step` makes of the rows of this view, and of that, and so on, for these rounds. Every batch begins with the rows
    /// of this view, so what led to a row that left leads to it no more.
    ///
    /// `step` runs twice on each worker while the program is built, and must use the same verbs both times. It uses other views by
    /// [`LoopView::enter`]; the result changes at the times of their schedules, too. It cannot keep a presentation order: call
    /// `sort_by` after it.
    ///
    /// A batch costs what is different in its rounds, in comparison with the same rounds of the previous batch. Each worker keeps what
    /// the verbs inside the loop keep, for all rounds. It is not in checkpoints: after a restart the loop runs over the restored rows.
    ///
    /// # Errors
    /// The job ends with [`Error::TooManyRounds`] if rows still change after `Rounds::AtMost(n)`. The error
    /// names this verb, the batch and a row. Nothing of the batch is written.
    ///
    /// ```
    /// use tidemill::{prelude::*, testing::{check, try_run}};
    /// // The steps of 6 and 7 to 1, by Collatz.
    /// let collatz = |n: u64| if n == 1 { 1 } else if n % 2 == 0 { n / 2 } else { 3 * n + 1 };
    /// check([vec![6]], move |s| s.accumulate().iterate_with(Rounds::AtMost(8), move |v| v.map(collatz)).complete(), [vec![1]]);
    /// let grows = try_run(1, millis(1), vec![vec![7u64]], |s| s.accumulate().iterate_with(Rounds::AtMost(5), |v| v.map(|n| n + 1)).complete());
    /// assert!(grows.unwrap_err().to_string().contains("the row 12 still changes after 5 rounds"));
    /// ```
    #[track_caller]
    pub fn iterate_with(&self, rounds: Rounds, step: impl for<'i> Fn(&LoopView<'i, T>) -> LoopView<'i, T> + 's) -> View<'s, T> {
        let operator = self.operator::<T>("iterate", rounds);
        self.iterated(operator, rounds, step)
    }

    /// As `iterate_with`, for a verb that is registered already.
    pub(crate) fn iterated(
        &self,
        operator: OperatorId,
        rounds: Rounds,
        step: impl for<'i> Fn(&LoopView<'i, T>) -> LoopView<'i, T> + 's,
    ) -> View<'s, T> {
        let uses: Rc<LoopUses> = Rc::default();
        let lap = Rc::new(Lap { scope: None, uses: uses.clone() });
        let _ = step(&LoopView { lap, rows: None, consolidated: true });
        uses.register(&self.node.graph);
        let meta = uses.views.borrow().iter().fold(self.node.meta.clone(), |meta, view| meta.join(view));
        let (order, retracts) = (self.node.order.lost(&operator), operator.to_string());
        let view = self.clone();
        let form = match rounds {
            Rounds::Exactly(0) => Form::interned(move || view.interned()),
            _ => Form::rows(move || view.loop_rows(&operator, rounds, uses, step)),
        };
        let node = self.derive(form, Some(&retracts)).co_located(true).ordered(order);
        node.with_meta(meta).view()
    }

    /// Builds the loop.
    fn loop_rows(
        &self,
        operator: &OperatorId,
        rounds: Rounds,
        uses: Rc<LoopUses>,
        step: impl for<'i> Fn(&LoopView<'i, T>) -> LoopView<'i, T>,
    ) -> Changes<'s, T> {
        let flow = &self.node.graph.flow;
        let rows = self.rows().as_collection();
        let left = flow.scope.scoped::<LoopTime, _, _>(&operator.to_string(), |scope| {
            let (variable, rows) = Variable::new_from(rows.enter(scope), Product::new(Default::default(), 1));
            let lap = Rc::new(Lap { scope: Some(scope), uses });
            let made = step(&LoopView { lap, rows: Some(rows), consolidated: false });
            let all = made.rows.expect("a loop that is built has rows");
            let all = if made.consolidated { all } else { consolidated(all, operator) };
            let next = self.bounded(all, operator, rounds);
            variable.set(next.clone());
            next.leave(flow.scope)
        });
        // A row may have changed in many rounds.
        let step = OperatorId::step("last round");
        batched(&flow.silent_when_empty(), &step, left.inner, Pipeline, by_batch, |tick, mut rows: Vec<(T, i64)>, emit| {
            differential_dataflow::consolidation::consolidate(&mut rows);
            emit(rows.into_iter().map(|(row, n)| (row, tick.time, n)).collect());
        })
    }

    /// The changes within the bound of rounds.
    fn bounded<'i>(&self, rows: LoopChanges<'i, T>, operator: &OperatorId, rounds: Rounds) -> LoopChanges<'i, T> {
        match rounds {
            Rounds::Exactly(n) => before(rows, operator, n, |_, _| false),
            Rounds::AtMost(n) => {
                let (fail, name) = (self.node.graph.fail.clone(), format!("{operator:?}"));
                before(rows, operator, n.max(1), move |row, time| {
                    fail(Error::TooManyRounds { operator: name.clone(), rounds: n, row: format!("{row:?}"), time });
                    true
                })
            }
        }
    }
}
