//! The command `tidemill`: a demo that needs nothing else, a first program, generated data for programs, tools for checkpoint
//! directories, replay, and a launcher for several processes.
//!
//! Not part of the API of the library: it may change with any version.

pub mod add;
mod args;
mod checkpoint;
mod dead_letters;
#[cfg(feature = "kafka")]
mod demo;
pub mod generate;
mod generate_command;
mod launch;
mod new;
mod query;
mod replay;
pub mod running_job;
mod sql;
mod stop;
mod token;
mod top;
#[cfg_attr(not(feature = "kafka"), allow(dead_code))]
mod terminal;
#[cfg(feature = "kafka")]
mod topic_command;

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
    /// Runs a whole streaming job with its own broker and its own tweets: nothing to install
    #[cfg(feature = "kafka")]
    Demo(demo::Args),
    /// Creates a program to begin with: it compiles, and has a test
    New(new::Args),
    /// Generates tweets, words or web logs, to stdout, into files by day or to a topic
    Gen(generate_command::Args),
    /// Lists, creates and reads topics of Kafka, and shows the lag of a consumer group
    #[cfg(feature = "kafka")]
    Topic(topic_command::Args),
    /// Shows and cleans checkpoint directories: list, inspect, verify, diff, prune
    Checkpoint(checkpoint::Args),
    /// Runs earlier batches again, with the program that computed them
    Replay(replay::Args),
    /// Starts all processes of a program on this machine, and stops them together
    Launch(launch::Args),
    /// Continues a launched job with other numbers of processes and workers
    Rescale(launch::RescaleArgs),
    /// Prints what readers of a job's page show, if it listens on another address than loopback
    Token(token::Args),
    /// Shows how a running job is, from its page
    Top(top::Args),
    /// Asks a view of a running job: a key, the top rows, or all; SQL asks several (needs tidemill-sql)
    Query(query::Args),
    /// Adds a computation over the views of a running job: 'authors | top 10 | print'; a SELECT needs tidemill-sql
    Add(add::AddArgs),
    /// Lists the computations that were added to a running job
    Added(add::AddedArgs),
    /// Removes a computation that was added to a running job
    Remove(add::RemoveArgs),
    /// Runs SQL over streams: a file of statements, or what is typed (needs tidemill-sql)
    Sql(sql::Args),
    /// Lists and shows records that a program could not read, and puts them back: into their topics, or into the batches that they were in
    DeadLetters(dead_letters::Args),
    /// Lists the fault points of src/core/fault.rs for scripts/torture: name, planner or anywhere, passes
    #[cfg(any(test, feature = "testing"))]
    #[command(name = "__faults", hide = true)]
    Faults,
}

/// Parses the arguments, runs the command, and returns its exit code.
pub fn main() -> ExitCode {
    let done = match Command::parse().what {
        #[cfg(feature = "kafka")]
        What::Demo(args) => demo::run(&args),
        What::New(args) => new::run(&args),
        What::Gen(args) => generate_command::run(&args),
        #[cfg(feature = "kafka")]
        What::Topic(args) => topic_command::run(&args),
        What::Checkpoint(args) => checkpoint::run(&args),
        What::Replay(args) => replay::run(&args),
        What::Launch(args) => launch::run(args),
        What::Rescale(args) => launch::rescale(&args),
        What::Token(args) => token::run(&args),
        What::Top(args) => top::run(&args),
        What::Query(args) => query::run(&args),
        What::Add(args) => add::add(&args),
        What::Added(args) => add::added(&args),
        What::Remove(args) => add::remove(&args),
        What::Sql(args) => sql::run(&args),
        What::DeadLetters(args) => dead_letters::run(&args),
        #[cfg(any(test, feature = "testing"))]
        What::Faults => faults(),
    };
    match done {
        Ok(code) => code,
        Err(e) => crate::logging::exit(Err::<(), _>(e)),
    }
}

#[cfg(any(test, feature = "testing"))]
fn faults() -> Result<ExitCode, crate::BoxError> {
    for (_, name, planner, passes) in crate::core::fault::POINTS {
        terminal::line(&format!("{name} {} {passes}", if *planner { "planner" } else { "anywhere" }))?;
    }
    Ok(ExitCode::SUCCESS)
}
