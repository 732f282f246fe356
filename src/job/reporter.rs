//! What a job tells its log: where it begins, what changes while it runs, what it has done. One line for each, of process 0.
//!
//! The planner calls it with what it knows anyway. Nothing here changes what the job does.

use crate::api::config::Config;
use crate::core::time::{clock_time, human_duration};
use crate::job::resumed::Resumed;
use crate::metrics::Statistics;

/// How many splits of a source the first line names.
const NAMED: usize = 4;

/// Says that a job begins: `reads` is what each source reads, and from where.
pub(crate) fn started(config: &Config, reads: &[String], outputs: usize, resumed: &Resumed) {
    let r = &config.runtime;
    tracing::info!(
        "job {} starts: a batch every {}; {} in {}; reads {}; {}; checkpoint: {}",
        config.name,
        human_duration(config.interval.duration()),
        count(u64::from(r.workers) * u64::from(r.processes), "worker"),
        count(r.processes.into(), "process"),
        if reads.is_empty() { "nothing".into() } else { reads.join(", ") },
        count(outputs as u64, "output"),
        checkpoint(config, resumed),
    );
}

fn checkpoint(config: &Config, resumed: &Resumed) -> String {
    if let Some(replay) = &config.replay {
        let (from, to) = (clock_time(replay.from.millis()), clock_time(replay.to.millis()));
        return format!("a replay of {from} to {to}, nothing is saved");
    }
    let Some(dir) = config.runtime.checkpoint.as_ref().map(|dir| dir.display()) else { return "none".into() };
    let again = count(resumed.replay.len() as u64, "batch");
    match resumed.time {
        _ if !resumed.known => format!("new in {dir}"),
        Some(time) => format!("continued from {} in {dir}, {again} run again", clock_time(time.millis())),
        None => format!("continued from the first batch in {dir}, {again} run again"),
    }
}

/// What a source reads: its splits and where each begins, or its name if it has none yet.
pub(crate) fn origin(name: &str, splits: &[(String, i64)]) -> String {
    let mut named: Vec<String> = splits.iter().take(NAMED).map(|(split, from)| format!("{split} from {from}")).collect();
    if splits.len() > NAMED {
        named.push(format!("{} more", splits.len() - NAMED));
    }
    if named.is_empty() { name.into() } else { named.join(", ") }
}

/// Says what a job has done that has ended without an error.
pub(crate) fn ended(name: &str, s: &Statistics, bad: u64, took: std::time::Duration) {
    let (batches, records) = (count(s.batches, "batch"), count(s.records, "record"));
    let took = human_duration(took);
    tracing::info!("job {name} has ended: {batches}, {records}, {bad} bad, {} lost, in {took}", s.lost);
}

/// `1 batch`, `2 batches`.
fn count(n: u64, what: &str) -> String {
    let many = if what.ends_with("ch") || what.ends_with("ss") { "es" } else { "s" };
    format!("{n} {what}{}", if n == 1 { "" } else { many })
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

    #[test]
    fn one_batch_and_two_processes() {
        assert_eq!([count(1, "batch"), count(2, "batch"), count(0, "record")], ["1 batch", "2 batches", "0 records"]);
        assert_eq!([count(1, "process"), count(2, "process")], ["1 process", "2 processes"]);
    }
}
