//! `top` and `top_by` of a view: each worker keeps its rows in order, and worker 0 merges the largest of each.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::rc::Rc;

use crate::api::view::{Changes, Form, View};
use crate::core::data::{Key, encoded};
use crate::engine::flow::by_batch;
use crate::engine::operator_id::OperatorId;
use crate::operator::kernel::to_one::{partial, to_one};

impl<'s, T: Key> View<'s, T> {
    /// A view of the `n` rows with the largest `key`, presented largest first; rows with equal keys are in the order of their encoding.
    /// A row that occurs twice counts twice. When one of the rows leaves, the next takes its place.
    ///
    /// `key` must be pure. Each worker keeps its rows in order, and sends the changes among its `n` largest.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec!['a', 'a', 'a'], vec!['b', 'b', 'c'], vec![]],
    ///     |s| s.count_by_value_and_window(millis(2), millis(1)).top_by(2, |(_, n)| *n).complete(),
    ///     [vec![('a', 3)], vec![('a', 3), ('b', 2)], vec![('b', 2), ('c', 1)]],
    /// );
    /// ```
    #[track_caller]
    pub fn top_by<K: Ord + Clone + 'static>(&self, n: usize, key: impl Fn(&T) -> K + 'static) -> View<'s, T> {
        let operator = self.operator::<T>("top_by", n);
        let key = Rc::new(key);
        let (view, verb, by) = (self.clone(), operator.clone(), key.clone());
        let best = Form::rows(move || view.best(&verb, n, by));
        let best = self.derive(best, Some(&operator.to_string())).co_located(true).view();
        best.presented(operator, move |row| Reverse(key(row)))
    }

    /// Builds the operators of `top_by`.
    fn best<K: Ord + Clone + 'static>(
        &self,
        operator: &OperatorId,
        n: usize,
        key: Rc<impl Fn(&T) -> K + 'static>,
    ) -> Changes<'s, T> {
        let graph = &self.node.graph;
        // A row leaves on the worker on which it entered, so each worker knows its own rows.
        let (mut own, mut all) = (Ranks::default(), Ranks::default());
        let (own_key, all_key) = (key.clone(), key);
        let partials = partial(graph, operator, self.rows(), by_batch, move |changes| own.best(changes, n, &*own_key));
        to_one(
            graph,
            operator,
            partials,
            |changes: &mut Vec<(T, i64)>, more| changes.extend(more),
            move |tick, changes, emit| {
                let best = all.best(changes, n, &*all_key);
                emit(best.into_iter().map(|(row, diff)| (row, tick.time, diff)).collect::<Vec<_>>());
            },
        )
    }

    /// A view of the `n` largest rows, presented largest first. [`View::top_by`] takes another order, such as by count.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![5, 1], vec![3], vec![]],
    ///     |s| s.over(millis(2), millis(1)).top(2).complete(),
    ///     [vec![5, 1], vec![5, 3], vec![3]],
    /// );
    /// ```
    #[track_caller]
    pub fn top(&self, n: usize) -> View<'s, T> {
        self.top_by(n, T::clone)
    }
}

/// The rows of one worker in order, largest first, and the `n` largest as of the previous batch.
pub(in crate::operator) struct Ranks<K, T> {
    rows: BTreeMap<(Reverse<K>, Vec<u8>), (T, i64)>,
    best: Vec<(T, i64)>,
}

impl<K: Ord, T> Default for Ranks<K, T> {
    fn default() -> Self {
        Ranks { rows: BTreeMap::new(), best: Vec::new() }
    }
}

impl<K: Ord, T: Key> Ranks<K, T> {
    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The changes among the `n` largest that these changes cause.
    pub fn best(&mut self, changes: Vec<(T, i64)>, n: usize, key: impl Fn(&T) -> K) -> Vec<(T, i64)> {
        if changes.is_empty() {
            return Vec::new();
        }
        for (row, diff) in changes {
            let place = (Reverse(key(&row)), encoded(&row));
            match self.rows.entry(place) {
                Entry::Vacant(e) => drop(e.insert((row, diff))),
                Entry::Occupied(mut e) => {
                    e.get_mut().1 += diff;
                    if e.get().1 == 0 {
                        e.remove();
                    }
                }
            }
        }
        let mut room = i64::try_from(n).unwrap_or(i64::MAX);
        let mut best = Vec::new();
        for (row, copies) in self.rows.values().filter(|(_, copies)| *copies > 0) {
            if room == 0 {
                break;
            }
            let taken = room.min(*copies);
            best.push((row.clone(), taken));
            room -= taken;
        }
        let old = std::mem::replace(&mut self.best, best.clone()).into_iter().map(|(row, n)| (row, -n));
        best.extend(old);
        differential_dataflow::consolidation::consolidate(&mut best);
        best
    }
}
