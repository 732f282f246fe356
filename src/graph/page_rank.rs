//! `page_rank`: in each round a node passes its rank on along its edges.
//!
//! A rank is how often a node is in the view, so that ranks are added up as differential adds up changes: a node with many
//! neighbours costs the neighbours that changed.

use differential_dataflow::AsCollection;

use super::edges::nodes;
use crate::api::view::{Form, View};
use crate::core::data::Key;
use crate::operator::Rounds;

/// The mean rank of [`page_rank`], where every node has an edge that leaves it.
///
/// ```
/// assert_eq!(tidemill::graph::RANK, 1_000_000);
/// ```
pub const RANK: i64 = 1_000_000;

/// What a node gets in each round, of 100 parts of [`RANK`]. It passes on the other parts of its rank.
const BASE: i64 = 15;

/// A view with a row `(node, rank)` for each node of the edges, after so many `rounds` of PageRank with a damping factor of 0.85.
///
/// Ranks are whole numbers, so that equal edges have equal ranks, on any number of workers. A node begins with [`RANK`], 1,000,000. In
/// each round it gets 150,000, and for each edge that leads to it `rank * 85 / (100 * d)` of the node where that begins, rounded
/// down, where d is the number of edges that leave that node. The rank of nodes that no edge leaves is lost.
///
/// A batch costs the ranks that change in each round. Each worker keeps the edges that it owns, and the ranks of all rounds.
///
/// ```
/// use tidemill::{graph, testing::check};
/// check(
///     [vec![(1, 2), (2, 1)], vec![(3, 1)]],
///     |s| graph::page_rank(&s.accumulate(), 1).complete(),
///     [vec![(1, 1_000_000), (2, 1_000_000)], vec![(1, 1_850_000), (2, 1_000_000), (3, 150_000)]],
/// );
/// ```
#[track_caller]
pub fn page_rank<'s, N: Key>(edges: &View<'s, (N, N)>, rounds: u64) -> View<'s, (N, i64)> {
    let operator = edges.operator::<N>("page_rank", rounds);
    let edges = edges.distinct();
    let (nodes, degrees) = (nodes(&edges), edges.map(|(from, _)| from).count_by_value());
    let own = nodes.clone();
    let begin = Form::rows(move || own.rows().as_collection().explode(|node| Some((node, RANK))).inner);
    let ranks = nodes.derive(begin, None).view().iterated(operator, Rounds::Exactly(rounds), move |ranks| {
        let ranked = ranks.enter(&degrees).join_keys(ranks);
        let passed = ranked.threshold(|(_, degree), rank| rank * (100 - BASE) / (100 * degree)).map(|(node, _)| node);
        let got = ranks.enter(&edges).join_keys(&passed).map(|(_, to)| to);
        got.union(&ranks.enter(&nodes).times(RANK * BASE / 100))
    });
    ranks.count_by_value()
}
