//! Counts all words of a topic by SQL, and prints the whole result after each batch: Spark's `structured_kafka_wordcount.py`.
//!
//!     cargo run --release -p tidemill-sql --features kafka --bin structured_kafka_wordcount -- 127.0.0.1:9092 subscribe words
//!
//! With `--to TOPIC` the counts that change go to a topic, in place of the console.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tidemill::prelude::*;
use tidemill_sql::{StreamTables, TableSession};

/// Counts all words of a topic so far by SQL.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Brokers: host:port, several with commas between
    bootstrap_servers: String,
    /// subscribe: topics with commas between; subscribePattern: a regular expression
    #[arg(value_parser = ["subscribe", "subscribePattern"])]
    subscribe_type: String,
    /// The topics, or the expression
    topics: String,
    /// Where the topics begin: earliest, latest or offsets as JSON
    #[arg(long, default_value = "latest")]
    starting_offsets: String,
    /// Write the counts that change to this topic: the word as key, the count as value
    #[arg(long, value_name = "TOPIC")]
    to: Option<String>,
    #[arg(long, value_parser = tidemill::api::config::interval, default_value = "1s")]
    interval: Duration,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

fn main() -> ExitCode {
    tidemill::logging::init();
    tidemill::logging::exit(run(Args::parse()))
}

fn run(args: Args) -> tidemill::Result<Summary> {
    StreamingContext::builder("structured-kafka-wordcount", args.interval).runtime(args.runtime.clone()).run(move |ssc| {
        let tables = StreamTables::new(&TableSession::new());
        let lines = tables
            .read_stream(ssc)
            .format("kafka")
            .option("kafka.bootstrap.servers", &args.bootstrap_servers)
            .option(&args.subscribe_type, &args.topics)
            .option("startingOffsets", &args.starting_offsets)
            .load()?
            .select(["cast(value as string) as value"])?;
        let words = lines.select(["explode(split(value, ' ')) as word"])?;
        let counts = words.group_by(["word"])?.count()?;
        match &args.to {
            None => {
                counts.order_by(["count desc", "word"])?.write_stream().output_mode("complete").format("console").start(ssc)?
            }
            Some(topic) => counts
                .select(["word as key", "cast(count as string) as value"])?
                .write_stream()
                .output_mode("update")
                .format("kafka")
                .option("kafka.bootstrap.servers", &args.bootstrap_servers)
                .option("topic", topic)
                .start(ssc)?,
        }
        Ok(())
    })
}
