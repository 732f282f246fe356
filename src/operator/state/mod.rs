//! Verbs that keep a state per key over all batches. `update_state_by_key` and `map_with_state` return DStreams, as in Spark;
//! `fold_by_key`, `latest_by_key`, `sum_by_key` and `accumulate` return a View.

mod accumulate;
mod fold_by_key;
mod latest_by_key;
mod map_with_state;
mod states;
mod update_state_by_key;

pub(super) use map_with_state::Function;
pub use map_with_state::{MapWithStateDStream, State, StateSpec};

/// See [`crate::engine::state::take_any`].
#[cfg(any(test, feature = "testing"))]
pub(crate) fn take_any(bytes: &[u8]) -> bool {
    states::take_any(bytes) | map_with_state::take_any(bytes)
}
