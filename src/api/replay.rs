//! The settings of a replay, and where its outputs write.

use crate::api::config::Config;
use crate::core::error::{Error, Result};
use crate::replay::request::{OutputTarget, Replay};

impl Config {
    /// Takes the replay from the command line. After this call the job has no checkpoint directory to write.
    pub(crate) fn settle_replay(&mut self) -> Result<()> {
        let r = &mut self.runtime;
        let batches = r.replay_from.zip(r.replay_to);
        let Some((from, to)) = batches.or_else(|| r.find_poison.then(Default::default)) else { return Ok(()) };
        let given = match batches {
            Some(_) => format!("--replay-from {} --replay-to {}", from.millis(), to.millis()),
            None => "--find-poison".into(),
        };
        let Some(dir) = r.checkpoint.take() else {
            return Err(Error::config(format!(
                "{given}: the batches are in a checkpoint directory; name it with --checkpoint DIR"
            )));
        };
        if to < from {
            return Err(Error::config(format!("{given}: the last batch is before the first")));
        }
        if r.plans.is_some() {
            return Err(Error::config(format!("{given}: --plans gives other batches; give one of the two")));
        }
        if r.verify && r.processes > 1 {
            let what = "rows are compared in one process; give it more workers instead";
            return Err(Error::config(format!("--verify with {} processes: {what}", r.processes)));
        }
        if r.find_poison && r.processes > 1 {
            return Err(Error::config(format!(
                "--find-poison with {} processes: it runs in one; give it more workers",
                r.processes
            )));
        }
        let find_poison = r.find_poison;
        let (redirects, foreach, verify) = (r.replay_into.iter().cloned().collect(), r.replay_foreach, r.verify);
        let (recompute, capture, instead) = (false, None, None);
        self.replay = Some(Replay { dir, from, to, recompute, redirects, foreach, verify, capture, find_poison, instead });
        self.warns = false;
        Ok(())
    }

    /// Where the output writes whose own target is `own`: a topic, or a prefix of files.
    pub(crate) fn output_target(&self, own: &str) -> OutputTarget {
        match &self.replay {
            None => OutputTarget::Own,
            Some(Replay { capture: Some(capture), .. }) => OutputTarget::Captured(capture.clone()),
            Some(replay) => replay.redirects.get(own).map_or(OutputTarget::Stdout, |other| OutputTarget::Other(other.clone())),
        }
    }

    /// Where the rows go that a function of the program would get. A replay runs the function only with
    /// `--replay-foreach`.
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::core::time::BatchTime;

    fn replay_config(set: impl FnOnce(&mut crate::api::config::RuntimeArgs)) -> Result<Config> {
        let mut config = Config::new("j".into(), Duration::from_secs(1))?;
        let r = &mut config.runtime;
        (r.replay_from, r.replay_to) = (Some(BatchTime::from_millis(2_000)), Some(BatchTime::from_millis(3_000)));
        r.checkpoint = Some("dir".into());
        set(r);
        config.settle_replay().map(|()| config)
    }

    #[test]
    fn a_replay_has_no_directory_to_write() {
        let config = replay_config(|r| r.replay_into = vec![("counts".into(), "again".into())]).unwrap();
        assert_eq!((config.runtime.checkpoint.as_ref(), config.warns), (None, false));
        assert_eq!(config.replay.as_ref().unwrap().dir, PathBuf::from("dir"));
        let targets = (config.output_target("counts"), config.output_target("other"));
        assert_eq!(targets, (OutputTarget::Other("again".into()), OutputTarget::Stdout));
        let runs = replay_config(|r| r.replay_foreach = true).unwrap();
        assert_eq!((config.function_target(), runs.function_target()), (OutputTarget::Discarded, OutputTarget::Own));
        assert_eq!(runs.transaction_target(), OutputTarget::Discarded, "a replay has no checkpoint directory");
        let job = replay_config(|r| r.replay_from = None).unwrap();
        assert_eq!((job.output_target("counts"), job.function_target()), (OutputTarget::Own, OutputTarget::Own));
        assert_eq!(job.runtime.checkpoint, Some("dir".into()));
    }

    #[test]
    fn an_impossible_replay_is_refused() {
        let wrong = |set: fn(&mut crate::api::config::RuntimeArgs)| replay_config(set).unwrap_err().to_string();
        assert!(wrong(|r| r.checkpoint = None).contains("--checkpoint DIR"));
        assert!(wrong(|r| r.replay_to = Some(BatchTime::from_millis(1_000))).contains("before the first"));
        assert!(wrong(|r| r.plans = Some("p".into())).contains("--plans"));
        assert!(wrong(|r| (r.verify, r.processes) = (true, 2)).contains("2 processes"));
    }
}
