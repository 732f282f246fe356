//! What is durable of a job: the planner's half of checkpoints. It is there if the job has a checkpoint directory.
//!
//! *Invariant:* a plan is in the log before its batch closes. A checkpoint is published when every worker has written its
//! pieces and every output is through its batch; there is one on its way at a time.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::api::config::Config;
use crate::checkpoint::{
    Checkpoints, DirectoryId, Genesis, Groups, Index, LossRecord, Manifest, OperatorState, Origin, PieceRef, PlanLog, PlanRecord,
    Position, Recovered, Settings, StateId,
};
use crate::cluster::parent_process;
use crate::connector::source::SplitOffset;
use crate::core::data::encoded;
use crate::core::error::{Error, Result};
use crate::core::plan::{Cut, PlanStamp, Progress, Range, RunId, Split};
use crate::core::time::{BatchTime, Interval};
use crate::job::snapshotter::Restore;

/// So many checkpoints in a row may fail before the job does: the log of plans grows, and a restart takes longer each time.
const FAILURES: u32 = 5;

/// A piece that does not change keeps the file that it lies in, and all that is in there. When files hold so many times what is
/// needed of them, and more than a little, the next checkpoint is a whole one.
const SPARSE: u64 = 4;
const SPARE: u64 = 1 << 20;
/// The name under which a checkpoint has the sinks: some may have come after the genesis.
const SHARDS: &str = "shards";

/// The exactly-once sinks of a program, and how many shards each has.
pub(crate) type Shards = BTreeMap<String, u32>;

/// What sources and split ids are at the time of a checkpoint.
pub(crate) struct Standing {
    pub split_ids: u32,
    pub memory: BTreeMap<String, Vec<u8>>,
}

/// Where a job goes on.
#[derive(Default)]
pub(crate) struct Resumed {
    /// Whether anything was planned before.
    pub known: bool,
    /// The time of the checkpoint that is loaded.
    pub time: Option<BatchTime>,
    /// Where each split stands there, by split_id.
    pub positions: Vec<Position>,
    pub split_ids: u32,
    pub memory: BTreeMap<String, Vec<u8>>,
    /// The checksum of the plan of that checkpoint.
    pub made_of: u64,
    /// The exactly-once sinks that the directory was made with, and their shards.
    pub sinks: Shards,
    /// Batches that run again.
    pub replay: VecDeque<PlanRecord>,
    /// What of them was not in the sources when they ran.
    pub losses: Vec<LossRecord>,
    /// The last batch time that was planned.
    pub planned: BatchTime,
}

impl Resumed {
    /// How far each split of a source is when all replayed batches are read.
    pub fn read(&self, source: u32) -> Vec<SplitOffset> {
        let mut next: BTreeMap<&Split, i64> = BTreeMap::new();
        let known = self.positions.iter().filter(|p| p.source == source).map(|p| (&p.split, p.next));
        let replayed = self.replay.iter().flat_map(|r| &r.plan.ranges).filter(|r| r.source == source);
        known.chain(replayed.map(|r| (&r.split, r.until))).for_each(|(split, at)| _ = next.insert(split, at));
        next.into_iter().map(|(split, from)| SplitOffset { split: split.clone(), from }).collect()
    }
}

/// What the sinks say of themselves against what the plan log says: nothing is guessed.
///
/// # Errors
/// A shard that is further than the plans, that wrote by another plan, or that lost what it knew.
pub(crate) fn progress_fits(run: RunId, interval_ms: u64, resumed: &Resumed, sinks: &Shards, found: &[Progress]) -> Result<()> {
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
            None if p.time == at && resumed.time.is_some() => resumed.made_of,
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
        // At the batch of a checkpoint every shard writes, rows or not.
        if let Some(shard) = (0..*shards).find(|shard| !found.iter().any(|p| p.sink == *sink && p.shard == *shard)) {
            let what = format!("the sink \"{sink}\" was out through {at}, and there is no progress of its shard {shard}");
            return Err(Error::checkpoint("plans", format!("{what}: it was deleted; nothing can tell what was written")));
        }
    }
    Ok(())
}

/// The sinks that a checkpoint knows.
fn added(manifest: &Manifest) -> Result<Shards> {
    let Some(bytes) = manifest.memory.get(SHARDS) else { return Ok(Shards::new()) };
    postcard::from_bytes(bytes).map_err(|e| Error::damaged(manifest.file().to_string(), format!("the shards of its sinks: {e}")))
}

