//! PageRank of a graph that grows, beside the same in timely and differential by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use differential_dataflow::input::InputSession;
use differential_dataflow::operators::iterate::Variable;
use differential_dataflow::operators::{CountTotal, ThresholdTotal};
use differential_dataflow::{AsCollection, VecCollection};
use tidemill::graph;
use tidemill::prelude::*;
use timely::dataflow::operators::vec::Filter;
use timely::order::Product;

use crate::results::{head, record, row, spread};
use crate::shared::random;
use crate::{Size, interleaved, measurements, show};

type Edge = (u32, u32);
/// Edges that enter with each batch.
type Batches = Arc<[Vec<Edge>]>;

const ROUNDS: u64 = 5;
const NODES: u64 = 20_000;

/// Five rounds of PageRank over a graph of 20,000 nodes, of which few have most edges. A batch adds 1,000 edges, a hundred times. The ranks
/// of both programs are the same.
pub fn page_rank(size: Size) {
    let mut seed = 1;
    // The product of two draws: a tenth of the nodes has a third of the edges.
    let mut node = || (random(&mut seed) % NODES * (random(&mut seed) % NODES) / NODES) as u32;
    let batches: Batches = (0..100 / size.part.min(50)).map(|_| (0..1_000).map(|_| (node(), node())).collect()).collect();
    let sums = [AtomicI64::new(0), AtomicI64::new(0)];
    let ways: [&dyn Fn() -> Duration; 2] =
        [&|| timed(&sums[0], || by_hand(&batches)), &|| timed(&sums[1], || tidemill(&batches))];
    let [(hand, _), (own, ratio)] = interleaved(size.runs, ways);
    let [hand_sum, own_sum] = sums.map(AtomicI64::into_inner);
    assert_eq!(hand_sum, own_sum, "both programs have the same ranks");
    measurements(&["x by hand"]);
    let edges = (batches.len() * 1_000) as f64;
    show("differential by hand, page_rank", edges, &hand, &["1"]);
    show("graph::page_rank", edges, &own, &[&ratio]);
    head(&["rank changes, weighed", &own_sum.to_string()]);
}

/// Keeps what a run returns, and says how long it took.
fn timed(sum: &AtomicI64, run: impl Fn() -> i64) -> Duration {
    let start = Instant::now();
    sum.store(run(), Ordering::Relaxed);
    start.elapsed()
}

/// What one change of a rank adds to the sum of a run.
fn weight(node: u32, rank: i64, diff: i64) -> i64 {
    (i64::from(node) + 1).wrapping_mul(rank).wrapping_mul(diff)
}

/// Edges of a batch that leave and enter, in [`changes`].
const CHANGED: [usize; 5] = [1, 10, 100, 1_000, 10_000];

