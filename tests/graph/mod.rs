//! Functions on a view of edges against a graph that is made again for each batch, while edges enter and leave.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::algo::dijkstra;
use petgraph::graphmap::{DiGraphMap, UnGraphMap};
use petgraph::unionfind::UnionFind;
use proptest::prelude::*;
use tidemill::core::time::millis;
use tidemill::graph;
use tidemill::prelude::{Change, DStream, View};
use tidemill::testing::Seen;

use crate::operator::model::*;

type Edge = (u16, u16);

/// Few nodes, so that edges repeat and components grow together.
fn edge() -> impl Strategy<Value = Edge> {
    (0u16..8, 0u16..8)
}

fn nodes(edges: &[Edge]) -> BTreeSet<u16> {
    edges.iter().flat_map(|(a, b)| [*a, *b]).collect()
}

/// The least node of each node's component.
fn components(edges: Vec<Edge>) -> Vec<Edge> {
    let mut sets = UnionFind::new(1 << 16);
    edges.iter().for_each(|(a, b)| _ = sets.union(*a, *b));
    let mut least = BTreeMap::new();
    // Ascending: the first node of a set is its least.
    nodes(&edges).into_iter().map(|node| (node, *least.entry(sets.find(node)).or_insert(node))).collect()
}

fn distances(edges: &[Edge], roots: &[u16]) -> Vec<(u16, u64)> {
    let mut near = BTreeMap::new();
    for root in roots {
        let mut graph = DiGraphMap::<u16, ()>::from_edges(edges);
        graph.add_node(*root);
        for (node, far) in dijkstra(&graph, *root, None, |_| 1u64) {
            near.entry(node).and_modify(|least: &mut u64| *least = far.min(*least)).or_insert(far);
        }
    }
    near.into_iter().collect()
}

fn ranks(edges: Vec<Edge>, rounds: u64) -> Vec<(u16, i64)> {
    let graph = DiGraphMap::<u16, ()>::from_edges(&edges);
    let mut ranks: BTreeMap<u16, i64> = graph.nodes().map(|node| (node, 1_000_000)).collect();
    for _ in 0..rounds {
        let passed = |from: u16| ranks[&from] * 85 / (100 * graph.neighbors(from).count() as i64);
        let got = |to| graph.neighbors_directed(to, petgraph::Incoming).map(passed).sum::<i64>();
        ranks = graph.nodes().map(|node| (node, 150_000 + got(node))).collect();
    }
    ranks.into_iter().collect()
}

fn undirected(edges: &[Edge]) -> UnGraphMap<u16, ()> {
    UnGraphMap::from_edges(edges.iter().filter(|(a, b)| a != b))
}

fn triangles(edges: Vec<Edge>) -> Vec<(u16, u16, u16)> {
    let (graph, nodes) = (undirected(&edges), nodes(&edges));
    let mut closed = Vec::new();
    for a in &nodes {
        for b in nodes.range(a + 1..).filter(|b| graph.contains_edge(*a, **b)) {
            let third = nodes.range(b + 1..).filter(|c| graph.contains_edge(*a, **c) && graph.contains_edge(*b, **c));
            closed.extend(third.map(|c| (*a, *b, *c)));
        }
    }
    closed
}

fn core(edges: Vec<Edge>, k: usize) -> Vec<u16> {
    let mut graph = undirected(&edges);
    while let Some(loose) = graph.nodes().find(|node| graph.neighbors(*node).count() < k.max(1)) {
        graph.remove_node(loose);
    }
    let mut kept: Vec<u16> = graph.nodes().collect();
    kept.sort_unstable();
    kept
}

