//! `connected_components`: in each round a node takes the least label among its neighbours.

use super::edges::{UNTIL_STABLE, both_ways, nodes};
use crate::api::view::View;
use crate::core::data::Key;

/// A view with a row `(node, component)` for each node of the edges. The component has the name of its least node. The direction of
/// edges does not count.
///
/// A batch costs the labels that change, in the rounds in which they change. A path of n nodes has n rounds. Each worker keeps the edges
/// and nodes that it owns, and the labels of all rounds.
///
/// ```
/// use tidemill::{graph, prelude::*, testing::check};
/// check(
///     [vec![(1, 2), (3, 4)], vec![(2, 3)], vec![]],
///     |s| graph::connected_components(&s.over(millis(2), millis(1))).complete(),
///     [
///         vec![(1, 1), (2, 1), (3, 3), (4, 3)],
///         vec![(1, 1), (2, 1), (3, 1), (4, 1)],
///         // Only the edge from 2 to 3 is in the window.
///         vec![(2, 2), (3, 2)],
///     ],
/// );
/// ```
#[track_caller]
pub fn connected_components<'s, N: Key>(edges: &View<'s, (N, N)>) -> View<'s, (N, N)> {
    let operator = edges.operator::<N>("connected_components", "");
    let (edges, own) = (both_ways(edges), nodes(edges).map(|node| (node.clone(), node)));
    own.clone().iterated(operator, UNTIL_STABLE, move |labels| {
        let offered = labels.enter(&edges).join(labels).map(|(_, (to, label))| (to, label));
        offered.union(&labels.enter(&own)).min_by_key()
    })
}
