//! `zip_with_index`: each row of a batch with its place in the order of the batch.

use crate::api::dstream::DStream;
use crate::core::data::Exchange;

impl<'s, T: Exchange> DStream<'s, T> {
    /// A row `(row, index)` for each row of the batch, in the order of the stream. The index counts from 0 in every batch. Behind
    /// `sort_by` or `top_by` it is the rank. Rows of a source are counted as read, and rows of a counted or shuffled stream by their
    /// encoding. Keeps no state.
    ///
    /// All rows of the batch go to worker 0, at most [`gather_cap`](crate::api::context::Builder::gather_cap) bytes: a larger batch ends
    /// the job with [`crate::Error::GatherCap`].
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec!['a', 'c', 'b'], vec!['d']], |s| s.top(2).zip_with_index(), [vec![('c', 0), ('b', 1)], vec![('d', 0)]]);
    /// ```
    #[doc(alias = "zipWithIndex")]
    #[track_caller]
    pub fn zip_with_index(&self) -> DStream<'s, (T, i64)> {
        let operator = self.operator::<T>("zip_with_index", "");
        self.gather_ordered(&operator, |_, rows| rows.into_iter().zip(0..).collect())
    }
}
