//! The request for a replay, and where its outputs write. A replay runs earlier batches again, for examination.
//!
//! *Invariant:* a replay writes nothing where the job itself writes, and only reads the checkpoint directory. To the rest of the
//! job it has no checkpoint directory: it takes no lease, logs no plan and saves no state.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::checkpoint::PlanRecord;
use crate::core::lock::lock;
use crate::core::time::BatchTime;

/// Rows as text, by batch and output operation.
pub(crate) type CapturedRows = BTreeMap<(BatchTime, String), Vec<String>>;

/// The rows that outputs capture for a comparison.
#[derive(Clone, Debug, Default)]
pub(crate) struct Capture(Arc<Mutex<CapturedRows>>);

impl PartialEq for Capture {
    /// Whether both share the same rows.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Capture {
    pub fn put(&self, time: BatchTime, output: &str, rows: Vec<String>) {
        lock(&self.0).insert((time, output.into()), rows);
    }

    pub fn take(&self) -> CapturedRows {
        std::mem::take(&mut *lock(&self.0))
    }
}

/// The batches to replay, and how.
#[derive(Clone, Debug)]
pub(crate) struct Replay {
    pub dir: PathBuf,
    /// The first and the last batch time that outputs write.
    pub from: BatchTime,
    pub to: BatchTime,
    /// Whether states are recomputed from the first batch, instead of loaded from a checkpoint.
    pub recompute: bool,
    /// Topics and prefixes of outputs, with those that they write to instead.
    pub redirects: BTreeMap<String, String>,
    /// Whether functions of the program run, such as those of `foreach_batch`.
    pub foreach: bool,
    /// Whether the replay runs twice, to compare the rows of outputs.
    pub verify: bool,
    /// Set if rows are captured for a comparison, and not written.
    pub capture: Option<Capture>,
    /// Whether to find the record on which the program panics. Without batches: among those that a failed job had not planned.
    pub find_poison: bool,
    /// The only batch to run and to show, with its ranges. It may be one that was not planned.
    pub instead: Option<PlanRecord>,
}

/// Where the rows of an output go.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OutputTarget {
    /// The target in the program.
    Own,
    /// Another topic or prefix.
    Other(String),
    /// Stdout, as text.
    Stdout,
    /// The captured rows, as text.
    Captured(Capture),
    /// Nowhere.
    Discarded,
}

/// Warns that the rows of an output are discarded.
pub(crate) fn warn_discarded(output: &str) {
    tracing::warn!("{output} does not run in a replay, because its effects are unknown; --replay-foreach runs it");
}

/// Parses `OLD=NEW` from the command line: the topic or prefix of an output, and its replacement.
///
/// # Errors
/// The text has no `=`, a side is empty, or both sides are equal.
pub(crate) fn parse_redirect(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() && old != new => Ok((old.into(), new.into())),
        _ => Err(format!("\"{text}\": write the topic or prefix of an output and another one, such as counts=counts-again")),
    }
}

/// Parses a batch time from the command line: milliseconds since the epoch, or a time such as 2026-11-21T17:08:55Z.
///
/// # Errors
/// The text is neither.
pub(crate) fn parse_time(text: &str) -> Result<BatchTime, String> {
    let read = text.parse::<jiff::Timestamp>().ok().and_then(|t| u64::try_from(t.as_millisecond()).ok());
    let ms = text.parse::<u64>().ok().or(read);
    let wrong = || {
        format!(
            "\"{text}\" is not a time: write milliseconds since the epoch, or a time with its zone, such as 2026-11-21T17:08:55Z"
        )
    };
    ms.map(BatchTime::from_millis).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_places_of_a_command_line() {
        let ms = |text| parse_time(text).map(BatchTime::millis);
        assert_eq!((ms("5000"), ms("1970-01-01T00:00:05Z"), ms("1970-01-01T01:00:05+01:00")), (Ok(5_000), Ok(5_000), Ok(5_000)));
        for no in ["", "-1", "yesterday", "2026-11-21T17:08:55", "1969-01-01T00:00:00Z"] {
            assert!(ms(no).unwrap_err().contains("17:08:55Z"), "{no}");
        }
        assert_eq!(parse_redirect("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(["a", "=b", "a=", "a=a"].iter().all(|no| parse_redirect(no).is_err()));
    }
}
