//! NEXMark as SQL: how many events a second each query takes, from a generator on the workers to an output that drops the rows.
//! `scripts/bench nexmark [--peers flink]` runs it: `nexmark [--quick] [--pairs=N] [QUERY]...`. Flink's half is benches/peers/flink/Nexmark.java.
//!
//! The workers generate the events as record batches, so their cost is part of all figures: q0 shows it. 10,000 events are a second of event
//! time. Queries whose result changes have mode Update; windows leave when they are final.

#[allow(dead_code, reason = "other benchmarks use the rest")]
#[path = "../../benches/results.rs"]
mod results;
#[allow(dead_code, reason = "other benchmarks use the rest")]
#[path = "../../benches/shared.rs"]
mod shared;
#[path = "../nexmark/columns.rs"]
mod columns;
#[path = "../nexmark/tables.rs"]
mod tables;

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tidemill::cli::generate::BEGIN_MS;
use tidemill::prelude::*;
use tidemill_sql::{OutputMode, StreamingQueries};

/// The allocator of the programs.
#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Events that one call generates.
const CHUNK: u64 = 5_000;
/// Events of a batch.
const BATCH: u64 = 50_000;
/// Events in a millisecond of event time.
const PER_MS: u64 = 10;

/// The queries that are measured unless others are named.
const MEASURED: [&str; 16] =
    ["q0", "q1", "q2", "q3", "q4", "q5", "q7", "q8", "q11", "q12", "q15", "q16", "q17", "q18", "q19", "q20"];

/// What is measured, and how often.
struct Sizes {
    events: u64,
    rounds: usize,
}

/// A run: wall time and CPU time in seconds, and the number of rows that left.
struct Ran {
    wall: f64,
    cpu: f64,
    rows: i64,
}

fn run(query: &'static str, text: &'static str, workers: u16, events: u64) -> Ran {
    let chunks: Vec<u64> = (0..events / CHUNK).collect();
    let queue = QueueSource::from_batches(chunks.chunks((BATCH / CHUNK) as usize).map(<[u64]>::to_vec).collect::<Vec<_>>());
    let session = tables::session().expect("the session of the benchmark");
    let (cpu, began) = (shared::cpu_seconds(), Instant::now());
    let job = StreamingContext::builder("nexmark", millis(1)).without_checkpoint().without_logging().workers(workers);
    let own = session.clone();
    let queries = StreamingQueries::start(&session, job, move |ssc| {
        // Each chunk is made where it is used.
        let chunks = ssc.queue_stream(&queue).repartition(workers.into());
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64);
        let frame = columns::streams(&own, &chunks, (CHUNK, BEGIN_MS, PER_MS), now)?.sql(text)?;
        let windows = matches!(query, "q5" | "q7" | "q8" | "q11" | "q12");
        let mode = if frame.changes()? && !windows { OutputMode::Update } else { OutputMode::Append };
        frame.write_stream().format("noop").output_mode(mode).query_name("query").start(ssc)?;
        Ok(())
    });
    let queries = queries.unwrap_or_else(|e| panic!("{query}: {e}"));
    queries.await_termination().unwrap_or_else(|e| panic!("{query}: {e}"));
    let wall = began.elapsed();
    let progress = queries.get("query").expect("the query of the benchmark").recent_progress();
    let rows = progress.iter().map(|batch| batch.sink.num_output_rows).sum();
    Ran { wall: wall.as_secs_f64(), cpu: shared::cpu_seconds() - cpu, rows }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let quick = arguments.iter().any(|arg| arg == "--quick");
    let named: Vec<&str> = arguments.iter().map(String::as_str).filter(|arg| !arg.starts_with("--")).collect();
    let pairs = arguments.iter().find_map(|arg| arg.strip_prefix("--pairs=")).map_or(3, |n| n.parse().expect("--pairs=NUMBER"));
    let sizes = if quick { Sizes { events: 100_000, rounds: 1 } } else { Sizes { events: 5_000_000, rounds: pairs } };
    println!("\nNEXMark as SQL: {} events; median (min-max) of {} runs\n", sizes.events, sizes.rounds);
    results::head(&["query", "workers", "events/s", "CPU s per million events", "rows out"]);
    let wanted = |name: &&(&str, &str)| if named.is_empty() { MEASURED.contains(&name.0) } else { named.contains(&name.0) };
    for (query, text) in tables::QUERIES.iter().filter(wanted) {
        for workers in [1, 2] {
            let (mut rates, mut cpu, mut rows) = (Vec::new(), Vec::new(), 0);
            for _ in 0..sizes.rounds {
                let ran = run(query, text, workers, sizes.events);
                rates.push(sizes.events as f64 / ran.wall);
                cpu.push(ran.cpu * 1e6 / sizes.events as f64);
                rows = ran.rows;
            }
            rates.sort_by(f64::total_cmp);
            cpu.sort_by(f64::total_cmp);
            results::row([
                (*query).to_owned(),
                workers.to_string(),
                results::spread(&rates, 0),
                results::spread(&cpu, 2),
                rows.to_string(),
            ]);
            let number = query.trim_start_matches('q').parse::<f64>().unwrap_or_default();
            let series = format!("tidemill, {workers} worker{}", if workers == 1 { "" } else { "s" });
            results::record("nexmark", &series, number, "events/s", &rates);
            results::record("nexmark", &series, number, "CPU s per million events", &cpu);
        }
    }
}
