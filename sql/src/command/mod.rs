//! The command `tidemill-sql`, which `tidemill sql` runs: jobs that are written in SQL alone. `tidemill query` and `tidemill add` run it, too.
//!
//! Not part of the API of the library: it may change with any version.

mod add;
mod program;
mod prompt;
mod query;
mod script;
mod verbs;
mod view_rows;
mod watermark_clause;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tidemill::prelude::{BoxError, RuntimeArgs};

use program::Program;

/// Runs SQL over streams and tables: a file of statements, or what is typed.
#[derive(Parser)]
#[command(name = "tidemill sql", version, about, args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// File with statements, each ended by a semicolon; without one they are typed
    file: Option<PathBuf>,
    /// The name of the job, which is the identity of its checkpoint [default: the name of the file]
    #[arg(long)]
    name: Option<String>,
    #[arg(long, value_parser = tidemill::api::config::interval, default_value = "1s")]
    interval: Duration,
    /// End when all that is there at the start is processed
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

#[derive(clap::Subcommand)]
enum What {
    Query(query::Args),
    Add(add::Args),
}

/// Parses the arguments, runs the statements, and returns the exit code.
pub fn main() -> ExitCode {
    tidemill::logging::init();
    tidemill::logging::exit(run(Args::parse()))
}

fn run(args: Args) -> Result<(), BoxError> {
    match &args.what {
        Some(What::Query(args)) => return query::run(args),
        Some(What::Add(args)) => return add::run(args),
        None => {}
    }
    let stem = args.file.as_ref().and_then(|file| file.file_stem()).map(|stem| stem.to_string_lossy().into_owned());
    let name = args.name.clone().or(stem).unwrap_or_else(|| "sql".to_owned());
    let program = Program::new(name, args.interval, args.once, args.runtime.clone());
    match &args.file {
        None => prompt::run(program),
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
            let statements = script::statements(&text).map_err(|e| format!("{}: {e}", file.display()))?;
            program.run(&statements)
        }
    }
}
