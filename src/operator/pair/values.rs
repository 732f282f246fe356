//! `values`: the value of each pair.

use crate::api::dstream::DStream;
use crate::core::data::Data;

impl<'s, K: Data, V: Data> DStream<'s, (K, V)> {
    /// The value of each pair, in the same partitions and order. Keeps no state.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![('b', 1), ('a', 2), ('b', 3)]], |s| s.values(), [vec![1, 2, 3]]);
    /// ```
    #[track_caller]
    pub fn values(&self) -> DStream<'s, V> {
        let operator = self.operator::<V>("values", "");
        self.mapped(&operator, false, |(_, v)| v)
    }
}
