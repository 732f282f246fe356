//! `top` and `top_by` on batches: the best rows, kept on each worker, merged at home.

use std::cmp::Reverse;

use timely::dataflow::channels::pact::Pipeline;

use crate::api::dstream::{Case, DStream};
use crate::core::data::{Exchange, Key, Rows, encoded};
use crate::engine::flow::{Site, batched};

impl<'s, T: Exchange> DStream<'s, T> {
    /// The `n` rows with the largest `key`, largest first, ties by encoded row. Workers send only their best `n`.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![(1, 'a'), (3, 'b'), (2, 'c')]], |s| s.top_by(2, |r| r.0), [vec![(3, 'b'), (2, 'c')]]);
    /// ```
    #[track_caller]
    pub fn top_by<K: Ord + Clone + 'static>(&self, n: usize, key: impl Fn(&T) -> K + 'static) -> DStream<'s, T> {
        let site = Site::of("top_by");
        let graph = &self.node.graph;
        graph.note::<T>("top_by", n);
        let key = std::rc::Rc::new(key);
        let best = {
            let key = key.clone();
            batched(
                &graph.flow,
                &site,
                self.inner(),
                Pipeline,
                {
                    let key = key.clone();
                    move |slots, t, rows: Rows<T>| {
                        let best: &mut Vec<T> = slots.at(t);
                        best.extend(rows.take());
                        if best.len() > n.max(512).saturating_mul(2) {
                            keep_best(best, n, &*key);
                        }
                    }
                },
                move |_, mut best, give| {
                    keep_best(&mut best, n, &*key);
                    give(Rows::new(Default::default(), best));
                },
            )
        };
        self.wide(best, Case::Bag { grouped: false }).sequence(&site, move |_, mut rows| {
            keep_best(&mut rows, n, &*key);
            rows
        })
    }
}

impl<'s, T: Key> DStream<'s, T> {
    /// The `n` largest rows, largest first; see [`DStream::top_by`] for another order, such as by count.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![2, 9, 4]], |s| s.top(2), [vec![9, 4]]);
    /// ```
    #[track_caller]
    pub fn top(&self, n: usize) -> DStream<'s, T> {
        self.top_by(n, T::clone)
    }
}

/// Keeps the `n` rows with the largest key, largest first, ties by encoded row.
pub(crate) fn keep_best<T: Exchange, K: Ord>(rows: &mut Vec<T>, n: usize, key: impl Fn(&T) -> K) {
    rows.sort_by_cached_key(|r| (Reverse(key(r)), encoded(r)));
    rows.truncate(n);
}
