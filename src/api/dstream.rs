//! DStream: a stream of batches. The rows of batch t do not depend on batch t-1.
//!
//! It is a handle on a timely stream, cheap to clone and to use several times. Every verb is a method, in its own file under
//! `operator/` or `connector/`. Rows carry their partition. The handle knows the order in which outputs get a batch (`RowOrder`).
//!
//! Invariant: a verb registers its operator when it is called, and builds it when an output operation asks for its rows. So a branch
//! without output costs nothing, and its source is not opened.

use std::cell::{LazyCell, OnceCell};
use std::rc::Rc;

use crate::api::context::{Graph, StreamingContext};
use crate::api::meta::Meta;
use crate::core::data::{Data, PartitionId, Rows};
use crate::core::key_groups::KeyGroups;
use crate::core::origin::OriginsWanted;
use crate::core::time::BatchTime;
use crate::engine::dictionary::Dict;
use crate::engine::flow::{Flow, RowStream, VecStream};
use crate::engine::operator_id::OperatorId;
use crate::engine::pane::Pane;

/// The order in which the rows of a batch are read, for one branch of a union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowOrder {
    /// By partition, and as they are in it: rows of a source by split and offset. `lasting`: a split, or a key, is in the same partition
    /// in every batch.
    ByPartition { lasting: bool },
    /// One order, all rows on worker 0.
    Ordered,
    /// No order of their own: outputs sort what they write. `grouped`: the partition is the key group.
    Unordered { grouped: bool },
}

impl RowOrder {
    /// Whether the rows of a key, or of a split, are in the same partition or shard in every batch.
    pub fn lasting(self) -> bool {
        !matches!(self, RowOrder::Unordered { grouped: false } | RowOrder::ByPartition { lasting: false })
    }
}

/// Rows that were exchanged by key: a partition is a key group.
pub(crate) const BY_KEY_GROUP: RowOrder = RowOrder::Unordered { grouped: true };

/// What is built when an output asks for it first.
pub(crate) type Lazy<'s, X> = LazyCell<X, Box<dyn FnOnce() -> X + 's>>;

/// Builds with `make` at first use.
pub(crate) fn lazy<'s, X>(make: impl FnOnce() -> X + 's) -> Lazy<'s, X> {
    LazyCell::new(Box::new(make))
}

/// The panes of a stream, one per batch, and the dictionary of their ids. All windows over the stream share them.
pub(crate) struct Panes<'s, T> {
    /// Empty until an output reads a window. Not [`Lazy`]: it would hold the stream that holds it.
    pub stream: OnceCell<VecStream<'s, (BatchTime, Rc<Pane>)>>,
    pub dict: Rc<std::cell::RefCell<Dict<T>>>,
}

impl<T: 'static> Panes<'_, T> {
    pub fn new(groups: KeyGroups) -> Self {
        Panes { stream: OnceCell::new(), dict: Dict::shared(groups) }
    }
}

/// A stream of batches of `T`: Spark's DStream.
///
/// Handles are cheap to clone. Using one twice computes nothing twice.
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
    pub stream: Lazy<'s, RowStream<'s, T>>,
    /// The order of each branch of a union; `PartitionId::branch` is the index.
    pub orders: Rc<[RowOrder]>,
    pub meta: Meta,
    /// Rows are pairs and lie on the worker that owns their key (Flink's KeyedStream).
    pub keyed: bool,
    pub panes: OnceCell<Panes<'s, T>>,
    pub wants_origins: Rc<OriginsWanted>,
}

