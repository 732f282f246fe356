//! Verbs on `LoopView`: the same words as on `View`, applied to the rows of each round of a loop.

mod distinct;
mod enter;
mod join;
mod join_keys;
mod linear;
mod reduce_by_key;
mod threshold;
