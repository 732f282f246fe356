//! `map`: one row for one row.

use crate::api::dstream::DStream;
use crate::core::data::{Data, Rows};
use crate::engine::flow::{Site, expand};

impl<'s, T: Data> DStream<'s, T> {
    /// Each row through `f`, in the same partitions and order.
    ///
    /// A panic in `f` ends the job with the name of this call and the batch; see [`DStream::try_map`] for errors as data.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![1, 2], vec![]], |s| s.map(|n| n * 10), [vec![10, 20], vec![]]);
    /// ```
    #[track_caller]
    pub fn map<U: Data>(&self, mut f: impl FnMut(T) -> U + 'static) -> DStream<'s, U> {
        let site = Site::of("map");
        self.node.graph.note::<U>("map", "");
        self.narrow(expand(&self.node.graph.flow, &site, self.inner(), move |_, rows: Rows<T>, give| {
            give(Rows::new(rows.partition, rows.take().into_iter().map(&mut f).collect()));
        }))
    }
}
