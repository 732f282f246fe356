//! The log lines of a job, written by process 0: its start, its changes of state, and a summary at its end.
//!
//! The planner calls it. Nothing here has an effect on the job.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::api::config::Config;
use crate::checkpoint;
use crate::core::error::Error;
use crate::core::plan::Plan;
use crate::core::time::{BatchTime, counted, human_duration};
use crate::job::resumed::Resumed;
use crate::metrics::Statistics;

/// How many splits of a source the first line names.
const NAMED: usize = 4;
/// The least time between two lines about the bad records of one stream.
const PAUSE: Duration = Duration::from_secs(10);
/// How late a batch may be, in batch intervals, before the job falls behind; and at least this time.
const LATE: (u32, Duration) = (10, Duration::from_secs(10));

/// What was logged of a running job, and what is still to be logged.
pub(crate) struct Reporter {
    /// By stream.
    bad: BTreeMap<String, BadRecords>,
    /// How late a batch may be.
    limit: Duration,
    /// Since when the job has been behind.
    behind: Option<Instant>,
}

/// Bad records of one stream that no stream takes.
#[derive(Default)]
struct BadRecords {
    total: u64,
    /// Not yet logged, and the first of them.
    unlogged: u64,
    first: String,
    logged: Option<Instant>,
}

impl Reporter {
    pub fn new(config: &Config) -> Self {
        let limit = (config.interval.duration().saturating_mul(LATE.0)).max(LATE.1);
        Reporter { bad: BTreeMap::new(), limit, behind: None }
    }

    /// One worker has read bad records.
    pub fn bad_records(&mut self, stream: String, records: u64, first: String) {
        let bad = self.bad.entry(stream).or_default();
        if bad.unlogged == 0 {
            bad.first = first;
        }
        bad.total += records;
        bad.unlogged += records;
    }

    /// Logs bad records, each stream at most once in ten seconds. `all`: at once, because the job ends.
    pub fn log_bad_records(&mut self, all: bool) {
        for (stream, bad) in self.bad.iter_mut().filter(|(_, bad)| bad.unlogged > 0) {
            if all || bad.logged.is_none_or(|at| at.elapsed() >= PAUSE) {
                let (n, total, first) = (bad.unlogged, bad.total, &bad.first);
                tracing::warn!("{stream}: bad records that no stream takes: {n}, {total} in all; the first: {first}");
                (bad.unlogged, bad.logged) = (0, Some(Instant::now()));
            }
        }
    }

    /// Every output has written the live batch of `time`, with this delay.
    pub fn written(&mut self, time: BatchTime, late: Duration) {
        // Few batches are logged, so the texts are made only for these.
        let texts = || (time.to_string(), human_duration(late));
        match self.behind {
            None if late > self.limit => {
                self.behind = Some(Instant::now());
                let (batch, by) = texts();
                tracing::warn!(
                    "the job falls behind: the batch of {batch} was written {by} after its time; batches take longer than the batch interval"
                );
            }
            Some(since) if late <= self.limit / 4 => {
                self.behind = None;
                let ((batch, by), took) = (texts(), human_duration(since.elapsed()));
                tracing::info!("the job has caught up after {took}: the batch of {batch} was written {by} after its time");
            }
            _ => {}
        }
    }
}

/// Logs that a source is in trouble.
pub(crate) fn away(what: &str) {
    if !logs_itself(what) {
        tracing::warn!("{what}; the job continues without it");
    }
}

/// Logs that a source is no longer in trouble. `waited`: the records that it had not read until then, if it knows.
pub(crate) fn back(what: &str, after: Duration, waited: Option<u64>) {
    if !logs_itself(what) {
        let waited = waited.map(|n| format!(", {} waited", counted(n, "record"))).unwrap_or_default();
        tracing::info!("{what}: over after {}{waited}", human_duration(after));
    }
}

/// Sockets log each lost connection themselves, even one that is back before the batch ends.
fn logs_itself(what: &str) -> bool {
    what.starts_with("socket ")
}

