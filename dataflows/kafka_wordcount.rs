//! Reads words from a topic, and writes their running counts to another. It reads `{"word": …}`, and writes `{"word": …, "count": …}`
//! whenever a count changes. The benchmarks measure this program, and `scripts/torture` kills it. It uses only public verbs.
//!
//! With `--event-time` it reads `{"word": …, "at": …}`, counts the words in windows of the time `at`, and writes
//! `{"word": …, "count": …, "start": …}` once for each word and window, when the window closes. Times are milliseconds since 1970.
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
    /// Count in windows of the time in the records. A count is written when its window closes
    #[arg(long, requires = "window", conflicts_with = "mode")]
    event_time: bool,
    /// How late a record may be, with --event-time
    #[arg(long, value_name = "LENGTH", value_parser = tidemill::core::time::parse_duration, default_value = "10s")]
    delay: Duration,
    /// How long a partition without records holds windows open, with --event-time
    #[arg(long, value_name = "LENGTH", value_parser = tidemill::core::time::parse_duration, default_value = "1m")]
    idle_after: Duration,
    /// Also write the counts since the beginning to this topic
    #[arg(long, value_name = "TOPIC")]
    totals: Option<String>,
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

/// A record with its time.
#[derive(Clone, Deserialize)]
struct TimedWord {
    word: String,
    at: Option<i64>,
}

#[derive(Default, Serialize)]
struct WordCount<'a> {
    word: &'a str,
    count: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<i64>,
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
        let totals = || {
            let counts = raw.try_count_by::<str>(|m, out| {
                let w: Word<'_> = serde_json::from_slice(m.value()?)?;
                out.push(&w.word);
                Ok(())
            });
            counts.oks().sum_by_key()
        };
        let sink = |topic: &str| match KafkaSink::new(&args.brokers, topic) {
            sink if args.exactly_once => sink.exactly_once(),
            sink => sink,
        };
        let fill = |(word, count): &(String, i64), diff, record: &mut ProducerRecord| {
            record.key(word).json(&WordCount { word, count: *count, diff, ..WordCount::default() });
        };
        if let Some(topic) = &args.totals {
            totals().update().to_kafka(sink(topic), move |row, record| fill(row, None, record));
        }
        let slide = args.slide.unwrap_or(args.interval);
        if let (true, Some(length)) = (args.event_time, args.window) {
            let strategy = WatermarkStrategy::max_out_of_orderness(args.delay).idle_after(args.idle_after);
            let timed =
                raw.decode(Json::<TimedWord>::new()).oks().event_time(|w| w.at.map(|at| at.saturating_mul(1_000)), strategy);
            let windows = timed.map(|w| w.word).sliding(length, slide).count_by_value();
            windows.append().to_kafka(sink(&args.output), |Windowed { start, row: (word, count), .. }, record| {
                let start = Some(start.div_euclid(1_000));
                record.key(word).json(&WordCount { word, count: *count, start, ..WordCount::default() });
            });
            return Ok(());
        }
        let words = || raw.decode(Json::<OwnedWord>::new()).oks().map(|w| w.word);
        let counts = match args.window {
            Some(length) => words().count_by_value_and_window(length, slide),
            None if args.owned => words().count_by_value().sum_by_key(),
            None => totals(),
        };
        if args.runtime.listen.is_some() {
            counts.queryable("counts");
        }
        match args.mode {
            Mode::Update => counts.update().to_kafka(sink(&args.output), move |row, record| fill(row, None, record)),
            Mode::Changes => {
                counts.changes().to_kafka(sink(&args.output), move |c, record| fill(&c.row, Some(c.diff), record));
            }
        }
        Ok(())
    })
}
