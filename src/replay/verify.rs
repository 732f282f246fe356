//! Verifies a checkpoint: replays batches with its states and with states recomputed from the first batch, and compares the rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::api::config::Config;
use crate::api::context::Build;
use crate::connector::console::write_stdout;
use crate::core::error::{Error, Result};
use crate::job::handle::JobHandle;
use crate::job::run::launch;
use crate::replay::request::{Capture, CapturedRows, Replay};

/// Replays the batches twice: with states recomputed from the first batch, then with the states of the checkpoint before them. If
/// the rows of an output differ, the second job fails with the first difference.
///
/// # Errors
/// Like every start of a job.
pub(crate) fn verify(config: &Config, replay: &Replay, build: Arc<Build>) -> Result<JobHandle> {
    let with = |recompute, capture: &Capture| {
        let replay = Replay { recompute, capture: Some(capture.clone()), ..replay.clone() };
        Arc::new(Config { replay: Some(replay), ..config.clone() })
    };
    let (recomputed, restored) = (Capture::default(), Capture::default());
    launch(with(true, &recomputed), build.clone(), Ok)?.await_termination()?;
    let (from, to) = (replay.from, replay.to);
    launch(with(false, &restored), build, move |summary| {
        let (restored, recomputed) = (restored.take(), recomputed.take());
        let rows = compare(&restored, &recomputed)?;
        let outputs: BTreeSet<&str> = restored.keys().map(|(_, output)| output.as_str()).collect();
        let same = format!("{rows} rows of {} outputs from {from} to {to} are the same when recomputed", outputs.len());
        write_stdout(&format!("verified: {same}\n")).map_err(|e| Error::io("write of the result", e))?;
        Ok(summary)
    })
}

/// Compares captured rows, and returns their number.
///
/// # Errors
/// The first difference, with its batch and output.
fn compare(restored: &CapturedRows, recomputed: &CapturedRows) -> Result<usize> {
    let mut same = 0;
    let none = Vec::new();
    let keys: BTreeSet<_> = restored.keys().chain(recomputed.keys()).collect();
    for key in keys {
        let (a, b) = (restored.get(key).unwrap_or(&none), recomputed.get(key).unwrap_or(&none));
        if a != b {
            let at = a.iter().zip(b).take_while(|(a, b)| a == b).count();
            let row = |rows: &Vec<String>| rows.get(at).map_or("no row".into(), |r| format!("\"{}\"", few(r)));
            return Err(Error::Differs {
                time: key.0,
                output: key.1.clone(),
                what: format!(
                    "row {} is {} with the states of the checkpoint, but {} when they are recomputed",
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

/// At most the first 200 characters of a row.
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

    fn captured(rows: &[(u64, &str, &[&str])]) -> CapturedRows {
        let one = |(t, o, rows): &(u64, &str, &[&str])| {
            ((BatchTime::from_millis(*t), (*o).to_owned()), rows.iter().map(|r| (*r).to_owned()).collect())
        };
        rows.iter().map(one).collect()
    }

    #[test]
    fn the_first_difference_is_named() {
        let kept = captured(&[(5, "print", &["a", "b"]), (10, "print", &["c"])]);
        assert_eq!(compare(&kept, &kept).unwrap(), 3);
        let e = compare(&kept, &captured(&[(5, "print", &["a", "x"]), (10, "print", &["y"])])).unwrap_err().to_string();
        assert!(e.contains("print") && e.contains("row 2 is \"b\"") && e.contains("\"x\"") && !e.contains("\"y\""), "{e}");
        let e = compare(&kept, &captured(&[(5, "print", &["a", "b"])])).unwrap_err().to_string();
        assert!(e.contains("\"c\"") && e.contains("no row"), "{e}");
        let long = "\u{e9}".repeat(300);
        let e = compare(&captured(&[(5, "print", &[&long])]), &captured(&[])).unwrap_err().to_string();
        assert!(e.contains("...") && e.chars().count() < 400, "{e}");
    }
}
