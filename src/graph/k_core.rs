//! `k_core`: in each round the edges of nodes with too few neighbours leave.

use super::edges::{UNTIL_STABLE, both_ways};
use crate::api::view::View;
use crate::core::data::Key;

/// A view of the nodes of the k-core: the largest set of nodes that have at least `k` neighbours in it. The direction of edges does not
/// count, and no node is its own neighbour. With `k` 0 or 1 it has every node that has a neighbour.
///
/// A batch costs the edges that differ, in the rounds in which they differ. Each worker keeps the edges that it owns, of all rounds.
///
/// ```
/// use tidemill::{graph, prelude::*, testing::check};
/// check(
///     [vec![(1, 2), (2, 3), (3, 4)], vec![(1, 3)], vec![]],
///     |s| graph::k_core(&s.over(millis(2), millis(1)), 2).complete(),
///     [vec![], vec![1, 2, 3], vec![]],
/// );
/// ```
#[track_caller]
pub fn k_core<'s, N: Key>(edges: &View<'s, (N, N)>, k: u32) -> View<'s, N> {
    let operator = edges.operator::<N>("k_core", k);
    let kept = both_ways(edges).iterated(operator, UNTIL_STABLE, move |edges| {
        let enough = edges.map(|(from, _)| from).threshold(move |_, neighbours| i64::from(neighbours >= k.into()));
        let back = edges.join_keys(&enough).map(|(from, to)| (to, from));
        back.join_keys(&enough).map(|(to, from)| (from, to))
    });
    kept.map(|(node, _)| node).distinct()
}
