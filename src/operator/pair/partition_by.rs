//! `partition_by`: pairs in partitions by their key.

use crate::api::dstream::DStream;
use crate::core::data::{Exchange, Key};
use crate::operator::kernel::deliver::shard_of;

impl<'s, K: Key, V: Exchange> DStream<'s, (K, V)> {
    /// The pairs of each batch in `n` partitions by their key. All pairs of a key are in one partition, in the order of the stream. It is
    /// the same in every batch. [`DStream::map_partitions`] then sees them together, and `save_as_text_files` writes them into one file.
    ///
    /// Partition `i` is on worker `i` modulo the number of workers. Rows wait for the end of their batch. Bad records of a later verb do
    /// not know their offset. Verbs by key need no `partition_by` before them, and it does not make them faster. Keeps no state.
    ///
    /// Constraints: `n` is 1 to `max_parallelism`, by default 128, else the start fails. The partition is that of the key group: there is no
    /// partitioner of a program.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// let clicks = vec![('a', 1), ('d', 2), ('a', 3)];
    /// check([clicks], |s| s.partition_by(2).glom(), [vec![vec![('d', 2)], vec![('a', 1), ('a', 3)]]]);
    /// ```
    #[doc(alias = "partitionBy")]
    #[track_caller]
    pub fn partition_by(&self, n: u32) -> DStream<'s, (K, V)> {
        let operator = self.operator::<(K, V)>("partition_by", n);
        let (n, groups) = (self.checked_partitions(&operator, n), self.node.graph.key_groups());
        self.partitioned(&operator, true, move |_, (k, _)| shard_of(groups.of(k), n.into(), groups) as u32)
    }
}
