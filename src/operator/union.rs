//! `union`: two streams as one, batch by batch.

use timely::dataflow::operators::Concat;

use crate::api::dstream::{Case, DStream, merged, only};
use crate::core::data::{Data, Rows};
use crate::engine::flow::{Site, expand};

/// What `PartitionId::side` can tell apart.
const LEAVES: usize = u16::MAX as usize + 1;

impl<'s, T: Data> DStream<'s, T> {
    /// The rows of this stream, then those of the other, batch by batch; each side keeps its own order.
    /// A stream may be united with itself: then every row is there twice. At most 65,536 streams can be united to one.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![1, 2]], |s| s.map(|n| -n).union(s), [vec![-1, -2, 1, 2]]);
    /// ```
    #[track_caller]
    pub fn union(&self, other: &DStream<'s, T>) -> DStream<'s, T> {
        let site = Site::of("union");
        let graph = &self.node.graph;
        graph.note::<T>("union", "");
        let leaves = self.node.cases.len() + other.node.cases.len();
        if leaves > LEAVES {
            graph
                .problem(&site, format!("{leaves} streams are united here, each batch of a window one; at most {LEAVES} can be"));
        }
        let left = self.node.cases.len() as u16;
        let right = expand(&graph.flow, &site, other.inner(), move |_, mut rows: Rows<T>, give| {
            rows.partition.branch += left;
            give(rows);
        });
        let cases: Vec<Case> = self.node.cases.iter().chain(other.node.cases.iter()).copied().collect();
        let lineage = merged(&self.node.lineage, &other.node.lineage);
        DStream::new(graph, self.inner().concat(right), &cases, &lineage)
            .on_grid(self.node.grid.union(&other.node.grid))
            .with_state(only(self.node.state.get(), other.node.state.get()))
            .placed(self.node.placed && other.node.placed)
    }
}
