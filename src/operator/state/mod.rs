//! Verbs that remember from batch to batch what a user's function makes of a key. `update_state_by_key` gives a DStream, as in
//! Spark; `fold_by_key` a View of what changed.

mod accumulate;
mod fold_by_key;
mod update_state_by_key;

#[cfg(any(test, feature = "testing"))]
pub(crate) use update_state_by_key::take_any;
