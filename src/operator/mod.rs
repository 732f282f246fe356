//! The verbs: each file adds one method, named as the file, to `DStream` or `View`. A table of contents.
//!
//! | family | verbs | where |
//! |---|---|---|
//! | row by row | `map` `filter` `flat_map` `try_map` `decode` `union` `sample` | here |
//! | a batch at a time | `count` `count_by` `count_by_value` `count_approx_distinct` `distinct` `reduce` | here |
//! | a partition at a time | `map_partitions` `glom`; which there are: `repartition` `coalesce` `partition_by` | here, `pair/` |
//! | a whole batch in order | `sort_by` `take` `first` `top` `zip_with_index` `transform` `transform_with` | here |
//! | pairs | `keys` `values` `map_values` `flat_map_values` | `pair/` |
//! | the values of a key | `reduce_by_key` `combine_by_key` `aggregate_by_key` `group_by_key` | `pair/` |
//! | two streams of pairs | `join` and outer joins, `cogroup` `subtract_by_key`; a stream and a view: `join_view` | `pair/` |
//! | state over all batches | `accumulate` `sum_by_key` `fold_by_key` `latest_by_key` `update_state_by_key` `map_with_state` | `state/` |
//! | the last batches | `window` `over` `count_by_window` `group_by_key_and_window` `reduce_by_key_and_window` and their like | `window/` |
//! | by event time | `event_time`; `join_within` and outer forms, `as_of_join`; `distinct_within` `sort_by_time` `map_with_state`; `tumbling`, `sliding` or `session`, then `count` `reduce` `collect` `distinct` `top_by` and verbs by key | `event_time/` |
//! | values on every worker | `broadcast` of a view, `flat_map_with_broadcast` `map_partitions_with_broadcast` `join_broadcast` | `broadcast/` |
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
//! | `kernel::to_one` | combine on each worker, then on worker 0 | `count` `reduce` `count_approx_distinct` |
//! | `kernel::combine` over `kernel::partial_table` | combine on each worker, exchange by key, combine again | counts and reductions by key |
//! | `pair::combine_by_key` | the same with functions of a program | `reduce_by_key` `aggregate_by_key` |
//! | `pair::group_by_key` | all values of a key on its owner | `cogroup`, states |
//! | `broadcast::flat_map_with_broadcast` | rows beside a value that every worker has | `map_partitions_with_broadcast` `join_broadcast` |
//! | `pair::cogroup` | the values of a key in two streams | joins |
//! | `kernel::gather` | a whole batch on worker 0, in order | `sort_by` `take` `transform` |
//! | `kernel::positions` | a container with its place in its partition | `sample` `take`, and the kernel below |
//! | `kernel::partitioned` | each row to the partition that is chosen for it | `repartition` `coalesce` `partition_by` |
//! | `kernel::deliver` | whole batches to the output thread | output operations |
//! | `window::windowed_reduce` over `window::two_stacks` | panes by key, reduced by a function | `reduce_by_*window*` |
//! | `event_time::windowed_view` | windows of each key as a view and as closed windows, from their state | `event_time/` |
//! | `event_time::event_time_join` | rows of two streams by key, joined by a state | `join_within` `as_of_join` and their like |
//! | `event_time::watermark` | once per closed batch, with the watermark of the batch | the kernels above, the other verbs by event time |
//! | `view::output_modes` | changes of a view as batches | the four modes |
//! | `crate::arrangement` | tables, rings and arrangements of codes | views and counting windows |

mod batch;
mod broadcast;
mod cache;
mod checkpoint;
mod coalesce;
mod count;
mod count_approx_distinct;
mod count_by;
mod count_by_value;
pub(crate) mod decode;
mod distinct;
pub(crate) mod event_time;
mod filter;
mod flat_map;
mod glom;
pub(crate) mod kernel;
mod looped;
mod map;
mod map_partitions;
mod named;
pub(crate) mod pair;
mod reduce;
mod repartition;
mod sample;
mod sort_by;
pub(crate) mod state;
mod take;
mod top;
mod transform;
mod transform_with;
mod try_map;
mod union;
mod view;
pub(crate) mod window;
mod zip_with_index;

pub use batch::Batch;
pub(crate) use broadcast::Patch;
pub use broadcast::{Broadcast, Table};
pub use count_by::KeyCounter;
pub use decode::Decoded;
#[cfg(feature = "testing")]
pub use decode::untaken_errors;
pub use event_time::{
    DistinctWithin, EventTimeJoin, EventTimeStream, EventTimeWindows, SessionWindows, SortedByTime, WindowedView,
};
pub use state::{MapWithStateDStream, State, StateSpec};
pub use view::Queryable;
pub use view::iterate::Rounds;