impl<'s, T: 'static> DStream<'s, T> {
    pub(crate) fn new(
        graph: &Rc<Graph<'s>>,
        make: impl FnOnce() -> RowStream<'s, T> + 's,
        orders: &[RowOrder],
        meta: Meta,
    ) -> Self {
        Self::build(graph, make, orders.into(), meta, false, Rc::default())
    }

    /// A stream of pairs that lie on the workers that own their keys.
    pub(crate) fn new_keyed(graph: &Rc<Graph<'s>>, make: impl FnOnce() -> RowStream<'s, T> + 's, meta: Meta) -> Self {
        Self::build(graph, make, [BY_KEY_GROUP].into(), meta, true, Rc::default())
    }

    /// `make` builds the operators; it runs when an output asks for the rows.
    pub(crate) fn build(
        graph: &Rc<Graph<'s>>,
        make: impl FnOnce() -> RowStream<'s, T> + 's,
        orders: Rc<[RowOrder]>,
        meta: Meta,
        keyed: bool,
        wants_origins: Rc<OriginsWanted>,
    ) -> Self {
        let (graph, stream, panes) = (graph.clone(), lazy(make), OnceCell::new());
        DStream { node: Rc::new(Node { graph, stream, orders, meta, keyed, panes, wants_origins }) }
    }

    /// The rows that a source reads.
    pub(crate) fn of_source(
        graph: &Rc<Graph<'s>>,
        make: impl FnOnce(Rc<OriginsWanted>) -> RowStream<'s, T> + 's,
        source: u32,
    ) -> Self {
        let (meta, wanted) = (Meta::of_source(source, graph.config.interval.millis()), Rc::<OriginsWanted>::default());
        let asked = wanted.clone();
        Self::build(graph, move || make(asked), [RowOrder::ByPartition { lasting: true }].into(), meta, false, wanted)
    }

    /// A stream of other rows in the same partitions, which `make` builds of this one.
    pub(crate) fn narrow<U>(&self, make: impl FnOnce(&Self) -> RowStream<'s, U> + 's) -> DStream<'s, U> {
        self.same_partitions(false, Rc::default(), make)
    }

    /// As `narrow`, of rows with the same keys: they stay with their keys' owners.
    pub(crate) fn narrow_keyed<U>(&self, make: impl FnOnce(&Self) -> RowStream<'s, U> + 's) -> DStream<'s, U> {
        self.same_partitions(true, Rc::default(), make)
    }

    /// Like `narrow`, for rows whose origins are tracked if `make` is called with `true`. `keyed`: like `narrow_keyed`.
    pub(crate) fn traced<U>(
        &self,
        keyed: bool,
        make: impl FnOnce(&Self, Rc<OriginsWanted>) -> RowStream<'s, U> + 's,
    ) -> DStream<'s, U> {
        let wanted = OriginsWanted::below([self.node.wants_origins.clone()]);
        let asked = wanted.clone();
        self.same_partitions(keyed, wanted, move |s| make(s, asked))
    }

    /// What `narrow`, `narrow_keyed` and `traced` share. `wanted`: whether the rows must tell their origins.
    pub(crate) fn same_partitions<U>(
        &self,
        keyed: bool,
        wanted: Rc<OriginsWanted>,
        make: impl FnOnce(&Self) -> RowStream<'s, U> + 's,
    ) -> DStream<'s, U> {
        let (node, own) = (&self.node, self.clone());
        DStream::build(&node.graph, move || make(&own), node.orders.clone(), node.meta.clone(), keyed && node.keyed, wanted)
    }

    /// A stream of other rows with its own order, which `make` builds from this one.
    pub(crate) fn wide<U>(&self, order: RowOrder, make: impl FnOnce(&Self) -> RowStream<'s, U> + 's) -> DStream<'s, U> {
        let own = self.clone();
        DStream::new(&self.node.graph, move || make(&own), &[order], self.node.meta.clone())
    }

    /// The context that the program of this stream is built on. Spark's `context`.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![1]],
    ///     |stream| {
    ///         let interval = stream.context().batch_interval();
    ///         stream.map(move |n| (n, interval.is_zero()))
    ///     },
    ///     [vec![(1, false)]],
    /// );
    /// ```
    #[doc(alias = "ssc")]
    pub fn context(&self) -> StreamingContext<'s> {
        StreamingContext { graph: self.node.graph.clone() }
    }

    /// The inputs of every operator.
    pub(crate) fn flow(&self) -> &Flow<'s> {
        &self.node.graph.flow
    }

    /// Registers an operator of the verb that is being called. `what`: its arguments, as the fingerprint has them.
    #[track_caller]
    pub(crate) fn operator<R: ?Sized>(&self, verb: &str, what: impl std::fmt::Display) -> OperatorId {
        self.node.graph.operator::<R>(verb, what)
    }

    /// The timely stream underneath, for operators of timely's own; [`DStream::wrap`] makes a DStream of their result. The verbs of this
    /// stream then run, also if no output operation follows.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![1, 2]], |s| s.wrap(s.inner()), [vec![1, 2]]);
    /// ```
    pub fn inner(&self) -> timely::dataflow::Stream<'s, BatchTime, Rows<T>> {
        (*self.node.stream).clone()
    }

    /// The stream underneath for a fallible verb: its rows must tell their origins.
    pub(crate) fn inner_with_origins(&self) -> RowStream<'s, T> {
        self.node.wants_origins.set();
        self.inner()
    }

    /// A DStream of a timely stream that was made from this one's [`DStream::inner`]: its rows have the order and the sources
    /// of this one.
    ///
    /// Constraints: rows must keep the time and the partition that they came with, and stay on their worker.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![1], vec![2]], |s| s.map(|n| n * 10).wrap(s.inner()), [vec![1], vec![2]]);
    /// ```
    pub fn wrap<U: Data>(&self, stream: timely::dataflow::Stream<'s, BatchTime, Rows<U>>) -> DStream<'s, U> {
        self.narrow(move |_| stream)
    }
}

/// Puts the containers of one gathered batch into the order that their branches ask for.
///
/// The left branch of a union comes before the right one. Rows of a source are read by partition, ordered ones as they are, and
/// unordered ones as `sort` puts them.
pub(crate) fn in_order<T>(orders: &[RowOrder], mut parts: Vec<(PartitionId, Vec<T>)>, sort: impl Fn(&mut [T])) -> Vec<T> {
    parts.sort_by_key(|(partition, _)| *partition);
    let mut rows = Vec::with_capacity(parts.iter().map(|(_, r)| r.len()).sum());
    let mut parts = parts.into_iter().peekable();
    while let Some((partition, first)) = parts.next() {
        let branch = partition.branch;
        let start = rows.len();
        rows.extend(first);
        while let Some((_, more)) = parts.next_if(|(l, _)| l.branch == branch) {
            rows.extend(more);
        }
        if matches!(orders.get(branch as usize), Some(RowOrder::Unordered { .. })) {
            sort(&mut rows[start..]);
        }
    }
    rows
}
