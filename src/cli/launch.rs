//! `tidemill launch -n 2 -w 2 -- program args…`: every process of a job, on this machine.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cluster::launch::Launch;
use crate::core::error::BoxError;

/// Starts all processes of the program with `-n -p -w --hostfile`, and forwards signals. Stdout is that of the processes; lines of
/// stderr begin with the process. When one fails, it stops all, and exits with the status of that one. With --checkpoint it starts
/// all again.
#[derive(clap::Args)]
pub struct Args {
    /// Processes
    #[arg(short = 'n', long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    processes: u16,
    /// Worker threads of each process
    #[arg(short = 'w', long, default_value_t = 1, value_name = "W", value_parser = clap::value_parser!(u16).range(1..))]
    workers: u16,
    /// The program's checkpoint directory, passed on to it; when a process fails or hangs, all are started again
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
    /// Give up after K restarts without a newly committed batch
    #[arg(long, default_value_t = 10, value_name = "K", requires = "checkpoint")]
    restarts: u32,
    /// Begin each line of stdout with the process, too: [0], [1] ...
    #[arg(long)]
    prefix: bool,
    /// The program and its arguments, after `--`
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

/// Tells a running `tidemill launch --checkpoint DIR` to stop the job in order, with a checkpoint, and to continue it with other
/// numbers of processes and workers.
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
    let mut arguments = args.program.into_iter();
    let program = arguments.next().unwrap_or_default();
    let launch = Launch {
        checkpoint: args.checkpoint,
        restarts: args.restarts,
        prefix: args.prefix,
        ..Launch::new(program, arguments.collect(), args.processes.into(), args.workers.into())
    };
    let code = launch.run(std::io::stdout(), std::io::stderr())?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}
