//! Who can be reached from one person by the messages of the last week, day by day.
//!
//!     cargo run --release --features dataflows --bin reachability -- graph_collegemsg.txt.gz
//!
//! The file has a line `FROM TO SECONDS` for each message. Each batch is one day of it, and edges leave after a week. Edges without times
//! come in steps of a number:
//!
//!     cargo run --release --features dataflows --bin reachability -- graph_epinions_prefix.txt.gz --edges 10000

mod steps;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tidemill::graph;
use tidemill::prelude::*;

use steps::{Row, Steps};

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Prints how many people are reached from one by the messages of the last days, by distance, for each day.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Lines FROM TO SECONDS since 1970, or lines FROM TO with --edges; also in a gzip file
    file: PathBuf,
    /// Where to begin; default: the sender of the first message
    #[arg(long, value_name = "NODE")]
    root: Option<u32>,
    /// Days that an edge counts, or steps with --edges
    #[arg(long, default_value_t = 7)]
    days: u32,
    /// Steps of so many edges in place of days; the lines need no time
    #[arg(long, value_name = "N")]
    edges: Option<std::num::NonZeroUsize>,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

fn main() -> ExitCode {
    tidemill::logging::init();
    tidemill::logging::exit(run(Args::parse()))
}

fn run(args: Args) -> tidemill::Result<Summary> {
    let steps = match args.edges {
        Some(edges) => Steps::of_edges(&args.file, edges.get())?,
        None => Steps::by_day(&args.file)?,
    };
    let root = args.root.or(steps.first_node()).unwrap_or_default();
    // The clock does not count: a bounded source runs its batches one after another.
    let step = secs(1);
    StreamingContext::builder("reachability", step).runtime(args.runtime.clone()).run(move |ssc| {
        let rows = ssc.from_source(steps.clone());
        let names = rows.flat_map(|row| if let Row::Step(name) = row { Some(name) } else { None });
        let roots = names.map(move |_| root).accumulate().distinct();
        let edges = rows.flat_map(|row| if let Row::Edge(from, to) = row { Some((from, to)) } else { None });
        let near = graph::reachable(&edges.over(step * args.days, step), &roots);
        let by_distance = near.map(|(_, distance)| distance).count_by_value().sort_by(|(distance, _)| *distance).complete();
        // A line for each step, without the time of its batch.
        names.union(&by_distance.map(|(distance, people)| format!("distance {distance}: {people}"))).foreach_batch(|batch| {
            writeln!(std::io::stdout(), "{}", batch.iter().cloned().collect::<Vec<_>>().join(", "))?;
            Ok(())
        });
        Ok(())
    })
}
