//! A replay: batches of before run again, for somebody to look at. What it is told, and where outputs of it go.
//!
//! *Invariant:* a replay writes nothing where the job itself writes. Its checkpoint directory is only read, and it has none as
//! far as everything else of the job can see: so it takes no lease, logs no plan and saves no state.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::api::config::Config;
use crate::core::error::{Error, Result};
use crate::core::time::BatchTime;

/// What left a job at one time, by the output operation.
pub(crate) type Left = BTreeMap<(BatchTime, String), Vec<String>>;

/// Where outputs put what is to be compared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<Mutex<Left>>);

impl Seen {
    pub fn put(&self, time: BatchTime, output: &str, rows: Vec<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((time, output.into()), rows);
    }

    pub fn take(&self) -> Left {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is to run again.
#[derive(Clone, Debug)]
pub(crate) struct Replay {
    pub dir: PathBuf,
    /// The first and the last batch time that outputs see.
    pub from: BatchTime,
    pub to: BatchTime,
    /// States are computed from the first batch on, instead of loaded.
    pub anew: bool,
    /// Where outputs write instead of their own place.
    pub into: BTreeMap<String, String>,
    /// Whether functions of the program that are outputs run.
    pub foreach: bool,
    /// Whether it runs twice, and what leaves is compared.
    pub verify: bool,
    /// There if what leaves is only compared.
    pub seen: Option<Seen>,
}

/// Where an output writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where it says.
    Own,
    /// Elsewhere.
    Other(String),
    /// Nowhere: its rows are shown.
    Shown,
}

impl Config {
    /// Where what leaves is put, if it is only compared.
    pub(crate) fn seen(&self) -> Option<Seen> {
        self.replay.as_ref().and_then(|r| r.seen.clone())
    }

    /// Takes what the command line says of a replay; from then on the job has no checkpoint directory to write.
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
            let what = "what leaves is compared in one process; give it more workers instead";
            return Err(Error::config(format!("--verify with {} processes: {what}", r.processes)));
        }
        let (into, foreach, verify) = (r.replay_into.iter().cloned().collect(), r.replay_foreach, r.verify);
        self.replay = Some(Replay { dir, from, to, anew: false, into, foreach, verify, seen: None });
        self.warns = false;
        Ok(())
    }

    /// Where an output writes that belongs to `own`: a topic, a prefix of files.
    pub(crate) fn place(&self, own: &str) -> Place {
        match &self.replay {
            None => Place::Own,
            Some(Replay { seen: Some(_), .. }) => Place::Shown,
            Some(replay) => replay.into.get(own).map_or(Place::Shown, |other| Place::Other(other.clone())),
        }
    }

    /// Whether functions of the program that are outputs run.
    pub(crate) fn runs_foreach(&self) -> bool {
        self.replay.as_ref().is_none_or(|r| r.foreach && r.seen.is_none())
    }
}

/// `OLD=NEW` of a command line.
///
/// # Errors
/// It has no `=`, or nothing on one side of it.
pub(crate) fn into(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() && old != new => Ok((old.into(), new.into())),
        _ => Err(format!("\"{text}\": write the topic or prefix of an output and another one, as counts=counts-again")),
    }
}

/// A batch time on a command line: milliseconds since the epoch, or as 2026-11-21T17:08:55Z.
///
/// # Errors
/// What is neither.
pub(crate) fn moment(text: &str) -> Result<BatchTime, String> {
    let read = text.parse::<jiff::Timestamp>().ok().and_then(|t| u64::try_from(t.as_millisecond()).ok());
    let ms = text.parse::<u64>().ok().or(read);
    let wrong =
        || format!("\"{text}\" is no time: write milliseconds since the epoch, or a time with its zone as 2026-11-21T17:08:55Z");
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
        assert_eq!((config.place("counts"), config.place("other")), (Place::Other("again".into()), Place::Shown));
        assert!(!config.runs_foreach() && told(|r| r.replay_foreach = true).unwrap().runs_foreach());
        let job = told(|r| r.replay_from = None).unwrap();
        assert_eq!((job.place("counts"), job.runs_foreach(), job.runtime.checkpoint), (Place::Own, true, Some("dir".into())));
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
        let ms = |text| moment(text).map(BatchTime::millis);
        assert_eq!((ms("5000"), ms("1970-01-01T00:00:05Z"), ms("1970-01-01T01:00:05+01:00")), (Ok(5_000), Ok(5_000), Ok(5_000)));
        for no in ["", "-1", "yesterday", "2026-11-21T17:08:55", "1969-01-01T00:00:00Z"] {
            assert!(ms(no).unwrap_err().contains("17:08:55Z"), "{no}");
        }
        assert_eq!(into("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(["a", "=b", "a=", "a=a"].iter().all(|no| into(no).is_err()));
    }
}
