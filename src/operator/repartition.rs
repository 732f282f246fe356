//! `repartition`: the rows of each batch, dealt to a number of partitions.

use crate::api::dstream::{DStream, RowOrder};
use crate::core::data::Exchange;
use crate::operator::kernel::deliver::shard_of;

impl<'s, T: Exchange> DStream<'s, T> {
    /// The rows of each batch in `n` partitions, so that all workers share the verbs that follow. Partition `i` is on worker `i` modulo
    /// the number of workers. Use it if a source has fewer partitions than the job has workers, and rows are expensive.
    ///
    /// Rows are dealt one by one. A batch always has the same rows in a partition, on any number of workers. They are in the order of
    /// the stream there, and the partitions of a batch follow one another. So an order of all rows is lost: call `sort_by` after it. Rows
    /// of a counted or shuffled stream are dealt by their encoding. Rows wait for the end of their batch. Bad records of a later verb do
    /// not know their offset. Keeps no state.
    ///
    /// `n` is for the verbs that follow row by row or by partition, and for the part files of `save_as_text_files`. Verbs by key do not
    /// depend on it: their results are in key groups, and in 8 part files. [`DStream::coalesce`] after them changes that.
    ///
    /// Constraints: `n` is 1 to `max_parallelism`, by default 128, else the start fails.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![5, 6, 7, 8]], |s| s.coalesce(1).repartition(2).glom(), [vec![vec![5, 7], vec![6, 8]]]);
    /// ```
    #[track_caller]
    pub fn repartition(&self, n: u32) -> DStream<'s, T> {
        let operator = self.operator::<T>("repartition", n);
        let (n, groups) = (self.checked_partitions(&operator, n), self.node.graph.key_groups());
        self.partitioned(&operator, false, move |at, row| match at.order {
            RowOrder::Unordered { .. } => shard_of(groups.of(row), n.into(), groups) as u32,
            // Small partitions do not all begin with the first one.
            _ => ((u64::from(at.partition.index) + at.position) % u64::from(n)) as u32,
        })
    }
}
