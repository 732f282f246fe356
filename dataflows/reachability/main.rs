//! Who can be reached from one person by the messages of the last week, day by day.
//!
//!     cargo run --release --features dataflows --bin reachability -- graph_collegemsg.txt.gz
//!
//! The file has a line `FROM TO SECONDS` for each message. Each batch is one day of it, and edges leave after a week.

mod days;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tidemill::graph;
use tidemill::prelude::*;

use days::{Days, Row};

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Prints how many people are reached from one by the messages of the last week, by distance, for each day.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Lines FROM TO SECONDS since 1970, also in a gzip file
    file: PathBuf,
    /// Where to begin; default: the sender of the first message
    #[arg(long, value_name = "NODE")]
    root: Option<u32>,
    /// Days that an edge counts
    #[arg(long, default_value_t = 7)]
    days: u32,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

fn main() -> ExitCode {
    tidemill::logging::init();
    tidemill::logging::exit(run(Args::parse()))
}

fn run(args: Args) -> tidemill::Result<Summary> {
    let days = Days::read(&args.file)?;
    let root = args.root.or(days.first_node()).unwrap_or_default();
    // The clock does not count: a bounded source runs its batches one after another.
    let day = secs(1);
    StreamingContext::builder("reachability", day).runtime(args.runtime.clone()).run(move |ssc| {
        let rows = ssc.from_source(days.clone());
        let dates = rows.flat_map(|row| if let Row::Day(date) = row { Some(date) } else { None });
        let roots = dates.map(move |_| root).accumulate().distinct();
        let edges = rows.flat_map(|row| if let Row::Edge(from, to) = row { Some((from, to)) } else { None });
        let near = graph::reachable(&edges.over(day * args.days, day), &roots);
        let by_distance = near.map(|(_, distance)| distance).count_by_value().sort_by(|(distance, _)| *distance).complete();
        // A line for each day, without the time of its batch.
        dates.union(&by_distance.map(|(distance, people)| format!("distance {distance}: {people}"))).foreach_batch(|batch| {
            writeln!(std::io::stdout(), "{}", batch.iter().cloned().collect::<Vec<_>>().join(", "))?;
            Ok(())
        });
        Ok(())
    })
}
