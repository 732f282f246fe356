//! Verbs on `View`: the same verbs as on `DStream`, applied to the rows in the view at t.

mod count;
mod count_by_value;
mod distinct;
pub(crate) mod iterate;
mod join;
mod linear;
mod output_modes;
mod presentation;
mod reduce_by_key;
mod sort_by;
mod top;
