//! `tidemill launch -n 2 -w 2 -- program args…`: every process of a job, on this machine.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cluster::launch::Launch;
use crate::core::error::BoxError;

/// Starts the program so many times with `-n -p -w --hostfile`, prefixes each line of output with the process, hands signals on,
/// and ends all processes when one fails; ends with the status of that one. With --checkpoint all are started again.
#[derive(clap::Args)]
pub struct Args {
    /// Processes
    #[arg(short = 'n', long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    processes: u16,
    /// Worker threads of each process
    #[arg(short = 'w', long, default_value_t = 1, value_name = "W", value_parser = clap::value_parser!(u16).range(1..))]
    workers: u16,
    /// The program's checkpoint directory: it gets this argument too, and when a process fails or hangs all start again
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
    /// Give up after so many restarts without a new committed batch in between
    #[arg(long, default_value_t = 10, value_name = "K", requires = "checkpoint")]
    restarts: u32,
    /// The program and its arguments, after `--`
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

/// Asks a running `tidemill launch --checkpoint DIR`: it stops the job in order, with a checkpoint, and goes on with other numbers.
#[derive(clap::Args)]
pub struct RescaleArgs {
    /// The checkpoint directory of the job
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Processes
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    processes: u16,
    /// Worker threads of each process
    #[arg(short = 'w', long, value_name = "W", value_parser = clap::value_parser!(u16).range(1..))]
    workers: u16,
}

/// Runs the command `rescale`.
pub fn rescale(args: &RescaleArgs) -> Result<ExitCode, BoxError> {
    let said = crate::cluster::rescale::rescale(&args.dir, args.processes, args.workers)?;
    super::terminal::line(&said)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode, BoxError> {
    crate::logging::init();
    let mut words = args.program.into_iter();
    let program = words.next().unwrap_or_default();
    let launch = Launch {
        checkpoint: args.checkpoint,
        restarts: args.restarts,
        ..Launch::new(program, words.collect(), args.processes.into(), args.workers.into())
    };
    let code = launch.run(std::io::stdout(), std::io::stderr())?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}
