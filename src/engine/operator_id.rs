//! The identity of an operator, for metrics, queries, errors and panics.
//!
//! A verb makes its [`OperatorId`] where the program calls it; the graph numbers and names it at registration. Invariant: an
//! index and a name belong to one operator. They are equal on every worker, because every worker builds the same graph.

use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Mutex, OnceLock};

use crate::core::lock::lock;
use crate::core::time::BatchTime;
use crate::logging;

/// An operator of the graph. Displayed as the verb and the line that called it: `map (main.rs:12)`.
#[derive(Clone)]
pub(crate) struct OperatorId(Arc<Operator>);

struct Operator {
    verb: Box<str>,
    /// The place in the program that called the verb; `None` for a step that the engine adds.
    place: Option<&'static Location<'static>>,
    /// Whether its functions must be pure, because it is a verb of a View.
    pure: bool,
    registered: OnceLock<Registered>,
}

struct Registered {
    index: usize,
    /// The verb with its ordinal, until the program names it.
    name: Mutex<String>,
}

impl OperatorId {
    /// The operator of a verb, at the place in the program that called it.
    #[track_caller]
    pub fn of(verb: &str) -> Self {
        Self::new(verb, Some(Location::caller()), false)
    }

    /// As `of`, for a verb of a View: its functions must be pure.
    #[track_caller]
    pub fn of_view(verb: &str) -> Self {
        Self::new(verb, Some(Location::caller()), true)
    }

    /// A step that the engine adds to a verb; it is not registered.
    pub fn step(what: &str) -> Self {
        Self::new(what, None, false)
    }

    fn new(verb: &str, place: Option<&'static Location<'static>>, pure: bool) -> Self {
        OperatorId(Arc::new(Operator { verb: verb.into(), place, pure, registered: OnceLock::new() }))
    }

    /// Whether both are the same operator.
    pub fn is(&self, other: &OperatorId) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Gives the operator its index in build order and its name. Only the first call has an effect.
    pub fn register(&self, index: usize, name: &str) {
        let _ = self.0.registered.set(Registered { index, name: Mutex::new(name.into()) });
    }

    /// Sets the name that the program chose, instead of the verb with its ordinal.
    pub fn rename(&self, name: &str) {
        if let Some(registered) = self.0.registered.get() {
            *lock(&registered.name) = name.into();
        }
    }

    /// Its place in build order; `None` before it is registered, and for the engine's own steps.
    pub fn index(&self) -> Option<usize> {
        self.0.registered.get().map(|r| r.index)
    }

    /// The method that was called: `count_by_value`.
    pub fn verb(&self) -> &str {
        &self.0.verb
    }

    /// The name: unique in the graph. `count_by_value#2`, or the name from the program; before registration only the verb.
    pub fn name(&self) -> String {
        match self.0.registered.get() {
            Some(registered) => lock(&registered.name).clone(),
            None => self.0.verb.to_string(),
        }
    }

    /// The place in the program that called the verb, `main.rs:12`.
    pub fn place(&self) -> Option<String> {
        let place = self.0.place?;
        let file = place.file().rsplit('/').next().unwrap_or_default();
        Some(format!("{file}:{}", place.line()))
    }

    /// Records that this thread now runs this operator, on this batch.
    pub fn enter(&self, time: Option<BatchTime>) {
        Here { operator: Some(self.clone()), time, round: None }.set();
    }

    /// Records that this thread now runs this operator, in this round of a loop, on this batch.
    pub fn enter_round(&self, time: BatchTime, round: u64) {
        Here { operator: Some(self.clone()), time: Some(time), round: Some(round) }.set();
    }
}

impl fmt::Display for OperatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place() {
            Some(place) => write!(f, "{} ({place})", self.verb()),
            None => f.write_str(self.verb()),
        }
    }
}

impl fmt::Debug for OperatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {self}", self.name())
    }
}

/// The operator that a thread entered last, and its batch. Other threads may read it.
#[derive(Default)]
pub(crate) struct CurrentOperator(Mutex<Here>);

#[derive(Default)]
struct Here {
    operator: Option<OperatorId>,
    time: Option<BatchTime>,
    /// The round, if the operator is in a loop.
    round: Option<u64>,
}

impl Here {
    fn set(self) {
        HERE.with(|here| *lock(&here.0) = self);
    }
}

thread_local! {
    static HERE: Arc<CurrentOperator> = Arc::default();
    /// The number of the worker that the thread is.
    static WORKER: Cell<Option<usize>> = const { Cell::new(None) };
}

impl CurrentOperator {
    /// The calling thread is this worker.
    pub fn on_worker(index: usize) {
        WORKER.set(Some(index));
        logging::know_places(|| {
            let worker = WORKER.get()?;
            let (operator, batch) = CurrentOperator::last();
            Some(logging::Place { operator, batch: batch.map(BatchTime::millis), worker })
        });
    }

    /// The worker that the calling thread is.
    pub fn worker() -> Option<usize> {
        WORKER.get()
    }

    /// The current operator of the calling thread.
    pub fn here() -> Arc<CurrentOperator> {
        HERE.with(Arc::clone)
    }

    /// The operator and batch that ran last, for a message.
    pub fn read(&self) -> (String, Option<BatchTime>) {
        let here = lock(&self.0);
        let operator = here.operator.as_ref().map_or_else(|| "the engine".into(), OperatorId::to_string);
        (here.round.iter().fold(operator, |operator, round| format!("{operator}, round {round}")), here.time)
    }

    /// The batch for which the calling thread runs a function that may have effects. `None`: it runs none, or one that must be pure.
    pub fn batch() -> Option<BatchTime> {
        let runs = |here: &Here| here.time.filter(|_| here.round.is_none() && here.operator.as_ref().is_some_and(|o| !o.0.pure));
        HERE.with(|here| runs(&lock(&here.0)))
    }

    /// The operator and batch that ran last on the calling thread, for the report of a panic.
    pub fn last() -> (String, Option<BatchTime>) {
        HERE.with(|here| here.read())
    }
}
