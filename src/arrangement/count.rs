//! Counts of rows, and verbs that follow from them: a table of sums, by id.
//!
//! Ids are dense and batches arrive in order, so one number per id, at its index, replaces the arrangement of differential's
//! `count_total`: about twice as fast (docs/architecture.md). Joins and reductions keep arrangements.

use std::rc::Rc;

use timely::dataflow::operators::Probe;

use crate::api::context::Graph;
use crate::api::view::{Changes, Counts, Interned};
use crate::core::data::Key;
use crate::core::time::BatchTime;
use crate::engine::dictionary::Id;
use crate::engine::flow::{collect_batches, map_containers};
use crate::engine::operator_id::OperatorId;

/// The count of each id.
#[derive(Default)]
struct Table {
    sums: Vec<Sum>,
    /// The ids of the current batch, with their sums before it.
    touched: Vec<(Id, i64)>,
    batch: u32,
}

#[derive(Clone, Copy, Default)]
struct Sum {
    n: i64,
    /// The batch that last changed it.
    batch: u32,
}

impl Table {
    /// Adds the changes of one batch. Calls `each` with every id whose sum has changed: the sum before and the sum now.
    fn add(&mut self, changes: impl IntoIterator<Item = (Id, i64)>, mut each: impl FnMut(Id, i64, i64)) {
        // After a wrap-around, an old batch number would make a first change look like a second one.
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

/// The changes that `each` makes for every id whose count changed in a batch, of the count before and the count now.
fn tallied<'s, T: Key, X: 'static + Clone>(
    interned: &Interned<'s, T>,
    graph: &Graph<'s>,
    mut each: impl FnMut(Id, i64, i64, &mut dyn FnMut(X, i64)) + 'static,
) -> Changes<'s, X> {
    let mut table = Table::default();
    // Ids lie on the workers that own them already.
    let step = OperatorId::step("count");
    collect_batches(&graph.flow, &step, interned.changes.clone(), move |tick, changes: Vec<Vec<(Id, BatchTime, i64)>>, emit| {
        let t = tick.time;
        let mut out = Vec::with_capacity(2 * changes.iter().map(Vec::len).sum::<usize>());
        let changes = changes.into_iter().flatten().map(|(id, _, n)| (id, n));
        table.add(changes, |id, before, now| each(id, before, now, &mut |x, n| out.push((x, t, n))));
        emit(out);
    })
}

/// Each row of a view with its count.
pub(crate) fn counted<'s, T: Key>(interned: &Interned<'s, T>, graph: &Graph<'s>) -> Counts<'s, (T, i64)> {
    let changes = tallied(interned, graph, |id, before, now, emit| {
        if before != 0 {
            emit((id, before), -1);
        }
        if now != 0 {
            emit((id, now), 1);
        }
    });
    let dict = interned.dict.clone();
    let render = move |id, n| {
        let dict = dict.borrow();
        let (group, key) = dict.group_and_key(id);
        (group, (key.clone(), n))
    };
    Counts { changes, render: Rc::new(render) }
}

/// The rows of counts by id. The probe keeps ids from reuse until the rows have been emitted, also if no output reads them.
pub(crate) fn rows<'s, T: 'static + Clone>(counts: &Counts<'s, T>, graph: &Graph<'s>) -> Changes<'s, T> {
    let render = counts.render.clone();
    let row = move |((id, n), t, diff)| (render(id, n).1, t, diff);
    let changes = counts.changes.clone();
    let rows = map_containers(
        &graph.flow,
        &OperatorId::step("names"),
        changes,
        move |_, changes: Vec<((Id, i64), BatchTime, i64)>, emit| {
            emit(changes.into_iter().map(&row).collect::<Vec<_>>());
        },
    );
    rows.probe_with(&graph.probe)
}

/// The rows whose count is not 0, once each.
pub(crate) fn distinct<'s, T: Key>(interned: &Interned<'s, T>, graph: &Graph<'s>) -> Interned<'s, T> {
    let changes = tallied(interned, graph, |id, before, now, emit| {
        let change = i64::from(now > 0) - i64::from(before > 0);
        if change != 0 {
            emit(id, change);
        }
    });
    Interned { changes, dict: interned.dict.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_at_most_one_change_of_an_id() {
        let mut table = Table::default();
        let mut emitted = Vec::new();
        let mut add = |changes: &[(Id, i64)]| {
            emitted.clear();
            table.add(changes.iter().copied(), |id, before, now| emitted.push((id, before, now)));
            emitted.clone()
        };
        assert_eq!(add(&[(3, 2), (0, 1), (3, 1)]), [(3, 0, 3), (0, 0, 1)]);
        assert_eq!(add(&[(3, 1), (3, -1)]), []);
        assert_eq!(add(&[(3, -3)]), [(3, 3, 0)]);
        assert_eq!(add(&[(3, 5)]), [(3, 0, 5)]);
    }

    #[test]
    fn the_batch_number_may_wrap_around() {
        let mut table = Table { batch: u32::MAX - 1, ..Table::default() };
        for expected in [(0, 1), (1, 2), (2, 3)] {
            let mut change = None;
            table.add([(0, 1)], |_, before, now| change = Some((before, now)));
            assert_eq!(change, Some(expected));
        }
        assert_eq!(table.batch, 2);
    }
}
