//! Verbs that keep a state per key over all batches. `update_state_by_key` returns a DStream of all states, as in Spark;
//! `fold_by_key`, `sum_by_key` and `accumulate` return a View.

mod accumulate;
mod fold_by_key;
mod update_state_by_key;

#[cfg(any(test, feature = "testing"))]
pub(crate) use update_state_by_key::take_any;
