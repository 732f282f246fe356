//! `over`: the rows of the last batches, as a view.

use std::time::Duration;

use crate::api::dstream::DStream;
use crate::api::view::{Form, View};
use crate::arrangement::ring;
use crate::core::data::Key;
use crate::core::time::Grid;
use crate::engine::flow::Site;

impl<'s, T: Key> DStream<'s, T> {
    /// The rows of all batches in the last `length`, kept up to date every `slide`: at a time t on the grid, those of the
    /// batches u with t - length < u <= t. Windows are by time, not by count: after a pause of an hour a minute's window is empty.
    ///
    /// All windows over the same handle share its panes; a batch costs what entered and what left, however long the window.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec!['a'], vec!['b'], vec![]],
    ///     |s| s.over(millis(2), millis(1)).complete(),
    ///     [vec!['a'], vec!['a', 'b'], vec!['b']],
    /// );
    /// ```
    #[track_caller]
    pub fn over(&self, length: Duration, slide: Duration) -> View<'s, T> {
        self.window_view(&Site::of("over"), "over", length, slide)
    }

    pub(crate) fn window_view(&self, site: &Site, verb: &str, length: Duration, slide: Duration) -> View<'s, T> {
        let graph = &self.node.graph;
        let shape = super::shape(graph, site, length, slide);
        let name = graph.note::<T>(verb, format_args!("{} {}", shape.length, shape.slide));
        let panes = self.node.panes.get_or_init(|| ring::panes(self, site));
        let (keyed, state) = ring::ring(panes, shape, graph, site, name);
        let view = View::new(graph, &self.node.lineage, Grid::every(shape.slide), Form::Keyed(keyed), Some(site.name()));
        view.node.state.set(Some(state));
        view
    }
}
