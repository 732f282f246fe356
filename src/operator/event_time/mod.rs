//! Event time: verbs by the time that a row has of itself, instead of the batch that it came in. `event_time` reads the time, and
//! `watermark` follows it; `max_drift` keeps partitions of a backlog near one another. `windows` cuts it into windows, `aggregate` has
//! the verbs on them, over the panes of `panes` and `pane_fold`. `sessions` has windows that follow the rows of a key, over
//! `session_state`. `collect`, `distinct` and `top_by` are verbs of both, and `windowed_view` is their result. `join_within` and its
//! outer forms join two streams over `intervals`, and `as_of_join` over `as_of`; `event_time_join` is the result of both, by the
//! `joint_watermark` of two streams, and `event_time_of` gives their pairs another time. `distinct_within` drops duplicates, `sort_by_time` puts rows in order, and `map_with_state` has
//! timers. What they keep for a key is in `cells`.
//!
//! Invariant: all of this depends on the batches alone, so batches that run again have the same watermarks and the same windows. The
//! watermark after a batch closes windows in this batch. The rows of the next batch are late if they are behind it.

mod aggregate;
mod as_of;
mod as_of_join;
mod as_of_join_within;
mod cells;
mod collect;
mod distinct;
mod distinct_within;
#[allow(clippy::module_inception, reason = "one file a verb, by its name")]
mod event_time;
mod event_time_join;
mod event_time_of;
mod full_outer_join_within;
mod intervals;
mod join_within;
mod joint_watermark;
mod late;
mod left_outer_join_within;
mod map_with_state;
mod max_drift;
mod pane_fold;
mod panes;
mod right_outer_join_within;
mod session_state;
mod sessions;
mod sort_by_time;
mod top_by;
mod watermark;
mod windowed_view;
mod windows;

pub use distinct_within::DistinctWithin;
pub use event_time::EventTimeStream;
pub use event_time_join::EventTimeJoin;
pub use sessions::SessionWindows;
pub use sort_by_time::SortedByTime;
pub use windowed_view::WindowedView;
pub use windows::EventTimeWindows;

/// See [`crate::engine::state::take_any`].
#[cfg(any(test, feature = "testing"))]
pub(crate) fn take_any(bytes: &[u8]) -> bool {
    let windows =
        watermark::take_any(bytes) | joint_watermark::take_any(bytes) | panes::take_any(bytes) | session_state::take_any(bytes);
    let rows = distinct_within::take_any(bytes) | sort_by_time::take_any(bytes) | map_with_state::take_any(bytes);
    windows | rows | intervals::take_any(bytes) | as_of::take_any(bytes)
}
