//! Finds the plans of earlier batches in a checkpoint directory, for a replay. Invariant: the directory is only read, because a job
//! may be using it.

use crate::checkpoint::directory::Directory;
use crate::checkpoint::genesis::{DirectoryId, Genesis, Position};
use crate::checkpoint::loss::LossRecord;
use crate::checkpoint::manifest::Manifest;
use crate::checkpoint::plan_log::PlanRecord;
use crate::checkpoint::recover::{self, Found};
use crate::core::error::{Error, Result};
use crate::core::plan::Plan;
use crate::core::time::BatchTime;

/// The batches of a replay, and the state before them.
#[derive(Debug)]
pub(crate) struct History {
    /// The id of the directory.
    pub directory: DirectoryId,
    /// The checkpoint to load. `None`: states begin empty, at the first batch of the job.
    pub checkpoint: Option<Manifest>,
    /// The position of each split in that checkpoint.
    pub positions: Vec<Position>,
    /// The batches after it, in order. Outputs do not write those before the first requested batch.
    pub plans: Vec<PlanRecord>,
    /// Ranges of these batches that the sources did not have. They are not read in the replay either.
    pub losses: Vec<LossRecord>,
}

impl History {
    /// These batches, after a checkpoint that was found.
    fn after(found: Found, genesis: &Genesis, plans: Vec<PlanRecord>) -> Self {
        let positions = found.manifest.as_ref().map_or_else(|| genesis.origin.starts.clone(), |m| m.positions.clone());
        History { directory: genesis.id, checkpoint: found.manifest, positions, plans, losses: found.losses }
    }
}

impl Directory {
    /// The batches to run for a replay of `from` to `to`. They begin after the newest checkpoint before `from`. With `recompute` they
    /// begin at the first batch of the job.
    ///
    /// # Errors
    /// A batch was not planned, its plan or checkpoint has been deleted, or its records cannot be read again. The error lists the
    /// existing checkpoints, and says how to keep more.
    pub(crate) fn history(&self, from: BatchTime, to: BatchTime, recompute: bool) -> Result<History> {
        let (store, genesis) = (self.store(), self.genesis());
        let interval = genesis.interval_ms;
        let wrong = |what: String| Err(Error::checkpoint(store.place(), what));
        let Some(found) = recover::before(store, genesis, if recompute { None } else { Some(from) })? else {
            let checkpoints: Vec<String> = self.checkpoints()?.iter().map(|(file, _)| file.time.millis().to_string()).collect();
            let there = if checkpoints.is_empty() { "none".into() } else { checkpoints.join(", ") };
            let wanted = match recompute {
                true => "the plans of its first batches have been deleted, so states cannot be recomputed".into(),
                false => format!("no usable checkpoint is from before {from} ({} ms)", from.millis()),
            };
            let kept = "--keep-checkpoints N keeps more of them, and --keep-plans TIME keeps more plans";
            return wrong(format!("{wanted}: the directory has checkpoints of {there}; {kept}"));
        };
        let last = found.replay.last().map_or(found.cursor.end, |r| r.end(interval));
        if to > last {
            return wrong(format!("the last planned batch is {last} ({} ms): no later batch can be replayed", last.millis()));
        }
        let plans: Vec<PlanRecord> = found.replay.iter().flat_map(|r| clip(r, from, to, interval)).collect();
        if plans.iter().all(|p| p.end(interval) < from) {
            return wrong(format!("no batch was planned from {from} to {to} ({} to {} ms)", from.millis(), to.millis()));
        }
        let lost = |r: &&crate::core::plan::Range| !r.split.replayable() && r.from < r.until;
        if let Some((plan, r)) = plans.iter().find_map(|p| Some((&p.plan, p.plan.ranges.iter().find(lost)?))) {
            let (n, name) = (r.until - r.from, r.split.name());
            return wrong(format!("batch {} has {n} records received from {name}, which cannot be read again", plan.time));
        }
        Ok(History::after(found, genesis, plans))
    }

