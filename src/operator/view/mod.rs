//! Verbs on `View`: the same words as on `DStream`, of what is in the view at t.

mod count;
mod count_by_value;
mod linear;
mod sort_by;
