//! `triangles`: two edges that begin at one node, and the edge that closes them.

use crate::api::view::View;
use crate::core::data::Key;

/// A view with a row `(a, b, c)` for each three nodes that are all connected, a < b < c. The direction of edges does not count.
///
/// A batch costs the pairs of neighbours that its edges make. Each worker keeps the edges that it owns, and every pair of neighbours
/// that are both larger than the node between them: about d·d/2 for a node with d of them.
///
/// ```
/// use tidemill::{graph, prelude::*, testing::check};
/// check(
///     [vec![(1, 2), (3, 2)], vec![(3, 1), (1, 3)], vec![]],
///     |s| graph::triangles(&s.over(millis(2), millis(1))).complete(),
///     [vec![], vec![(1, 2, 3)], vec![]],
/// );
/// ```
#[track_caller]
pub fn triangles<'s, N: Key>(edges: &View<'s, (N, N)>) -> View<'s, (N, N, N)> {
    let ascending = edges.filter(|(a, b)| a != b).map(|(a, b)| if a < b { (a, b) } else { (b, a) }).distinct();
    let neighbours = ascending.join(&ascending).filter(|(_, (b, c))| b < c);
    let open = neighbours.map(|(a, (b, c))| ((b, c), a));
    open.join(&ascending.map(|edge| (edge, ()))).map(|((b, c), (a, ()))| (a, b, c))
}
