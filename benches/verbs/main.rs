//! Each verb beside the plain Rust loop that does the same, on batches of 100,000 rows: what a batch costs over what it must cost.
//!
//! `scripts/bench verbs [--quick] [VERB]...` runs the named verbs (default: all). Prints a Markdown table: nanoseconds a row on one worker,
//! of the verb and of the loop, and their ratio. The cost of the source, which clones the rows, is in both. Rows are pairs of one of 5,000 keys and
//! a number. What a verb returns is dropped, so no output is measured.

use std::collections::{HashMap, HashSet};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use tidemill::job::ManualClock;
use tidemill::prelude::*;

mod pairs;
#[path = "../results.rs"]
#[allow(dead_code, reason = "benches/engine uses the rest")]
mod results;
mod rows;
#[path = "../shared.rs"]
#[allow(dead_code, reason = "benches/engine uses the rest")]
mod shared;
mod views;
mod windows;
use results::{head, middle, row, spread};
use shared::random;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROWS: usize = 100_000;
const KEYS: u64 = 5_000;

type Pair = (u32, i64);
type Batches = Arc<[Vec<Pair>]>;
type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
type Keys = HashSet<u32, foldhash::fast::RandomState>;
type Verb = for<'s> fn(&DStream<'s, Pair>);
/// Does what the verb does for one batch after the other.
type Loop = fn(&[Vec<Pair>]);
type Entry = (&'static str, Verb, Loop);

/// Runs the verbs of a stream, and drops its rows.
fn dropped<T: Data>(stream: DStream<'_, T>) {
    let _ = stream.inner();
}

/// Calls `f` with the rows of each batch, cloned as the source does.
fn each<R>(batches: &[Vec<Pair>], mut f: impl FnMut(Vec<Pair>) -> R) {
    batches.iter().for_each(|batch| _ = black_box(f(batch.clone())));
}

/// The values of each key of a batch.
fn grouped(batch: Vec<Pair>) -> Map<u32, Vec<i64>> {
    let mut groups: Map<u32, Vec<i64>> = Map::default();
    batch.into_iter().for_each(|(k, n)| groups.entry(k).or_default().push(n));
    groups
}

/// The sum of each key of a batch.
fn sums(batch: Vec<Pair>) -> Map<u32, i64> {
    let mut sums: Map<u32, i64> = Map::default();
    batch.into_iter().for_each(|(k, n)| *sums.entry(k).or_default() += n);
    sums
}

/// How long a job of one worker takes over these batches, start included, in seconds.
fn job(batches: &Batches, verb: Verb) -> f64 {
    let (given, start) = (batches.clone(), Instant::now());
    let job = StreamingContext::builder("verbs", secs(1)).without_logging().without_checkpoint();
    let build = move |ssc: &StreamingContext<'_>| {
        let rows = ssc.test_stream(given.clone());
        verb(&rows);
        // A job needs an output; this one has no rows.
        rows.filter(|_| false).foreach_partition(|| Ok(()), |(), _, _, _| Ok(()));
        Ok(())
    };
    job.start_on_clock(ManualClock::at(0), build).and_then(JobHandle::await_termination).expect("the job of the benchmark");
    start.elapsed().as_secs_f64()
}

fn main() {
    let verbs = [rows::VERBS, pairs::VERBS, windows::VERBS, views::VERBS].concat();
    // cargo passes --bench.
    let (options, asked): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).filter(|arg| arg != "--bench").partition(|arg| arg.starts_with('-'));
    let unknown = options.iter().find(|o| *o != "--quick").or(asked.iter().find(|a| verbs.iter().all(|(name, ..)| name != a)));
    if let Some(unknown) = unknown {
        let names: Vec<&str> = verbs.iter().map(|(name, ..)| *name).collect();
        eprintln!("verbs: no verb or option '{unknown}'; there are: --quick, {}", names.join(", "));
        std::process::exit(2);
    }
    let (runs, count) = if options.is_empty() { (5, 50) } else { (1, 5) };
    let mut seed = 1;
    let mut batch = || (0..ROWS).map(|_| ((random(&mut seed) % KEYS) as u32, (random(&mut seed) % 1_000) as i64)).collect();
    let batches: Batches = (0..count).map(|_| batch()).collect();
    head(&["verb", "ns a row", "the loop", "x the loop"]);
    for (name, verb, plain) in verbs.iter().filter(|(name, ..)| asked.is_empty() || asked.iter().any(|a| a == name)) {
        let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..runs {
            let start = Instant::now();
            plain(&batches);
            theirs.push(start.elapsed().as_secs_f64() * 1e9 / (count * ROWS) as f64);
            ours.push(job(&batches, *verb) * 1e9 / (count * ROWS) as f64);
            ratios.push(ours[ours.len() - 1] / theirs[theirs.len() - 1]);
        }
        [&mut ours, &mut theirs, &mut ratios].into_iter().for_each(|figures| figures.sort_by(f64::total_cmp));
        row([(*name).to_owned(), format!("{:.1}", middle(&ours)), format!("{:.1}", middle(&theirs)), spread(&ratios, 1)]);
    }
}
