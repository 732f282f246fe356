//! `count` of a view: how many rows are in it.

use crate::api::view::View;
use crate::core::data::Key;
use crate::core::time::BatchTime;
use crate::engine::flow::{Site, batched, route};

impl<'s, T: Key> View<'s, T> {
    /// How many rows the view holds: no row until something was seen, then always one, 0 included.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![], vec![1, 1], vec![2]], |s| s.accumulate().count().complete(), [vec![], vec![2], vec![3]]);
    /// ```
    #[track_caller]
    pub fn count(&self) -> View<'s, i64> {
        let site = Site::of("count");
        self.node.graph.note::<T>("view count", "");
        self.counted_rows(&site)
    }

    pub(crate) fn counted_rows(&self, site: &Site) -> View<'s, i64> {
        let graph = &self.node.graph;
        let by_time = |slots: &mut crate::engine::flow::Slots<i64>, changes: Vec<(BatchTime, i64)>| {
            for (t, n) in changes {
                *slots.at(t) += n;
            }
        };
        // What is left of a row is when and how many: the keyed form is enough, and has no names to look up.
        let local = crate::engine::flow::expand(
            &graph.flow,
            site,
            self.keyed().changes,
            |_, changes: Vec<(u32, BatchTime, i64)>, give| {
                let mut sums: Vec<(BatchTime, i64)> = Vec::new();
                for (_, t, n) in changes {
                    match sums.last_mut() {
                        Some((last, sum)) if *last == t => *sum += n,
                        _ => sums.push((t, n)),
                    }
                }
                give(sums);
            },
        );
        let mut total: Option<i64> = None;
        let counts = batched(
            &graph.flow,
            site,
            local,
            route(|_: &(BatchTime, i64)| 0),
            move |slots, _, changes| by_time(slots, changes),
            move |plan, change: i64, give| {
                if change != 0 {
                    let new = total.unwrap_or(0) + change;
                    let old = total.replace(new).map(|n| (n, plan.time, -1));
                    give(old.into_iter().chain([(new, plan.time, 1)]).collect());
                }
            },
        );
        self.derive(counts, Some(&site.name())).with(|node| node.placed = true)
    }
}
