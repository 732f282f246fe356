//! Counts tweets from Kafka by author: both programs of "Getting Started with Spark Streaming with Python and Kafka".
//!
//!     tidemill gen tweets --brokers 127.0.0.1:9092 --rate 100 &
//!     cargo run --release --features dataflows --bin tweets -- --brokers 127.0.0.1:9092 --mode windowed
//!
//! `--mode batch` prints six counts of each minute and ends after three minutes. `--mode windowed` (job.rs) prints each five
//! seconds and the last minute, until Ctrl-C.

// The demo uses fields that this program does not.
#[allow(dead_code)]
mod job;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use tidemill::prelude::*;

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Counts tweets by author.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Kafka brokers, HOST:PORT
    #[arg(long, value_name = "LIST")]
    brokers: String,
    #[arg(long, default_value = "twitter")]
    topic: String,
    /// Counts of each batch, or of a sliding window too
    #[arg(long, value_enum, default_value_t = Mode::Windowed)]
    mode: Mode,
    /// Batch interval; default: 60s for batch, 5s for windowed
    #[arg(long, value_parser = tidemill::api::config::interval)]
    interval: Option<Duration>,
    /// Length of the window
    #[arg(long, value_parser = tidemill::api::config::interval, default_value = "60s")]
    window: Duration,
    /// End after this time; default: 180s for batch, never for windowed
    #[arg(long = "for", value_name = "TIME", value_parser = tidemill::api::config::interval)]
    timeout: Option<Duration>,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    Batch,
    Windowed,
}

fn main() -> ExitCode {
    tidemill::logging::init();
    tidemill::logging::exit(run(Args::parse()))
}

fn run(args: Args) -> tidemill::Result<Summary> {
    let batch = args.mode == Mode::Batch;
    let interval = args.interval.unwrap_or(if batch { secs(60) } else { secs(5) });
    let timeout = args.timeout.or(batch.then_some(secs(180)));
    let job = StreamingContext::builder("tweets", interval).runtime(args.runtime.clone()).start(move |ssc| {
        let raw = ssc.kafka_direct_stream(KafkaSource::brokers(&args.brokers).topic(&args.topic));
        match args.mode {
            Mode::Batch => each_batch(&raw),
            Mode::Windowed => {
                let made = job::windowed(&raw, args.window, interval);
                if args.runtime.listen.is_some() {
                    made.by_author.queryable("authors");
                }
            }
        }
        Ok(())
    })?;
    match timeout {
        Some(time) if !job.await_termination_or_timeout(time)? => job.stop_gracefully(),
        _ => job.await_termination(),
    }
}

/// The first program of the tutorial.
fn each_batch(raw: &DStream<'_, Message>) {
    let tweets = raw.decode(Json::<job::Tweet>::new()).oks();
    tweets.count().map(|n| format!("Tweets in this batch: {n}")).print(10);

    let counts = tweets.map(|t| t.user.screen_name).count_by_value();
    counts.print(10);
    let sorted = counts.sort_by(|(_, n)| -n);
    sorted.print(10);
    sorted.take(5).print(10);

    let busy = counts.filter(|(author, n)| *n > 1 || author.to_lowercase().starts_with("rm"));
    busy.sort_by(|(_, n)| -n).print(10);

    let words = tweets.count_by::<str>(|t, out| t.text.split(' ').for_each(|w| out.push(w)));
    words.sort_by(|(_, n)| -n).print(10);
}
