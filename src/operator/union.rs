//! `union`: two streams as one, batch by batch.

use timely::dataflow::operators::Concat;

use crate::api::dstream::DStream;
use crate::core::data::{Data, Rows};
use crate::core::origin::OriginsWanted;
use crate::engine::flow::map_containers;

/// How many branches `PartitionId::branch` can tell apart.
const BRANCHES: usize = u16::MAX as usize + 1;

impl<'s, T: Data> DStream<'s, T> {
    /// The rows of this stream, then those of the other, batch by batch; each side keeps its own order. No row moves. Keeps no state.
    ///
    /// A stream may be united with itself: then each row occurs twice. At most 65,536 streams can be united, where a `window` counts
    /// as one for each of its batches; more is an error at the start.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![1, 2]], |s| s.map(|n| -n).union(s), [vec![-1, -2, 1, 2]]);
    /// ```
    #[track_caller]
    pub fn union(&self, other: &DStream<'s, T>) -> DStream<'s, T> {
        let operator = self.operator::<T>("union", "");
        let graph = &self.node.graph;
        let (left, right) = (&self.node.orders, &other.node.orders);
        let branches = left.len() + right.len();
        if branches > BRANCHES {
            graph.report(
                &operator,
                format!("{branches} streams are united here, each batch of a window one; at most {BRANCHES} can be"),
            );
        }
        let (orders, offset) = (left.iter().chain(&**right).copied().collect(), left.len() as u16);
        let (left, right) = (self.clone(), other.clone());
        let both = move || {
            let shifted = map_containers(right.flow(), &operator, right.inner(), move |_, mut rows: Rows<T>, emit| {
                rows.partition.branch += offset;
                emit(rows);
            });
            left.inner().concat(shifted)
        };
        let meta = self.node.meta.join(&other.node.meta);
        let wanted = OriginsWanted::below([&self.node, &other.node].map(|node| node.wants_origins.clone()));
        DStream::build(graph, both, orders, meta, self.node.keyed && other.node.keyed, wanted)
    }
}
