//! `over`: a view of the rows of the last batches.

use std::time::Duration;

use crate::api::dstream::DStream;
use crate::api::view::View;
use crate::arrangement::ring;
use crate::core::data::Key;
use crate::core::slide::Slide;
use crate::engine::operator_id::OperatorId;

impl<'s, T: 'static> DStream<'s, T> {
    /// A view of the rows of the batches in the last `length`, kept up to date every `slide`: at t the batches u with
    /// t - length < u <= t. A window is a span of time, not a number of batches: after a pause of an hour a window of a minute is empty.
    ///
    /// A batch costs the distinct rows that enter and leave, however long the window. All windows over one handle share their panes.
    /// State: the distinct rows of each batch in the window with their counts, saved in checkpoints.
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
    pub fn over(&self, length: Duration, slide: impl Into<Slide>) -> View<'s, T>
    where
        T: Key,
    {
        self.window_view(&OperatorId::of("over"), length, slide.into())
    }

    pub(crate) fn window_view(&self, operator: &OperatorId, length: Duration, slide: Slide) -> View<'s, T>
    where
        T: Key,
    {
        let graph = &self.node.graph;
        let spec = super::register_window::<T>(graph, operator, length, &slide);
        let schedule = spec.schedule();
        let (codes, state) = ring::ring(self, spec, operator);
        let (meta, why) = (self.node.meta.scheduled(schedule).with_state(state), Some(operator.to_string()));
        View::new(graph, meta, codes, why)
    }
}
