//! Runs earlier batches again: with the states of a checkpoint, or with states computed from the first batch on; compares both.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::api::config::Config;
use crate::api::context::StreamingContext;
use crate::checkpoint::{Again, Directory, StateId};
use crate::connector::console::write_stdout;
use crate::core::clock::Clock;
use crate::core::data::encoded;
use crate::core::error::{BoxError, Error, Result};
use crate::core::plan::{Order, RunId};
use crate::job::checkpoint_coordinator::{Resumed, fits};
use crate::job::planner::Planner;
use crate::job::run::{JobHandle, begin};
use crate::job::snapshotter::Restore;
use crate::replay::request::{Capture, CapturedRows, Replay};

impl Planner {
    /// Finds the batches in the directory and tells the workers what to load. The directory is only read.
    pub(crate) fn resume_replay(&mut self, replay: &Replay, program: &[StateId]) -> Result<Resumed> {
        let directory = Directory::open(&replay.dir)?;
        let interval = self.config.interval;
        directory.belongs_to(&self.config.name, interval.duration())?;
        let Again { directory, checkpoint, positions, plans, losses } = directory.again(replay.from, replay.to, replay.anew)?;
        if checkpoint.is_none() && replay.verify && !replay.anew {
            let what = format!("no checkpoint is from before {} ({} ms)", replay.from, replay.from.millis());
            let remedy = "there is nothing to compare with what is computed anew; begin later";
            return Err(Error::checkpoint(replay.dir.display().to_string(), format!("{what}: {remedy}")));
        }
        if let Some(manifest) = &checkpoint {
            fits(manifest, program, self.config.runtime.drop_state)?;
        }
        let time = checkpoint.as_ref().map(|m| m.time);
        let split_ids = checkpoint.as_ref().map_or(0, |m| m.split_ids);
        let saved = checkpoint.into_iter().flat_map(|m| m.operators).filter(|o| program.contains(&o.id));
        let states = saved.map(|o| (o.id.name, o.groups)).collect();
        let run = RunId { directory: directory.0, generation: 0 };
        self.split_ids.go_on(split_ids);
        self.send(Order::Restore { time, run, what: encoded(&Restore { lease: None, states }) });
        tracing::info!(checkpoint = time.unwrap_or_default().millis(), batches = plans.len(), "runs again, nothing is saved");
        let planned = plans.last().map_or(replay.to, |p| p.end(interval.millis()));
        Ok(Resumed { known: true, time, positions, split_ids, replay: plans.into(), losses, planned, ..Resumed::default() })
    }
}

/// Runs the batches twice: with states computed from the first batch on, then with those of the checkpoint before the batches.
/// Rows of outputs must be the same, or the second job ends with the first difference.
///
/// # Errors
/// As any run.
pub(crate) fn verify<F>(config: &Config, replay: &Replay, build: Arc<F>) -> Result<JobHandle>
where
    F: for<'s> Fn(&StreamingContext<'s>) -> Result<(), BoxError> + Send + Sync + 'static,
{
    let told = |anew, capture: &Capture| {
        let replay = Replay { anew, capture: Some(capture.clone()), ..replay.clone() };
        Arc::new(Config { replay: Some(replay), ..config.clone() })
    };
    let (anew, kept) = (Capture::default(), Capture::default());
    begin(told(true, &anew), Clock::System, build.clone(), Ok)?.await_termination()?;
    let (from, to) = (replay.from, replay.to);
    begin(told(false, &kept), Clock::System, build, move |summary| {
        let (kept, anew) = (kept.take(), anew.take());
        let rows = compare(&kept, &anew)?;
        let outputs: BTreeSet<&str> = kept.keys().map(|(_, output)| output.as_str()).collect();
        let same = format!("{rows} rows of {} outputs from {from} to {to} are the same, computed anew", outputs.len());
        write_stdout(&format!("verified: {same}\n")).map_err(|e| Error::io("what was verified", e))?;
        Ok(summary)
    })
}

/// How many rows are the same.
///
/// # Errors
/// The first batch and output in which they are not.
fn compare(kept: &CapturedRows, anew: &CapturedRows) -> Result<usize> {
    let mut same = 0;
    let none = Vec::new();
    let keys: BTreeSet<_> = kept.keys().chain(anew.keys()).collect();
    for key in keys {
        let (a, b) = (kept.get(key).unwrap_or(&none), anew.get(key).unwrap_or(&none));
        if a != b {
            let at = a.iter().zip(b).take_while(|(a, b)| a == b).count();
            let row = |rows: &Vec<String>| rows.get(at).map_or("no row".into(), |r| format!("\"{}\"", few(r)));
            return Err(Error::Differs {
                time: key.0,
                output: key.1.clone(),
                what: format!(
                    "row {} is {} with the states of the checkpoint, and {} when they are computed anew",
                    at + 1,
                    row(a),
                    row(b)
                ),
            });
        }
        same += a.len();
    }
    Ok(same)
}

/// The first characters of a long row.
fn few(row: &str) -> String {
    const SHOWN: usize = 200;
    match row.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}...", &row[..at]),
        None => row.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::BatchTime;

    fn left(rows: &[(u64, &str, &[&str])]) -> CapturedRows {
        let one = |(t, o, rows): &(u64, &str, &[&str])| {
            ((BatchTime::from_millis(*t), (*o).to_owned()), rows.iter().map(|r| (*r).to_owned()).collect())
        };
        rows.iter().map(one).collect()
    }

    #[test]
    fn the_first_difference_is_named() {
        let kept = left(&[(5, "print", &["a", "b"]), (10, "print", &["c"])]);
        assert_eq!(compare(&kept, &kept).unwrap(), 3);
        let e = compare(&kept, &left(&[(5, "print", &["a", "x"]), (10, "print", &["y"])])).unwrap_err().to_string();
        assert!(e.contains("print") && e.contains("row 2 is \"b\"") && e.contains("\"x\"") && !e.contains("\"y\""), "{e}");
        let e = compare(&kept, &left(&[(5, "print", &["a", "b"])])).unwrap_err().to_string();
        assert!(e.contains("\"c\"") && e.contains("no row"), "{e}");
        let long = "\u{e9}".repeat(300);
        let e = compare(&left(&[(5, "print", &[&long])]), &left(&[])).unwrap_err().to_string();
        assert!(e.contains("...") && e.chars().count() < 400, "{e}");
    }
}
