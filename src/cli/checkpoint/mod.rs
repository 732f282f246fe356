//! `tidemill checkpoint`: shows checkpoint directories, and removes old checkpoints.

mod diff;
mod inspect;
mod list;
mod prune;
pub(super) mod table;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use crate::checkpoint::{Directory, Manifest, ManifestFile};
use crate::core::error::{BoxError, Error, Result};

/// A job may be using the directory. Only `prune` writes, and it refuses while a job runs.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Every checkpoint: its time, generation, operators, key groups, bytes and age
    List(Where),
    /// One checkpoint: the position of each source, and the state of each operator
    Inspect {
        #[command(flatten)]
        place: Where,
        /// Time of the checkpoint, in milliseconds since the epoch [default: the newest]
        #[arg(long, value_name = "TIME")]
        at: Option<u64>,
    },
    /// Reads every byte of every file; names the damaged ones and exits with 1
    Verify(Where),
    /// Differences between two checkpoints: positions, and bytes of each operator
    Diff {
        #[command(flatten)]
        place: Where,
        /// Time of the first checkpoint, in milliseconds since the epoch
        #[arg(value_name = "A")]
        from: u64,
        /// Time of the second checkpoint
        #[arg(value_name = "B")]
        to: u64,
    },
    /// Deletes all but the newest checkpoints, and the files that only the deleted ones needed
    Prune {
        #[command(flatten)]
        place: Where,
        /// Number of checkpoints to keep
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        keep: u16,
    },
}

/// The directory, and the output format.
#[derive(clap::Args)]
struct Where {
    /// The checkpoint directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Print one JSON value, for programs
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode, BoxError> {
    crate::logging::init();
    let (place, report) = match &args.what {
        What::List(place) => (place, list::list(&place.open()?)?),
        What::Inspect { place, at } => (place, inspect::inspect(&find(&place.open()?, *at)?)),
        What::Verify(place) => (place, verify::verify(&place.open()?)?),
        What::Diff { place, from, to } => {
            let dir = place.open()?;
            (place, diff::diff(&find(&dir, Some(*from))?, &find(&dir, Some(*to))?))
        }
        What::Prune { place, keep } => (place, prune::prune(&place.open()?, usize::from(*keep))?),
    };
    match place.json {
        true => super::terminal::line(&report.json.to_string())?,
        false => super::terminal::line(report.text.trim_end())?,
    }
    Ok(if report.bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Where {
    fn open(&self) -> Result<Directory> {
        Directory::open(&self.dir)
    }
}

/// The result of a command, as text and as JSON.
struct Report {
    text: String,
    json: serde_json::Value,
    bad: bool,
}

/// The checkpoint of a time, or the newest usable one.
fn find(dir: &Directory, at: Option<u64>) -> Result<Manifest> {
    let all = dir.checkpoints()?;
    let wanted = |(file, read): &(ManifestFile, Result<Manifest>)| at.map_or(read.is_ok(), |t| file.time.millis() == t);
    let times: Vec<String> = all.iter().map(|(file, _)| file.time.millis().to_string()).collect();
    match all.into_iter().find(wanted) {
        Some((_, read)) => read,
        None => {
            let what = at.map_or("there is no usable checkpoint".into(), |t| format!("there is no checkpoint of {t}"));
            let there = if times.is_empty() { "none".into() } else { times.join(", ") };
            Err(Error::config(format!("{what}: the directory has {there}")))
        }
    }
}

/// The time of a checkpoint, as readable text.
fn utc(ms: u64) -> String {
    match i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
        Some(t) => format!("{t:.3}"),
        None => format!("{ms} ms"),
    }
}
