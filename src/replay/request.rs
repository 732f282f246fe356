//! What a replay is asked for, and where its outputs write. A replay runs earlier batches again, for a person to look at.
//!
//! *Invariant:* a replay writes nothing where the job itself writes. It only reads the checkpoint directory. For the rest of the
//! job there is none, so a replay takes no lease, logs no plan and saves no state.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::api::config::Config;
use crate::core::error::{Error, Result};
use crate::core::time::BatchTime;

/// Rows as text, by batch and output operation.
pub(crate) type CapturedRows = BTreeMap<(BatchTime, String), Vec<String>>;

/// Where outputs put rows that are to be compared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Capture(Arc<Mutex<CapturedRows>>);

impl PartialEq for Capture {
    /// Whether both are the same place.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Capture {
    pub fn put(&self, time: BatchTime, output: &str, rows: Vec<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((time, output.into()), rows);
    }

    pub fn take(&self) -> CapturedRows {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The batches that run again, and how.
#[derive(Clone, Debug)]
pub(crate) struct Replay {
    pub dir: PathBuf,
    /// The first and the last batch time that outputs write.
    pub from: BatchTime,
    pub to: BatchTime,
    /// States are computed from the first batch on, instead of loaded.
    pub anew: bool,
    /// Topics and prefixes that outputs write to instead of their own.
    pub redirects: BTreeMap<String, String>,
    /// Whether functions of the program run, as those of `foreach_batch`.
    pub foreach: bool,
    /// Whether it runs twice, and the rows of outputs are compared.
    pub verify: bool,
    /// There if rows are only compared.
    pub capture: Option<Capture>,
}

/// Where the rows of an output go.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OutputTarget {
    /// Where the program says.
    Own,
    /// To another topic, or under another prefix.
    Other(String),
    /// To stdout, as text.
    Stdout,
    /// To where rows are compared, as text.
    Captured(Capture),
    /// Nowhere.
    Discarded,
}

/// Says that the rows of an output are discarded.
pub(crate) fn warn_discarded(output: &str) {
    tracing::warn!("{output} is not run in a replay, for nobody knows what it writes; --replay-foreach runs it");
}

impl Config {
    /// Takes the replay from the command line. After this call the job has no checkpoint directory to write.
    pub(crate) fn settle_replay(&mut self) -> Result<()> {
        let r = &mut self.runtime;
        let (Some(from), Some(to)) = (r.replay_from, r.replay_to) else { return Ok(()) };
        let said = format!("--replay-from {} --replay-to {}", from.millis(), to.millis());
        let Some(dir) = r.checkpoint.take() else {
            return Err(Error::config(format!(
                "{said}: the batches are in a checkpoint directory; say which by --checkpoint DIR"
            )));
        };
        if to < from {
            return Err(Error::config(format!("{said}: the last batch is before the first")));
        }
        if r.plans.is_some() {
            return Err(Error::config(format!("{said}: --plans gives other batches; say one of the two")));
        }
        if r.verify && r.processes > 1 {
            let what = "rows are compared in one process; give it more workers instead";
            return Err(Error::config(format!("--verify with {} processes: {what}", r.processes)));
        }
        let (redirects, foreach, verify) = (r.replay_into.iter().cloned().collect(), r.replay_foreach, r.verify);
        self.replay = Some(Replay { dir, from, to, anew: false, redirects, foreach, verify, capture: None });
        self.warns = false;
        Ok(())
    }

    /// Where an output writes that would write to `own`: a topic, or a prefix of files.
    pub(crate) fn output_target(&self, own: &str) -> OutputTarget {
        match &self.replay {
            None => OutputTarget::Own,
            Some(Replay { capture: Some(capture), .. }) => OutputTarget::Captured(capture.clone()),
            Some(replay) => replay.redirects.get(own).map_or(OutputTarget::Stdout, |other| OutputTarget::Other(other.clone())),
        }
    }

