//! The doors out of a view: `complete`, `update`, `append`, `changes`. Back to a DStream, on the view's grid.
//!
//! Differential gives changes of several batches under one capability: the kernel sorts them by batch and releases each when it
//! is closed. Invariant: what a mode says of t is said once, whole.

use std::rc::Rc;

use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;

use crate::context::Graph;
use crate::data::{Change, FastMap, Key, Lane, Rows, key_group};
use crate::dstream::{Case, DStream};
use crate::flow::{Give, RowStream, Site, Slots, batched, route};
use crate::time::BatchTime;
use crate::view::{Form, View};

const BAG: Case = Case::Bag { grouped: false };
const PLUS: Lane = Lane { side: 1, lane: 0 };
const MINUS: Lane = Lane { side: 0, lane: 0 };

impl<'s, T: Key> View<'s, T> {
    /// All rows of the view, at every time on its grid; in presentation order, if it has one.
    #[track_caller]
    pub fn complete(&self) -> DStream<'s, T> {
        let site = Site::of("complete");
        self.node.graph.note::<T>("complete", "");
        let mut all: FastMap<T, i64> = FastMap::default();
        let grid = self.node.grid.clone();
        let rows = self.emit(&site, false, move |t, changes, give| {
            for (row, n) in changes {
                apply(&mut all, row, n);
            }
            if grid.has(t) {
                let copies = |(row, n): (&T, &i64)| std::iter::repeat_n(row.clone(), (*n).max(0) as usize);
                give(Rows::new(Lane::default(), all.iter().flat_map(copies).collect()));
            }
        });
        self.leave(&site, rows, &[BAG], |order, _, rows| order(rows))
    }

    /// What changed since the last time on the grid: rows that left with a negative difference first, then rows that entered.
    #[track_caller]
    pub fn changes(&self) -> DStream<'s, Change<T>> {
        let site = Site::of("changes");
        self.node.graph.note::<T>("changes", "");
        let rows = self.emit(&site, true, |_, changes, give| {
            let row = |(row, diff)| Change { row, diff };
            let (minus, plus): (Vec<_>, Vec<_>) = changes.into_iter().map(row).partition(|c: &Change<T>| c.diff < 0);
            give(Rows::new(MINUS, minus));
            give(Rows::new(PLUS, plus));
        });
        self.leave(&site, rows, &[BAG, BAG], |order, _, rows: Vec<Change<T>>| {
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
        let rows = self.emit(&site, true, |_, changes, give| {
            give(Rows::new(Lane::default(), changes.into_iter().filter(|(_, n)| *n > 0).map(|(row, _)| row).collect()));
        });
        self.leave(&site, rows, &[BAG], |order, _, rows| order(rows))
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
        let rows = self.emit(&site, true, |_, changes, give| {
            let copies = |(row, n)| std::iter::repeat_n(row, n as usize);
            give(Rows::new(Lane::default(), changes.into_iter().filter(|(_, n)| *n > 0).flat_map(copies).collect()));
        });
        self.leave(&site, rows, &[BAG], |order, _, rows| order(rows))
    }

    /// Prints the first `n` rows of the view, at every time on its grid: `complete().print(n)`.
    #[doc(alias = "pprint")]
    #[track_caller]
    pub fn print(&self, n: usize) {
        self.complete().print(n);
    }

    /// The kernel: the changes of each batch, consolidated. `whole`: over all workers, else over each.
    fn emit<O: timely::Container + Clone>(
        &self,
        site: &Site,
        whole: bool,
        mut finish: impl FnMut(BatchTime, Vec<(T, i64)>, &mut Give<'_, O>) + 'static,
    ) -> Stream<'s, BatchTime, O> {
        let graph = &self.node.graph;
        let absorb = |slots: &mut Slots<Vec<(T, i64)>>, _, changes: Vec<(T, BatchTime, i64)>| {
            for (row, t, n) in changes {
                slots.at(t).push((row, n));
            }
        };
        let finish = move |plan: &std::sync::Arc<crate::plan::Plan>, changes: Vec<(T, i64)>, give: &mut Give<'_, O>| {
            finish(plan.time, consolidated(changes), give)
        };
        if whole && !self.node.placed && graph.flow.scope.peers() > 1 {
            let by_row = route(|(row, _, _): &(T, BatchTime, i64)| key_group(row));
            batched(&graph.flow, site, self.plain(), by_row, absorb, finish)
        } else {
            batched(&graph.flow, site, self.plain(), Pipeline, absorb, finish)
        }
    }

    /// The DStream of what was emitted: a bag, or, in presentation order, a sequence.
    fn leave<U: crate::data::Exchange>(
        &self,
        site: &Site,
        rows: RowStream<'s, U>,
        cases: &[Case],
        present: impl Fn(&dyn Fn(Vec<T>) -> Vec<T>, BatchTime, Vec<U>) -> Vec<U> + 'static,
    ) -> DStream<'s, U> {
        let node = &self.node;
        let bag = DStream::new(&node.graph, rows, cases, &node.lineage).on_grid(node.grid.clone()).with_state(node.state.get());
        match node.order.clone() {
            None => bag,
            Some(order) => bag.sequence(site, move |plan, rows| present(&*order, plan.time, rows)),
        }
    }
}

/// Changes in presentation order.
fn present<T: Key>(order: &dyn Fn(Vec<T>) -> Vec<T>, changes: Vec<Change<T>>) -> Vec<Change<T>> {
    let diffs: FastMap<T, i64> = changes.iter().map(|c| (c.row.clone(), c.diff)).collect();
    let rows = order(changes.into_iter().map(|c| c.row).collect());
    rows.into_iter().map(|row| Change { diff: diffs[&row], row }).collect()
}

fn apply<T: Key>(all: &mut FastMap<T, i64>, row: T, n: i64) {
    use hashbrown::hash_map::Entry;
    match all.entry(row) {
        Entry::Occupied(mut e) => {
            *e.get_mut() += n;
            if *e.get() == 0 {
                e.remove();
            }
        }
        Entry::Vacant(e) => drop(e.insert(n)),
    }
}

/// Each row once, with the sum of its differences, if that is not 0.
fn consolidated<T: Ord>(mut changes: Vec<(T, i64)>) -> Vec<(T, i64)> {
    differential_dataflow::consolidation::consolidate(&mut changes);
    changes
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
