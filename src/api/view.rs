//! View: a result kept up to date. What is in it at t is the accumulation of all changes until t.
//!
//! Over a differential collection, in one of two forms, each made from the other when it is asked for: *plain*, rows with their
//! changes, and *keyed*, numbers of rows on the workers that own them, which arrangements are made of. Not a SQL temp view: a
//! KTable, or a Result Table. A view leaves through a mode (`operator/view/output_modes.rs`), on its grid.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use crate::api::context::Graph;
use crate::core::time::{BatchTime, Grid};
use crate::engine::dictionary::{Dict, Id};
use crate::engine::flow::VecStream;

/// Changes of rows, as differential has them.
pub(crate) type Changes<'s, T> = VecStream<'s, (T, BatchTime, i64)>;

/// A view by number: every row has an id on the worker that owns it.
pub(crate) struct Keyed<'s, T> {
    pub changes: Changes<'s, Id>,
    pub dict: Rc<RefCell<Dict<T>>>,
}

impl<T> Clone for Keyed<'_, T> {
    fn clone(&self) -> Self {
        Keyed { changes: self.changes.clone(), dict: self.dict.clone() }
    }
}

/// Counts by id, and what makes rows of them: names are looked up only for rows that somebody sees.
///
/// An id has at most one count at a time: a batch takes away the old one and adds the new one.
pub(crate) struct Rendered<'s, T> {
    pub changes: Changes<'s, (Id, i64)>,
    /// The row of an id's count, behind the key group it lies in.
    pub render: Rc<dyn Fn(Id, i64) -> (u64, T)>,
}

/// In which order rows are presented, if somebody said.
pub(crate) type Presentation<T> = Rc<dyn Fn(Vec<T>) -> Vec<T>>;

/// A result kept up to date: rows enter and leave it from batch to batch.
///
/// Handles are cheap to clone. Functions given to a view's verbs are called again when a row leaves, so they must be pure: a
/// clock or a counter in them leaves rows that never go away.
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
    pub lineage: Rc<[u32]>,
    pub grid: Grid,
    pub plain: OnceCell<Changes<'s, T>>,
    pub keyed: OnceCell<Keyed<'s, T>>,
    pub rendered: Option<Rendered<'s, T>>,
    pub order: Option<Presentation<T>>,
    /// The verb because of which rows may leave; `None`: this view only grows.
    pub retracts: Option<String>,
    /// Equal rows always lie on the same worker.
    pub placed: bool,
    pub state: Cell<Option<usize>>,
}

/// What a view is made from.
pub(crate) enum Form<'s, T> {
    Plain(Changes<'s, T>),
    Keyed(Keyed<'s, T>),
    Rendered(Rendered<'s, T>),
}

impl<'s, T: 'static> View<'s, T> {
    pub(crate) fn new(graph: &Rc<Graph<'s>>, lineage: &[u32], grid: Grid, form: Form<'s, T>, retracts: Option<String>) -> Self {
        let (plain, keyed) = (OnceCell::new(), OnceCell::new());
        let mut rendered = None;
        let placed = match form {
            Form::Plain(p) => {
                let _ = plain.set(p);
                false
            }
            Form::Keyed(k) => {
                let _ = keyed.set(k);
                true
            }
            Form::Rendered(r) => {
                rendered = Some(r);
                true
            }
        };
        let node = ViewNode {
            graph: graph.clone(),
            lineage: lineage.into(),
            grid,
            plain,
            keyed,
            rendered,
            order: None,
            retracts,
            placed,
            state: Cell::new(None),
        };
        View { node: Rc::new(node) }
    }

    /// A view of other rows, made from this one's; `retracts` names the verb if it makes rows leave that did not before.
    pub(crate) fn derive<U>(&self, changes: Changes<'s, U>, retracts: Option<&str>) -> View<'s, U> {
        self.derive_as(Form::Plain(changes), retracts)
    }

    /// As `derive`, from any form.
    pub(crate) fn derive_as<U>(&self, form: Form<'s, U>, retracts: Option<&str>) -> View<'s, U> {
        let node = &self.node;
        let why = node.retracts.clone().or(retracts.map(str::to_string));
        let view = View::new(&node.graph, &node.lineage, node.grid.clone(), form, why);
        view.node.state.set(node.state.get());
        view
    }

    /// Changes fields of a view that was just made.
    pub(crate) fn with(self, f: impl FnOnce(&mut ViewNode<'s, T>)) -> Self {
        let mut node = Rc::into_inner(self.node).expect("a view that was just made");
        f(&mut node);
        View { node: Rc::new(node) }
    }
}
