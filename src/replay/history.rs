//! Finds the plans of earlier batches in a checkpoint directory, for a replay. The directory is only read: a job may be using it.

use crate::checkpoint::directory::Directory;
use crate::checkpoint::genesis::{DirectoryId, Position};
use crate::checkpoint::loss::LossRecord;
use crate::checkpoint::manifest::Manifest;
use crate::checkpoint::plan_log::PlanRecord;
use crate::checkpoint::recover;
use crate::core::error::{Error, Result};
use crate::core::plan::Plan;
use crate::core::time::BatchTime;

/// The batches of a replay, and the state they begin with.
#[derive(Debug)]
pub struct Again {
    /// The directory they are from.
    pub directory: DirectoryId,
    /// The checkpoint to load. `None`: states begin empty, at the first batch of the job.
    pub checkpoint: Option<Manifest>,
    /// Where each split stands there.
    pub positions: Vec<Position>,
    /// The batches after it, in order. Those before the first one asked for are computed, and not written.
    pub plans: Vec<PlanRecord>,
    /// What of them was not in the sources when they ran: it is not read again either.
    pub losses: Vec<LossRecord>,
}

impl Directory {
    /// The batches of `from` to `to`, from the newest checkpoint before them on; `anew`: from the first batch on.
    ///
    /// # Errors
    /// Batches that were not planned, whose plans or checkpoints have expired, or whose records cannot be read again. The error
    /// says what is there, and how to keep more of it.
    pub fn again(&self, from: BatchTime, to: BatchTime, anew: bool) -> Result<Again> {
        let (store, genesis) = (self.store(), self.genesis());
        let interval = genesis.interval_ms;
        let wrong = |what: String| Err(Error::checkpoint(store.place(), what));
        let Some(found) = recover::before(store, genesis, if anew { None } else { Some(from) })? else {
            let checkpoints: Vec<String> = self.checkpoints()?.iter().map(|(file, _)| file.time.millis().to_string()).collect();
            let there = if checkpoints.is_empty() { "none".into() } else { checkpoints.join(", ") };
            let wanted = match anew {
                true => "the plans of its first batches are gone, so states cannot be computed anew".into(),
                false => format!("no checkpoint that can be used is from before {from} ({} ms)", from.millis()),
            };
            let kept = "more of them are kept by --keep-checkpoints N, and plans by --keep-plans TIME";
            return wrong(format!("{wanted}: there are checkpoints of {there}; {kept}"));
        };
        let last = found.replay.last().map_or(found.course.end, |r| r.end(interval));
        if to > last {
            return wrong(format!(
                "the last batch that was planned is {last} ({} ms): nothing after it can run again",
                last.millis()
            ));
        }
        let plans: Vec<PlanRecord> = found.replay.iter().flat_map(|r| cut(r, from, to, interval)).collect();
        if plans.iter().all(|p| p.end(interval) < from) {
            return wrong(format!("no batch was planned from {} to {} ms", from.millis(), to.millis()));
        }
        let gone = |r: &&crate::core::plan::Range| !r.split.replayable() && r.from < r.until;
        if let Some((plan, r)) = plans.iter().find_map(|p| Some((&p.plan, p.plan.ranges.iter().find(gone)?))) {
            let (n, name) = (r.until - r.from, r.split.name());
            return wrong(format!("batch {} has {n} records received from {name}, which nobody can send again", plan.time));
        }
        let positions = found.manifest.as_ref().map_or_else(|| genesis.origin.starts.clone(), |m| m.positions.clone());
        Ok(Again { directory: genesis.id, checkpoint: found.manifest, positions, plans, losses: found.losses })
    }
}

/// The part of a record up to `to`, cut so that outputs write the times from `from` on. Overdue times that were skipped stay so.
fn cut(record: &PlanRecord, from: BatchTime, to: BatchTime, interval_ms: u64) -> Vec<PlanRecord> {
    let (first, end) = (record.plan.time, record.end(interval_ms));
    let full = record.plan.ranges.iter().any(|r| r.from < r.until);
    let seen = |t: BatchTime| t >= from && record.plan.shown && (record.fill || t == end || t == first && full);
    let mut pieces: Vec<PlanRecord> = Vec::new();
    let mut t = first;
    while t <= end.min(to) {
        let shown = seen(t);
        // Times that are alike make one record. The first has the ranges.
        match pieces.last_mut() {
            Some(piece) if piece.plan.shown == shown => piece.run += 1,
            _ => {
                let ranges = if t == first { record.plan.ranges.clone() } else { Vec::new() };
                pieces.push(PlanRecord { plan: Plan { time: t, ranges, shown }, run: 0, fill: true });
            }
        }
        t = BatchTime::from_millis(t.millis() + interval_ms);
    }
    pieces
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

    /// Each piece: its times, whether it is seen, and whether it has the ranges.
    fn pieces(record: &PlanRecord, from: u64, to: u64) -> Vec<(u64, u64, bool, bool)> {
        let pieces = cut(record, BatchTime::from_millis(from), BatchTime::from_millis(to), 5);
        let say = |p: &PlanRecord| (p.plan.time.millis(), p.end(5).millis(), p.plan.shown, !p.plan.ranges.is_empty());
        pieces.iter().map(say).collect()
    }

    #[test]
    fn a_record_is_cut_where_the_replay_begins_and_ends() {
        let r = record(3, true, 9);
        assert_eq!(pieces(&r, 5, 20), [(5, 20, true, true)], "all of it");
        assert_eq!(pieces(&r, 12, 20), [(5, 10, false, true), (15, 20, true, false)]);
        assert_eq!(pieces(&r, 10, 15), [(5, 5, false, true), (10, 15, true, false)]);
        assert_eq!(pieces(&r, 30, 40), [(5, 20, false, true)], "what comes before is computed and not seen");
        assert_eq!(pieces(&r, 1, 4), [], "nothing of it");
    }

    #[test]
    fn of_overdue_times_that_were_skipped_only_those_are_seen_that_were() {
        let skipped = record(3, false, 9);
        assert_eq!(pieces(&skipped, 5, 20), [(5, 5, true, true), (10, 15, false, false), (20, 20, true, false)]);
        assert_eq!(pieces(&skipped, 5, 15), [(5, 5, true, true), (10, 15, false, false)]);
        assert_eq!(pieces(&record(3, false, 0), 5, 20), [(5, 15, false, true), (20, 20, true, false)]);
        assert_eq!(pieces(&record(0, false, 0), 5, 20), [(5, 5, true, true)]);
    }
}