/// Checks a function over a sliding window of edges.
fn check<U, V>(
    batches: &[Vec<Edge>],
    shape: (usize, usize),
    model: impl FnMut(Vec<Edge>) -> Vec<U>,
    verb: V,
) -> Result<(), TestCaseError>
where
    U: tidemill::prelude::Key,
    V: for<'s> Fn(&View<'s, Edge>) -> View<'s, U> + Clone + Send + Sync + 'static,
{
    let (length, slide) = (millis(shape.0 as u64), millis(shape.1 as u64));
    check_view(batches, each(windows(batches, shape), model), move |s| verb(&s.over(length, slide)))
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn connected_components(shape in shape(), batches in batches(edge())) {
        check(&batches, shape, components, |edges| graph::connected_components(edges))?;
    }

    /// Roots come and go at other times than edges.
    #[test]
    fn reachable(a in shape(), b in shape(), batches in batches(edge())) {
        let [(l, s), (m, u)] = [a, b].map(|(length, slide)| (millis(length as u64), millis(slide as u64)));
        let near = |(t, edges, starts): (u64, Vec<Edge>, Vec<Edge>)| {
            let roots: Vec<u16> = starts.iter().map(|(from, _)| *from).filter(|from| from % 3 == 0).collect();
            (t, distances(&edges, &roots))
        };
        let contents = two_windows(&batches, a, b).into_iter().map(near).collect();
        check_view(&batches, contents, move |d| {
            let roots = d.over(m, u).map(|(from, _)| from).filter(|from| from % 3 == 0);
            graph::reachable(&d.over(l, s), &roots)
        })?;
    }

    #[test]
    fn page_rank(shape in shape(), rounds in 0u64..6, batches in batches(edge())) {
        check(&batches, shape, |edges| ranks(edges, rounds), move |edges| graph::page_rank(edges, rounds))?;
    }

    #[test]
    fn triangles_of_a_window(shape in shape(), batches in batches(edge())) {
        check(&batches, shape, triangles, |edges| graph::triangles(edges))?;
    }

    #[test]
    fn k_core(shape in shape(), k in 0u32..4, batches in batches(edge())) {
        check(&batches, shape, |edges| core(edges, k as usize), move |edges| graph::k_core(edges, k))?;
    }
}

/// A hundred nodes. Every batch adds edges and takes away others, which another batch may add again.
#[test]
fn a_graph_that_changes_for_long() {
    let mut seed = 7u64;
    let mut below = |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    let (mut held, mut batches, mut contents) = (Vec::<Edge>::new(), Vec::new(), Vec::new());
    for _ in 0..30 {
        let mut changes = Vec::new();
        for _ in 0..below(20) {
            let row = (below(100) as u16, below(100) as u16);
            held.push(row);
            changes.push(Change { row, diff: 1 });
        }
        for _ in 0..below(16).min(held.len() as u64) {
            let row = held.swap_remove(below(held.len() as u64) as usize);
            changes.push(Change { row, diff: -1 });
        }
        batches.push(changes);
        contents.push(held.clone());
    }
    let of = |f: &dyn Fn(Vec<Edge>) -> Vec<String>| -> Seen<String> { (1..).zip(contents.iter().cloned().map(f)).collect() };
    fn text<T: std::fmt::Debug>(rows: Vec<T>) -> Vec<String> {
        rows.into_iter().map(|row| format!("{row:?}")).collect()
    }
    type Verb = for<'s> fn(&View<'s, Edge>) -> View<'s, String>;
    let verbs: [(Seen<String>, Verb); 5] = [
        (of(&|edges| text(components(edges))), |edges| graph::connected_components(edges).map(|row| format!("{row:?}"))),
        (of(&|edges| text(distances(&edges, if edges.is_empty() { &[] } else { &[0, 50] }))), |edges| {
            // Roots follow from edges.
            let roots = edges.map(|_| ()).flat_map(|()| [0, 50]).distinct();
            graph::reachable(edges, &roots).map(|row| format!("{row:?}"))
        }),
        (of(&|edges| text(ranks(edges, 5))), |edges| graph::page_rank(edges, 5).map(|row| format!("{row:?}"))),
        (of(&|edges| text(triangles(edges))), |edges| graph::triangles(edges).map(|row| format!("{row:?}"))),
        (of(&|edges| text(core(edges, 2))), |edges| graph::k_core(edges, 2).map(|row| format!("{row:?}"))),
    ];
    for (expected, verb) in verbs {
        check_view(&batches, expected, move |s: &DStream<'_, Change<Edge>>| verb(&s.changes_to_view())).unwrap();
    }
}
