//! `top` and `top_by` of a view, and the kernel `rank` under them: ordered rows on each worker, the best of them at home.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::rc::Rc;

use timely::dataflow::channels::pact::Pipeline;

use crate::api::view::View;
use crate::core::data::{Key, encoded};
use crate::engine::flow::{Site, batched, by_batch, route};
use crate::operator::top::keep_best;

impl<'s, T: Key> View<'s, T> {
    /// The `n` rows with the largest `key`, a row that is there twice counted twice, presented largest first, ties by encoded
    /// row. When one of them leaves the next best takes its place. Fewer than `n` rows are all rows.
    ///
    /// `key` must be pure. Every worker keeps its rows in order and sends what changes among its best `n`.
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
        let site = Site::of("top_by");
        let graph = &self.node.graph;
        graph.note::<T>("view top_by", n);
        let key = Rc::new(key);
        let rank = |mut ranks: Ranks<K, T>| {
            let key = key.clone();
            move |plan: &std::sync::Arc<crate::core::plan::Tick>,
                  changes: Vec<(T, i64)>,
                  give: &mut crate::engine::flow::Give<'_, _>| {
                let best = ranks.best(changes, n, &*key);
                give(best.into_iter().map(|(row, diff)| (row, plan.time, diff)).collect::<Vec<_>>());
            }
        };
        // A row leaves on the worker on which it came: each knows its own rows.
        let own = batched(&graph.flow, &site, self.plain(), Pipeline, by_batch, rank(Ranks::default()));
        let all = batched(&graph.flow, &site, own, route(|_| 0), by_batch, rank(Ranks::default()));
        self.derive(all, Some(&site.name())).with(|node| {
            node.order = Some(Rc::new(move |mut rows| {
                keep_best(&mut rows, usize::MAX, &*key);
                rows
            }));
            node.placed = true;
        })
    }

    /// The `n` largest rows, largest first; see [`View::top_by`] for another order, such as by count.
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

/// All rows of one worker in order, best first, and what was best when it was last asked.
struct Ranks<K, T> {
    rows: BTreeMap<(Reverse<K>, Vec<u8>), (T, i64)>,
    best: Vec<(T, i64)>,
}

impl<K: Ord, T> Default for Ranks<K, T> {
    fn default() -> Self {
        Ranks { rows: BTreeMap::new(), best: Vec::new() }
    }
}

impl<K: Ord, T: Key> Ranks<K, T> {
    /// What these changes change among the best `n`.
    fn best(&mut self, changes: Vec<(T, i64)>, n: usize, key: impl Fn(&T) -> K) -> Vec<(T, i64)> {
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
