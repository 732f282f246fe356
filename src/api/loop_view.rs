//! LoopView: a view inside a loop, as it is in each round. [`View::iterate`](crate::prelude::View::iterate) hands it to its closure.
//!
//! The closure runs twice. The first run builds nothing: it tells which verbs and which views the loop uses, in the order of the
//! program. The second run builds the operators, when an output asks for the rows.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use differential_dataflow::VecCollection;
use timely::dataflow::Scope;

use crate::api::context::Graph;
use crate::api::meta::Meta;
use crate::engine::operator_id::OperatorId;
use crate::engine::rounds::LoopTime;

/// The changes of rows, by batch and round.
pub(crate) type LoopChanges<'i, T> = VecCollection<'i, LoopTime, T, i64>;

/// A view inside a loop: its rows in each round. [`View::iterate`](crate::prelude::View::iterate) makes it, and
/// [`LoopView::enter`] brings other views into the loop.
///
/// A verb on it works on the rows of one round. What changes from round to round costs time, and so does what changes from batch to
/// batch. Functions passed to its verbs must be pure, as those of a view.
#[must_use = "nothing runs unless the closure of the loop returns it"]
pub struct LoopView<'i, T: 'static> {
    pub(crate) lap: Rc<Lap<'i>>,
    /// `None` in the first run of the closure.
    pub(crate) rows: Option<LoopChanges<'i, T>>,
    /// Whether equal rows of a round are one change, on one worker.
    pub(crate) consolidated: bool,
}

impl<T: Clone> Clone for LoopView<'_, T> {
    fn clone(&self) -> Self {
        LoopView { lap: self.lap.clone(), rows: self.rows.clone(), consolidated: self.consolidated }
    }
}

/// One run of the closure of a loop.
pub(crate) struct Lap<'i> {
    /// The scope of the loop, if this run builds it.
    pub scope: Option<Scope<'i, LoopTime>>,
    pub uses: Rc<LoopUses>,
}

/// What the closure of a loop uses, by its first run.
#[derive(Default)]
pub(crate) struct LoopUses {
    operators: RefCell<VecDeque<(OperatorId, Register)>>,
    /// The views that enter.
    pub views: RefCell<Vec<Meta>>,
}

type Register = fn(&Graph<'_>, &OperatorId);

impl LoopUses {
    /// Registers the operators of the loop, in the order of the program.
    pub fn register(&self, graph: &Graph<'_>) {
        self.operators.borrow().iter().for_each(|(operator, register)| register(graph, operator));
    }
}

impl<'i, T: Clone + 'static> LoopView<'i, T> {
    /// An operator of the verb that is being called, for rows of type `R`: `loop VERB` in the fingerprint.
    #[track_caller]
    pub(crate) fn operator<R: ?Sized>(&self, verb: &str) -> OperatorId {
        let operator = OperatorId::of(verb);
        let mut operators = self.lap.uses.operators.borrow_mut();
        if self.lap.scope.is_some() {
            let first = operators.pop_front().map(|(operator, _)| operator);
            return first.filter(|o| o.to_string() == operator.to_string()).unwrap_or(operator);
        }
        operators.push_back((operator.clone(), |graph, operator| {
            graph.register_operator_as::<R>(operator, &format!("loop {}", operator.verb()), "");
        }));
        operator
    }

    /// Rows that `make` builds of these, in the second run of the closure.
    pub(crate) fn derive<U>(&self, make: impl FnOnce(LoopChanges<'i, T>) -> LoopChanges<'i, U>) -> LoopView<'i, U> {
        LoopView { lap: self.lap.clone(), rows: self.rows.clone().map(make), consolidated: false }
    }

    /// The same, where equal rows of a round are one change, on one worker.
    pub(crate) fn consolidated(self) -> Self {
        LoopView { consolidated: true, ..self }
    }
}
