//! `aggregate_by_key` on batches: the values of each key, folded from a given start.

use crate::api::dstream::DStream;
use crate::core::data::{Data, Exchange, Key};

impl<'s, K: 'static, V: 'static> DStream<'s, (K, V)> {
    /// A row `(key, result)` per batch for each key of the batch: its values added by `fold`, starting with `init`. Rows are in no
    /// order; outputs sort them.
    ///
    /// Each worker folds the values that it has while the batch is open, and sends a result per key. The worker that owns the key joins
    /// these results by `merge`. So `init` may enter a result once for each worker: it must change nothing, as 0 in a sum.
    /// The order of values must not matter. Keeps no state.
    ///
    /// The smallest and the largest value of each key:
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 4), ('b', 5), ('a', 2)]],
    ///     |s| {
    ///         let none = (i32::MAX, i32::MIN);
    ///         s.aggregate_by_key(none, |(min, max), n| (min.min(n), max.max(n)), |a, b| (a.0.min(b.0), a.1.max(b.1)))
    ///     },
    ///     [vec![('a', (2, 4)), ('b', (5, 5))]],
    /// );
    /// ```
    #[doc(alias = "aggregateByKey")]
    #[track_caller]
    pub fn aggregate_by_key<C: Exchange>(
        &self,
        init: C,
        fold: impl Fn(C, V) -> C + Clone + 'static,
        merge: impl Fn(C, C) -> C + 'static,
    ) -> DStream<'s, (K, C)>
    where
        K: Key,
        V: Data,
    {
        let operator = self.operator::<(K, C)>("aggregate_by_key", "");
        let first = fold.clone();
        self.combined_by_key(&operator, move |v| first(init.clone(), v), fold, merge)
    }
}
