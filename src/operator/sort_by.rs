//! `sort_by` on batches: all rows in one order, at home.

use crate::api::dstream::DStream;
use crate::core::data::{Exchange, sort_by_encoded};
use crate::engine::flow::Site;

impl<'s, T: Exchange> DStream<'s, T> {
    /// The batch's rows by ascending `key`, ties by encoded row. A key function as in Spark's `sortBy`, not a comparator as in
    /// `slice::sort_by`; for descending numbers negate. Gathers the batch: see [`crate::Error::GatherCap`].
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![2, 3, 1]], |s| s.sort_by(|n| -n), [vec![3, 2, 1]]);
    /// ```
    #[doc(alias = "sortBy")]
    #[track_caller]
    pub fn sort_by<K: Ord + 'static>(&self, key: impl Fn(&T) -> K + 'static) -> DStream<'s, T> {
        let site = Site::of("sort_by");
        self.node.graph.note::<T>("sort_by", "");
        self.sequence(&site, move |_, rows| sorted(rows, &key))
    }
}

/// Rows by key, ties by encoded row.
pub(crate) fn sorted<T: Exchange, K: Ord>(mut rows: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    sort_by_encoded(&mut rows);
    rows.sort_by_cached_key(key);
    rows
}
