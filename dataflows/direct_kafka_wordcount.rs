//! Counts the words of a topic's lines in each batch, and prints its offset ranges: the direct approach of Spark's Kafka guide.
//!
//!     tidemill gen words --line 8 --brokers 127.0.0.1:9092 --topic lines --rate 100 &
//!     cargo run --release --features dataflows --bin direct_kafka_wordcount -- 127.0.0.1:9092 lines

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tidemill::prelude::*;

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Counts the words of each batch, and prints its offsets: topic, partition, from, until.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Kafka brokers, HOST:PORT
    brokers: String,
    topic: String,
    #[arg(long, value_parser = tidemill::api::config::interval, default_value = "2s")]
    interval: Duration,
    /// Read the topic from its beginning, not from its end
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
    let job = StreamingContext::builder("direct-kafka-wordcount", args.interval).runtime(args.runtime.clone());
    job.run(move |ssc| {
        let start = if args.earliest { StartFrom::earliest() } else { StartFrom::latest() };
        let raw = ssc.kafka_direct_stream(KafkaSource::brokers(&args.brokers).topic(&args.topic).start(start));
        raw.values().oks().count_by::<str>(|line, out| line.split(' ').for_each(|w| out.push(w))).print(10);
        raw.count().foreach_batch(|b| {
            let mut out = std::io::stdout().lock();
            for r in b.offset_ranges() {
                // `println!` would panic if the reader of stdout has closed the pipe. In this case the `print` below stops the job.
                let _ = writeln!(out, "{} {} {} {}", r.topic, r.partition, r.from, r.until);
            }
            Ok(())
        });
        Ok(())
    })
}
