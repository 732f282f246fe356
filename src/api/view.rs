//! View: a result kept up to date. Its rows at t are the accumulation of all changes up to t.
//!
//! Not a SQL temporary view: Kafka's KTable, or the result table of Structured Streaming. A view becomes a DStream again through
//! an output mode (`operator/view/output_modes.rs`), at the times of its schedule. It has up to three forms:
//!
//! ```text
//!   Rows      (row, time, diff)           what user functions see; on any worker
//!     │  intern ▼   ▲ resolve
//!   Interned  (code, time, diff)            rows as dictionary codes, on the workers that own them: what arrangements hold
//!     │  counted ▼
//!   Counts    ((code, count), time, diff)   the result of a count: a row is made only for what an output mode writes
//! ```
//!
//! A view is made in one form; `rows()` and `interned()` derive the others once, at first use (`arrangement/interned.rs`). So does
//! `arranged()`: all readers of the state of a view share one trace (`engine/dense`). Joins and reductions of a view of pairs share
//! another, by the codes of keys (`arrangement/pairs.rs`).
//! A view may also have a presentation: the order in which output modes write its rows (`operator/view/presentation.rs`).

use std::any::Any;
use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::implementations::{KeySpine, ValSpine};

use crate::api::context::{Graph, StreamingContext};
use crate::api::dstream::{DStream, Lazy, lazy};
use crate::api::meta::Meta;
use crate::core::data::Change;
use crate::core::time::BatchTime;
use crate::engine::dense::Dense;
pub use crate::engine::dense::{DenseBatch, DenseCursor, DenseTrace};
use crate::engine::dictionary::{Code, Dict};
use crate::engine::flow::VecStream;
use crate::engine::operator_id::OperatorId;

/// Changes of rows, as differential has them.
pub(crate) type Changes<'s, T> = VecStream<'s, (T, BatchTime, i64)>;

/// Rows as dictionary codes: every row has a code on the worker that owns it.
pub(crate) struct Interned<'s, T> {
    pub changes: Changes<'s, Code>,
    pub dict: Rc<RefCell<Dict<T>>>,
}

impl<T> Clone for Interned<'_, T> {
    fn clone(&self) -> Self {
        Interned { changes: self.changes.clone(), dict: self.dict.clone() }
    }
}

/// Counts by code, and the function that makes a row of one. Keys are looked up only for rows that somebody sees.
///
/// A code has at most one count at a time: a batch removes the old one and adds the new one.
pub(crate) struct Counts<'s, T> {
    pub changes: Changes<'s, (Code, i64)>,
    /// The key group of a code, and the row of its count.
    pub render: Rc<dyn Fn(Code, i64) -> (u64, T)>,
    /// The arrangement that is counted.
    pub arranged: Dense<'s>,
    /// The code of a key that is written as JSON.
    pub find: FindCode,
}

/// The code of a key that is written as JSON, if the key has one.
pub(crate) type FindCode = Rc<dyn Fn(&str) -> Option<Code>>;

/// A view of pairs by key: the code of a key with the code of a value. Rows of all types have this form.
pub(crate) struct ByKey<'s> {
    /// The `Rc<RefCell<Dict<V>>>` of its values. The dictionary of keys is the graph's, so that views can be joined.
    pub values: Rc<dyn Any>,
    /// The pairs, and each key that has values; made when the first reader asks.
    pub arranged: Lazy<'s, PairTrace<'s>>,
    pub keys: Lazy<'s, CodeTrace<'s>>,
}

pub(crate) type PairTrace<'s> = Arranged<'s, TraceAgent<ValSpine<Code, Code, BatchTime, i64>>>;
pub(crate) type CodeTrace<'s> = Arranged<'s, TraceAgent<KeySpine<Code, BatchTime, i64>>>;

/// An output mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputMode {
    Complete,
    Update,
    Append,
    Changes,
}

/// The order in which output modes present the rows of a view.
pub(crate) trait Presentation<'s, T> {
    /// The rows of each batch in a mode, in order, on worker 0: in mode `Changes` first those that left. Equal rows may occur
    /// several times; their differences add up.
    fn entries(&self, operator: &OperatorId, mode: OutputMode) -> DStream<'s, Change<T>>;

    /// Whether different rows may have become equal since they were put in order.
    fn merges(&self) -> bool;

    /// The verb that gave the order.
    fn verb(&self) -> &OperatorId;
}

/// Whether a view has an order.
pub(crate) enum Order<'s, T> {
    None,
    By(Rc<dyn Presentation<'s, T> + 's>),
    /// An output mode reports it.
    Lost(LostOrder),
}

/// A verb that cannot keep an order, and the verb that gave the order.
#[derive(Clone)]
pub(crate) struct LostOrder {
    pub by: OperatorId,
    pub given: OperatorId,
}

impl<T> Clone for Order<'_, T> {
    fn clone(&self) -> Self {
        match self {
            Order::None => Order::None,
            Order::By(presentation) => Order::By(presentation.clone()),
            Order::Lost(lost) => Order::Lost(lost.clone()),
        }
    }
}

