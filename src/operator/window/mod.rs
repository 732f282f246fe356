//! Verbs over the last batches. Length and slide are multiples of the batch interval; the grid is multiples of the slide since
//! the epoch, so it survives restarts. A window that is not full yet is what is there.
//! Counting windows stand on rings of panes (`../../arrangement/ring.rs`), those with a user's function on `folded.rs`.

mod count_by_value_and_window;
mod count_by_window;
mod folded;
mod over;
mod reduce_by_key_and_window;
mod reduce_by_window;
mod two_stacks;
#[allow(clippy::module_inception, reason = "one file a verb, by its name")]
mod window;

/// See [`crate::engine::state::take_any`].
#[cfg(any(test, feature = "testing"))]
pub(crate) fn take_any(bytes: &[u8]) -> bool {
    window::take_any(bytes) | folded::take_any(bytes)
}

use std::time::Duration;

use crate::api::context::Graph;
use crate::arrangement::ring::Shape;
use crate::engine::flow::Site;

/// Checks a window's length and slide; what is wrong is a problem of the graph, and the shape then is one batch.
pub(crate) fn shape(graph: &Graph<'_>, site: &Site, length: Duration, slide: Duration) -> Shape {
    let interval = graph.config.interval;
    let checked = |what, d| {
        interval.multiple(what, d).unwrap_or_else(|e| {
            graph.problem(site, e);
            interval.millis()
        })
    };
    let (length, slide) = (checked("window length", length), checked("slide", slide));
    Shape { length, slide, interval: interval.millis() }
}
