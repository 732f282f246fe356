//! `map_values`: maps the value of each pair; the key stays.

use crate::api::dstream::DStream;
use crate::core::data::Data;

impl<'s, K: Data, V: Data> DStream<'s, (K, V)> {
    /// Each pair with the result of `f` for its value, in the same partitions and order. Rows stay with the workers that own their keys,
    /// so a later verb by key need not move them. Keeps no state.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![('a', 1)]], |s| s.map_values(|n| n + 1), [vec![('a', 2)]]);
    /// ```
    #[doc(alias = "mapValues")]
    #[track_caller]
    pub fn map_values<U: Data>(&self, mut f: impl FnMut(V) -> U + 'static) -> DStream<'s, (K, U)> {
        let operator = self.operator::<U>("map_values", "");
        self.mapped(&operator, true, move |(k, v)| (k, f(v)))
    }
}