    /// Like `history`, for one batch with these ranges, which may be one that was not planned.
    ///
    /// # Errors
    /// The checkpoints and plans before it have been deleted.
    pub(crate) fn history_before(&self, batch: &PlanRecord) -> Result<History> {
        let (store, genesis) = (self.store(), self.genesis());
        let time = batch.plan.time;
        let Some(mut found) = recover::before(store, genesis, Some(time))? else {
            let what =
                format!("no usable checkpoint is from before {time} ({} ms); --keep-checkpoints N keeps more", time.millis());
            return Err(Error::checkpoint(store.place(), what));
        };
        let hidden = |mut record: PlanRecord| {
            record.plan.shown = false;
            record
        };
        let before = std::mem::take(&mut found.replay).into_iter().filter(|record| record.end(genesis.interval_ms) < time);
        let plans = before.map(hidden).chain([batch.clone()]).collect();
        Ok(History::after(found, genesis, plans))
    }
}

/// The part of a record up to `to`, split so that outputs write only the times from `from`. Skipped overdue times stay skipped.
fn clip(record: &PlanRecord, from: BatchTime, to: BatchTime, interval_ms: u64) -> Vec<PlanRecord> {
    let (first, end) = (record.plan.time, record.end(interval_ms));
    let full = record.plan.ranges.iter().any(|r| r.from < r.until);
    let seen = |t: BatchTime| t >= from && record.plan.shown && (record.fill || t == end || t == first && full);
    let mut parts: Vec<PlanRecord> = Vec::new();
    let mut t = first;
    while t <= end.min(to) {
        let shown = seen(t);
        // Equal neighbours become one record. The first record has the ranges.
        match parts.last_mut() {
            Some(part) if part.plan.shown == shown => part.run += 1,
            _ => {
                let ranges = if t == first { record.plan.ranges.clone() } else { Vec::new() };
                parts.push(PlanRecord { plan: Plan { time: t, ranges, shown }, run: 0, fill: true });
            }
        }
        t = BatchTime::from_millis(t.millis() + interval_ms);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::plan::{Range, Split};

    /// A record of times 5, 10, ... with a range or without.
    fn record(run: u32, fill: bool, records: i64) -> PlanRecord {
        let range = Range { source: 0, split_id: 0, split: Split::Received { from: "q".into() }, from: 0, until: records };
        PlanRecord { plan: Plan { time: BatchTime::from_millis(5), ranges: vec![range], shown: true }, run, fill }
    }

    /// Each part: its first and last time, whether outputs see it, and whether it has the ranges.
    fn parts(record: &PlanRecord, from: u64, to: u64) -> Vec<(u64, u64, bool, bool)> {
        let parts = clip(record, BatchTime::from_millis(from), BatchTime::from_millis(to), 5);
        let say = |p: &PlanRecord| (p.plan.time.millis(), p.end(5).millis(), p.plan.shown, !p.plan.ranges.is_empty());
        parts.iter().map(say).collect()
    }

    #[test]
    fn a_record_is_split_where_the_replay_begins_and_ends() {
        let r = record(3, true, 9);
        assert_eq!(parts(&r, 5, 20), [(5, 20, true, true)], "all of it");
        assert_eq!(parts(&r, 12, 20), [(5, 10, false, true), (15, 20, true, false)]);
        assert_eq!(parts(&r, 10, 15), [(5, 5, false, true), (10, 15, true, false)]);
        assert_eq!(parts(&r, 30, 40), [(5, 20, false, true)], "what comes before is computed and not seen");
        assert_eq!(parts(&r, 1, 4), [], "nothing of it");
    }

    #[test]
    fn of_overdue_times_that_were_skipped_only_those_are_seen_that_were() {
        let skipped = record(3, false, 9);
        assert_eq!(parts(&skipped, 5, 20), [(5, 5, true, true), (10, 15, false, false), (20, 20, true, false)]);
        assert_eq!(parts(&skipped, 5, 15), [(5, 5, true, true), (10, 15, false, false)]);
        assert_eq!(parts(&record(3, false, 0), 5, 20), [(5, 15, false, true), (20, 20, true, false)]);
        assert_eq!(parts(&record(0, false, 0), 5, 20), [(5, 5, true, true)]);
    }
}
