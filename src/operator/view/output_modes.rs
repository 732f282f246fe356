//! The doors out of a view: `complete`, `update`, `append`, `changes`. Back to a DStream, on the view's grid.
//!
//! Differential gives changes of several batches under one capability: the kernel sorts them by batch and releases each when it
//! is closed. Invariant: what a mode says of t is said once, whole.

use std::rc::Rc;

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Probe;

use crate::api::context::Graph;
use crate::api::dstream::{Case, DStream};
use crate::api::view::{Changes, Form, View};
use crate::arrangement::keyed::sums;
use crate::core::data::{Change, Exchange, FastMap, Key, Rows, key_group};
use crate::core::time::{BatchTime, Grid};
use crate::engine::dictionary::Id;
use crate::engine::flow::{Flow, Give, RowStream, Site, batched, by_batch, route};
use crate::operator::kernel::combine::by_group;
use crate::operator::kernel::partial_table::Book;

impl<'s, T: Key> View<'s, T> {
    /// All rows of the view, at every time on its grid; in presentation order, if it has one.
    #[track_caller]
    pub fn complete(&self) -> DStream<'s, T> {
        let site = Site::of("complete");
        self.node.graph.note::<T>("complete", "");
        let rows = self.emit(&site, Mode::Complete, |row, _| row);
        self.leave(&site, rows, 1, |order, rows| order(rows))
    }

    /// What changed since the last time on the grid: rows that left with a negative difference first, then rows that entered.
    #[track_caller]
    pub fn changes(&self) -> DStream<'s, Change<T>> {
        let site = Site::of("changes");
        self.node.graph.note::<T>("changes", "");
        let rows = self.emit(&site, Mode::Changes, |row, diff| Change { row, diff });
        self.leave(&site, rows, 2, |order, rows: Vec<Change<T>>| {
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
        self.leave(&site, rows, 1, |order, rows| order(rows))
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
        self.leave(&site, rows, 1, |order, rows| order(rows))
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
        if let Some(counts) = &node.rendered {
            let items = Counts { render: counts.render.clone(), all: Vec::new() };
            let named = settled(flow, site, counts.changes.clone(), Pipeline, mode, grid, items, wrap);
            // Ids are not used again before these are through, whether an output wants them or not.
            return named.probe_with(&node.graph.probe);
        }
        let items = Plain { all: FastMap::default() };
        if mode == Mode::Complete || node.placed || flow.scope.peers() == 1 {
            return settled(flow, site, self.plain(), Pipeline, mode, grid, items, wrap);
        }
        let by_row = route(|(row, _, _): &(T, BatchTime, i64)| key_group(row));
        settled(flow, site, self.plain(), by_row, mode, grid, items, wrap)
    }

    /// The DStream of what was emitted: a bag, minus rows before plus rows; or, in presentation order, a sequence.
    fn leave<U: Exchange>(
        &self,
        site: &Site,
        rows: RowStream<'s, U>,
        sides: usize,
        present: impl Fn(&dyn Fn(Vec<T>) -> Vec<T>, Vec<U>) -> Vec<U> + 'static,
    ) -> DStream<'s, U> {
        let node = &self.node;
        // Counts lie in their keys' groups, other rows in one partition.
        let bag = Case::Bag { grouped: node.rendered.is_some() };
        let bag = DStream::new(&node.graph, rows, &vec![bag; sides], &node.lineage);
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

/// What leaves a view: rows as they are, or counts by id of which rows are made where they are said.
trait Items: 'static {
    type Item: 'static;
    type Row: Clone;
    /// Puts the changes of one batch together, each item once.
    fn settle(&self, changes: &mut Vec<(Self::Item, i64)>);
    /// Remembers a change, for `complete`.
    fn apply(&mut self, item: Self::Item, n: i64);
    /// Everything that is there, with its partition and how often.
    fn all(&self, each: impl FnMut(u64, Self::Row, i64));
    /// The row of an item, with its partition.
    fn row(&self, item: Self::Item) -> (u64, Self::Row);
}

struct Plain<T> {
    all: FastMap<T, i64>,
}

impl<T: Key> Items for Plain<T> {
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

/// Rows lie in the partitions of their keys' groups.
struct Counts<T> {
    render: Rc<dyn Fn(Id, i64) -> (u64, T)>,
    /// The count of each id, 0 where it has none.
    all: Vec<i64>,
}

impl<T: Clone + 'static> Items for Counts<T> {
    type Item = (Id, i64);
    type Row = T;

