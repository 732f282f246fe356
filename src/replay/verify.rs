//! Runs earlier batches again: with the states of a checkpoint, or with states computed from the first batch on; compares both.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::api::config::Config;
use crate::api::context::StreamingContext;
use crate::connector::console::write_stdout;
use crate::core::clock::Clock;
use crate::core::error::{BoxError, Error, Result};
use crate::job::handle::JobHandle;
use crate::job::run::launch;
use crate::replay::request::{Capture, CapturedRows, Replay};

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
    launch(told(true, &anew), Clock::System, build.clone(), Ok)?.await_termination()?;
    let (from, to) = (replay.from, replay.to);
    launch(told(false, &kept), Clock::System, build, move |summary| {
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
