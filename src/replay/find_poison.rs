//! Finds the record on which a program panics: runs a batch again and again, with the first half of its records, or three quarters, and so
//! on, until one record is left. States are those of the checkpoint before the batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api::config::Config;
use crate::api::context::Build;
use crate::checkpoint::{Directory, PlanRecord};
use crate::connector::console::write_stdout;
use crate::core::error::{Error, Result};
use crate::core::plan::{Plan, Range, Split};
use crate::core::time::{BatchTime, counted};
use crate::job::handle::JobHandle;
use crate::job::run::launch;
use crate::replay::request::{Capture, Replay};

/// Runs the batch by halves, prints the record, and returns the last job, which runs without it.
///
/// # Errors
/// The batch is not known, cannot run again, or the program does not panic on it. Like every start of a job.
pub(crate) fn find_poison(config: &Config, replay: &Replay, build: &Arc<Build>) -> Result<JobHandle> {
    let batch = batch(&Directory::open(&replay.dir)?, replay)?;
    let time = batch.plan.time;
    let start = |ranges: Vec<Range>, said: Option<String>| {
        let plan = Plan { ranges, ..batch.plan.clone() };
        let instead = Some(PlanRecord { plan, run: 0, fill: true });
        let replay = Replay { from: time, to: time, instead, capture: Some(Capture::default()), ..replay.clone() };
        let config = Arc::new(Config { replay: Some(replay), logs: false, ..config.clone() });
        launch(config, build.clone(), move |summary| {
            let text = said.map_or(Ok(()), |said| write_stdout(&said));
            text.map(|()| summary).map_err(|e| Error::io("write of the result", e))
        })
    };
    let panics = |ranges: Vec<Range>| match start(ranges, None)?.await_termination() {
        Ok(_) => Ok(None),
        Err(e @ Error::WorkerPanicked { .. }) => Ok(Some(e)),
        Err(e) => Err(e),
    };
    let quiet = Quiet::new();
    let pieces = Pieces::of(&batch.plan.ranges);
    let what = format!("the batch of {time} ({} ms)", time.millis());
    let Some(mut why) = panics(pieces.first(pieces.count()))? else {
        return Err(Error::config(format!("{what}: the program does not panic on its {}", counted(pieces.count(), "record"))));
    };
    if let Some(e) = panics(pieces.first(0))? {
        return Err(Error::config(format!(
            "{what}: the program panics without any record of it, so look in an earlier batch: --from TIME: {e}"
        )));
    }
    let (mut passes, mut fails) = (0, pieces.count());
    while fails - passes > 1 {
        let half = passes + (fails - passes) / 2;
        match panics(pieces.first(half))? {
            Some(e) => (fails, why) = (half, e),
            None => passes = half,
        }
    }
    let (name, alone) = pieces.only(passes);
    let alone = match panics(alone)? {
        Some(_) => "alone it does so too",
        None => "alone it does not: it needs records before it",
    };
    drop(quiet);
    start(pieces.first(passes), Some(format!("poison in {what}: {name}: {why}; {alone}\n")))
}

/// The batch to look at: the one that is asked for, or what a failed job had read and not planned.
fn batch(directory: &Directory, replay: &Replay) -> Result<PlanRecord> {
    let (interval, dir) = (directory.genesis().interval_ms, replay.dir.display());
    let plans = directory.plans()?;
    if replay.from > BatchTime::default() {
        let from = replay.from;
        let of_time = |record: &&PlanRecord| record.plan.time <= from && from <= record.end(interval);
        let found = plans.iter().find(of_time).cloned();
        return found.ok_or_else(|| {
            Error::checkpoint(dir.to_string(), format!("no batch was planned for {from} ({} ms)", from.millis()))
        });
    }
    let last = plans.last().map_or(BatchTime::default(), |record| record.end(interval));
    let mut ranges: BTreeMap<u32, Range> = BTreeMap::new();
    let mut first: Option<BatchTime> = None;
    for plan in directory.unplanned()?.into_iter().filter(|plan| plan.time > last) {
        first = Some(first.map_or(plan.time, |first| first.min(plan.time)));
        for range in plan.ranges {
            // Batches follow one another without gaps.
            let all = ranges.entry(range.split_id).or_insert_with(|| range.clone());
            (all.from, all.until) = (all.from.min(range.from), all.until.max(range.until));
        }
    }
    let Some(time) = first else {
        let what = "no job has failed here on records that were in no plan; name the batch: --from TIME";
        return Err(Error::checkpoint(dir.to_string(), what));
    };
    let plan = Plan { time, ranges: ranges.into_values().collect(), shown: true };
    Ok(PlanRecord { plan, run: 0, fill: true })
}

