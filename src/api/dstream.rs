//! DStream: a stream of batches. What is in batch t does not depend on what was in t-1.
//!
//! A handle on a timely stream, cheap to clone, used as often as one likes; every verb is a method, one file a verb under
//! `operator/`, `sink/`. Rows carry their partition; the handle knows in which order a batch is to be read (`Case`).

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use crate::api::context::Graph;
use crate::core::data::{Data, PartitionId, Rows};
use crate::core::time::{BatchTime, Grid};
use crate::engine::dictionary::Dict;
use crate::engine::flow::{RowStream, VecStream};
use crate::engine::pane::Pane;

/// In which order the rows of a batch are read, for one leaf of a union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    /// By partition: source, partition, offset.
    Source,
    /// All on the home worker, in one order.
    Sequence,
    /// No order of their own: outputs put them in the order of what they write. `grouped`: the partition is the key group.
    Bag { grouped: bool },
}

/// The panes of a stream, one a batch, and the dictionary of their ids, made once for all windows over it.
pub(crate) struct Panes<'s, T> {
    pub stream: VecStream<'s, (BatchTime, Rc<Pane>)>,
    pub dict: Rc<std::cell::RefCell<Dict<T>>>,
}

/// A stream of batches of `T`: Spark's DStream.
///
/// Handles are cheap to clone; using one twice computes nothing twice.
#[must_use = "nothing runs unless an output operation asks for it"]
pub struct DStream<'s, T: 'static> {
    pub(crate) node: Rc<Node<'s, T>>,
}

impl<T> Clone for DStream<'_, T> {
    fn clone(&self) -> Self {
        DStream { node: self.node.clone() }
    }
}

pub(crate) struct Node<'s, T: 'static> {
    pub graph: Rc<Graph<'s>>,
    pub stream: RowStream<'s, T>,
    /// One case a leaf: `PartitionId::side` says which.
    pub cases: Rc<[Case]>,
    /// The sources these rows come from.
    pub lineage: Rc<[u32]>,
    /// The times at which there is a batch: outputs are silent at others.
    pub grid: Grid,
    /// Rows are pairs and lie on the worker that owns their key.
    pub placed: bool,
    /// The last verb of this chain that keeps state, by its number.
    pub state: Cell<Option<usize>>,
    pub panes: OnceCell<Panes<'s, T>>,
}

impl<'s, T: 'static> DStream<'s, T> {
    pub(crate) fn new(graph: &Rc<Graph<'s>>, stream: RowStream<'s, T>, cases: &[Case], lineage: &[u32]) -> Self {
        let node = Node {
            graph: graph.clone(),
            stream,
            cases: cases.into(),
            lineage: lineage.into(),
            grid: Grid::every(graph.config.interval.millis()),
            placed: false,
            state: Cell::new(None),
            panes: OnceCell::new(),
        };
        DStream { node: Rc::new(node) }
    }

    /// A stream of other rows in the same partitions.
    pub(crate) fn narrow<U>(&self, stream: RowStream<'s, U>) -> DStream<'s, U> {
        self.like(stream, &self.node.cases)
    }

    /// A stream of other rows in an order of its own.
    pub(crate) fn wide<U>(&self, stream: RowStream<'s, U>, case: Case) -> DStream<'s, U> {
        self.like(stream, &[case])
    }

    fn like<U>(&self, stream: RowStream<'s, U>, cases: &[Case]) -> DStream<'s, U> {
        let node = &self.node;
        DStream::new(&node.graph, stream, cases, &node.lineage).on_grid(node.grid.clone()).with_state(node.state.get())
    }

    /// Says at which times there is a batch.
    pub(crate) fn on_grid(self, grid: Grid) -> Self {
        let mut node = Rc::into_inner(self.node).expect("a stream that was just made");
        node.grid = grid;
        DStream { node: Rc::new(node) }
    }

    /// Says which verb of this chain keeps state.
    pub(crate) fn with_state(self, state: Option<usize>) -> Self {
        self.node.state.set(state);
        self
    }

    /// Says that rows are pairs and lie on the worker that owns their key, if `placed`.
    pub(crate) fn placed(self, placed: bool) -> Self {
        let mut node = Rc::into_inner(self.node).expect("a stream that was just made");
        node.placed = placed;
        DStream { node: Rc::new(node) }
    }

    /// The timely stream underneath, to go on in timely's own words; [`DStream::wrap`] brings one back.
    pub fn inner(&self) -> timely::dataflow::Stream<'s, BatchTime, Rows<T>> {
        self.node.stream.clone()
    }

    /// Wraps a timely stream, in the order and with the lineage of this one.
    ///
    /// Rows must be at the batch times of this stream, and partitions must be those that came with them.
    pub fn wrap<U: Data>(&self, stream: timely::dataflow::Stream<'s, BatchTime, Rows<U>>) -> DStream<'s, U> {
        self.narrow(stream)
    }
}

/// Brings the containers of one gathered batch into the order their cases ask for.
///
/// Left rows of a union before right ones; source rows by partition; a sequence as it is; a bag as `sort` does.
pub(crate) fn in_order<T>(cases: &[Case], mut parcels: Vec<(PartitionId, Vec<T>)>, sort: impl Fn(&mut [T])) -> Vec<T> {
    parcels.sort_by_key(|(partition, _)| *partition);
    let mut rows = Vec::with_capacity(parcels.iter().map(|(_, r)| r.len()).sum());
    let mut parcels = parcels.into_iter().peekable();
    while let Some((partition, first)) = parcels.next() {
        let side = partition.branch;
        let start = rows.len();
        rows.extend(first);
        while let Some((_, more)) = parcels.next_if(|(l, _)| l.branch == side) {
            rows.extend(more);
        }
        if matches!(cases.get(side as usize), Some(Case::Bag { .. })) {
            sort(&mut rows[start..]);
        }
    }
    rows
}

/// Which verb keeps state, where two chains meet: neither, if each has one.
pub(crate) fn only(a: Option<usize>, b: Option<usize>) -> Option<usize> {
    if a.is_some() && b.is_some() && a != b { None } else { a.or(b) }
}

/// Both lineages.
pub(crate) fn merged(a: &[u32], b: &[u32]) -> Rc<[u32]> {
    let mut both: Vec<u32> = a.iter().chain(b).copied().collect();
    both.sort_unstable();
    both.dedup();
    both.into()
}
