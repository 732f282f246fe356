//! `union`: two streams as one, batch by batch.

use timely::dataflow::operators::Concat;

use crate::data::{Data, Rows};
use crate::dstream::{Case, DStream, merged};
use crate::flow::{Site, expand};

impl<'s, T: Data> DStream<'s, T> {
    /// The rows of this stream, then those of the other, batch by batch; each side keeps its own order.
    /// A stream may be united with itself: then every row is there twice.
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
        let left = self.node.cases.len() as u16;
        let right = expand(&graph.flow, &site, other.inner(), move |_, mut rows: Rows<T>, give| {
            rows.lane.side += left;
            give(rows);
        });
        let cases: Vec<Case> = self.node.cases.iter().chain(other.node.cases.iter()).copied().collect();
        let lineage = merged(&self.node.lineage, &other.node.lineage);
        DStream::new(graph, self.inner().concat(right), &cases, &lineage)
            .on_grid(self.node.grid.union(&other.node.grid))
            .placed(self.node.placed && other.node.placed)
    }
}
