//! Verbs on `DStream<(K, V)>`, a stream of pairs, batch by batch.

mod group_by_key;
mod join;
mod join_view;
mod map_values;
mod reduce_by_key;

pub(crate) use group_by_key::Groups;
