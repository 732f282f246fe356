//! The planner's half of checkpoints: logs plans, asks for snapshots, publishes checkpoints. It exists if the job has a checkpoint
//! directory.
//!
//! The chain: `snapshotter.rs` saves the state of one worker, and `snapshot_writer.rs` writes it. This file makes a checkpoint from the
//! chunks of all workers. `checkpoint/` has the file formats.
//!
//! *Invariant:* a plan is in the log before its batch closes. A checkpoint is published when every worker has written its
//! snapshot and every output has written its batch. One checkpoint is pending at a time; a second one only at the end of a job.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::config::Config;
use crate::checkpoint::{
    Checkpoints, ChunkRef, Genesis, GroupChunks, LossRecord, Manifest, OperatorState, Origin, PlanLog, PlanRecord, Position,
    Recovered, Settings, StateId,
};
use crate::cluster::parent_process;
use crate::core::data::encoded;
use crate::core::error::{Error, Result};
use crate::core::plan::{PlanStamp, Range, RunId};
use crate::core::time::{BatchTime, Interval};
use crate::engine::tick::SnapshotScope;
use crate::job::protocol::{Restore, WorkerSnapshot};
use crate::job::resumed::{ProgramStates, Resumed, Shards, TOTALS};
use crate::job::sources::SourceSnapshot;
use crate::metrics;
use crate::metrics::state::{Saved, StateSize, Tried};
use crate::operator::kernel::bad_runs;

/// How many checkpoints in a row may fail before the job fails. Until one succeeds, the plan log grows and a restart takes longer.
const FAILURES: u32 = 5;

/// Unchanged chunks stay in old files and keep those files alive. When the files hold more than `SPARSE` times the needed bytes,
/// plus `SPARE`, the next checkpoint is a full one.
const SPARSE: u64 = 4;
const SPARE: u64 = 1 << 20;
/// The name under which a checkpoint holds the sinks. Some may have been added after the genesis.
const SHARDS: &str = "shards";

/// The exactly-once sinks that a checkpoint knows.
fn sinks_of(manifest: &Manifest) -> Result<Shards> {
    let Some(bytes) = manifest.memory.get(SHARDS) else { return Ok(Shards::new()) };
    postcard::from_bytes(bytes).map_err(|e| Error::damaged(manifest.file().to_string(), format!("the shards of its sinks: {e}")))
}

