//! How many rows a second `to_postgres` writes on one worker, beside plain loops that copy the same rows.
//!
//! `scripts/bench postgres [--quick] [--pairs N]`. Rows are a word and a number, in batches of 100,000. *insert* adds them to a table without a
//! key. *upsert* replaces the rows of a million words; the words of a batch differ. A loop sends each batch by `COPY` in a transaction: to the
//! table, or to a temporary one and from there by `INSERT .. ON CONFLICT`. Each way runs in turns, start included, against one PostgreSQL with
//! its default settings, without autovacuum. Prints Markdown; the CPU time is that of the client.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use postgres::Client;
use tidemill::connector::database::Table;
use tidemill::job::ManualClock;
use tidemill::prelude::*;

#[path = "results.rs"]
#[allow(dead_code, reason = "benches/engine uses the rest")]
mod results;
#[path = "../tests/postgres/server.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod server;
#[path = "shared.rs"]
#[allow(dead_code, reason = "other benchmarks use the rest")]
mod shared;
use results::{head, record, row, spread};
use server::Server;
use shared::{cpu_seconds, random};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the server of the tests may take to start.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
const ROWS: usize = 100_000;
/// How many words there are for each row of a batch.
const WORDS: u64 = 10;

type Row = (String, i64);
type Batches = Arc<[Vec<Row>]>;

#[derive(Parser)]
struct Args {
    /// How many runs of each way
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Two small batches: the figures mean nothing
    #[arg(long)]
    quick: bool,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// Who writes the rows.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Copy,
    AtLeastOnce,
    ExactlyOnce,
}

const WAYS: [(Way, &str); 3] =
    [(Way::Copy, "COPY"), (Way::AtLeastOnce, "tidemill"), (Way::ExactlyOnce, "tidemill, exactly once")];

fn batches(count: usize, rows: usize) -> Batches {
    let mut seed = 1;
    let mut row = |i: usize| {
        // An odd factor gives each number another word, in no order.
        let word = (i as u64 * WORDS + random(&mut seed) % WORDS) as u32;
        (format!("{:010}", word.wrapping_mul(2_654_435_761)), (random(&mut seed) % 1_000) as i64)
    };
    (0..count).map(|_| (0..rows).map(&mut row).collect()).collect()
}

/// How many rows the table has in the end, and the sum of their numbers.
fn expected(batches: &[Vec<Row>], upsert: bool) -> (i64, i64) {
    let rows = batches.iter().flatten();
    if !upsert {
        return (rows.clone().count() as i64, rows.map(|(_, n)| n).sum());
    }
    let last: HashMap<&str, i64> = rows.map(|(word, n)| (word.as_str(), *n)).collect();
    (last.len() as i64, last.values().sum())
}

/// The plain loop.
fn copy(client: &mut Client, batches: &[Vec<Row>], upsert: bool) -> Result<(), BoxError> {
    if upsert {
        client.batch_execute("CREATE TEMPORARY TABLE fresh (word TEXT, n BIGINT) ON COMMIT DELETE ROWS")?;
    }
    for batch in batches {
        let mut transaction = client.transaction()?;
        let mut text = String::new();
        batch.iter().try_for_each(|(word, n)| writeln!(text, "{word}\t{n}"))?;
        let mut lines = transaction.copy_in(if upsert { "COPY fresh FROM STDIN" } else { "COPY words FROM STDIN" })?;
        lines.write_all(text.as_bytes())?;
        lines.finish()?;
        if upsert {
            let insert = "INSERT INTO words SELECT * FROM fresh ON CONFLICT (word) DO UPDATE SET n = excluded.n";
            transaction.batch_execute(insert)?;
        }
        transaction.commit()?;
    }
    Ok(())
}

/// A job of one worker.
fn job(server: &Server, batches: &Batches, upsert: bool, exactly_once: bool) -> Result<(), BoxError> {
    let (given, url) = (batches.clone(), server.url());
    let table = Table::new("words").text("word").integer("n");
    let table = if upsert { table.key(["word"]) } else { table };
    let table = if exactly_once { table.exactly_once() } else { table };
    let dir = std::env::temp_dir().join(format!("tidemill-bench-postgres-{}", std::process::id()));
    let job = StreamingContext::builder("postgres", secs(1)).without_logging();
    let job = if exactly_once { job.checkpoint(&dir) } else { job.without_checkpoint() };
    let job = job.start_on_clock(ManualClock::at(0), move |ssc| {
        ssc.test_stream(given.clone()).to_postgres(&url, table.clone());
        Ok(())
    });
    let end = job.and_then(JobHandle::await_termination);
    let _ = std::fs::remove_dir_all(dir);
    Ok(end.map(drop)?)
}

/// One run: its time and the CPU time of this process, in seconds.
fn run(server: &Server, batches: &Batches, upsert: bool, way: Way) -> Result<[f64; 2], BoxError> {
    let mut client = server.client();
    client.batch_execute("DROP TABLE IF EXISTS words, tidemill_progress")?;
    client.batch_execute(if upsert {
        "CREATE TABLE words (word TEXT PRIMARY KEY, n BIGINT)"
    } else {
        "CREATE TABLE words (word TEXT, n BIGINT)"
    })?;
    client.batch_execute("CHECKPOINT")?;
    let (start, cpu) = (Instant::now(), cpu_seconds());
    match way {
        Way::Copy => copy(&mut client, batches, upsert)?,
        way => job(server, batches, upsert, way == Way::ExactlyOnce)?,
    }
    let took = [start.elapsed().as_secs_f64(), cpu_seconds() - cpu];
    let found = client.query_one("SELECT count(*), coalesce(sum(n), 0)::bigint FROM words", &[])?;
    let found: (i64, i64) = (found.get(0), found.get(1));
    assert_eq!(found, expected(batches, upsert), "the rows of the table, and the sum of their numbers");
    Ok(took)
}

fn main() -> Result<(), BoxError> {
    let args = Args::parse();
    let (pairs, count, rows) = if args.quick { (1, 2, ROWS / 50) } else { (args.pairs, 20, ROWS) };
    let server = Server::start_with("bench-postgres", &["autovacuum=off"]);
    let batches = batches(count, rows);
    let total = (count * rows) as f64;
    head(&["one worker", "rows a second", "CPU of the client, µs a row", "x the rows a second of COPY"]);
    for (mode, upsert) in [("insert", false), ("upsert", true)] {
        // By way: rows a second, CPU time, and the ratio to the copy of the same turn.
        let mut figures: [[Vec<f64>; 3]; 3] = Default::default();
        for _ in 0..pairs {
            let mut copied = 0.0;
            for ((way, _), [speeds, cpu, ratios]) in WAYS.iter().zip(&mut figures) {
                let [seconds, used] = run(&server, &batches, upsert, *way)?;
                let speed = total / seconds;
                if *way == Way::Copy {
                    copied = speed;
                }
                speeds.push(speed);
                cpu.push(used * 1e6 / total);
                ratios.push(speed / copied);
            }
        }
        for ((_, name), [speeds, cpu, ratios]) in WAYS.iter().zip(&mut figures) {
            let name = format!("{name}, {mode}");
            record("postgres", &name, rows as f64, "rows/s", speeds);
            record("postgres", &name, rows as f64, "CPU us a row", cpu);
            for figures in [&mut *speeds, &mut *cpu, &mut *ratios] {
                figures.sort_by(f64::total_cmp);
            }
            row([name, spread(speeds, 0), spread(cpu, 2), spread(ratios, 2)]);
        }
    }
    Ok(())
}
