//! `map_partitions`: all rows of a partition of one batch at once.

use std::collections::BTreeMap;

use timely::dataflow::channels::pact::Pipeline;

use crate::api::dstream::DStream;
use crate::core::data::{Data, PartitionId, Rows};
use crate::engine::flow::batched;

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
        self.narrow(move |s| {
            batched(
                s.flow(),
                &operator,
                s.inner(),
                Pipeline,
                |pending, t, rows: Rows<T>| {
                    let parts: &mut BTreeMap<PartitionId, Vec<T>> = pending.at(t);
                    parts.entry(rows.partition).or_default().extend(rows.take());
                },
                move |_, parts, emit| {
                    for (partition, rows) in parts {
                        emit(Rows::new(partition, f(rows).into_iter().collect()));
                    }
                },
            )
        })
    }
}