/// Rows of a key stay in one shard for the whole life of a directory.
fn same_shards(made: &Shards, now: &Shards) -> Result<()> {
    for (sink, shards) in made {
        if let Some(other) = now.get(sink).filter(|n| *n != shards) {
            let what =
                format!("the sink \"{sink}\" has {shards} shards for the life of this directory, and the program says {other}");
            return Err(Error::checkpoint("genesis", format!("{what}: say shards({shards}), or begin in an empty directory")));
        }
    }
    Ok(())
}

/// A directory that this process has taken.
pub(crate) type Opened = (Checkpoints, Recovered);

/// Takes the directory of a job.
///
/// # Errors
/// What [`Checkpoints::open`] refuses.
pub(crate) fn open(dir: &Path, config: &Config) -> Result<Opened> {
    let mut settings = Settings::new(config.name.clone(), config.interval.duration());
    settings.keep_plans = config.runtime.keep_plans.unwrap_or(settings.keep_plans);
    settings.keep = config.runtime.keep_checkpoints.map_or(settings.keep, usize::from);
    Checkpoints::open(dir, settings)
}

/// A checkpoint on its way.
struct Underway {
    manifest: Manifest,
    /// Workers that have not said what they wrote.
    left: usize,
    /// By worker.
    written: Vec<(u32, Written)>,
    wrong: Option<String>,
    out: bool,
}

/// Plans and checkpoints of a running job.
pub(crate) struct Ledger {
    checkpoints: Checkpoints,
    log: Option<PlanLog>,
    interval: Interval,
    /// Milliseconds from checkpoint to checkpoint.
    every: u64,
    program: Vec<StateId>,
    /// Every exactly-once sink that the directory has ever had.
    shards: Shards,
    workers: u32,
    processes: u32,
    /// Where every split stands after the last plan.
    positions: BTreeMap<u32, Position>,
    /// The newest pieces of each operator.
    groups: BTreeMap<String, Groups>,
    /// The last time of a checkpoint that was begun.
    last: BatchTime,
    /// Oldest first; a second one only at the end of a job.
    underway: VecDeque<Underway>,
    /// The next one has everything: nobody knows what became of the last one, or its files are sparse.
    all: bool,
    failed: u32,
    /// Who started this process, if that was a launch.
    launcher: parent_process::Progress,
}

impl Ledger {
    /// Finds out where the job stands.
    ///
    /// # Errors
    /// States that this program does not have, or has otherwise.
    pub fn new(opened: Opened, config: &Config, every: u64, program: Vec<StateId>, shards: &Shards) -> Result<(Ledger, Resumed)> {
        let (checkpoints, found) = opened;
        let manifest = found.checkpoint;
        if let Some(manifest) = &manifest {
            fits(manifest, &program, config.runtime.drop_state)?;
        }
        let mut made = found.genesis.as_ref().map(|g| g.origin.shards.clone()).unwrap_or_default();
        if let Some(manifest) = &manifest {
            made.extend(added(manifest)?);
        }
        same_shards(&made, shards)?;
        let resumed = Resumed {
            known: found.genesis.is_some(),
            time: manifest.as_ref().map(|m| m.time),
            positions: manifest.as_ref().map_or_else(|| starts(found.genesis.as_ref()), |m| m.positions.clone()),
            split_ids: manifest.as_ref().map_or(0, |m| m.split_ids),
            memory: manifest.as_ref().map(|m| m.memory.clone()).unwrap_or_default(),
            made_of: manifest.as_ref().map_or(0, |m| m.plan),
            sinks: made.clone(),
            replay: found.replay.into(),
            losses: found.losses,
            planned: found.planned.max(manifest.as_ref().map_or(BatchTime::default(), |m| m.time)),
        };
        let saved = manifest.into_iter().flat_map(|m| m.operators).filter(|o| program.contains(&o.id));
        let ledger = Ledger {
            checkpoints,
            log: None,
            interval: config.interval,
            every,
            workers: config.peers() as u32,
            processes: config.runtime.processes.into(),
            positions: resumed.positions.iter().map(|p| (p.split_id, p.clone())).collect(),
            groups: saved.map(|o| (o.id.name, o.groups)).collect(),
            last: resumed.time.unwrap_or_default(),
            program,
            shards: made.into_iter().chain(shards.clone()).collect(),
            underway: VecDeque::new(),
            all: false,
            failed: 0,
            launcher: parent_process::Progress::to_launcher(),
        };
        Ok((ledger, resumed))
    }

