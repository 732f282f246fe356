//! Counts the trips of each station from files of CSV that appear in a folder: the tutorial's Structured Streaming program over the trips of
//! bicycles in San Francisco. It prints the counts, and asks the table in memory for its first rows after each batch.
//!
//!     cargo run --release -p tidemill-sql --bin structured_bike_trips -- trips

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tidemill::prelude::*;
use tidemill_sql::{SqlError, StreamTables, StreamingQueries, TableSession, Trigger};

/// The columns of the files.
const SCHEMA: &str = "`Trip ID` INT, Duration INT, `Start Date` TIMESTAMP, `Start Station` STRING, `Start Terminal` INT, \
                      `End Date` TIMESTAMP, `End Station` STRING, `End Terminal` INT, `Bike #` INT, `Subscriber Type` STRING, \
                      `Zip Code` STRING";

/// Counts the trips of each station.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// The folder of the files, each with a header
    dir: String,
    /// How many files a batch has at most
    #[arg(long, default_value_t = 1)]
    max_files: u64,
    /// End when the files that are there are read
    #[arg(long)]
    once: bool,
    #[arg(long, value_parser = tidemill::api::config::interval, default_value = "1s")]
    interval: Duration,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

fn main() -> ExitCode {
    tidemill::logging::init();
    tidemill::logging::exit(run(Args::parse()))
}

fn run(args: Args) -> Result<(), SqlError> {
    let session = TableSession::new();
    let builder = StreamingContext::builder("structured-bike-trips", args.interval).runtime(args.runtime.clone());
    let of_job = session.clone();
    let queries = StreamingQueries::start(&session, builder, move |ssc| {
        let tables = StreamTables::new(&of_job);
        let trips = tables
            .read_stream(ssc)
            .schema(SCHEMA)
            .option("header", true)
            .option("timestampFormat", "M/d/yyyy H:mm")
            .option("maxFilesPerTrigger", args.max_files)
            .csv(&args.dir)?;
        let counts = trips.group_by(["`Start Station`"])?.count()?;
        let trigger = if args.once { Trigger::AvailableNow } else { Trigger::ProcessingTime(args.interval) };
        counts.write_stream().query_name("trips").format("memory").output_mode("complete").trigger(trigger).start(ssc)?;
        let top = counts.order_by(["count desc", "`Start Station`"])?.limit(5)?;
        top.write_stream().format("console").output_mode("complete").option("truncate", false).trigger(trigger).start(ssc)?;
        Ok(())
    })?;
    let trips = queries.get("trips").expect("the query was started");
    trips.await_termination()?;
    let all = session.sql("select count(*) as stations, sum(count) as trips from trips")?;
    let batches = trips.recent_progress().len();
    all.show()?;
    tracing::info!(batches, "all files are read");
    Ok(())
}
