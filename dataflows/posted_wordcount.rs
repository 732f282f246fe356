//! Counts words that others POST, into PostgreSQL: a receiver with its log, a broadcast that is reloaded, accumulators, and tables that are
//! written exactly once. `scripts/torture --jobs posted` kills it.
//!
//! A line that is posted is a number and a word. The table `lines` gets each line with the time of its batch and the label of its word, and the
//! table `counts` how often each word has come. The file of labels has a word and its label on each line; a new version is moved in. The
//! ledger gets the accumulators after each batch, a line of JSON each: how many lines came, their highest number, and the labels. A batch that
//! runs again adds its line again.
//!
//! ```sh
//! psql -c 'CREATE TABLE lines (time BIGINT, id BIGINT, word TEXT, label TEXT); CREATE TABLE counts (word TEXT PRIMARY KEY, count BIGINT)'
//! cargo run --release --features dataflows,postgres --bin posted_wordcount -- --address 127.0.0.1:8080 \
//!     --postgres postgres://writer@127.0.0.1/app --labels labels --ledger ledger --checkpoint /var/lib/posted
//! curl --data-binary $'1 tide\n2 mill\n' http://127.0.0.1:8080/
//! ```

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serde_json::json;
use tidemill::connector::database::Table;
use tidemill::connector::http_receiver::HttpReceiver;
use tidemill::prelude::*;

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The number of partitions that share the work on lines.
const PARTITIONS: u32 = 4;

/// Counts words that others POST, into PostgreSQL.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Where lines are posted: ADDR:PORT on loopback
    #[arg(long, value_name = "ADDR:PORT")]
    address: String,
    /// The database, with the tables lines and counts
    #[arg(long, value_name = "URL")]
    postgres: String,
    /// The file of labels, a word and its label on each line
    #[arg(long, value_name = "FILE")]
    labels: PathBuf,
    /// The file of accumulators, to which each batch adds a line
    #[arg(long, value_name = "FILE")]
    ledger: PathBuf,
    #[arg(long, value_parser = tidemill::api::config::interval, default_value = "1s")]
    interval: Duration,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// The number and the word of a line.
fn parsed(line: &str) -> Result<(i64, String), BoxError> {
    let (id, word) = line.split_once(' ').ok_or("write a number, a space, and a word")?;
    Ok((id.parse()?, word.to_owned()))
}

/// The label of each word.
fn labels(content: &[u8]) -> Result<BTreeMap<String, String>, BoxError> {
    let each = |line: &str| line.split_once(' ').map(|(word, label)| (word.to_owned(), label.to_owned()));
    let lines = std::str::from_utf8(content)?.lines();
    lines.map(|line| each(line).ok_or_else(|| format!("the line \"{line}\" is not a word and its label").into())).collect()
}

fn main() -> ExitCode {
    tidemill::logging::init();
    tidemill::logging::exit(run(Args::parse()))
}

fn run(args: Args) -> tidemill::Result<Summary> {
    let job = StreamingContext::builder("posted-wordcount", args.interval).runtime(args.runtime.clone());
    job.run(move |ssc| {
        let (came, highest, used) =
            (ssc.accumulator::<Sum>("lines"), ssc.accumulator::<Max<i64>>("highest"), ssc.accumulator::<Set<String>>("labels"));
        let posted = ssc.http_receiver(HttpReceiver::new(&args.address)).try_map(|line| parsed(line)).oks();
        let known = ssc.broadcast_file(&args.labels, labels);

        // One worker receives; all of them work on the lines.
        let (adds, rises) = (came.clone(), highest.clone());
        let lines = posted.repartition(PARTITIONS).map(move |(id, word)| {
            adds.add(1);
            rises.add(id);
            (id, word)
        });
        let adds = used.clone();
        let labelled = lines.flat_map_with_broadcast(&known, move |(id, word), known: &BTreeMap<String, String>| {
            let label = known.get(&word).map_or("none", String::as_str).to_owned();
            adds.add(label.clone());
            [(id, word, label)]
        });
        let timed = labelled.transform(|batch| {
            let time = batch.time().millis() as i64;
            batch.collect().into_iter().map(move |(id, word, label)| (time, id, word, label))
        });
        let table = Table::new("lines").integer("time").integer("id").text("word").text("label").shards(3).exactly_once();
        timed.to_postgres(&args.postgres, table);

        let counts = lines.map(|(_, word)| word).count_by_value().sum_by_key();
        let table = Table::new("counts").text("word").integer("count").key(["word"]).exactly_once();
        counts.changes().changes_to_postgres(&args.postgres, table);

        let ledger = args.ledger.clone();
        lines.count().foreach_batch(move |batch| {
            let (time, lines, highest, labels) = (batch.time().millis(), came.value(), highest.value(), used.value());
            let line = json!({"time": time, "lines": lines, "highest": highest, "labels": labels});
            // One write for a whole line: a kill leaves no half of it.
            std::fs::OpenOptions::new().create(true).append(true).open(&ledger)?.write_all(format!("{line}\n").as_bytes())?;
            Ok(())
        });
        Ok(())
    })
}
