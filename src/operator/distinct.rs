//! `distinct` on batches: each row once.

use crate::api::dstream::DStream;
use crate::core::data::{Key, Rows};
use crate::engine::flow::{Site, expand};
use crate::operator::kernel::partial_table::Book;

impl<'s, T: Key> DStream<'s, T> {
    /// Each distinct row of the batch, once.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![3, 1, 3], vec![3]], |s| s.distinct(), [vec![1, 3], vec![3]]);
    /// ```
    #[track_caller]
    pub fn distinct(&self) -> DStream<'s, T> {
        let site = Site::of("distinct");
        let graph = &self.node.graph;
        graph.note::<T>("distinct", "");
        let fold = |sums: &mut Book<_, _>, rows: Rows<T>| rows.rows.iter().for_each(|r| *sums.of(r) = ());
        let one = self.combine(&site, (), fold, |_, _| ());
        one.narrow(expand(&graph.flow, &site, one.inner(), |_, rows: Rows<(T, ())>, give| {
            give(Rows::new(rows.partition, rows.take().into_iter().map(|(k, ())| k).collect()));
        }))
    }
}
