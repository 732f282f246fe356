//! `filter`: the rows that pass a test.

use crate::api::dstream::DStream;
use crate::core::data::{Data, Rows};
use crate::engine::flow::{Site, expand};

impl<'s, T: Data> DStream<'s, T> {
    /// The rows for which `test` is true, in the same partitions and order. Rows that others read too are cloned only if they pass.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![1, 2, 3]], |s| s.filter(|n| n % 2 == 1), [vec![1, 3]]);
    /// ```
    #[track_caller]
    pub fn filter(&self, mut test: impl FnMut(&T) -> bool + 'static) -> DStream<'s, T> {
        let site = Site::of("filter");
        self.node.graph.note::<T>("filter", "");
        let kept = expand(&self.node.graph.flow, &site, self.inner(), move |_, rows: Rows<T>, give| {
            let partition = rows.partition;
            let kept: Vec<T> = match std::rc::Rc::try_unwrap(rows.rows) {
                Ok(mut own) => {
                    own.retain(&mut test);
                    own
                }
                Err(shared) => shared.iter().filter(|r| test(r)).cloned().collect(),
            };
            give(Rows::new(partition, kept));
        });
        self.narrow(kept).placed(self.node.placed)
    }
}
