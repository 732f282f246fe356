//! `map_values`: the values through a function, keys where they are.

use crate::api::dstream::DStream;
use crate::core::data::{Data, Rows};
use crate::engine::flow::{Site, expand};

impl<'s, K: Data, V: Data> DStream<'s, (K, V)> {
    /// Each value through `f`.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![('a', 1)]], |s| s.map_values(|n| n + 1), [vec![('a', 2)]]);
    /// ```
    #[doc(alias = "mapValues")]
    #[track_caller]
    pub fn map_values<U: Data>(&self, mut f: impl FnMut(V) -> U + 'static) -> DStream<'s, (K, U)> {
        let site = Site::of("map_values");
        self.node.graph.note::<U>("map_values", "");
        let mapped = expand(&self.node.graph.flow, &site, self.inner(), move |_, rows: Rows<(K, V)>, give| {
            give(Rows::new(rows.partition, rows.take().into_iter().map(|(k, v)| (k, f(v))).collect()));
        });
        self.narrow(mapped).placed(self.node.placed)
    }
}
