//! `sort_by` on batches: all rows in one order, on worker 0.

use crate::api::dstream::DStream;
use crate::core::data::{Exchange, sort_by_encoded};

impl<'s, T: 'static> DStream<'s, T> {
    /// The batch's rows by ascending `key`; rows with equal keys are in the order of their encoding. `key` is a key function as in
    /// Spark's `sortBy`, not a comparator; for descending numbers negate.
    ///
    /// All rows of the batch go to worker 0, at most [`gather_cap`](crate::api::context::Builder::gather_cap) bytes: a larger batch ends
    /// the job with [`crate::Error::GatherCap`]. To see only the largest rows, [`DStream::top_by`] sends fewer. Keeps no state.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![2, 3, 1]], |s| s.sort_by(|n| -n), [vec![3, 2, 1]]);
    /// ```
    #[doc(alias = "sortBy")]
    #[track_caller]
    pub fn sort_by<K: Ord + 'static>(&self, key: impl Fn(&T) -> K + 'static) -> DStream<'s, T>
    where
        T: Exchange,
    {
        let operator = self.operator::<T>("sort_by", "");
        self.gather_ordered(&operator, move |_, rows| sorted(rows, &key))
    }
}

/// Rows by key, then by encoding.
fn sorted<T: Exchange, K: Ord>(mut rows: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    sort_by_encoded(&mut rows);
    rows.sort_by_cached_key(key);
    rows
}