impl<'s, T> Order<'s, T> {
    /// The order of the result of a verb that cannot keep this one.
    pub fn lost<U>(&self, by: &OperatorId) -> Order<'s, U> {
        match self {
            Order::None => Order::None,
            Order::By(presentation) => Order::Lost(LostOrder { by: by.clone(), given: presentation.verb().clone() }),
            Order::Lost(lost) => Order::Lost(lost.clone()),
        }
    }

    /// This order, or the other one if there is none.
    pub fn or(self, other: Self) -> Self {
        if matches!(self, Order::None) { other } else { self }
    }
}

/// A result kept up to date: each batch may add and remove rows.
///
/// Handles are cheap to clone. Functions passed to a view's verbs run again when a row is removed, so they must be pure. If one
/// reads a clock or a counter, its rows are never removed.
#[must_use = "nothing runs unless an output operation asks for it"]
pub struct View<'s, T: 'static> {
    pub(crate) node: Rc<ViewNode<'s, T>>,
}

impl<T> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        View { node: self.node.clone() }
    }
}

pub(crate) struct ViewNode<'s, T: 'static> {
    pub graph: Rc<Graph<'s>>,
    pub meta: Meta,
    pub form: Form<'s, T>,
    pub rows: OnceCell<Changes<'s, T>>,
    pub interned: OnceCell<Interned<'s, T>>,
    /// The arrangement of the interned form; made when the first reader asks.
    pub arranged: OnceCell<Dense<'s>>,
    /// Its pairs by key, if it is a view of pairs.
    pub by_key: OnceCell<Rc<ByKey<'s>>>,
    pub order: Order<'s, T>,
    /// The verb that may remove rows; `None`: this view only grows.
    pub retracts: Option<String>,
    /// Equal rows always lie on the same worker.
    pub co_located: bool,
}

/// The form in which a view is made, at first use.
pub(crate) enum Form<'s, T> {
    Rows(Lazy<'s, Changes<'s, T>>),
    Interned(Lazy<'s, Interned<'s, T>>),
    Counts(Lazy<'s, Counts<'s, T>>),
}

impl<'s, T> Form<'s, T> {
    pub fn rows(make: impl FnOnce() -> Changes<'s, T> + 's) -> Self {
        Form::Rows(lazy(make))
    }

    pub fn interned(make: impl FnOnce() -> Interned<'s, T> + 's) -> Self {
        Form::Interned(lazy(make))
    }

    pub fn counts(make: impl FnOnce() -> Counts<'s, T> + 's) -> Self {
        Form::Counts(lazy(make))
    }
}

impl<'s, T: 'static> ViewNode<'s, T> {
    pub fn new(graph: &Rc<Graph<'s>>, meta: Meta, form: Form<'s, T>, retracts: Option<String>) -> Self {
        let (graph, co_located) = (graph.clone(), !matches!(form, Form::Rows(_)));
        let (rows, interned, arranged, by_key) = (OnceCell::new(), OnceCell::new(), OnceCell::new(), OnceCell::new());
        ViewNode { graph, meta, form, rows, interned, arranged, by_key, order: Order::None, retracts, co_located }
    }

    /// Equal rows lie on the same worker, if `yes`.
    pub fn co_located(self, yes: bool) -> Self {
        ViewNode { co_located: yes, ..self }
    }

    /// Rows are presented in this order.
    pub fn ordered(self, order: Order<'s, T>) -> Self {
        ViewNode { order, ..self }
    }

    pub fn with_meta(self, meta: Meta) -> Self {
        ViewNode { meta, ..self }
    }

    pub fn view(self) -> View<'s, T> {
        View { node: Rc::new(self) }
    }
}

impl<'s, T: 'static> View<'s, T> {
    pub(crate) fn new(graph: &Rc<Graph<'s>>, meta: Meta, form: Form<'s, T>, retracts: Option<String>) -> Self {
        ViewNode::new(graph, meta, form, retracts).view()
    }

    /// A view that is made from this one's rows. `retracts` names the verb if it removes rows that this one keeps.
    pub(crate) fn derive<U>(&self, form: Form<'s, U>, retracts: Option<&str>) -> ViewNode<'s, U> {
        let node = &self.node;
        let why = node.retracts.clone().or(retracts.map(str::to_string));
        ViewNode::new(&node.graph, node.meta.clone(), form, why)
    }

    /// The context that the program of this view is built on. An asserting example is at [`DStream::context`].
    ///
    /// [`DStream::context`]: crate::prelude::DStream::context
    pub fn context(&self) -> StreamingContext<'s> {
        StreamingContext { graph: self.node.graph.clone() }
    }

    /// Registers an operator of the verb that is being called: `view VERB` in the fingerprint.
    #[track_caller]
    pub(crate) fn operator<R: ?Sized>(&self, verb: &str, what: impl std::fmt::Display) -> OperatorId {
        let operator = OperatorId::of_view(verb);
        self.node.graph.register_operator_as::<R>(&operator, &format!("view {verb}"), what);
        operator
    }
}
