//! `top` and `top_by` on batches: the largest rows of each worker, merged on worker 0.

use std::cmp::Reverse;
use std::rc::Rc;

use timely::dataflow::channels::pact::Pipeline;

use crate::api::dstream::{DStream, RowOrder};
use crate::core::data::{Exchange, Key, Rows, encoded};
use crate::engine::flow::batched;

impl<'s, T: 'static> DStream<'s, T> {
    /// The `n` rows of the batch with the largest `key`, largest first; rows with equal keys are in the order of their encoding. Each
    /// worker sends only its `n` largest rows. Keeps no state.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![(1, 'a'), (3, 'b'), (2, 'c')]], |s| s.top_by(2, |r| r.0), [vec![(3, 'b'), (2, 'c')]]);
    /// ```
    #[track_caller]
    pub fn top_by<K: Ord + Clone + 'static>(&self, n: usize, key: impl Fn(&T) -> K + 'static) -> DStream<'s, T>
    where
        T: Exchange,
    {
        let operator = self.operator::<T>("top_by", n);
        let key = Rc::new(key);
        let (absorb_key, send_key, verb) = (key.clone(), key.clone(), operator.clone());
        // Not `to_one`: its result would not count against the cap of what may be gathered.
        let best = self.wide(RowOrder::Unordered { grouped: false }, move |s| {
            batched(
                &s.flow().silent_when_empty(),
                &verb,
                s.inner(),
                Pipeline,
                move |pending, t, rows: Rows<T>| {
                    let best: &mut Vec<T> = pending.at(t);
                    best.extend(rows.take());
                    if best.len() > n.max(512).saturating_mul(2) {
                        keep_best(best, n, &*absorb_key);
                    }
                },
                move |_, mut best, emit| {
                    keep_best(&mut best, n, &*send_key);
                    emit(Rows::new(Default::default(), best));
                },
            )
        });
        best.gather_ordered(&operator, move |_, mut rows| {
            keep_best(&mut rows, n, &*key);
            rows
        })
    }
}

impl<'s, T: 'static> DStream<'s, T> {
    /// The `n` largest rows of the batch, largest first. [`DStream::top_by`] takes another order, such as by count.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![2, 9, 4]], |s| s.top(2), [vec![9, 4]]);
    /// ```
    #[track_caller]
    pub fn top(&self, n: usize) -> DStream<'s, T>
    where
        T: Key,
    {
        self.top_by(n, T::clone)
    }
}

/// Keeps the `n` rows with the largest key, largest first, then by encoding.
pub(super) fn keep_best<T: Exchange, K: Ord>(rows: &mut Vec<T>, n: usize, key: impl Fn(&T) -> K) {
    rows.sort_by_cached_key(|r| (Reverse(key(r)), encoded(r)));
    rows.truncate(n);
}
