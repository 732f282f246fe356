//! Where a job begins: at the start of its sources, at given plans, or where its previous run stopped.
//!
//! The functions decide and return the decision. The planner acts on it.

use crate::api::config::Config;
use crate::checkpoint::Directory;
use crate::core::error::{Error, Result};
use crate::core::plan::RunId;
use crate::core::time::{Interval, clock_time};
use crate::job::checkpoint_coordinator::{CheckpointCoordinator, Opened, check_states, open};
use crate::job::protocol::{Command, Restore};
use crate::job::resumed::{ProgramStates, Resumed, Shards};
use crate::replay::history::History;
use crate::replay::request::Replay;

/// How far the last planned batch may be ahead of the clock, beyond one batch interval. If it is further, the clock was set back, or
/// the directory belongs to another job.
const AHEAD_MS: u64 = 60_000;

/// Takes the checkpoint directory of a job, if it has one.
///
/// # Errors
/// [`Checkpoints::open`](crate::checkpoint::Checkpoints::open) fails, or states or sinks do not fit this program.
pub(crate) fn resume(
    config: &Config,
    opened: Option<Result<Opened>>,
    checkpoint_every: u64,
    states: ProgramStates,
    shards: &Shards,
) -> Result<(Option<CheckpointCoordinator>, Resumed)> {
    let Some(dir) = &config.runtime.checkpoint else {
        if !states.run.is_empty() && config.warns {
            let names: Vec<&str> = states.run.iter().map(|s| s.name.as_str()).collect();
            tracing::warn!(
                "The checkpoint directory has not been set: the states of {} are lost when this job ends. Please set it by --checkpoint DIR or checkpoint(dir)",
                names.join(", ")
            );
        }
        return Ok((None, Resumed::default()));
    };
    let opened = opened.unwrap_or_else(|| open(dir, config))?;
    let (coordinator, resumed) = CheckpointCoordinator::new(opened, config, checkpoint_every, states, shards)?;
    Ok((Some(coordinator), resumed))
}

/// Finds the batches of a replay in the directory, and the states that workers load before them. The directory is only read.
///
/// # Errors
/// The directory belongs to another job, a batch cannot run again, or the states do not fit this program.
pub(crate) fn resume_replay(config: &Config, replay: &Replay, program: &ProgramStates) -> Result<(Resumed, Command)> {
    let directory = Directory::open(&replay.dir)?;
    let interval = config.interval;
    directory.belongs_to(&config.name, interval.duration(), config.key_groups())?;
    let History { directory, checkpoint, positions, plans, losses } = match &replay.instead {
        Some(batch) => directory.history_before(batch)?,
        None => directory.history(replay.from, replay.to, replay.recompute)?,
    };
    if checkpoint.is_none() && replay.verify && !replay.recompute {
        let what = format!("no checkpoint is from before {} ({} ms)", replay.from, replay.from.millis());
        let remedy = "there is nothing to compare with recomputed states; begin later";
        return Err(Error::checkpoint(replay.dir.display().to_string(), format!("{what}: {remedy}")));
    }
    if let Some(manifest) = &checkpoint {
        check_states(manifest, program, config.runtime.drop_state)?;
    }
    let time = checkpoint.as_ref().map(|m| m.time);
    let split_ids = checkpoint.as_ref().map_or(0, |m| m.split_ids);
    let saved = checkpoint.into_iter().flat_map(|m| m.operators).filter(|o| program.run.contains(&o.id));
    let what = Restore { lease: None, states: saved.map(|o| (o.id.name, o.groups)).collect() };
    let planned = plans.last().map_or(replay.to, |p| p.end(interval.millis()));
    let resumed =
        Resumed { known: true, time, positions, split_ids, replay: plans.into(), losses, planned, ..Resumed::default() };
    Ok((resumed, Command::Restore { time, run: RunId { directory: directory.0, generation: 0 }, what }))
}

/// Checks that the last planned batch is not far ahead of the clock. After a graceful stop it may be: its last batch ends at the end of
/// the batch interval in which the job was stopped. Several stops within an interval plan several intervals ahead.
///
/// # Errors
/// It is far ahead, or the clock is behind the time at which the checkpoint was written. Batch times never go back.
pub(crate) fn check_clock(resumed: &Resumed, interval: Interval, now_ms: u64) -> Result<()> {
    let planned = resumed.planned;
    let stopped = resumed.time == Some(planned) && resumed.written_ms <= now_ms + AHEAD_MS;
    if stopped || planned.millis() <= now_ms + interval.millis() + AHEAD_MS {
        return Ok(());
    }
    let now = clock_time(now_ms);
    let what = format!("the last batch was planned for {planned}, but the clock shows {now}");
    Err(Error::checkpoint("plans", format!("{what}: set the clock right; batch times do not go back")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::BatchTime;
    use std::time::Duration;

    #[test]
    fn a_plan_ahead_of_the_clock_is_accepted_after_a_graceful_stop_and_for_one_interval() {
        const MINUTE: u64 = 60_000;
        const NOW: u64 = 1_000 * 86_400_000;
        let interval = Interval::new(Duration::from_secs(300)).unwrap();
        let of = |planned: u64, checkpoint: u64, written_ms: u64| {
            let time = (checkpoint > 0).then(|| BatchTime::from_millis(checkpoint));
            let resumed = Resumed { planned: BatchTime::from_millis(planned), time, written_ms, ..Resumed::default() };
            check_clock(&resumed, interval, NOW)
        };
        let ahead = |minutes: u64| NOW + minutes * MINUTE;
        for (what, planned, checkpoint, written) in [
            ("in the past", NOW - 1, 0, 0),
            ("one interval ahead, without a checkpoint", ahead(5), 0, 0),
            ("the checkpoint of an older version, by another clock", ahead(5), ahead(5), ahead(60)),
            ("ten stops within an interval", ahead(50), ahead(50), NOW),
        ] {
            of(planned, checkpoint, written).unwrap_or_else(|e| panic!("{what}: {e}"));
        }
        for (what, planned, checkpoint, written) in [
            ("no graceful stop", ahead(50), ahead(45), NOW),
            ("the clock was set back since the stop", ahead(50), ahead(50), ahead(45)),
        ] {
            let e = of(planned, checkpoint, written).expect_err(what).to_string();
            assert!(e.contains("set the clock right") && e.contains(&clock_time(planned)), "{what}: {e}");
        }
    }
}
