//! `reachable`: breadth first search, a step in each round.

use super::edges::UNTIL_STABLE;
use crate::api::view::View;
use crate::core::data::Key;

/// A view with a row `(node, distance)` for each node that is reached from the roots along edges: the least number of edges from any of
/// them. A root has the distance 0, also if it has no edges.
///
/// A batch costs the distances that change, in the rounds in which they change. There are as many rounds as the largest distance.
/// The result changes at the times of both views. Each worker keeps the edges that it owns, and the distances of all rounds.
///
/// ```
/// use tidemill::{graph, prelude::*, testing::check};
/// check(
///     [vec![(1, 2), (2, 3)], vec![(1, 3)], vec![]],
///     |s| {
///         let roots = s.accumulate().map(|_| 1).distinct();
///         graph::reachable(&s.over(millis(2), millis(1)), &roots).complete()
///     },
///     [vec![(1, 0), (2, 1), (3, 2)], vec![(1, 0), (2, 1), (3, 1)], vec![(1, 0), (3, 1)]],
/// );
/// ```
#[track_caller]
pub fn reachable<'s, N: Key>(edges: &View<'s, (N, N)>, roots: &View<'s, N>) -> View<'s, (N, u64)> {
    let operator = edges.operator::<N>("reachable", "");
    let (edges, start) = (edges.distinct(), roots.distinct().map(|root| (root, 0)));
    start.clone().iterated(operator, UNTIL_STABLE, move |near| {
        let further = near.enter(&edges).join(near).map(|(_, (to, distance))| (to, distance + 1));
        further.union(&near.enter(&start)).min_by_key()
    })
}
