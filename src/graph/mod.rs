//! Graphs: functions on a view of edges, each kept up to date while edges enter and leave.
//!
//! An edge is a pair of nodes, `(from, to)`, and a node is any [`Key`](crate::prelude::Key). An edge that is in the view several times
//! counts once. Over a sliding window, such as [`DStream::over`](crate::prelude::DStream::over), edges leave when their last copy does.
//!
//! | function | rows |
//! |---|---|
//! | [`connected_components`] | each node with the least node of its component |
//! | [`reachable`] | each node that is reached from the roots, with its distance |
//! | [`page_rank`] | each node with its rank |
//! | [`triangles`] | three nodes that are all connected |
//! | [`k_core`] | nodes with at least k neighbours among themselves |
//!
//! All but [`triangles`] are loops: [`View::iterate`](crate::prelude::View::iterate) makes others. `docs/guide/graphs.md` explains both.

mod connected_components;
mod edges;
mod k_core;
mod page_rank;
mod reachable;
mod triangles;

pub use connected_components::connected_components;
pub use k_core::k_core;
pub use page_rank::{RANK, page_rank};
pub use reachable::reachable;
pub use triangles::triangles;