/// The time of a batch over the number of edges that it changes, in a graph of 100,000 edges and 20,000 nodes: a window in which as many
/// edges leave as enter.
pub fn graph_changes(size: Size) {
    type Program = fn(&View<'_, Edge>);
    let programs: [(&str, Program); 5] = [
        ("connected_components", |edges| crate::nowhere(&graph::connected_components(edges).changes())),
        ("reachable", |edges| {
            let roots = edges.map(|_| 0u32).distinct();
            crate::nowhere(&graph::reachable(edges, &roots).changes());
        }),
        ("page_rank", |edges| crate::nowhere(&graph::page_rank(edges, ROUNDS).changes())),
        ("triangles", |edges| crate::nowhere(&graph::triangles(edges).changes())),
        ("k_core", |edges| crate::nowhere(&graph::k_core(edges, 5).changes())),
    ];
    head(&["edges changed", "function", "ms per batch"]);
    for changed in CHANGED.into_iter().take(if size.part == 1 { CHANGED.len() } else { 2 }) {
        for (name, program) in programs {
            let times: Vec<f64> = (0..size.runs).map(|_| of_a_batch(program, changed, size)).collect();
            let mut sorted = times.clone();
            sorted.sort_by(f64::total_cmp);
            row([changed.to_string(), name.into(), spread(&sorted, 2)]);
            record("graph_changes", name, changed as f64, "ms per batch", &times);
        }
    }
}

/// Milliseconds of a batch that changes so many edges, after the graph has been built.
fn of_a_batch(program: fn(&View<'_, Edge>), changed: usize, size: Size) -> f64 {
    const BATCHES: u64 = 10;
    let (mut seed, all) = (1, 100_000 / size.part);
    let mut node = || (random(&mut seed) % NODES * (random(&mut seed) % NODES) / NODES) as u32;
    let mut edges = std::iter::repeat_with(move || (node(), node()));
    let (queue, clock) = (QueueSource::new(), tidemill::job::ManualClock::at(0));
    let source = queue.clone();
    let job = StreamingContext::builder("changes", secs(1)).without_logging().start_on_clock(clock.clone(), move |ssc| {
        program(&ssc.queue_stream(&source).changes_to_view());
        Ok(())
    });
    let job = job.expect("the job of the benchmark");
    let mut inside: std::collections::VecDeque<Edge> = edges.by_ref().take(all).collect();
    let end_of = |t: u64, changes: Vec<Change<Edge>>| {
        queue.push(changes);
        let start = Instant::now();
        clock.set(t * 1_000);
        while job.statistics().batches < t {
            std::thread::sleep(Duration::from_micros(20));
        }
        start.elapsed().as_secs_f64() * 1e3
    };
    end_of(1, inside.iter().map(|edge| Change { row: *edge, diff: 1 }).collect());
    let mut total = 0.0;
    for t in 2..2 + BATCHES {
        let fresh: Vec<Edge> = edges.by_ref().take(changed).collect();
        let gone = inside.drain(..changed.min(inside.len())).map(|edge| Change { row: edge, diff: -1 }).collect::<Vec<_>>();
        let changes = gone.into_iter().chain(fresh.iter().map(|edge| Change { row: *edge, diff: 1 })).collect();
        inside.extend(fresh);
        total += end_of(t, changes);
    }
    job.stop_now().expect("the end of the benchmark");
    total / BATCHES as f64
}

fn tidemill(batches: &Batches) -> i64 {
    let (batches, sum) = (batches.clone(), Arc::new(AtomicI64::new(0)));
    let all = sum.clone();
    let job = StreamingContext::builder("bench", secs(1)).without_logging();
    let job = job.start_on_clock(tidemill::job::ManualClock::at(0), move |ssc| {
        let edges = ssc.test_stream(batches.clone()).accumulate();
        let all = all.clone();
        graph::page_rank(&edges, ROUNDS).changes().foreach_batch(move |batch| {
            batch.iter().for_each(|c| _ = all.fetch_add(weight(c.row.0, c.row.1, c.diff), Ordering::Relaxed));
            Ok(())
        });
        Ok(())
    });
    job.and_then(JobHandle::await_termination).expect("the job of the benchmark");
    sum.load(Ordering::Relaxed)
}

fn by_hand(batches: &Batches) -> i64 {
    let batches = batches.clone();
    timely::execute_directly(move |worker| {
        let (mut input, sum) = (InputSession::new(), Arc::new(AtomicI64::new(0)));
        let all = sum.clone();
        let probe = worker.dataflow::<u64, _, _>(|scope| {
            let ranks = ranks(input.to_collection(scope)).count_total_core::<i64>();
            let weighed = move |((node, rank), _, diff): &((u32, i64), u64, i64)| {
                all.fetch_add(weight(*node, *rank, *diff), Ordering::Relaxed);
            };
            ranks.consolidate().inspect(weighed).probe().0
        });
        for (t, batch) in (1..).zip(&*batches) {
            batch.iter().for_each(|edge| input.update(*edge, 1));
            input.advance_to(t);
            input.flush();
            while probe.less_than(&t) {
                worker.step();
            }
        }
        sum.load(Ordering::Relaxed)
    })
}

/// How often a node is in the result is its rank.
fn ranks(edges: VecCollection<'_, u64, Edge, i64>) -> VecCollection<'_, u64, u32, i64> {
    let edges = edges.distinct_total_core::<i64>();
    let nodes = edges.clone().flat_map(|(from, to)| [from, to]).distinct_total_core::<i64>();
    let degrees = edges.clone().map(|(from, _)| from).count_total_core::<i64>();
    let outer = edges.scope();
    outer.iterative::<u64, _, _>(|inner| {
        let (edges, nodes, degrees) = (edges.enter(inner), nodes.enter(inner), degrees.enter(inner));
        let begin = nodes.clone().explode(|node| Some((node, 1_000_000i64)));
        let base = nodes.explode(|node| Some((node, 150_000i64)));
        let (variable, ranks) = Variable::new_from(begin, Product::new(Default::default(), 1));
        let passed = degrees.semijoin(ranks).threshold(|(_, degree), rank: &i64| rank * 85 / (100 * degree));
        let got = edges.semijoin(passed.map(|(node, _)| node)).map(|(_, to)| to).concat(base).consolidate();
        let got = got.inner.filter(|(_, t, _)| t.inner < ROUNDS).as_collection();
        variable.set(got.clone());
        got.leave(outer)
    })
}
