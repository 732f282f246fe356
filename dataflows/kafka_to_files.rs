//! Saves the messages of a topic as text files of each batch, and then how often each word came: "Working with Spark and Kafka", whose reader stops
//! the streaming context gracefully and starts a second one.
//!
//!     tidemill gen tweets --key user.screen_name --brokers 127.0.0.1:9092 --topic mytopic --rate 100 &
//!     cargo run --release --features dataflows --bin kafka_to_files -- 127.0.0.1:9092 mytopic out
//!     tail -n +1 out/pairs-*.log/part-* out/words-*.log/part-*
//!
//! Without `--key` the messages have no key. Both contexts are members of one consumer group, so the second one goes on where the first one has
//! stopped.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tidemill::prelude::*;

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Saves messages as pairs of key and value for some time, and counts their words afterwards.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Kafka brokers, HOST:PORT
    brokers: String,
    topic: String,
    /// The directory of pairs-MILLISECONDS.log and words-MILLISECONDS.log
    dir: PathBuf,
    /// The consumer group
    #[arg(long, default_value = "sparkit")]
    group: String,
    #[arg(long, value_parser = tidemill::api::config::interval, default_value = "5s")]
    interval: Duration,
    /// How long messages are saved, before words are counted until Ctrl-C
    #[arg(long = "for", value_name = "TIME", value_parser = tidemill::api::config::interval, default_value = "15s")]
    time: Duration,
    /// Read partitions that the group has never read from their beginning, not from their end
    #[arg(long)]
    earliest: bool,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

fn main() -> ExitCode {
    tidemill::logging::init();
    tidemill::logging::exit(run(Args::parse()))
}

fn run(args: Args) -> tidemill::Result<Summary> {
    let first = start(&args, "pairs", pairs)?;
    let ended = first.await_termination_or_timeout(args.time)?;
    let saved = if ended { first.await_termination()? } else { first.stop_gracefully()? };
    // Ctrl-C ends the program. Given batches end the first context only.
    if ended && args.runtime.plans.is_none() {
        return Ok(saved);
    }
    start(&args, "words", words)?.await_termination()
}

/// Starts a context. `save` writes its batches under the prefix that it gets.
fn start(args: &Args, name: &'static str, save: fn(&DStream<'_, Message>, &Path)) -> tidemill::Result<JobHandle> {
    let (args, mut runtime) = (args.clone(), args.runtime.clone());
    // Each context has its own states, and its own log of what it has received.
    runtime.checkpoint = runtime.checkpoint.map(|dir| dir.join(name));
    StreamingContext::builder(format!("kafka-to-files-{name}"), args.interval).runtime(runtime).start(move |ssc| {
        let start = if args.earliest { StartFrom::earliest() } else { StartFrom::latest() };
        let kafka = KafkaSource::brokers(&args.brokers).topic(&args.topic).group_id(&args.group).start(start);
        save(&ssc.kafka_receiver_stream(kafka), &args.dir.join(name));
        Ok(())
    })
}

/// `(None, "message1")`, or `(Some("key1"), "message1")`.
fn pairs(messages: &DStream<'_, Message>, prefix: &Path) {
    messages.pairs().save_as_text_files(prefix, "log");
}

fn words(messages: &DStream<'_, Message>, prefix: &Path) {
    let counts = messages.values().count_by::<str>(|value, out| value.split(' ').for_each(|word| out.push(word)));
    counts.save_as_text_files(prefix, "log");
}
