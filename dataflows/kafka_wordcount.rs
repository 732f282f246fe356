//! Reads words from a topic, and writes their running counts to another. It reads `{"word": …}`, and writes `{"word": …, "count": …}`
//! whenever a count changes. The benchmarks measure this program, and `scripts/torture` kills it. It uses only public verbs.
//!
//!     cargo run --release --features dataflows --bin kafka_wordcount -- --brokers 127.0.0.1:9092 --in words --out counts

use std::borrow::Cow;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde::{Deserialize, Serialize};
use tidemill::prelude::*;

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Counts words from Kafka to Kafka.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Kafka brokers, HOST:PORT
    #[arg(long, value_name = "LIST")]
    brokers: String,
    /// The topic of words
    #[arg(long = "in", value_name = "TOPIC")]
    input: String,
    /// The topic of counts
    #[arg(long = "out", value_name = "TOPIC")]
    output: String,
    #[arg(long, value_parser = tidemill::api::config::interval, default_value = "100ms")]
    interval: Duration,
    /// Where to begin
    #[arg(long, value_enum, default_value_t = From::Earliest)]
    from: From,
    /// Decode each record into an owned value, instead of borrowing its word
    #[arg(long)]
    owned: bool,
    /// Write each count exactly once, in transactions; readers must set read_committed. Needs --checkpoint
    #[arg(long, requires = "checkpoint")]
    exactly_once: bool,
    /// Count the last LENGTH instead of everything since the beginning; a multiple of the batch interval
    #[arg(long, value_name = "LENGTH", value_parser = tidemill::api::config::interval)]
    window: Option<Duration>,
    /// Time between two windows; default: the batch interval
    #[arg(long, value_name = "LENGTH", value_parser = tidemill::api::config::interval, requires = "window")]
    slide: Option<Duration>,
    /// Which counts are written
    #[arg(long, value_enum, default_value_t = Mode::Update)]
    mode: Mode,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum From {
    Earliest,
    Latest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Counts that are new
    Update,
    /// Outdated counts with "diff": -1, then new counts with 1
    Changes,
}

/// A record that borrows its word from the bytes.
#[derive(Deserialize)]
struct Word<'a> {
    #[serde(borrow)]
    word: Cow<'a, str>,
}

/// A record that owns its word.
#[derive(Clone, Deserialize)]
struct OwnedWord {
    word: String,
}

#[derive(Serialize)]
struct WordCount<'a> {
    word: &'a str,
    count: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<i64>,
}

fn main() -> ExitCode {
    tidemill::logging::init();
    tidemill::logging::exit(run(Args::parse()))
}

fn run(args: Args) -> tidemill::Result<Summary> {
    let job = StreamingContext::builder("kafka-wordcount", args.interval).runtime(args.runtime.clone());
    job.run(move |ssc| {
        let start = if args.from == From::Earliest { StartFrom::earliest() } else { StartFrom::latest() };
        let raw = ssc.kafka_direct_stream(KafkaSource::brokers(&args.brokers).topic(&args.input).start(start));
        let words = || raw.decode(Json::<OwnedWord>::new()).oks().map(|w| w.word);
        let counts = match args.window {
            Some(length) => words().count_by_value_and_window(length, args.slide.unwrap_or(args.interval)),
            None if args.owned => words().count_by_value().sum_by_key(),
            None => raw
                .try_count_by::<str>(|m, out| {
                    let w: Word<'_> = serde_json::from_slice(m.value()?)?;
                    out.push(&w.word);
                    Ok(())
                })
                .oks()
                .sum_by_key(),
        };
        if args.runtime.listen.is_some() {
            counts.queryable("counts");
        }
        let sink = KafkaSink::new(&args.brokers, &args.output);
        let sink = if args.exactly_once { sink.exactly_once() } else { sink };
        let fill = |(word, count): &(String, i64), diff, record: &mut ProducerRecord| {
            record.key(word).json(&WordCount { word, count: *count, diff });
        };
        match args.mode {
            Mode::Update => counts.update().to_kafka(sink, move |row, record| fill(row, None, record)),
            Mode::Changes => counts.changes().to_kafka(sink, move |c, record| fill(&c.row, Some(c.diff), record)),
        }
        Ok(())
    })
}
