//! `tidemill replay DIR --from TIME --to TIME -- program args…`: batches of before, by the program that made them.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use crate::core::error::{BoxError, Error};
use crate::core::time::BatchTime;
use crate::replay::request::{parse_redirect, parse_time};

/// Runs a program over the same ranges as its job did, from the newest checkpoint before them. What it prints is printed; rows for
/// topics and files go to stdout, or elsewhere by --into. Nothing of the job is written, and the job may be running.
#[derive(clap::Args)]
pub struct Args {
    /// The job's checkpoint directory, which is only read
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The first batch: milliseconds since the epoch, or as 2026-11-21T17:08:55Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: BatchTime,
    /// The last batch
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to: BatchTime,
    /// Worker threads
    #[arg(short = 'w', long, default_value_t = 1, value_name = "W", value_parser = clap::value_parser!(u16).range(1..))]
    workers: u16,
    /// The output with this topic or prefix of files writes to another one, at least once; may be given again
    #[arg(long, value_name = "OLD=NEW", value_parser = parse_redirect)]
    into: Vec<(String, String)>,
    /// Run foreach_batch and foreach_partition too, whatever they write
    #[arg(long)]
    foreach: bool,
    /// Compute all states anew from the first batch on, and compare what leaves; end with 1 at the first difference
    #[arg(long, conflicts_with_all = ["into", "foreach"])]
    verify: bool,
    /// The program and its arguments, without --checkpoint, after `--`
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

impl Args {
    /// The program's own arguments, as it takes them by `RuntimeArgs`.
    fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["--checkpoint".into(), self.dir.clone().into()];
        let mut say = |name: &str, value: String| words.extend([OsString::from(name), value.into()]);
        say("--replay-from", self.from.millis().to_string());
        say("--replay-to", self.to.millis().to_string());
        say("--workers", self.workers.to_string());
        self.into.iter().for_each(|(old, new)| say("--replay-into", format!("{old}={new}")));
        words.extend(self.foreach.then(|| "--replay-foreach".into()));
        words.extend(self.verify.then(|| "--verify".into()));
        words
    }
}

/// Runs the command: it ends as the program does.
pub fn run(args: &Args) -> Result<ExitCode, BoxError> {
    crate::logging::init();
    let program = &args.program[0];
    let status = Command::new(program).args(&args.program[1..]).args(args.words()).status();
    let status = status.map_err(|e| Error::io(format!("start of {}", program.to_string_lossy()), e))?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}
