//! Counts the words of a Kinesis stream in each batch: Spark's `kinesis_wordcount_asl.py`, with its arguments.
//!
//!     scripts/kinesis --port 4567 &
//!     export AWS_ACCESS_KEY_ID=tidemill AWS_SECRET_ACCESS_KEY=of-the-tests
//!     tidemill gen words --line 8 --kinesis lines --endpoint-url http://127.0.0.1:4567 --region us-east-1 --rate 100 &
//!     cargo run --release --features dataflows,kinesis --bin kinesis_wordcount -- wordcount lines http://127.0.0.1:4567 us-east-1

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tidemill::prelude::*;

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Counts the words of each batch. The keys of the account are those of the environment, of ~/.aws, or of the machine.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// The name of the job
    app_name: String,
    stream_name: String,
    #[arg(help = "Such as https://kinesis.us-east-1.amazonaws.com")]
    endpoint_url: String,
    /// Such as us-east-1
    region_name: String,
    /// Where to begin if no checkpoint exists: LATEST, TRIM_HORIZON, or milliseconds since the epoch
    #[arg(long, value_name = "PLACE", default_value = "LATEST")]
    initial_position: String,
    #[arg(long, value_parser = tidemill::api::config::interval, default_value = "2s")]
    interval: Duration,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

fn main() -> ExitCode {
    tidemill::logging::init();
    tidemill::logging::exit(run(Args::parse()))
}

fn run(args: Args) -> tidemill::Result<Summary> {
    let job = StreamingContext::builder(args.app_name.clone(), args.interval).runtime(args.runtime.clone());
    job.run(move |ssc| {
        let kinesis = KinesisSource::params([
            ("streamName", &args.stream_name),
            ("endpointUrl", &args.endpoint_url),
            ("regionName", &args.region_name),
            ("initialPositionInStream", &args.initial_position),
        ]);
        let lines = ssc.kinesis_stream(kinesis).values().oks();
        lines.count_by::<str>(|line, out| line.split(' ').for_each(|word| out.push(word))).print(10);
        Ok(())
    })
}
