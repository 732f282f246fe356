//! Counts the words of a topic into a table of PostgreSQL: the pipeline that "Building a Kafka and Spark Streaming pipeline" draws, from a topic to a
//! store and a dashboard. With a checkpoint directory each count is right after any crash.
//!
//! ```sh
//! psql -c 'CREATE TABLE counts (word TEXT PRIMARY KEY, count BIGINT)'
//! tidemill gen words --line 8 --brokers 127.0.0.1:9092 --topic test-topic --rate 100 &
//! cargo run --release --features dataflows,postgres --bin kafka_to_postgres -- 127.0.0.1:9092 test-topic \
//!     --postgres postgres://writer@127.0.0.1/app --checkpoint /var/lib/pipeline --listen 127.0.0.1:4040
//! psql -c 'SELECT * FROM counts ORDER BY count DESC LIMIT 10'
//! ```

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tidemill::connector::database::Table;
use tidemill::prelude::*;

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Counts the words of a topic into the table counts, exactly once.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Kafka brokers, HOST:PORT
    brokers: String,
    topic: String,
    /// The database, with the table counts
    #[arg(long, value_name = "URL")]
    postgres: String,
    #[arg(long, value_parser = tidemill::api::config::interval, default_value = "1s")]
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
    let job = StreamingContext::builder("kafka-to-postgres", args.interval).runtime(args.runtime.clone());
    job.run(move |ssc| {
        let start = if args.earliest { StartFrom::earliest() } else { StartFrom::latest() };
        let kafka = KafkaSource::brokers(&args.brokers).topic(&args.topic).start(start);
        let lines = ssc.kafka_direct_stream(kafka).values().oks();
        let counts = lines.count_by::<str>(|line, out| line.split(' ').for_each(|word| out.push(word))).sum_by_key();
        // A word that comes again replaces its row.
        let table = Table::new("counts").text("word").integer("count").key(["word"]).exactly_once();
        counts.update().to_postgres(&args.postgres, table);
        counts.queryable("counts");
        Ok(())
    })
}