    /// A batch says of each id once what it was and once what it is.
    fn settle(&self, _: &mut Vec<((Id, i64), i64)>) {}

    fn apply(&mut self, (id, count): (Id, i64), n: i64) {
        let id = id as usize;
        if self.all.len() <= id {
            self.all.resize(id + 1, 0);
        }
        if n > 0 {
            self.all[id] = count;
        } else if self.all[id] == count {
            self.all[id] = 0;
        }
    }

    fn all(&self, mut each: impl FnMut(u64, T, i64)) {
        for (id, count) in self.all.iter().enumerate().filter(|(_, n)| **n != 0) {
            let (partition, row) = (self.render)(id as Id, *count);
            each(partition, row, 1);
        }
    }

    fn row(&self, (id, count): (Id, i64)) -> (u64, T) {
        (self.render)(id, count)
    }
}

/// The kernel: gathers the changes of each batch, settles them (each item once), and gives what the mode says.
#[allow(clippy::too_many_arguments)]
fn settled<'s, I, U, P>(
    flow: &Flow<'s>,
    site: &Site,
    changes: Changes<'s, I::Item>,
    pact: P,
    mode: Mode,
    grid: Grid,
    mut items: I,
    wrap: fn(I::Row, i64) -> U,
) -> RowStream<'s, U>
where
    I: Items,
    I::Item: Clone,
    U: 'static,
    P: timely::dataflow::channels::pact::ParallelizationContract<BatchTime, Vec<(I::Item, BatchTime, i64)>>,
{
    let plus_side = u16::from(mode == Mode::Changes);
    let finish =
        move |plan: &std::sync::Arc<crate::core::plan::Tick>, mut changes: Vec<(I::Item, i64)>, give: &mut Give<'_, Rows<U>>| {
            items.settle(&mut changes);
            let (mut minus, mut plus) = (Vec::new(), Vec::new());
            let wrap = |(partition, row), n| (partition, wrap(row, n));
            match mode {
                // What was loaded has left already, before the checkpoint.
                _ if plan.restored && mode != Mode::Complete => {}
                Mode::Complete => {
                    changes.into_iter().for_each(|(x, n)| items.apply(x, n));
                    if grid.has(plan.time) && !plan.restored {
                        items.all(|partition, row, n| {
                            (1..n).for_each(|_| plus.push(wrap((partition, row.clone()), 1)));
                            if n > 0 {
                                plus.push(wrap((partition, row), 1));
                            }
                        });
                    }
                }
                Mode::Update => plus.extend(changes.into_iter().filter(|c| c.1 > 0).map(|(x, _)| wrap(items.row(x), 1))),
                Mode::Append => {
                    for (x, n) in changes {
                        plus.extend((0..n).map(|_| wrap(items.row(x.clone()), 1)));
                    }
                }
                Mode::Changes => {
                    for (x, n) in changes {
                        if n < 0 { &mut minus } else { &mut plus }.push(wrap(items.row(x), n));
                    }
                }
            }
            by_group(0, minus, give);
            by_group(plus_side, plus, give);
        };
    batched(flow, site, changes, pact, by_batch, finish)
}

/// Changes in presentation order.
fn present<T: Key>(order: &dyn Fn(Vec<T>) -> Vec<T>, changes: Vec<Change<T>>) -> Vec<Change<T>> {
    let diffs: FastMap<T, i64> = changes.iter().map(|c| (c.row.clone(), c.diff)).collect();
    let rows = order(changes.into_iter().map(|c| c.row).collect());
    rows.into_iter().map(|row| Change { diff: diffs[&row], row }).collect()
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
        let name = graph.note::<T>("changes_to_view", "");
        let add = |sums: &mut Book<_, _>, rows: Rows<Change<T>>| {
            rows.take().into_iter().for_each(|c| *sums.of_own(c.row) += c.diff);
        };
        // A row may have left on another worker than it came: what owns it puts both together.
        let (keyed, state) = sums(&self.combine(&site, 0, add, |a, b| *a += b), &site, name);
        let why = Some(site.name());
        let view = View::new(graph, &self.node.lineage, self.node.grid.clone(), Form::Keyed(keyed), why);
        view.node.state.set(Some(state));
        view
    }
}