/// The records of a batch, one after the other. A file that is read at once is one piece.
struct Pieces<'r>(&'r [Range]);

impl<'r> Pieces<'r> {
    fn of(ranges: &'r [Range]) -> Self {
        Pieces(ranges)
    }

    fn len(range: &Range) -> u64 {
        let positions = u64::try_from(range.until - range.from).unwrap_or(0);
        if range.split.read_at_once() { positions.min(1) } else { positions }
    }

    fn count(&self) -> u64 {
        self.0.iter().map(Self::len).sum()
    }

    /// The ranges with the first `n` pieces.
    fn first(&self, mut n: u64) -> Vec<Range> {
        let cut = |range: &Range| {
            let taken = Self::len(range).min(n);
            n -= taken;
            let until = match range.split.read_at_once() {
                true if taken > 0 => range.until,
                true => range.from,
                false => range.from + taken as i64,
            };
            Range { until, ..range.clone() }
        };
        self.0.iter().map(cut).filter(|range| range.from < range.until || !range.split.read_at_once()).collect()
    }

    /// The name of a piece, counted from 0, and the ranges with it alone.
    fn only(&self, n: u64) -> (String, Vec<Range>) {
        let mut before = 0;
        for range in self.0 {
            if n < before + Self::len(range) {
                let (name, partition, from) = (range.split.name(), range.split.partition(), range.from + (n - before) as i64);
                return match &range.split {
                    split if split.read_at_once() => (split.to_string(), vec![range.clone()]),
                    Split::Kafka { .. } => (
                        format!("topic {name}, partition {partition}, offset {from}"),
                        vec![Range { from, until: from + 1, ..range.clone() }],
                    ),
                    _ => (format!("{name}/{partition}, position {from}"), vec![Range { from, until: from + 1, ..range.clone() }]),
                };
            }
            before += Self::len(range);
        }
        (String::new(), Vec::new())
    }
}

/// While it lives, panics are not printed: they are expected.
struct Quiet;

impl Quiet {
    fn new() -> Self {
        std::panic::set_hook(Box::new(|_| ()));
        Quiet
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        drop(std::panic::take_hook());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::plan::SplitRange;

    #[test]
    fn pieces_are_records_and_whole_files() {
        let range = |split_id, split, from, until| Range::new(0, split_id, SplitRange { split, from, until });
        let topic = Split::Kafka { topic: "t".into(), partition: 2 };
        let ranges = [
            range(0, topic, 10, 13),
            range(1, Split::custom_whole("file", 0, 900), 0, 900),
            range(2, Split::custom("n", 1), 5, 7),
        ];
        let pieces = Pieces::of(&ranges);
        assert_eq!(pieces.count(), 6);
        let first = |n| pieces.first(n).iter().map(|r| (r.split_id, r.from, r.until)).collect::<Vec<_>>();
        assert_eq!(first(0), [(0, 10, 10), (2, 5, 5)]);
        assert_eq!(first(2), [(0, 10, 12), (2, 5, 5)]);
        assert_eq!(first(4), [(0, 10, 13), (1, 0, 900), (2, 5, 5)]);
        assert_eq!(pieces.first(6), ranges);
        let only = |n| {
            let (name, ranges) = pieces.only(n);
            (name, ranges.iter().map(|r| (r.from, r.until)).collect::<Vec<_>>())
        };
        assert_eq!(only(1), ("topic t, partition 2, offset 11".into(), vec![(11, 12)]));
        assert_eq!(only(3).1, [(0, 900)]);
        assert_eq!(only(5), ("n/1, position 6".into(), vec![(6, 7)]));
    }
}
