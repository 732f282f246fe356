//! Verbs on `DStream<(K, V)>`, a stream of pairs, batch by batch.

mod aggregate_by_key;
mod cogroup;
mod combine_by_key;
mod flat_map_values;
mod full_outer_join;
mod group_by_key;
mod join;
mod join_view;
mod keys;
mod left_outer_join;
mod map_values;
mod partition_by;
mod reduce_by_key;
mod right_outer_join;
mod subtract_by_key;
mod values;