/// Logs that a job begins. `reads`: what each source reads, and from where. `waits`: the time of the first batch, if it is more than a
/// batch interval away.
pub(crate) fn started(config: &Config, reads: &[String], outputs: usize, resumed: &Resumed, waits: Option<BatchTime>) {
    let r = &config.runtime;
    tracing::info!(
        "job {} starts: a batch every {}; {} in {}; reads {}; {}; checkpoint: {}",
        config.name,
        human_duration(config.interval.duration()),
        counted(u64::from(r.workers) * u64::from(r.processes), "worker"),
        counted(r.processes.into(), "process"),
        if reads.is_empty() { "nothing".into() } else { reads.join(", ") },
        counted(outputs as u64, "output"),
        checkpoint(config, resumed),
    );
    if let Some(first) = waits {
        tracing::info!("the previous run stopped within a batch interval, so the first batch of this run is that of {first}");
    }
}

fn checkpoint(config: &Config, resumed: &Resumed) -> String {
    if let Some(replay) = &config.replay {
        let (from, to) = (replay.from, replay.to);
        return format!("a replay of {from} to {to}, nothing is saved");
    }
    let Some(dir) = config.runtime.checkpoint.as_ref().map(|dir| dir.display()) else { return "none".into() };
    let again = counted(resumed.replay.len() as u64, "batch");
    match resumed.time {
        _ if !resumed.known => format!("new in {dir}"),
        Some(time) => format!("continued from {time} in {dir}, {again} run again"),
        None => format!("continued from the first batch in {dir}, {again} run again"),
    }
}

/// What a source reads: its splits and where each begins; its name if it has no splits yet.
pub(crate) fn origin(name: &str, splits: &[(String, i64)]) -> String {
    let mut named: Vec<String> = splits.iter().take(NAMED).map(|(split, from)| format!("{split} from {from}")).collect();
    if splits.len() > NAMED {
        named.push(format!("{} more", splits.len() - NAMED));
    }
    if named.is_empty() { name.into() } else { named.join(", ") }
}

/// Logs the summary of a job that has ended without an error.
pub(crate) fn ended(name: &str, s: &Statistics, took: Duration) {
    let (batches, records) = (counted(s.batches, "batch"), counted(s.records, "record"));
    let took = human_duration(took);
    tracing::info!("job {name} has ended: {batches}, {records}, {} bad, {} lost, in {took}", s.bad, s.lost);
}

/// Keeps what this process had read when the job failed, and had not planned, in the checkpoint directory. Says how the record of a panic
/// is found.
pub(crate) fn unplanned(config: &Config, plans: &[Plan], why: &Error) {
    let Some(dir) = &config.runtime.checkpoint else { return };
    let kept = checkpoint::unplanned::write(dir, config.runtime.process, plans);
    let Error::WorkerPanicked { batch, .. } = why else { return };
    let planned = batch.filter(|batch| plans.iter().all(|plan| plan.time != *batch));
    if planned.is_none() && plans.is_empty() {
        return;
    }
    let which = planned.map_or(String::new(), |batch| format!(" --from {}", batch.millis()));
    match kept {
        Err(e) if planned.is_none() => tracing::warn!("what was read and not planned cannot be kept: {e}"),
        _ => tracing::error!(
            "if a record is the cause of the panic, this names it: tidemill replay {} --find-poison{which} -- PROGRAM",
            dir.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_of_many_splits_is_one_short_text() {
        assert_eq!(origin("socket 127.0.0.1:9", &[]), "socket 127.0.0.1:9");
        let splits: Vec<(String, i64)> = (0..6).map(|p| (format!("words/{p}"), p * 10)).collect();
        assert_eq!(origin("kafka", &splits[..1]), "words/0 from 0");
        assert!(origin("kafka", &splits).ends_with("words/3 from 30, 2 more"), "{}", origin("kafka", &splits));
    }
}
