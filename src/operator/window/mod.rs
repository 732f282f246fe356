//! Verbs over the last batches. Length and slide are multiples of the batch interval. A window slides as its `Slide` says, since the
//! epoch, so a restart does not move it. Until its length has passed, a window holds the batches that there are.
//!
//! Counting windows use rings of panes (`../../arrangement/ring.rs`), those with a user's function `windowed_reduce.rs`.

mod count_approx_distinct_by_window;
mod count_by_value_and_window;
mod count_by_window;
mod group_by_key_and_window;
mod over;
mod reduce_by_key_and_window;
mod reduce_by_window;
pub(crate) mod two_stacks;
#[allow(clippy::module_inception, reason = "one file a verb, by its name")]
mod window;
pub(crate) mod windowed_reduce;

#[cfg(test)]
mod tests;

/// See [`crate::engine::state::take_any`].
#[cfg(any(test, feature = "testing"))]
pub(crate) fn take_any(bytes: &[u8]) -> bool {
    window::take_any(bytes) | windowed_reduce::take_any(bytes)
}

use std::time::Duration;

use crate::api::context::Graph;
use crate::core::schedule::{Grid, WindowSpec};
use crate::core::slide::Slide;
use crate::engine::operator_id::OperatorId;

/// Checks the length and slide of a window, and registers its verb. Reports errors to the graph; the window is then one batch long.
pub(crate) fn register_window<T>(graph: &Graph<'_>, operator: &OperatorId, length: Duration, slide: &Slide) -> WindowSpec {
    let interval = graph.config.interval;
    let checked = |what, d| {
        interval.multiple(what, d).unwrap_or_else(|e| {
            graph.report(operator, e);
            interval.millis()
        })
    };
    let (ms, every) = (checked("window length", length), checked("slide", slide.duration(interval)));
    let grid = slide.grid(every, length, interval).unwrap_or_else(|e| {
        graph.report(operator, e);
        Grid::every(every)
    });
    graph.register_operator::<T>(operator, format_args!("{ms} {every}{slide}"));
    WindowSpec::new(ms, grid, interval.millis())
}
