//! `flat_map_values`: any number of pairs for one, with its key.

use crate::api::dstream::DStream;
use crate::core::data::Data;

impl<'s, K: Data, V: Data> DStream<'s, (K, V)> {
    /// A pair of the key and each value that `f` returns for its value, in the same partitions and order. Rows stay with the workers
    /// that own their keys, so a later verb by key need not move them. Keeps no state.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![('a', 2), ('b', 0)]], |s| s.flat_map_values(|n| 0..n), [vec![('a', 0), ('a', 1)]]);
    /// ```
    #[doc(alias = "flatMapValues")]
    #[track_caller]
    pub fn flat_map_values<U: Data, I: IntoIterator<Item = U>>(
        &self,
        mut f: impl FnMut(V) -> I + 'static,
    ) -> DStream<'s, (K, U)> {
        let operator = self.operator::<U>("flat_map_values", "");
        self.flat_mapped(&operator, true, move |(k, v)| f(v).into_iter().map(move |u| (k.clone(), u)))
    }
}