    /// Before the first batch: a new directory gets its genesis.
    ///
    /// # Errors
    /// The disk fails.
    pub fn begin(&mut self, starts: Vec<Position>, known: bool, first: BatchTime) -> Result<()> {
        if !known {
            self.positions = starts.iter().map(|p| (p.split_id, p.clone())).collect();
            let (shards, operators) = (self.shards.clone(), self.program.clone());
            self.checkpoints.begin(Origin { shards, operators, starts })?;
        }
        self.log = Some(self.checkpoints.plan_log()?);
        self.last = self.last.max(BatchTime::from_millis(first.millis().saturating_sub(self.interval.millis())));
        Ok(())
    }

    /// What each worker needs: the directory, and the pieces to load.
    ///
    /// # Errors
    /// There is no genesis.
    pub fn restore(&self) -> Result<(RunId, Vec<u8>)> {
        let (directory, generation) = self.checkpoints.pieces()?.id();
        let run = RunId { directory: directory.0, generation };
        let lease = self.checkpoints.lease().clone();
        Ok((run, encoded(&Restore { lease: Some(lease), states: self.groups.clone() })))
    }

    /// Whether the batch that ends at `end` is that of a checkpoint.
    pub fn due(&self, end: BatchTime, last: bool) -> Option<Cut> {
        let due = last || end.millis() >= self.last.millis() + self.every;
        (due && (last || self.underway.is_empty())).then_some(if self.all { Cut::All } else { Cut::Changed })
    }

    /// The checkpoint of a batch that was just sealed is on its way.
    pub fn begun(&mut self, end: BatchTime, standing: Standing) {
        let Standing { split_ids, mut memory } = standing;
        if !self.shards.is_empty() {
            memory.insert(SHARDS.into(), encoded(&self.shards));
        }
        let (workers, processes) = (self.workers, self.processes);
        let manifest = Manifest { time: end, split_ids, memory, workers, processes, ..Manifest::default() };
        self.last = end;
        let left = workers as usize;
        self.underway.push_back(Underway { manifest, left, written: Vec::new(), wrong: None, out: false });
    }

    /// A batch is about to close: its plan, and what of it was lost, are durable when this returns. What exactly-once sinks know
    /// the batch by.
    ///
    /// # Errors
    /// The disk fails: the job cannot go on.
    pub fn planned(&mut self, record: &PlanRecord, replayed: bool, lost: &[Range]) -> Result<PlanStamp> {
        let log = self.log.as_mut().ok_or_else(|| Error::bug("the plan log is not open"))?;
        if !lost.is_empty() {
            log.lost(&LossRecord { time: record.plan.time, ranges: lost.to_vec() })?;
        }
        let checksum = if replayed { record.checksum() } else { log.append(record)? };
        for r in record.plan.ranges.iter().filter(|r| !r.split.read_at_once()) {
            let position = Position { source: r.source, split_id: r.split_id, split: r.split.clone(), next: r.until };
            self.positions.insert(r.split_id, position);
        }
        let end = record.end(self.interval.millis());
        if let Some(u) = self.underway.iter_mut().find(|u| u.manifest.time == end) {
            u.manifest.plan = checksum;
            u.manifest.positions = self.positions.values().cloned().collect();
        }
        Ok(PlanStamp { generation: self.checkpoints.lease().generation, plan: checksum })
    }

    /// One worker has written its pieces, or could not.
    ///
    /// # Errors
    /// Too many checkpoints in a row have failed.
    pub fn pieces(&mut self, worker: usize, time: BatchTime, written: Result<Vec<u8>, String>) -> Result<()> {
        let Some(u) = self.underway.iter_mut().find(|u| u.manifest.time == time) else { return Ok(()) };
        u.left -= 1;
        match written.and_then(|bytes| postcard::from_bytes::<Written>(&bytes).map_err(|e| e.to_string())) {
            Ok(written) => u.written.push((worker as u32, written)),
            Err(wrong) => u.wrong = Some(wrong),
        }
        self.publish_if_complete()
    }

    /// Every output is through the batch of `time`.
    ///
    /// # Errors
    /// Too many checkpoints in a row have failed.
    pub fn out(&mut self, time: BatchTime) -> Result<()> {
        self.launcher.committed(time);
        self.underway.iter_mut().filter(|u| u.manifest.time <= time).for_each(|u| u.out = true);
        self.publish_if_complete()
    }

    /// Whether no checkpoint is on its way.
    pub fn idle(&self) -> bool {
        self.underway.is_empty()
    }

