//! The doors out of a view: `complete`, `update`, `append`, `changes`. Back to a DStream, on the view's grid.
//!
//! Differential gives changes of several batches under one capability: the kernel sorts them by batch and releases each when it
//! is closed. Invariant: what a mode says of t is said once, whole.

use std::hash::Hash;
use std::rc::Rc;

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Probe;

use crate::context::Graph;
use crate::data::{Change, Exchange, FastMap, Key, Lane, Rows, key_group};
use crate::dstream::{Case, DStream};
use crate::flow::{Flow, Give, RowStream, Site, Slots, batched, route};
use crate::time::{BatchTime, Grid};
use crate::view::{Changes, Form, Rendered, View};

const BAG: Case = Case::Bag { grouped: false };

impl<'s, T: Key> View<'s, T> {
    /// All rows of the view, at every time on its grid; in presentation order, if it has one.
    #[track_caller]
    pub fn complete(&self) -> DStream<'s, T> {
        let site = Site::of("complete");
        self.node.graph.note::<T>("complete", "");
        let rows = self.emit(&site, Mode::Complete, |row, _| row);
        self.leave(&site, rows, &[BAG], |order, rows| order(rows))
    }

    /// What changed since the last time on the grid: rows that left with a negative difference first, then rows that entered.
    #[track_caller]
    pub fn changes(&self) -> DStream<'s, Change<T>> {
        let site = Site::of("changes");
        self.node.graph.note::<T>("changes", "");
        let rows = self.emit(&site, Mode::Changes, |row, diff| Change { row, diff });
        self.leave(&site, rows, &[BAG, BAG], |order, rows: Vec<Change<T>>| {
            let (minus, plus): (Vec<_>, Vec<_>) = rows.into_iter().partition(|c| c.diff < 0);
            [minus, plus].into_iter().flat_map(|side| present(order, side)).collect()
        })
    }

    /// The rows that are new or whose number grew since the last time on the grid, once each. A row that only went away is
    /// not seen: [`View::changes`] says so.
    #[track_caller]
    pub fn update(&self) -> DStream<'s, T> {
        let site = Site::of("update");
        self.node.graph.note::<T>("update", "");
        let rows = self.emit(&site, Mode::Update, |row, _| row);
        self.leave(&site, rows, &[BAG], |order, rows| order(rows))
    }

    /// The rows that were added since the last time on the grid, each as often as it was added. For views that only grow
    /// (`accumulate`, and `map`, `filter`, `flat_map`, `union` of such); on any other an error at start, with the verb that retracts.
    #[track_caller]
    pub fn append(&self) -> DStream<'s, T> {
        let site = Site::of("append");
        self.node.graph.note::<T>("append", "");
        if let Some(verb) = &self.node.retracts {
            self.node.graph.problem(&site, format!("{verb} takes rows back; use update() or changes(), or complete()"));
        }
        let rows = self.emit(&site, Mode::Append, |row, _| row);
        self.leave(&site, rows, &[BAG], |order, rows| order(rows))
    }

    /// Prints the first `n` rows of the view, at every time on its grid: `complete().print(n)`.
    #[doc(alias = "pprint")]
    #[track_caller]
    pub fn print(&self, n: usize) {
        self.complete().print(n);
    }

    /// What a mode says of each batch. Counts are rendered only where they are said.
    fn emit<U: 'static>(&self, site: &Site, mode: Mode, wrap: fn(T, i64) -> U) -> RowStream<'s, U> {
        let node = &self.node;
        let (flow, grid) = (&node.graph.flow, node.grid.clone());
        if let Some(Rendered { changes, render }) = &node.rendered {
            let render = render.clone();
            let named = settled(flow, site, changes.clone(), Pipeline, mode, grid, |_| (), move |(id, n)| render(id, n), wrap);
            // Ids are not used again before these are through, whether an output wants them or not.
            return named.probe_with(&node.graph.probe);
        }
        let sort = differential_dataflow::consolidation::consolidate;
        if mode == Mode::Complete || node.placed || flow.scope.peers() == 1 {
            return settled(flow, site, self.plain(), Pipeline, mode, grid, sort, |row| row, wrap);
        }
        let by_row = route(|(row, _, _): &(T, BatchTime, i64)| key_group(row));
        settled(flow, site, self.plain(), by_row, mode, grid, sort, |row| row, wrap)
    }

    /// The DStream of what was emitted: a bag, minus rows before plus rows; or, in presentation order, a sequence.
    fn leave<U: Exchange>(
        &self,
        site: &Site,
        rows: RowStream<'s, U>,
        cases: &[Case],
        present: impl Fn(&dyn Fn(Vec<T>) -> Vec<T>, Vec<U>) -> Vec<U> + 'static,
    ) -> DStream<'s, U> {
        let node = &self.node;
        let bag = DStream::new(&node.graph, rows, cases, &node.lineage);
        let bag = bag.on_grid(node.grid.clone()).with_state(node.state.get());
        match node.order.clone() {
            None => bag,
            Some(order) => bag.sequence(site, move |_, rows| present(&*order, rows)),
        }
    }
}

