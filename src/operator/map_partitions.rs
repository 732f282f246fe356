//! `map_partitions`, `map_partitions_with_index`: all rows of a partition of one batch at once.

use std::collections::BTreeMap;

use timely::dataflow::channels::pact::Pipeline;

use crate::api::dstream::DStream;
use crate::core::data::{Data, PartitionId, Rows};
use crate::engine::flow::batched;
use crate::engine::operator_id::OperatorId;

impl<'s, T: Data> DStream<'s, T> {
    /// The rows that `f` returns for all rows of one partition of one batch. Use it if the set-up of the work is expensive, because `f`
    /// runs once per partition. It does not run for a partition without rows. The result has the same partitions. Keeps no state.
    ///
    /// A partition is a split of a source (a Kafka partition, a file) or, after rows were counted or shuffled, a key group. Rows of a
    /// source are in the order in which they were read. Counted and shuffled rows have no order: sort them if `f` depends on it.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![1, 2]], |s| s.map_partitions(|part| part.into_iter().map(|n| n + 1)), [vec![2, 3]]);
    /// ```
    #[doc(alias = "mapPartitions")]
    #[track_caller]
    pub fn map_partitions<U: Data, I: IntoIterator<Item = U>>(&self, mut f: impl FnMut(Vec<T>) -> I + 'static) -> DStream<'s, U> {
        let operator = self.operator::<U>("map_partitions", "");
        self.partitions_mapped(&operator, move |_, rows| f(rows))
    }

    /// As [`DStream::map_partitions`]; `f` also gets the number of the partition. It is the same when the batch runs again: the split id
    /// of a source, or the key group. The second stream of a `union` begins at 65,536, the third at 131,072.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![7, 8, 9]],
    ///     |s| s.coalesce(1).repartition(2).map_partitions_with_index(|i, part| [(i, part)]),
    ///     [vec![(0, vec![7, 9]), (1, vec![8])]],
    /// );
    /// ```
    #[doc(alias = "mapPartitionsWithIndex")]
    #[track_caller]
    pub fn map_partitions_with_index<U: Data, I: IntoIterator<Item = U>>(
        &self,
        mut f: impl FnMut(u32, Vec<T>) -> I + 'static,
    ) -> DStream<'s, U> {
        let operator = self.operator::<U>("map_partitions_with_index", "");
        self.partitions_mapped(&operator, move |partition, rows| f(partition.number(), rows))
    }

    /// The kernel: `f` makes the rows of a partition of a batch from those of this stream.
    pub(crate) fn partitions_mapped<U: 'static, I: IntoIterator<Item = U>>(
        &self,
        operator: &OperatorId,
        mut f: impl FnMut(PartitionId, Vec<T>) -> I + 'static,
    ) -> DStream<'s, U> {
        let operator = operator.clone();
        self.narrow(move |s| {
            batched(
                &s.flow().silent_when_empty(),
                &operator,
                s.inner(),
                Pipeline,
                |pending, t, rows: Rows<T>| {
                    let parts: &mut BTreeMap<PartitionId, Vec<T>> = pending.at(t);
                    parts.entry(rows.partition).or_default().extend(rows.take());
                },
                move |_, parts, emit| {
                    for (partition, rows) in parts {
                        emit(Rows::new(partition, f(partition, rows).into_iter().collect()));
                    }
                },
            )
        })
    }
}
