//! `count_by_value` on batches: how often each row is there.

use crate::api::dstream::DStream;
use crate::core::data::{Key, Rows};
use crate::engine::flow::Site;
use crate::operator::kernel::partial_table::Book;

impl<'s, T: Key> DStream<'s, T> {
    /// Each distinct row of the batch with how often it is there. An empty batch gives nothing.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec!["b", "a", "b"]].map(strings), |s| s.count_by_value(), [vec![("a".into(), 1), ("b".into(), 2)]]);
    /// # fn strings(v: Vec<&str>) -> Vec<String> { v.into_iter().map(str::to_owned).collect() }
    /// ```
    #[doc(alias = "countByValue")]
    #[track_caller]
    pub fn count_by_value(&self) -> DStream<'s, (T, i64)> {
        let site = Site::of("count_by_value");
        self.node.graph.note::<T>("count_by_value", "");
        let fold = |sums: &mut Book<_, _>, rows: Rows<T>| rows.rows.iter().for_each(|r| *sums.of(r) += 1);
        self.combine(&site, 0, fold, |a, b| *a += b)
    }
}
