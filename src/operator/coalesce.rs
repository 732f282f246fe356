//! `coalesce`: fewer partitions.

use crate::api::dstream::{DStream, RowOrder};
use crate::core::data::Exchange;
use crate::operator::kernel::deliver::shard_of;

impl<'s, T: Exchange> DStream<'s, T> {
    /// The rows of each batch in at most `n` partitions. Whole partitions are put together: each keeps its order, and a key is in the same
    /// one in every batch. With `n = 1` the whole batch is one partition, in the order of the stream. `save_as_text_files` then writes
    /// one file. [`DStream::repartition`] deals rows evenly, also to more partitions.
    ///
    /// Partition `i` is on worker `i` modulo the number of workers: with fewer partitions than workers, some have no work. Unlike in
    /// Spark, rows move to it, at the end of their batch. Bad records of a later verb do not know their offset. Keeps no state.
    ///
    /// Constraints: `n` is 1 to `max_parallelism`, by default 128, else the start fails.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![5, 6, 7]], |s| s.coalesce(1).glom(), [vec![vec![5, 6, 7]]]);
    /// ```
    #[track_caller]
    pub fn coalesce(&self, n: u32) -> DStream<'s, T> {
        let operator = self.operator::<T>("coalesce", n);
        let (n, groups) = (self.checked_partitions(&operator, n), self.node.graph.key_groups());
        let lasting = self.node.orders.iter().all(|order| order.lasting());
        self.partitioned(&operator, lasting, move |at, row| match at.order {
            RowOrder::Unordered { grouped: true } => shard_of(at.partition.index.into(), n.into(), groups) as u32,
            RowOrder::Unordered { grouped: false } => shard_of(groups.of(row), n.into(), groups) as u32,
            _ => at.partition.index % n,
        })
    }
}
