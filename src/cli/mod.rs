//! The command `tidemill`: a demo that needs nothing, data for programs to run on, checkpoint
//! directories, batches of before, and a launcher for several processes.
//!
//! Not part of the library's interface: what is here may change with any version.

mod args;
mod checkpoint;
#[cfg(feature = "kafka")]
mod demo;
pub mod generate;
mod launch;
mod make;
mod replay;
#[cfg_attr(not(feature = "kafka"), allow(dead_code))]
mod terminal;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Spark Streaming's model in Rust, on timely dataflow and differential dataflow.
#[derive(Parser)]
#[command(name = "tidemill", version, about, propagate_version = true, arg_required_else_help = true)]
struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// A whole streaming job with its own broker and its own tweets: nothing to install
    #[cfg(feature = "kafka")]
    Demo(demo::Args),
    /// Makes tweets, words or web logs, on stdout or into a topic
    Gen(make::Args),
    /// Looks at checkpoint directories: list, inspect, verify, diff, prune
    Checkpoint(checkpoint::Args),
    /// Runs batches of before again, by the program that made them
    Replay(replay::Args),
    /// Starts all processes of a program on this machine, and ends them together
    Launch(launch::Args),
    /// Has a launched job go on with other numbers of processes and workers
    Rescale(launch::RescaleArgs),
}

/// Parses the arguments, does what they say, and says how it went.
pub fn main() -> ExitCode {
    let done = match Command::parse().what {
        #[cfg(feature = "kafka")]
        What::Demo(args) => demo::run(&args),
        What::Gen(args) => make::run(&args),
        What::Checkpoint(args) => checkpoint::run(&args),
        What::Replay(args) => replay::run(&args),
        What::Launch(args) => launch::run(args),
        What::Rescale(args) => launch::rescale(&args),
    };
    match done {
        Ok(code) => code,
        Err(e) => crate::logging::exit(Err::<(), _>(e)),
    }
}
