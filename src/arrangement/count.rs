//! What is known of each row from how often it is there: a table of sums by id.
//!
//! Ids are dense and batches come in order, so what `count_total` keeps in an arrangement is one number an id here, found by its
//! index: about twice as fast (docs/architecture.md). Joins and reductions keep arrangements.

use std::rc::Rc;

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Probe;

use crate::api::context::Graph;
use crate::api::view::{Changes, Keyed, Rendered};
use crate::core::data::Key;
use crate::core::time::BatchTime;
use crate::engine::dictionary::Id;
use crate::engine::flow::{Site, batched, expand};

/// How often each id is there.
#[derive(Default)]
struct Table {
    sums: Vec<Sum>,
    /// Ids of the batch at hand and what they added up to before it.
    touched: Vec<(Id, i64)>,
    batch: u32,
}

#[derive(Clone, Copy, Default)]
struct Sum {
    n: i64,
    /// The batch that last touched it.
    batch: u32,
}

impl Table {
    /// Adds the changes of one batch. `each` is told of every id that adds up to something else now: what it was, what it is.
    fn add(&mut self, changes: impl IntoIterator<Item = (Id, i64)>, mut each: impl FnMut(Id, i64, i64)) {
        // A batch that wraps around to an old number would take its first change for its second.
        self.batch = self.batch.checked_add(1).unwrap_or_else(|| {
            self.sums.iter_mut().for_each(|s| s.batch = 0);
            1
        });
        for (id, n) in changes {
            if self.sums.len() <= id as usize {
                self.sums.resize(id as usize + 1, Sum::default());
            }
            let sum = &mut self.sums[id as usize];
            if sum.batch != self.batch {
                sum.batch = self.batch;
                self.touched.push((id, sum.n));
            }
            sum.n += n;
        }
        for (id, before) in self.touched.drain(..) {
            let now = self.sums[id as usize].n;
            if now != before {
                each(id, before, now);
            }
        }
    }
}

/// What `each` makes of every id whose count changed in a batch: the count before, the count now.
fn tallied<'s, T: Key, X: 'static + Clone>(
    keyed: &Keyed<'s, T>,
    graph: &Graph<'s>,
    mut each: impl FnMut(Id, i64, i64, &mut dyn FnMut(X, i64)) + 'static,
) -> Changes<'s, X> {
    let mut table = Table::default();
    batched(
        &graph.flow,
        &Site::engine("count"),
        keyed.changes.clone(),
        // Ids lie with their owners already.
        Pipeline,
        |slots, t, changes: Vec<(Id, BatchTime, i64)>| {
            let at: &mut Vec<Vec<(Id, BatchTime, i64)>> = slots.at(t);
            at.push(changes);
        },
        move |plan, changes, give| {
            let t = plan.time;
            let mut out = Vec::with_capacity(2 * changes.iter().map(Vec::len).sum::<usize>());
            let changes = changes.into_iter().flatten().map(|(id, _, n)| (id, n));
            table.add(changes, |id, before, now| each(id, before, now, &mut |x, n| out.push((x, t, n))));
            give(out);
        },
    )
}

/// Each row of a view with how often it is there.
pub(crate) fn counted<'s, T: Key>(keyed: &Keyed<'s, T>, graph: &Graph<'s>) -> Rendered<'s, (T, i64)> {
    let changes = tallied(keyed, graph, |id, before, now, give| {
        if before != 0 {
            give((id, before), -1);
        }
        if now != 0 {
            give((id, now), 1);
        }
    });
    let dict = keyed.dict.clone();
    let render = move |id, n| {
        let dict = dict.borrow();
        let (group, name) = dict.placed(id);
        (group, (name.clone(), n))
    };
    Rendered { changes, render: Rc::new(render) }
}

/// The rows of counts by id. Ids are not used again before these are through, whether an output wants them or not.
pub(crate) fn rows<'s, T: 'static + Clone>(counts: &Rendered<'s, T>, graph: &Graph<'s>) -> Changes<'s, T> {
    let render = counts.render.clone();
    let named = move |((id, n), t, diff)| (render(id, n).1, t, diff);
    let changes = counts.changes.clone();
    let rows = expand(&graph.flow, &Site::engine("names"), changes, move |_, changes: Vec<((Id, i64), BatchTime, i64)>, give| {
        give(changes.into_iter().map(&named).collect::<Vec<_>>());
    });
    rows.probe_with(&graph.probe)
}

/// The rows that are there at all, once each.
pub(crate) fn distinct<'s, T: Key>(keyed: &Keyed<'s, T>, graph: &Graph<'s>) -> Keyed<'s, T> {
    let changes = tallied(keyed, graph, |id, before, now, give| {
        let change = i64::from(now > 0) - i64::from(before > 0);
        if change != 0 {
            give(id, change);
        }
    });
    Keyed { changes, dict: keyed.dict.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_says_what_changed_on_the_whole() {
        let mut table = Table::default();
        let mut said = Vec::new();
        let mut add = |changes: &[(Id, i64)]| {
            said.clear();
            table.add(changes.iter().copied(), |id, before, now| said.push((id, before, now)));
            said.clone()
        };
        assert_eq!(add(&[(3, 2), (0, 1), (3, 1)]), [(3, 0, 3), (0, 0, 1)]);
        assert_eq!(add(&[(3, 1), (3, -1)]), []);
        assert_eq!(add(&[(3, -3)]), [(3, 3, 0)]);
        assert_eq!(add(&[(3, 5)]), [(3, 0, 5)]);
    }

    #[test]
    fn batches_may_be_counted_round() {
        let mut table = Table { batch: u32::MAX - 1, ..Table::default() };
        for expected in [(0, 1), (1, 2), (2, 3)] {
            let mut said = None;
            table.add([(0, 1)], |_, before, now| said = Some((before, now)));
            assert_eq!(said, Some(expected));
        }
        assert_eq!(table.batch, 2);
    }
}
