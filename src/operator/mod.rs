//! The verbs: each file adds one method, named as the file, to `DStream` or `View`. A table of contents.
//!
//! | family | verbs | where |
//! |---|---|---|
//! | row by row | `map` `filter` `flat_map` `try_map` `decode` `union` | here |
//! | a batch at a time | `count` `count_by` `count_by_value` `distinct` `reduce` `map_partitions` | here |
//! | a whole batch in order | `sort_by` `take` `top` `transform` | here |
//! | pairs | `map_values` `reduce_by_key` `group_by_key` `join` `join_view` | `pair/` |
//! | state over all batches | `accumulate` `sum_by_key` `fold_by_key` `latest_by_key` `update_state_by_key` `map_with_state` | `state/` |
//! | the last batches | `window` `over` `count_by_window` `group_by_key_and_window` `reduce_by_key_and_window` and their like | `window/` |
//! | views | the same verbs on the rows of a view; output modes `complete` `update` `append` `changes` | `view/` |
//! | rounds of a loop | `iterate` of a view; inside it, the same verbs on the rows of each round | `looped/` |
//! | settings | `cache` `checkpoint` `named` | here |
//!
//! A verb is a few lines on one of these kernels:
//!
//! | kernel | what it does | used by |
//! |---|---|---|
//! | `engine::flow::map_containers`, `split_map` | one container at a time | row by row |
//! | `engine::flow::batched`, `collect_batches` | once per closed batch | all kernels below |
//! | `kernel::to_one` | combine on each worker, then on worker 0 | `count` `reduce` `top` |
//! | `kernel::combine` over `kernel::partial_table` | combine on each worker, exchange by key, combine again | counts and reductions by key |
//! | `pair::group_by_key` | all values of a key on its owner | joins, states |
//! | `kernel::gather` | a whole batch on worker 0, in order | `sort_by` `take` `transform` |
//! | `kernel::deliver` | whole batches to the output thread | output operations |
//! | `window::windowed_reduce` over `window::two_stacks` | panes by key, reduced by a function | `reduce_by_*window*` |
//! | `view::output_modes` | changes of a view as batches | the four modes |
//! | `crate::arrangement` | tables, rings and arrangements of codes | views and counting windows |

mod cache;
mod checkpoint;
mod count;
mod count_by;
mod count_by_value;
pub(crate) mod decode;
mod distinct;
mod filter;
mod flat_map;
pub(crate) mod kernel;
mod looped;
mod map;
mod map_partitions;
mod named;
pub(crate) mod pair;
mod reduce;
mod sort_by;
pub(crate) mod state;
mod take;
mod top;
mod transform;
mod try_map;
mod union;
mod view;
pub(crate) mod window;

pub use count_by::KeyCounter;
pub use decode::Decoded;
#[cfg(feature = "testing")]
pub use decode::untaken_errors;
pub use state::{MapWithStateDStream, State, StateSpec};
pub use transform::Batch;
pub use view::iterate::Rounds;
