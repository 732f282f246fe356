//! `take`: the first rows of each batch.

use crate::api::dstream::DStream;
use crate::core::data::Exchange;
use crate::engine::flow::Site;

impl<'s, T: Exchange> DStream<'s, T> {
    /// The first `n` rows of each batch: after `sort_by` the first in that order, of a source the first read, of a counted or
    /// shuffled stream the first by encoded row.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![5, 4, 6]], |s| s.sort_by(|n| *n).take(2), [vec![4, 5]]);
    /// ```
    #[track_caller]
    pub fn take(&self, n: usize) -> DStream<'s, T> {
        let site = Site::of("take");
        self.node.graph.note::<T>("take", n);
        self.sequence(&site, move |_, mut rows| {
            rows.truncate(n);
            rows
        })
    }
}