/// How a view leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Complete,
    Update,
    Append,
    Changes,
}

/// The kernel: gathers the changes of each batch, settles them (each item once), and gives what the mode says. Items are rows,
/// or counts by id that `render` makes rows of.
#[allow(clippy::too_many_arguments)]
fn settled<'s, X, T, U, P>(
    flow: &Flow<'s>,
    site: &Site,
    changes: Changes<'s, X>,
    pact: P,
    mode: Mode,
    grid: Grid,
    settle: impl Fn(&mut Vec<(X, i64)>) + 'static,
    render: impl Fn(X) -> T + 'static,
    wrap: fn(T, i64) -> U,
) -> RowStream<'s, U>
where
    X: Hash + Ord + Clone + 'static,
    T: 'static,
    U: 'static,
    P: timely::dataflow::channels::pact::ParallelizationContract<BatchTime, Vec<(X, BatchTime, i64)>>,
{
    let mut all: FastMap<X, i64> = FastMap::default();
    let plus_side = u16::from(mode == Mode::Changes);
    let absorb = |slots: &mut Slots<Vec<(X, i64)>>, _, changes: Vec<(X, BatchTime, i64)>| {
        // Differential gives changes by key, times mixed; most often there is one time.
        let mut changes = changes.into_iter().peekable();
        while let Some((x, t, n)) = changes.next() {
            let at = slots.at(t);
            at.push((x, n));
            while let Some((x, _, n)) = changes.next_if(|(_, u, _)| *u == t) {
                at.push((x, n));
            }
        }
    };
    let finish = move |plan: &std::sync::Arc<crate::plan::Plan>, mut changes: Vec<(X, i64)>, give: &mut Give<'_, Rows<U>>| {
        settle(&mut changes);
        let (mut minus, mut plus) = (Vec::new(), Vec::new());
        match mode {
            Mode::Complete => {
                changes.into_iter().for_each(|(x, n)| apply(&mut all, x, n));
                if grid.has(plan.time) {
                    for (x, n) in &all {
                        plus.extend((0..*n).map(|_| wrap(render(x.clone()), 1)));
                    }
                }
            }
            Mode::Update => plus.extend(changes.into_iter().filter(|c| c.1 > 0).map(|(x, _)| wrap(render(x), 1))),
            Mode::Append => {
                for (x, n) in changes {
                    plus.extend((0..n).map(|_| wrap(render(x.clone()), 1)));
                }
            }
            Mode::Changes => {
                for (x, n) in changes {
                    if n < 0 { &mut minus } else { &mut plus }.push(wrap(render(x), n));
                }
            }
        }
        give(Rows::new(Lane { side: 0, lane: 0 }, minus));
        give(Rows::new(Lane { side: plus_side, lane: 0 }, plus));
    };
    batched(flow, site, changes, pact, absorb, finish)
}

/// Changes in presentation order.
fn present<T: Key>(order: &dyn Fn(Vec<T>) -> Vec<T>, changes: Vec<Change<T>>) -> Vec<Change<T>> {
    let diffs: FastMap<T, i64> = changes.iter().map(|c| (c.row.clone(), c.diff)).collect();
    let rows = order(changes.into_iter().map(|c| c.row).collect());
    rows.into_iter().map(|row| Change { diff: diffs[&row], row }).collect()
}

fn apply<X: Hash + Eq>(all: &mut FastMap<X, i64>, x: X, n: i64) {
    use hashbrown::hash_map::Entry;
    match all.entry(x) {
        Entry::Occupied(mut e) => {
            *e.get_mut() += n;
            if *e.get() == 0 {
                e.remove();
            }
        }
        Entry::Vacant(e) => drop(e.insert(n)),
    }
}

impl<'s, T: Key> DStream<'s, Change<T>> {
    /// The view whose changes these are: the inverse of [`View::changes`].
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
        let site = Site::of("changes_to_view");
        let graph: &Rc<Graph<'s>> = &self.node.graph;
        graph.note::<T>("changes_to_view", "");
        let changes = crate::flow::expand(&graph.flow, &site, self.inner(), |t, rows: Rows<Change<T>>, give| {
            give(rows.take().into_iter().map(|c| (c.row, t, c.diff)).collect::<Vec<_>>());
        });
        // A row may have left on another worker than it came: what owns it puts both together.
        let form = Form::Keyed(crate::arrangement::keyed::numbered(changes, graph));
        View::new(graph, &self.node.lineage, self.node.grid.clone(), form, Some(site.name()))
    }
}