    /// Where the rows go that a function of the program would get. A replay does not run it unless it is told to.
    pub(crate) fn function_target(&self) -> OutputTarget {
        match &self.replay {
            Some(Replay { foreach: true, capture: None, .. }) => OutputTarget::Own,
            _ => self.transaction_target(),
        }
    }

    /// Where the rows go that an exactly-once sink of the program would get. A replay cannot run it.
    pub(crate) fn transaction_target(&self) -> OutputTarget {
        match &self.replay {
            None => OutputTarget::Own,
            Some(replay) => replay.capture.clone().map_or(OutputTarget::Discarded, OutputTarget::Captured),
        }
    }

    /// Where text goes that is for stdout.
    pub(crate) fn text_target(&self) -> OutputTarget {
        let capture = self.replay.as_ref().and_then(|r| r.capture.clone());
        capture.map_or(OutputTarget::Stdout, OutputTarget::Captured)
    }
}

/// `OLD=NEW` of a command line.
///
/// # Errors
/// The text has no `=`, or nothing on one side of it.
pub(crate) fn parse_redirect(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() && old != new => Ok((old.into(), new.into())),
        _ => Err(format!("\"{text}\": write the topic or prefix of an output and another one, as counts=counts-again")),
    }
}

/// A batch time on a command line: milliseconds since the epoch, or as 2026-11-21T17:08:55Z.
///
/// # Errors
/// The text is neither.
pub(crate) fn parse_time(text: &str) -> Result<BatchTime, String> {
    let read = text.parse::<jiff::Timestamp>().ok().and_then(|t| u64::try_from(t.as_millisecond()).ok());
    let ms = text.parse::<u64>().ok().or(read);
    let wrong = || {
        format!("\"{text}\" is not a time: write milliseconds since the epoch, or a time with its zone as 2026-11-21T17:08:55Z")
    };
    ms.map(BatchTime::from_millis).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn told(set: impl FnOnce(&mut crate::api::config::RuntimeArgs)) -> Result<Config> {
        let mut config = Config::new("j".into(), Duration::from_secs(1))?;
        let r = &mut config.runtime;
        (r.replay_from, r.replay_to) = (Some(BatchTime::from_millis(2_000)), Some(BatchTime::from_millis(3_000)));
        r.checkpoint = Some("dir".into());
        set(r);
        config.settle_replay().map(|()| config)
    }

    #[test]
    fn a_replay_has_no_directory_to_write() {
        let config = told(|r| r.replay_into = vec![("counts".into(), "again".into())]).unwrap();
        assert_eq!((config.runtime.checkpoint.as_ref(), config.warns), (None, false));
        assert_eq!(config.replay.as_ref().unwrap().dir, PathBuf::from("dir"));
        let targets = (config.output_target("counts"), config.output_target("other"));
        assert_eq!(targets, (OutputTarget::Other("again".into()), OutputTarget::Stdout));
        let runs = told(|r| r.replay_foreach = true).unwrap();
        assert_eq!((config.function_target(), runs.function_target()), (OutputTarget::Discarded, OutputTarget::Own));
        assert_eq!(runs.transaction_target(), OutputTarget::Discarded, "it has no checkpoint directory");
        let job = told(|r| r.replay_from = None).unwrap();
        assert_eq!((job.output_target("counts"), job.function_target()), (OutputTarget::Own, OutputTarget::Own));
        assert_eq!(job.runtime.checkpoint, Some("dir".into()));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let wrong = |set: fn(&mut crate::api::config::RuntimeArgs)| told(set).unwrap_err().to_string();
        assert!(wrong(|r| r.checkpoint = None).contains("--checkpoint DIR"));
        assert!(wrong(|r| r.replay_to = Some(BatchTime::from_millis(1_000))).contains("before the first"));
        assert!(wrong(|r| r.plans = Some("p".into())).contains("--plans"));
        assert!(wrong(|r| (r.verify, r.processes) = (true, 2)).contains("2 processes"));
    }

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
