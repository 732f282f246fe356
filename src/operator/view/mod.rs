//! Verbs on `View`: the same verbs as on `DStream`, applied to the rows in the view at t.

mod aggregate_by_key;
mod anti_join;
mod average_by_key;
mod count;
mod count_by_value;
mod distinct;
mod full_outer_join;
pub(crate) mod iterate;
mod join;
mod left_outer_join;
mod linear;
mod map_vectorized;
mod max_by_key;
mod min_by_key;
mod output_modes;
mod presentation;
mod queryable;
mod reduce_by_key;
mod right_outer_join;
mod semi_join;
mod sort_by;
mod sum_by_key;
mod top;
mod try_map_vectorized;

pub use queryable::Queryable;
pub(super) use top::Ranks;
