//! Counts the words of a topic's lines in each batch, as a member of a consumer group: the tutorials' `kafka_wordcount.py`, which Spark's Kafka
//! guide calls the receiver-based approach.
//!
//!     tidemill gen words --line 8 --brokers 127.0.0.1:9092 --topic lines --rate 100 &
//!     cargo run --release --features dataflows --bin receiver_kafka_wordcount -- 127.0.0.1:9092 lines --checkpoint states
//!
//! With `--checkpoint` the receiver has a write-ahead log: a record is in it before its offset is committed. Start a second process with another
//! directory, and both share the partitions of the topic.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tidemill::prelude::*;

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Counts the words of each batch of a topic that the members of a consumer group share.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Kafka brokers, HOST:PORT
    brokers: String,
    topic: String,
    /// The consumer group
    #[arg(long, default_value = "spark-streaming-consumer")]
    group: String,
    /// Print the lines, too
    #[arg(long)]
    lines: bool,
    #[arg(long, value_parser = tidemill::api::config::interval, default_value = "1s")]
    interval: Duration,
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
    let job = StreamingContext::builder("receiver-kafka-wordcount", args.interval).runtime(args.runtime.clone());
    job.run(move |ssc| {
        let start = if args.earliest { StartFrom::earliest() } else { StartFrom::latest() };
        let kafka = KafkaSource::brokers(&args.brokers).topic(&args.topic).group_id(&args.group).start(start);
        let lines = ssc.kafka_receiver_stream(kafka).values().oks();
        if args.lines {
            lines.print(10);
        }
        lines.count_by::<str>(|line, out| line.split(' ').for_each(|w| out.push(w))).print(10);
        Ok(())
    })
}
