//! `map_partitions`: a partition's rows of one batch at once.

use crate::api::dstream::DStream;
use crate::core::data::{Data, PartitionId, Rows};
use crate::engine::flow::{Site, batched};

impl<'s, T: Data> DStream<'s, T> {
    /// All rows of one partition of one batch through `f`: for what is set up once a part, not once a row.
    /// `f` is not called for partitions without rows. The rows of a source are as they were read; those of a counted or shuffled
    /// stream have no order, and a function that depends on one must sort them.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![1, 2]], |s| s.map_partitions(|part| part.into_iter().map(|n| n + 1)), [vec![2, 3]]);
    /// ```
    #[doc(alias = "mapPartitions")]
    #[track_caller]
    pub fn map_partitions<U: Data, I: IntoIterator<Item = U>>(&self, mut f: impl FnMut(Vec<T>) -> I + 'static) -> DStream<'s, U> {
        use std::collections::BTreeMap;
        let site = Site::of("map_partitions");
        self.node.graph.note::<U>("map_partitions", "");
        let flow = &self.node.graph.flow;
        self.narrow(batched(
            flow,
            &site,
            self.inner(),
            timely::dataflow::channels::pact::Pipeline,
            |slots, t, rows: Rows<T>| {
                let parts: &mut BTreeMap<PartitionId, Vec<T>> = slots.at(t);
                parts.entry(rows.partition).or_default().extend(rows.take());
            },
            move |_, parts, give| {
                for (partition, rows) in parts {
                    give(Rows::new(partition, f(rows).into_iter().collect()));
                }
            },
        ))
    }
}
