//! `tidemill replay DIR --from TIME --to TIME -- program args…`: earlier batches, with the program that computed them.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use crate::core::error::{BoxError, Error};
use crate::core::time::BatchTime;
use crate::replay::request::{parse_redirect, parse_time};

/// Runs a program over the ranges of earlier batches, from the newest checkpoint before them. Rows for topics and files go to stdout,
/// or to another place with --into. Nothing of the job is changed, and the job may be running.
#[derive(clap::Args)]
pub struct Args {
    /// The job's checkpoint directory, which is only read
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Batch time of the first batch: milliseconds since the epoch, or 2026-11-21T17:08:55Z
    #[arg(long, value_name = "TIME", value_parser = parse_time, required_unless_present = "find_poison")]
    from: Option<BatchTime>,
    /// Batch time of the last batch
    #[arg(long, value_name = "TIME", value_parser = parse_time, required_unless_present = "find_poison")]
    to: Option<BatchTime>,
    /// Worker threads
    #[arg(short = 'w', long, default_value_t = 1, value_name = "W", value_parser = clap::value_parser!(u16).range(1..))]
    workers: u16,
    /// Write the output of this topic or file prefix to another one, at least once; repeatable
    #[arg(long, value_name = "OLD=NEW", value_parser = parse_redirect)]
    into: Vec<(String, String)>,
    /// Run foreach_batch and foreach_partition too, including their side effects
    #[arg(long)]
    foreach: bool,
    /// Recompute all state from the first batch, and compare the outputs; exit with 1 at the first difference
    #[arg(long, conflicts_with_all = ["into", "foreach"])]
    verify: bool,
    /// Run a batch by halves, and name the record on which the program panics: in the batch --from, or without it in what the job had
    /// read when it failed
    #[arg(long, conflicts_with_all = ["into", "foreach", "verify"])]
    find_poison: bool,
    /// The program and its arguments, without --checkpoint, after `--`
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

impl Args {
    /// The arguments that are added to the program's own, as `RuntimeArgs` has them.
    fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["--checkpoint".into(), self.dir.clone().into()];
        let mut say = |name: &str, value: String| words.extend([OsString::from(name), value.into()]);
        let last = self.to.or(self.from);
        self.from.into_iter().for_each(|from| say("--replay-from", from.millis().to_string()));
        last.into_iter().for_each(|to| say("--replay-to", to.millis().to_string()));
        say("--workers", self.workers.to_string());
        self.into.iter().for_each(|(old, new)| say("--replay-into", format!("{old}={new}")));
        words.extend(self.foreach.then(|| "--replay-foreach".into()));
        words.extend(self.verify.then(|| "--verify".into()));
        words.extend(self.find_poison.then(|| "--find-poison".into()));
        words
    }
}

/// Runs the command; the exit code is that of the program.
pub fn run(args: &Args) -> Result<ExitCode, BoxError> {
    crate::logging::init();
    let program = &args.program[0];
    let status = Command::new(program).args(&args.program[1..]).args(args.words()).status();
    let status = status.map_err(|e| Error::io(format!("start of {}", program.to_string_lossy()), e))?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}
