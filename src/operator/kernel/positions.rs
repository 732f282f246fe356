//! The kernel of verbs that need to know where a row is in its partition.

use timely::Container;
use timely::dataflow::Stream;

use crate::api::dstream::DStream;
use crate::core::data::{FastMap, PartitionId, Rows};
use crate::core::time::BatchTime;
use crate::engine::flow::{Emitter, batched_split};
use crate::engine::operator_id::OperatorId;

impl<'s, T: 'static> DStream<'s, T> {
    /// Calls `each` with every container, and the number of rows that its partition had before it in the batch. It does not wait for
    /// the end of the batch. The rows of an unordered stream have no meaningful position.
    pub(crate) fn positioned<O: Container + Clone>(
        &self,
        operator: &OperatorId,
        mut each: impl FnMut(BatchTime, u64, Rows<T>, &mut Emitter<'_, O>) + 'static,
    ) -> Stream<'s, BatchTime, O> {
        let count = move |partitions: &mut FastMap<PartitionId, u64>, t, rows: Rows<T>, emit: &mut Emitter<'_, O>| {
            let before = partitions.entry(rows.partition).or_default();
            let first = *before;
            *before += rows.rows.len() as u64;
            each(t, first, rows, emit);
        };
        let (_none, stream) =
            batched_split(self.flow(), operator, self.inner(), false, count, |_, _: &mut Emitter<'_, Rows<()>>| {});
        stream
    }
}