/// Rows of a key stay in one shard as long as the directory is used.
fn check_shards(made: &Shards, now: &Shards) -> Result<()> {
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
/// [`Checkpoints::open`] fails.
pub(crate) fn open(dir: &Path, config: &Config) -> Result<Opened> {
    let mut settings = Settings::new(config.name.clone(), config.interval.duration());
    settings.groups = config.key_groups();
    settings.keep_plans = config.runtime.keep_plans.unwrap_or(settings.keep_plans);
    settings.keep = config.runtime.keep_checkpoints.map_or(settings.keep, usize::from);
    Checkpoints::open(dir, settings)
}

/// A checkpoint that is not complete yet.
struct Pending {
    manifest: Manifest,
    began: Instant,
    /// Workers whose snapshots are missing.
    missing: usize,
    /// By worker.
    written: Vec<(u32, WorkerSnapshot)>,
    failure: Option<String>,
    /// Whether every output has written its batch.
    committed: bool,
}

/// Logs the plans of a running job and makes its checkpoints.
pub(crate) struct CheckpointCoordinator {
    checkpoints: Checkpoints,
    log: Option<PlanLog>,
    interval: Interval,
    /// The checkpoint interval in milliseconds.
    every: u64,
    program: Vec<StateId>,
    /// Every exactly-once sink that the directory has ever had.
    shards: Shards,
    workers: u32,
    processes: u32,
    /// The position of each split after the last plan, by split id.
    positions: BTreeMap<u32, Position>,
    /// The chunks of the newest checkpoint, by operator.
    groups: BTreeMap<String, GroupChunks>,
    /// The time of the checkpoint that was started last.
    last: BatchTime,
    /// Oldest first.
    pending: VecDeque<Pending>,
    /// Whether the next checkpoint is a full one: the last one failed, or its files are sparse.
    full: bool,
    /// How many checkpoints in a row have failed.
    failed: u32,
    /// The checkpoints of this run.
    made: metrics::Checkpoints,
    /// The times of the checkpoints that are kept, the newest last: the one that the run began with, and those that it has made.
    kept: VecDeque<BatchTime>,
    /// What readers are told of them.
    saved: Arc<Saved>,
    /// The `tidemill launch` that started this process, if any.
    launcher: parent_process::Progress,
}

impl CheckpointCoordinator {
    /// Makes the coordinator, and returns where the job continues.
    ///
    /// # Errors
    /// The checkpoint has states or sinks that do not fit this program.
    pub fn new(
        opened: Opened,
        config: &Config,
        every: u64,
        program: ProgramStates,
        shards: &Shards,
    ) -> Result<(CheckpointCoordinator, Resumed)> {
        let (checkpoints, found) = opened;
        let manifest = found.checkpoint;
        if let Some(manifest) = &manifest {
            check_states(manifest, &program, config.runtime.drop_state)?;
        }
        let mut made = found.genesis.as_ref().map(|g| g.origin.shards.clone()).unwrap_or_default();
        if let Some(manifest) = &manifest {
            made.extend(sinks_of(manifest)?);
        }
        check_shards(&made, shards)?;
        let resumed = Resumed {
            known: found.genesis.is_some(),
            time: manifest.as_ref().map(|m| m.time),
            written_ms: manifest.as_ref().map_or(0, |m| m.written_ms),
            positions: manifest.as_ref().map_or_else(|| starts(found.genesis.as_ref()), |m| m.positions.clone()),
            split_ids: manifest.as_ref().map_or(0, |m| m.split_ids),
            memory: manifest.as_ref().map(|m| m.memory.clone()).unwrap_or_default(),
            plan: manifest.as_ref().map_or(0, |m| m.plan),
            sinks: made.clone(),
            replay: found.replay.into(),
            losses: found.losses,
            planned: found.planned.max(manifest.as_ref().map_or(BatchTime::default(), |m| m.time)),
        };
        let told = Saved {
            generation: checkpoints.lease().generation,
            began: resumed.time,
            again: resumed.replay.len(),
            states: manifest.iter().flat_map(|m| &m.operators).map(size).collect(),
            ..Saved::default()
        };
        let saved = manifest.into_iter().flat_map(|m| m.operators).filter(|o| program.run.contains(&o.id));
        let coordinator = CheckpointCoordinator {
            checkpoints,
            log: None,
            interval: config.interval,
            every,
            workers: config.peers() as u32,
            processes: config.runtime.processes.into(),
            positions: resumed.positions.iter().map(|p| (p.split_id, p.clone())).collect(),
            groups: saved.map(|o| (o.id.name, o.groups)).collect(),
            last: resumed.time.unwrap_or_default(),
            program: program.run,
            shards: made.into_iter().chain(shards.clone()).collect(),
            pending: VecDeque::new(),
            full: false,
            failed: 0,
            made: metrics::Checkpoints::default(),
            kept: resumed.time.into_iter().collect(),
            saved: Arc::new(told),
            launcher: parent_process::Progress::to_launcher(),
        };
        Ok((coordinator, resumed))
    }

    /// Writes the genesis of a new directory and opens the plan log, before the first batch.
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

    /// The run, and the chunks that workers load.
    ///
    /// # Errors
    /// There is no genesis.
    pub fn restore(&self) -> Result<(RunId, Restore)> {
        let (directory, generation) = self.checkpoints.chunks()?.id();
        let run = RunId { directory: directory.0, generation };
        let lease = self.checkpoints.lease().clone();
        Ok((run, Restore { lease: Some(lease), states: self.groups.clone() }))
    }

    /// The directory.
    pub fn checkpoints(&self) -> &Checkpoints {
        &self.checkpoints
    }

    /// The job runs: its sources and outputs are ready.
    pub fn runs(&self) {
        self.launcher.runs();
    }

    /// Set if the batch that ends at `end` gets a checkpoint. `last`: it is the last batch of the job.
    pub fn due(&self, end: BatchTime, last: bool) -> Option<SnapshotScope> {
        let due = last || end.millis() >= self.last.millis() + self.every;
        (due && (last || self.pending.is_empty())).then_some(if self.full { SnapshotScope::Full } else { SnapshotScope::Changed })
    }

    /// Starts the checkpoint of a batch that was just sealed. `now_ms`: what the clock of the job shows.
    pub fn start_snapshot(&mut self, end: BatchTime, sources: SourceSnapshot, now_ms: u64) {
        let SourceSnapshot { split_ids, mut memory } = sources;
        if !self.shards.is_empty() {
            memory.insert(SHARDS.into(), encoded(&self.shards));
        }
        let (workers, processes) = (self.workers, self.processes);
        let manifest = Manifest { time: end, written_ms: now_ms, split_ids, memory, workers, processes, ..Manifest::default() };
        self.last = end;
        let missing = workers as usize;
        self.pending.push_back(Pending {
            manifest,
            began: Instant::now(),
            missing,
            written: Vec::new(),
            failure: None,
            committed: false,
        });
    }

    /// Logs the plan of a batch and what of it was lost: both are durable when this returns. Returns the stamp by which
    /// exactly-once sinks know the batch.
    ///
    /// # Errors
    /// The disk fails. This ends the job.
    pub fn log_plan(&mut self, record: &PlanRecord, replayed: bool, lost: &[Range]) -> Result<PlanStamp> {
        let log = self.log.as_mut().ok_or_else(|| Error::bug("the plan log is not open"))?;
        if !lost.is_empty() {
            log.append_loss(&LossRecord { time: record.plan.time, ranges: lost.to_vec() })?;
        }
        let checksum = if replayed { record.checksum() } else { log.append(record)? };
        for r in record.plan.ranges.iter().filter(|r| !r.split.read_at_once()) {
            let position = Position { source: r.source, split_id: r.split_id, split: r.split.clone(), next: r.until };
            self.positions.insert(r.split_id, position);
        }
        let end = record.end(self.interval.millis());
        if let Some(p) = self.pending.iter_mut().find(|p| p.manifest.time == end) {
            p.manifest.plan = checksum;
            p.manifest.positions = self.positions.values().cloned().collect();
        }
        Ok(PlanStamp { generation: self.checkpoints.lease().generation, plan: checksum })
    }

    /// One worker has written its part of a snapshot, or could not.
    ///
    /// # Errors
    /// Too many checkpoints in a row have failed.
    pub fn snapshot_written(&mut self, worker: usize, time: BatchTime, written: Result<WorkerSnapshot, String>) -> Result<()> {
        let Some(p) = self.pending.iter_mut().find(|p| p.manifest.time == time) else { return Ok(()) };
        p.missing -= 1;
        match written {
            Ok(written) => p.written.push((worker as u32, written)),
            Err(failure) => p.failure = Some(failure),
        }
        self.publish_if_complete()
    }

    /// Every output has written the batch of `time`. `totals`: what the job has done up to this batch, for its counters.
    ///
    /// # Errors
    /// Too many checkpoints in a row have failed.
    pub fn committed(&mut self, time: BatchTime, totals: impl Fn() -> Vec<u8>) -> Result<()> {
        self.launcher.committed(time);
        for p in self.pending.iter_mut().filter(|p| p.manifest.time <= time && !p.committed) {
            p.manifest.memory.insert(TOTALS.into(), totals());
            p.committed = true;
        }
        self.publish_if_complete()
    }

    /// The oldest checkpoint that a restart may begin with, if newer ones are damaged. `None`: it may begin with the first batch.
    pub fn oldest_kept(&self) -> Option<BatchTime> {
        self.kept.front().copied().filter(|_| self.kept.len() == self.checkpoints.kept())
    }

    /// The checkpoints that this run has made.
    pub fn made(&self) -> metrics::Checkpoints {
        self.made.clone()
    }

    /// What this run has saved, and with what it began.
    pub fn saved(&self) -> Arc<Saved> {
        self.saved.clone()
    }

    /// A checkpoint was made, or has failed.
    fn tried(&mut self, time: BatchTime, took: Duration, bytes: u64, failure: Option<String>) {
        Arc::make_mut(&mut self.saved).add(Tried { time, took, bytes, failure });
    }

    /// Whether no checkpoint is pending.
    pub fn idle(&self) -> bool {
        self.pending.is_empty()
    }

    fn publish_if_complete(&mut self) -> Result<()> {
        while self.pending.front().is_some_and(|p| p.missing == 0 && p.committed) {
            let Some(pending) = self.pending.pop_front() else { break };
            let (time, began) = (pending.manifest.time, pending.began);
            match self.publish(pending) {
                Ok(sparse) => (self.full, self.failed) = (sparse, 0),
                Err(e) => {
                    (self.full, self.failed) = (true, self.failed + 1);
                    self.made.failed += 1;
                    self.tried(time, began.elapsed(), 0, Some(e.to_string()));
                    if self.failed >= FAILURES {
                        return Err(e);
                    }
                    tracing::error!(batch = %time, error = %e, "the checkpoint failed; the previous one is still valid");
                    // A later snapshot holds only what changed since this one.
                    self.pending.iter_mut().for_each(|p| p.failure = Some(format!("the previous one failed: {e}")));
                }
            }
        }
        Ok(())
    }

    /// Publishes a checkpoint. Returns whether its files are sparse.
    fn publish(&mut self, pending: Pending) -> Result<bool> {
        if let Some(failure) = pending.failure {
            return Err(Error::checkpoint(pending.manifest.file().to_string(), failure));
        }
        let mut groups = self.groups.clone();
        for (worker, written) in pending.written {
            self.merge(&mut groups, worker, written);
        }
        groups.values_mut().for_each(|groups| groups.retain(|_, list| !list.is_empty()));
        // An empty state too: a verb that begins with initial states must not do so again.
        let state = |id: &StateId| OperatorState { id: id.clone(), groups: groups.get(&id.name).cloned().unwrap_or_default() };
        let mut operators: Vec<OperatorState> = self.program.iter().map(state).collect();
        operators.sort_by(|a, b| a.id.name.cmp(&b.id.name));
        let manifest = Manifest { operators, ..pending.manifest };
        let (time, needed) = (manifest.time, manifest.bytes());
        let states: Arc<[StateSize]> = manifest.operators.iter().map(size).collect();
        let held = self.checkpoints.publish(manifest)?;
        // The checkpoint is valid: errors from here on do not undo it.
        self.groups = groups;
        let made = self.made.made + 1;
        let took = pending.began.elapsed();
        self.made = metrics::Checkpoints { made, last: Some(time), took, bytes: needed, ..self.made };
        self.tried(time, took, needed, None);
        self.kept.push_back(time);
        self.kept.drain(..self.kept.len().saturating_sub(self.checkpoints.kept()));
        Arc::make_mut(&mut self.saved).states = states;
        if let Err(e) = self.checkpoints.clean() {
            tracing::warn!(error = %e, "old checkpoints could not be removed");
        }
        Ok(held > SPARSE * needed + SPARE)
    }

    /// Merges the snapshot of one worker into the chunk lists. A chunk of an earlier run counts for the worker that has its key
    /// group now.
    fn merge(&self, lists: &mut BTreeMap<String, GroupChunks>, worker: u32, written: WorkerSnapshot) {
        let generation = self.checkpoints.lease().generation;
        for (operator, until) in written.expired {
            let lists = lists.entry(operator).or_default().values_mut();
            lists.for_each(|list| list.retain(|p| p.file.time > until));
        }
        for (operator, group, since) in written.replaced {
            let own = |p: &ChunkRef| match p.file.generation == generation {
                true => p.file.worker % self.workers == worker,
                false => group % self.workers == worker,
            };
            let list = lists.entry(operator).or_default().entry(group).or_default();
            list.retain(|p| p.file.time <= since || !own(p));
        }
        for (operator, group, chunk) in written.index {
            lists.entry(operator).or_default().entry(group).or_default().push(chunk);
        }
    }
}

/// How large the state of an operator is in a checkpoint.
fn size(state: &OperatorState) -> StateSize {
    let chunks = state.groups.values().map(Vec::len).sum();
    StateSize { name: state.id.name.clone(), kind: state.id.fingerprint.clone(), bytes: state.bytes(), chunks }
}

/// Where the splits started when the directory was made.
fn starts(genesis: Option<&Genesis>) -> Vec<Position> {
    genesis.map(|g| g.origin.starts.clone()).unwrap_or_default()
}

/// Whether this program can load the states of a checkpoint.
///
/// # Errors
/// It cannot, and `drop_state` is off.
pub(crate) fn check_states(manifest: &Manifest, program: &ProgramStates, drop_state: bool) -> Result<()> {
    let found = manifest.compare(&program.run);
    for new in &found.new {
        tracing::info!(operator = new.name, "not in the checkpoint: begins as in a first run");
    }
    let mut wrong: Vec<String> = Vec::new();
    for (was, is) in &found.changed {
        wrong.push(format!("\"{}\" was {}, and is {}", was.name, was.fingerprint, is.fingerprint));
    }
    // Which of two equal parts the state was of is not known, so the second one does not begin empty in silence.
    let saved = |name: &str| manifest.operators.iter().any(|o| o.id.name == name && !o.groups.is_empty());
    wrong.extend(found.new.iter().filter_map(|StateId { name, .. }| {
        let (first, _) = name.rsplit_once('#').filter(|(first, _)| saved(first))?;
        Some(format!("\"{name}\" is new beside an equal part, \"{first}\", and which of them the state was of is not known"))
    }));
    // A limit may be taken away like any other setting.
    let counts = format!("{} ", bad_runs::STATE);
    let dropped = found.dropped.iter().filter(|o| !o.fingerprint.starts_with(&counts));
    wrong.extend(
        dropped.clone().map(|o| format!("\"{}\" ({}) is not in this program, or no output reads it", o.name, o.fingerprint)),
    );
    if wrong.is_empty() {
        return Ok(());
    }
    let what = wrong.join("; ");
    if drop_state {
        tracing::warn!("the checkpoint of {}: dropped: {what}", manifest.time);
        return Ok(());
    }
    let asked: Vec<String> = dropped.filter(|o| program.unread.contains(&o.name)).map(|o| format!("\"{}\"", o.name)).collect();
    let again = match asked.as_slice() {
        [] => String::new(),
        names => format!("run with --queryable again, which reads {}, or ", names.join(", ")),
    };
    let remedy = format!("{again}give verbs that stayed their old names with named(), or begin those empty with --drop-state");
    Err(Error::checkpoint(manifest.file().to_string(), format!("states that this program cannot take: {what}; {remedy}")))
}
