//! The content of a checkpoint directory at the start of a job, and a check that the exactly-once sinks agree with it.

use std::collections::{BTreeMap, VecDeque};

use crate::checkpoint::{DirectoryId, LossRecord, PlanRecord, Position, StateId};
use crate::connector::source::SplitOffset;
use crate::core::error::{Error, Result};
use crate::core::plan::{Progress, RunId, Split};
use crate::core::time::BatchTime;

/// The exactly-once sinks of a program, and how many shards each has.
pub(crate) type Shards = BTreeMap<String, u32>;

/// The states of a program.
#[derive(Default)]
pub(crate) struct ProgramStates {
    /// Those of the operators that run.
    pub run: Vec<StateId>,
    /// The named views that would run with `--queryable`.
    pub unread: Vec<String>,
}

/// What a job finds in its checkpoint directory.
#[derive(Default)]
pub(crate) struct Resumed {
    /// Whether the directory has a genesis: then the splits of the sources are in it.
    pub known: bool,
    /// The time of the loaded checkpoint.
    pub time: Option<BatchTime>,
    /// When that checkpoint was made, by the clock of the job, in milliseconds since the epoch.
    pub written_ms: u64,
    /// The position of each split at that time, by split id.
    pub positions: Vec<Position>,
    /// How many split ids were given.
    pub split_ids: u32,
    /// The snapshot of each source's enumerator, by [`memory_key`].
    pub memory: BTreeMap<String, Vec<u8>>,
    /// The checksum of that checkpoint's plan.
    pub plan: u64,
    /// The exactly-once sinks that the directory knows, and their shards.
    pub sinks: Shards,
    /// The batches that run again.
    pub replay: VecDeque<PlanRecord>,
    /// Ranges of them that the sources no longer had.
    pub losses: Vec<LossRecord>,
    /// The last planned batch time; 0: no batch was planned.
    pub planned: BatchTime,
}

impl Resumed {
    /// How far each split of a source is read once all replayed batches are.
    pub fn offsets(&self, source: u32) -> Vec<SplitOffset> {
        let mut next: BTreeMap<&Split, i64> = BTreeMap::new();
        let known = self.positions.iter().filter(|p| p.source == source).map(|p| (&p.split, p.next));
        let replayed = self.replay.iter().flat_map(|r| &r.plan.ranges).filter(|r| r.source == source);
        for (split, at) in known.chain(replayed.map(|r| (&r.split, r.until))) {
            // The key is replaced, too: equal shards have other sequence numbers.
            next.remove(split);
            next.insert(split, at);
        }
        next.into_iter().map(|(split, from)| SplitOffset { split: split.clone(), from }).collect()
    }
}

/// Compares the progress records of the exactly-once sinks with the plan log. Nothing is guessed.
///
/// # Errors
/// A shard that is further than the plans, that wrote by another plan, or whose progress record is gone.
pub(crate) fn check_progress(run: RunId, interval_ms: u64, resumed: &Resumed, sinks: &Shards, found: &[Progress]) -> Result<()> {
    let wrong = |p: &Progress, what: String| {
        let what = format!("the sink \"{}\", shard {}, {what}", p.sink, p.shard);
        Err(Error::checkpoint(
            "plans",
            format!("{what}: nothing was written; restore the directory that belongs to it, or give the job another name"),
        ))
    };
    for p in found {
        if p.directory != run.directory {
            let (theirs, ours) = (DirectoryId(p.directory), DirectoryId(run.directory));
            return wrong(p, format!("was written by the checkpoint directory {theirs}, and this is {ours}"));
        }
        if p.generation >= run.generation {
            return wrong(p, format!("was written by generation {}, and this is {}", p.generation, run.generation));
        }
        let at = resumed.time.unwrap_or_default();
        let plan = match resumed.replay.iter().find(|r| (r.plan.time..=r.end(interval_ms)).contains(&p.time)) {
            Some(record) => record.checksum(),
            None if p.time == at && resumed.time.is_some() => resumed.plan,
            None if p.time < at => return wrong(p, format!("is out only through {}, and the checkpoint is of {at}", p.time)),
            None => {
                return wrong(
                    p,
                    format!("is out through {}, for which there is no plan; the last is of {}", p.time, resumed.planned),
                );
            }
        };
        if plan != p.plan {
            return wrong(p, format!("wrote {} by the plan {:016x}, and the plan log has {plan:016x}", p.time, p.plan));
        }
    }
    let Some(at) = resumed.time else { return Ok(()) };
    for (sink, shards) in resumed.sinks.iter().filter(|(sink, _)| sinks.contains_key(*sink)) {
        // At the batch of a checkpoint every shard writes its progress, even without rows.
        if let Some(shard) = (0..*shards).find(|shard| !found.iter().any(|p| p.sink == *sink && p.shard == *shard)) {
            let what = format!("the sink \"{sink}\" was out through {at}, and there is no progress of its shard {shard}");
            return Err(Error::checkpoint("plans", format!("{what}: it was deleted; nothing can tell what was written")));
        }
    }
    Ok(())
}

/// The name under which a checkpoint holds the totals of the job.
pub(crate) const TOTALS: &str = "totals";

/// The name under which a checkpoint holds the snapshot of a source's enumerator.
pub(crate) fn memory_key(source: usize) -> String {
    format!("source {source}")
}
