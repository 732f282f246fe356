//! `distinct` on batches: each row once.

use crate::api::dstream::DStream;
use crate::core::data::{Key, Rows};
use crate::engine::flow::map_containers;
use crate::operator::kernel::partial_table::PartialTable;

impl<'s, T: 'static> DStream<'s, T> {
    /// Each distinct row of the batch once. Rows are in no order; outputs sort them. Each worker sends a distinct row once. Keeps no
    /// state: a row of an earlier batch is not remembered.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![3, 1, 3], vec![3]], |s| s.distinct(), [vec![1, 3], vec![3]]);
    /// ```
    #[track_caller]
    pub fn distinct(&self) -> DStream<'s, T>
    where
        T: Key,
    {
        let operator = self.operator::<T>("distinct", "");
        let fold = |table: &mut PartialTable<_, _>, rows: Rows<T>| rows.rows.iter().for_each(|r| *table.of(r) = ());
        let one = self.combine(&operator, (), fold, |_, _| ());
        one.narrow(move |s| {
            map_containers(s.flow(), &operator, s.inner(), |_, rows: Rows<(T, ())>, emit| {
                emit(Rows::new(rows.partition, rows.take().into_iter().map(|(k, ())| k).collect()));
            })
        })
    }
}
