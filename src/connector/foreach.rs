//! `foreach_batch` and `foreach_partition`: a function of the program as an output operation.

use crate::api::dstream::DStream;
use crate::core::data::Exchange;
use crate::core::error::BoxError;
use crate::core::time::BatchTime;
use crate::engine::operator_id::OperatorId;
use crate::engine::output::Completion;
use crate::operator::Batch;
use crate::operator::kernel::deliver::{SHARDS, Spread};
use crate::operator::kernel::gather::lineage_ranges;

impl<'s, T: Exchange> DStream<'s, T> {
    /// Calls `f` with each whole batch on the output thread of process 0, in order, empty batches too. An error is tried again
    /// with the same batch, then stops the job with this batch not out. Spark's `foreachRDD`, with or without its time.
    ///
    /// Gathers the batch; [`DStream::foreach_partition`] does not.
    #[doc(alias = "foreachRDD")]
    #[doc(alias = "foreach_rdd")]
    #[track_caller]
    pub fn foreach_batch(&self, mut f: impl FnMut(&Batch<T>) -> Result<(), BoxError> + Send + 'static) {
        let site = OperatorId::of("foreach_batch");
        if !self.node.graph.config.runs_foreach() {
            return self.attach_left_out(&site, "foreach_batch");
        }
        let ranges = self.node.meta.lineage.iter().copied().collect::<Vec<u32>>();
        self.attach_gathered(&site, "foreach_batch", move |plan, rows| {
            let ranges = lineage_ranges(plan, &ranges.as_slice().into());
            let batch = Batch::new(plan.time, ranges.into(), std::mem::take(rows));
            let done = f(&batch);
            *rows = batch.collect();
            done
        });
    }

    /// Calls `f` with the rows of each part of each batch, on the output thread of the process where they are: a part is a
    /// source's partition, a shard of an exchanged stream (8), or the whole of a sequence. `init` makes what `f` works with, as a
    /// connection, once a shard, when its first rows come. Batch time and shard are a key that is the
    /// same when the batch runs again after a crash: written in one transaction with the rows, as `examples/once.rs` does, it
    /// makes this output exactly once, which by itself is at least once.
    ///
    /// An error of either is tried again with the same rows, then stops the job.
    #[doc(alias = "foreachPartition")]
    #[track_caller]
    pub fn foreach_partition<C: Send + 'static>(
        &self,
        init: impl Fn() -> Result<C, BoxError> + Send + 'static,
        mut f: impl FnMut(&mut C, BatchTime, u32, &[T]) -> Result<(), BoxError> + Send + 'static,
    ) {
        let site = OperatorId::of("foreach_partition");
        if !self.node.graph.config.runs_foreach() {
            return self.attach_left_out(&site, "foreach_partition");
        }
        let mut made: std::collections::BTreeMap<u32, C> = Default::default();
        let mut through: Option<(BatchTime, std::collections::BTreeSet<u32>)> = None;
        self.attach_spread(&site, "foreach_partition", Spread::Bags(SHARDS), Completion::Written, move |plan, parts| {
            // A part that went well is not given again when a later one of the same batch fails.
            let done = match &mut through {
                Some((t, done)) if *t == plan.time => done,
                other => &mut other.insert((plan.time, Default::default())).1,
            };
            for part in parts.iter().filter(|p| !p.rows.is_empty()) {
                if done.contains(&part.number) {
                    continue;
                }
                let c = match made.entry(part.number) {
                    std::collections::btree_map::Entry::Occupied(e) => e.into_mut(),
                    std::collections::btree_map::Entry::Vacant(e) => e.insert(init()?),
                };
                f(c, plan.time, part.number, &part.rows)?;
                done.insert(part.number);
            }
            Ok(())
        });
    }
}
