//! Views that the functions make of edges.

use crate::api::view::View;
use crate::core::data::Key;
use crate::operator::Rounds;

/// Loops that end by themselves have no bound: a path has as many rounds as nodes.
pub(super) const UNTIL_STABLE: Rounds = Rounds::AtMost(u64::MAX);

/// Each node of the edges, once.
pub(super) fn nodes<'s, N: Key>(edges: &View<'s, (N, N)>) -> View<'s, N> {
    edges.flat_map(|(from, to)| [from, to]).distinct()
}

/// Each edge in both directions, once, without those from a node to itself.
pub(super) fn both_ways<'s, N: Key>(edges: &View<'s, (N, N)>) -> View<'s, (N, N)> {
    edges.filter(|(from, to)| from != to).flat_map(|(from, to)| [(from.clone(), to.clone()), (to, from)]).distinct()
}