    fn publish_if_complete(&mut self) -> Result<()> {
        while self.underway.front().is_some_and(|u| u.left == 0 && u.out) {
            let Some(u) = self.underway.pop_front() else { break };
            let time = u.manifest.time;
            match self.publish(u) {
                Ok(sparse) => (self.all, self.failed) = (sparse, 0),
                Err(e) => {
                    (self.all, self.failed) = (true, self.failed + 1);
                    if self.failed >= FAILURES {
                        return Err(e);
                    }
                    tracing::error!(batch = time.millis(), error = %e, "the checkpoint failed; the one before it stands");
                    // What changed since this one is not enough without it.
                    self.underway.iter_mut().for_each(|u| u.wrong = Some(format!("the one before it failed: {e}")));
                }
            }
        }
        Ok(())
    }

    /// Whether the files are mostly bytes that no checkpoint needs.
    fn publish(&mut self, u: Underway) -> Result<bool> {
        if let Some(wrong) = u.wrong {
            return Err(Error::checkpoint(u.manifest.file().to_string(), wrong));
        }
        let mut groups = self.groups.clone();
        for (worker, written) in u.written {
            self.follow(&mut groups, worker, written);
        }
        groups.values_mut().for_each(|groups| groups.retain(|_, list| !list.is_empty()));
        let state = |(name, groups): (&String, &Groups)| {
            let id = self.program.iter().find(|o| o.name == *name)?.clone();
            Some(OperatorState { id, groups: groups.clone() })
        };
        let manifest = Manifest { operators: groups.iter().filter_map(state).collect(), ..u.manifest };
        let needed = manifest.bytes();
        let held = self.checkpoints.publish(manifest)?;
        // It is there: nothing that follows may say that it failed.
        self.groups = groups;
        if let Err(e) = self.checkpoints.clean() {
            tracing::warn!(error = %e, "old checkpoints could not be removed");
        }
        Ok(held > SPARSE * needed + SPARE)
    }

    /// What a worker has written takes its place in the lists. A piece of an earlier run is whose its group is now.
    fn follow(&self, lists: &mut BTreeMap<String, Groups>, worker: u32, written: Written) {
        let generation = self.checkpoints.lease().generation;
        for (operator, until) in written.gone {
            let lists = lists.entry(operator).or_default().values_mut();
            lists.for_each(|list| list.retain(|p| p.file.time > until));
        }
        for (operator, group, since) in written.replaced {
            let own = |p: &PieceRef| match p.file.generation == generation {
                true => p.file.worker % self.workers == worker,
                false => group % self.workers == worker,
            };
            let list = lists.entry(operator).or_default().entry(group).or_default();
            list.retain(|p| p.file.time <= since || !own(p));
        }
        for (operator, group, piece) in written.index {
            lists.entry(operator).or_default().entry(group).or_default().push(piece);
        }
    }
}

/// What a worker says of its pieces.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Written {
    /// Where they are.
    pub index: Index,
    /// What they take the place of: what this worker wrote of an operator and group after that time.
    pub replaced: Vec<(String, u32, BatchTime)>,
    /// Until when nothing of an operator is needed any more.
    pub gone: Vec<(String, BatchTime)>,
}

/// Where everything began, as the genesis has it.
fn starts(genesis: Option<&Genesis>) -> Vec<Position> {
    genesis.map(|g| g.origin.starts.clone()).unwrap_or_default()
}

/// Whether this program can take the states of a checkpoint.
pub(crate) fn fits(manifest: &Manifest, program: &[StateId], drop_state: bool) -> Result<()> {
    let found = manifest.compare(program);
    for new in &found.new {
        tracing::info!(operator = new.name, "not in the checkpoint: begins empty");
    }
    let mut wrong: Vec<String> = Vec::new();
    for (was, is) in &found.changed {
        wrong.push(format!("\"{}\" was {}, and is {}", was.name, was.fingerprint, is.fingerprint));
    }
    wrong.extend(found.dropped.iter().map(|o| format!("\"{}\" ({}) is not in this program", o.name, o.fingerprint)));
    if wrong.is_empty() {
        return Ok(());
    }
    let what = wrong.join("; ");
    if drop_state {
        tracing::warn!("the checkpoint of {}: dropped: {what}", manifest.time);
        return Ok(());
    }
    let remedy = "give verbs that stayed their old names with named(), or begin those empty with --drop-state";
    Err(Error::checkpoint(manifest.file().to_string(), format!("states that this program cannot take: {what}; {remedy}")))
}
