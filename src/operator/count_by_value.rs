//! `count_by_value` on batches: how often each row occurs.

use crate::api::dstream::DStream;
use crate::core::data::{Key, Rows};
use crate::operator::kernel::partial_table::PartialTable;

impl<'s, T: 'static> DStream<'s, T> {
    /// A row `(row, count)` per batch for each distinct row; an empty batch has none.
    ///
    /// Rows are in no order; outputs sort them. Each worker counts while the batch is open and sends a row per distinct row. Keeps no
    /// state.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec!["b", "a", "b"]].map(strings), |s| s.count_by_value(), [vec![("a".into(), 1), ("b".into(), 2)]]);
    /// # fn strings(v: Vec<&str>) -> Vec<String> { v.into_iter().map(str::to_owned).collect() }
    /// ```
    #[doc(alias = "countByValue")]
    #[track_caller]
    pub fn count_by_value(&self) -> DStream<'s, (T, i64)>
    where
        T: Key,
    {
        let operator = self.operator::<T>("count_by_value", "");
        let fold = |table: &mut PartialTable<_, _>, rows: Rows<T>| rows.rows.iter().for_each(|r| *table.of(r) += 1);
        self.combine(&operator, 0, fold, |a, b| *a += b)
    }
}
