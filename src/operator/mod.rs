//! 3. What is computed: each file adds one verb to `DStream` or `View`.
//!
//! Kernels, on which all else stands in a few lines:
//! `flow::expand` (map, filter, flat_map, try_*), `combine`, which writes in `book`s (count, count_by*, reduce*, distinct), `cogroup` (joins, group_by_key),
//! `gather` (sort_by, take, top_by, transform, foreach_batch), `union`, `window/panes` (window, over), `state/` (update_state_by_key),
//! `window/folded` (windows with a user's function), `../arrangement/` (count_by_value and its kin of views), `view/top` (`rank`), `emit` (the four output modes), `attach` (output operations).

mod cache;
mod checkpoint;
mod count;
mod count_by;
mod count_by_value;
mod decode;
mod distinct;
mod filter;
mod flat_map;
pub(crate) mod kernel;
mod map;
mod map_partitions;
mod named;
pub(crate) mod pair;
mod reduce;
pub(crate) mod sort_by;
pub(crate) mod state;
mod take;
#[cfg(test)]
mod tests;
pub(crate) mod top;
mod transform;
mod try_map;
mod union;
mod view;
pub(crate) mod window;

pub use count_by::KeyCounter;
#[cfg(feature = "testing")]
pub use decode::untaken_errors;
pub use decode::{Decode, Decoded, Json};
pub use transform::Batch;
