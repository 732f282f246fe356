//! `glom`: each partition of a batch as one row.

use crate::api::dstream::{DStream, RowOrder};
use crate::core::data::{Exchange, sort_by_encoded};

impl<'s, T: Exchange> DStream<'s, T> {
    /// A row per partition of each batch: a vector of its rows, in their order. Partitions are those of [`DStream::map_partitions`]. A
    /// partition without rows has no row (in Spark it has an empty one). Keeps no state.
    ///
    /// Counted and shuffled rows are in the vector of their key group, by their encoding: up to `max_parallelism` short vectors, by default 128.
    /// [`DStream::coalesce`] before it makes fewer.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![3, 1, 2]], |s| s.coalesce(1).glom(), [vec![vec![3, 1, 2]]]);
    /// ```
    #[track_caller]
    pub fn glom(&self) -> DStream<'s, Vec<T>> {
        let operator = self.operator::<T>("glom", "");
        let orders = self.node.orders.clone();
        // Rows without key groups lie on their workers as they came. They get partitions that do not depend on the number of workers.
        if orders.contains(&RowOrder::Unordered { grouped: false }) {
            let groups = self.node.graph.key_groups();
            let groups = self.partitioned(&operator, false, move |_, row| groups.of(row) as u32);
            return groups.partitions_mapped(&operator, |_, rows| [rows]);
        }
        self.partitions_mapped(&operator, move |partition, mut rows| {
            if matches!(orders[partition.branch as usize], RowOrder::Unordered { .. }) {
                sort_by_encoded(&mut rows);
            }
            [rows]
        })
    }
}
