//! `take`: the first rows of each batch.

use crate::api::dstream::DStream;
use crate::core::data::Exchange;

impl<'s, T: 'static> DStream<'s, T> {
    /// The first `n` rows of each batch. For a sorted stream they are the first in its order, and for a source the first as read. For a
    /// counted or shuffled stream they are the first by encoding. The whole batch goes to worker 0, as for [`DStream::sort_by`]. Keeps
    /// no state.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![5, 4, 6]], |s| s.sort_by(|n| *n).take(2), [vec![4, 5]]);
    /// ```
    #[track_caller]
    pub fn take(&self, n: usize) -> DStream<'s, T>
    where
        T: Exchange,
    {
        let operator = self.operator::<T>("take", n);
        self.gather_ordered(&operator, move |_, mut rows| {
            rows.truncate(n);
            rows
        })
    }
}
