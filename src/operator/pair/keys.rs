//! `keys`: the key of each pair.

use crate::api::dstream::DStream;
use crate::core::data::Data;

impl<'s, K: Data, V: Data> DStream<'s, (K, V)> {
    /// The key of each pair, in the same partitions and order; a key that occurs twice is there twice. Keeps no state.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![('b', 1), ('a', 2), ('b', 3)]], |s| s.keys(), [vec!['b', 'a', 'b']]);
    /// ```
    #[track_caller]
    pub fn keys(&self) -> DStream<'s, K> {
        let operator = self.operator::<K>("keys", "");
        self.mapped(&operator, false, |(k, _)| k)
    }
}
