//! `map_partitions_with_broadcast`: all rows of a partition of one batch at once, and a broadcast value.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::api::dstream::DStream;
use crate::core::data::{Data, PartitionId, Rows};
use crate::engine::flow::Emitter;
use crate::operator::broadcast::Broadcast;

impl<'s, T: Data> DStream<'s, T> {
    /// The rows that `f` returns for all rows of one partition of one batch and the value of a broadcast as of the batch.
    /// [`DStream::map_partitions`] with a broadcast: use it if work is cheaper for many rows at once.
    ///
    /// `f` runs once for each partition that has rows, when the batch is closed. The result has the same partitions. Results are not
    /// corrected when the broadcast changes later. Keeps no state.
    ///
    /// ```
    /// use tidemill::testing::check2;
    /// check2(
    ///     [vec![3, 5], vec![3, 5]],
    ///     [vec![4], vec![]],
    ///     |numbers, limits| {
    ///         let limit = limits.map(|limit| ((), limit)).latest_by_key().broadcast();
    ///         numbers.coalesce(1).map_partitions_with_broadcast(&limit, |part, limit| {
    ///             let limit = limit.get(&()).copied();
    ///             [part.into_iter().filter(|n| limit.is_some_and(|limit| *n < limit)).count()]
    ///         })
    ///     },
    ///     [vec![1], vec![1]],
    /// );
    /// ```
    #[track_caller]
    pub fn map_partitions_with_broadcast<B: 'static, U: Data, I: IntoIterator<Item = U>>(
        &self,
        broadcast: &Broadcast<'s, B>,
        mut f: impl FnMut(Vec<T>, &B) -> I + 'static,
    ) -> DStream<'s, U> {
        let operator = self.operator::<U>("map_partitions_with_broadcast", "");
        self.with_patches(operator, false, Rc::default(), broadcast, move |containers, value, emit: &mut Emitter<'_, _>| {
            let mut parts: BTreeMap<PartitionId, Vec<T>> = BTreeMap::new();
            for rows in containers {
                parts.entry(rows.partition).or_default().extend(rows.take());
            }
            for (partition, rows) in parts {
                emit(Rows::new(partition, f(rows, value).into_iter().collect()));
            }
        })
    }
}
