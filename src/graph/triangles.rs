//! `triangles`: a delta join. The owner of a node of each edge that changes proposes third nodes, and the owner of the edge that closes a
//! triangle knows whether it is there.
//!
//! A triangle a < b < c is three edges: (a, b), (a, c) and (b, c). Its changes are the sum of three joins. In each, the changes of one of
//! the edges meet the earlier ones in this list as they are after the batch, and the later ones as they were before it.

use std::collections::BTreeSet;
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use crate::api::view::{Changes, Form, View};
use crate::arrangement::interned::intern;
use crate::core::data::{FastMap, Key};
use crate::core::time::BatchTime;
use crate::engine::flow::{batched, by_batch, concat, map_containers, route};
use crate::engine::operator_id::OperatorId;

/// A view with a row `(a, b, c)` for each three nodes that are all connected, a < b < c. The direction of edges does not count.
///
/// A batch costs the neighbours of the nodes of its edges. Each worker keeps the edges of the nodes that it owns, and not the pairs of their
/// neighbours.
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
    let operator = edges.operator::<N>("triangles", "");
    let ascending = edges.filter(|(a, b)| a != b).map(|(a, b)| if a < b { (a, b) } else { (b, a) }).distinct();
    let (own, retracts) = (ascending.clone(), operator.to_string());
    // A triangle may leave on another worker than it entered: its owner combines both.
    let form = Form::interned(move || intern(triangle_changes(&own, &operator), &own.node.graph));
    ascending.derive(form, Some(&retracts)).view()
}

/// Which end of an edge a node is.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum End {
    Low,
    High,
}

/// What the owner of an edge is told.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum Told<N> {
    /// The edge changes.
    Edge,
    /// The edge (b, c) makes a triangle with this a, if it was there before the batch.
    First(N),
    /// The edge (a, c) makes a triangle with this b, if it is there after the batch.
    Middle(N),
}

/// A message to the owner of an edge.
type Message<N> = ((N, N), Told<N>);

/// An edge as one of its nodes sees it: the node, its end, and the other node.
type HalfEdge<N> = (N, End, N);

fn triangle_changes<'s, N: Key>(edges: &View<'s, (N, N)>, operator: &OperatorId) -> Changes<'s, (N, N, N)> {
    let (flow, groups) = (&edges.node.graph.flow.silent_when_empty(), edges.node.graph.key_groups());
    let ends = |((a, b), t, n): ((N, N), BatchTime, i64)| [((a.clone(), End::Low, b.clone()), t, n), ((b, End::High, a), t, n)];
    let both = map_containers(flow, operator, edges.rows(), move |_, edges: Vec<_>, emit| {
        emit(edges.into_iter().flat_map(ends).collect::<Vec<_>>());
    });
    let told = map_containers(flow, operator, edges.rows(), |_, edges: Vec<_>, emit| {
        emit(edges.into_iter().map(|(edge, t, n)| ((edge, Told::Edge), t, n)).collect::<Vec<_>>());
    });
    let by_node = route(move |((node, ..), ..): &(HalfEdge<N>, BatchTime, i64)| groups.of(node));
    let mut nodes = FastMap::default();
    let proposed = batched(flow, operator, both, by_node, by_batch, move |tick, changes, emit| {
        emit(third_nodes(&mut nodes, changes).into_iter().map(|(told, n)| (told, tick.time, n)).collect::<Vec<_>>());
    });
    let by_edge = route(move |((edge, _), ..): &(Message<N>, BatchTime, i64)| groups.of(edge));
    let mut held = FastMap::default();
    batched(flow, operator, concat(operator, told, proposed), by_edge, by_batch, move |tick, told, emit| {
        emit(closed(&mut held, told).into_iter().map(|(triangle, n)| (triangle, tick.time, n)).collect());
    })
}

/// The neighbours of a node that are less, and those that are larger.
struct Neighbours<N> {
    less: BTreeSet<N>,
    larger: BTreeSet<N>,
}

impl<N> Default for Neighbours<N> {
    fn default() -> Self {
        Neighbours { less: BTreeSet::new(), larger: BTreeSet::new() }
    }
}

/// Proposes a third node for each edge that changes, to the owner of the edge that would close the triangle.
fn third_nodes<N: Key>(nodes: &mut FastMap<N, Neighbours<N>>, changes: Vec<(HalfEdge<N>, i64)>) -> Vec<(Message<N>, i64)> {
    let mut told = Vec::new();
    let low = || changes.iter().filter_map(|((node, end, other), n)| matches!(end, End::Low).then_some((node, other, *n)));
    // Changes of (a, b) meet (a, c) as it was.
    for (a, b, n) in low() {
        let larger = nodes.get(a).into_iter().flat_map(|a| a.larger.range((Bound::Excluded(b), Bound::Unbounded)));
        told.extend(larger.map(|c| (((b.clone(), c.clone()), Told::First(a.clone())), n)));
    }
    for ((node, end, other), n) in &changes {
        let neighbours = nodes.entry(node.clone()).or_default();
        let side = if matches!(end, End::Low) { &mut neighbours.larger } else { &mut neighbours.less };
        if *n > 0 {
            side.insert(other.clone())
        } else {
            side.remove(other)
        };
    }
    for (node, other, n) in low() {
        let Some(neighbours) = nodes.get(node) else { continue };
        // Changes of (a, c) meet (a, b) as it is, and those of (b, c) meet it, too.
        let between = neighbours.larger.range(..other).map(|b| ((b.clone(), other.clone()), Told::First(node.clone())));
        let below = neighbours.less.iter().map(|a| ((a.clone(), other.clone()), Told::Middle(node.clone())));
        told.extend(between.chain(below).map(|told| (told, n)));
    }
    for ((node, ..), _) in &changes {
        if nodes.get(node).is_some_and(|n| n.less.is_empty() && n.larger.is_empty()) {
            nodes.remove(node);
        }
    }
    told
}

/// The triangles whose last edge is there.
fn closed<N: Key>(held: &mut FastMap<(N, N), ()>, told: Vec<(Message<N>, i64)>) -> Vec<((N, N, N), i64)> {
    let mut triangles = Vec::new();
    for ((edge, told), n) in &told {
        if let Told::First(a) = told
            && held.contains_key(edge)
        {
            triangles.push(((a.clone(), edge.0.clone(), edge.1.clone()), *n));
        }
    }
    for ((edge, told), n) in &told {
        if matches!(told, Told::Edge) {
            if *n > 0 {
                held.insert(edge.clone(), ())
            } else {
                held.remove(edge)
            };
        }
    }
    for (((a, c), told), n) in told {
        if let Told::Middle(b) = told
            && held.contains_key(&(a.clone(), c.clone()))
        {
            triangles.push(((a, b, c), n));
        }
    }
    triangles
}
