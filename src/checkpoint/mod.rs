//! Checkpoints: the files from which a job continues after a stop or a crash. This module handles plans and bytes, not running batches.
//!
//! A directory contains a genesis, leases, a log of plans, chunks of state, and manifests. A manifest lists the chunks of a
//! checkpoint. docs/formats.md has every byte. A job writes with [`Checkpoints`]; tools read with [`Directory`].
//!
//! Invariant: after a crash at any point, a start finds a complete checkpoint and every plan after it, or reports an error.
//!
//! Public for tools: [`Directory`] and the types that it returns. [`Checkpoints`], [`Chunks`] and [`PlanLog`] are public because
//! tests outside the crate write directories with them.

mod added;
mod chunks;
mod clean;
pub(crate) mod directory;
mod frame;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzz;
pub(crate) mod genesis;
mod lease;
pub(crate) mod loss;
pub(crate) mod manifest;
pub(crate) mod plan_log;
pub(crate) mod received_log;
pub(crate) mod recover;
mod store;
pub(crate) mod unplanned;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

pub use chunks::{ChunkFile, ChunkIndex, ChunkRef, ChunkWriter, Chunks, GroupChunks, collect};
pub use clean::Cleaned;
pub use directory::{Directory, Verified};
pub use genesis::{DirectoryId, Genesis, Origin, Position, StateId};
pub(crate) use lease::Lease;
pub use loss::LossRecord;
pub(crate) use loss::without;
pub use manifest::{Manifest, ManifestFile, OperatorState};
pub use plan_log::{PlanLog, PlanRecord};

use self::clean::Retention;
use self::lease::HeldLease;
use self::plan_log::{PlanCursor, Previous};
use self::received_log::ReceivedFile;
use self::store::Store;
use crate::core::clock::wall_ms;
use crate::core::error::{Error, Result};
use crate::core::fault::{FaultPoint, point};
use crate::core::key_groups::KeyGroups;
use crate::core::lock::lock;
use crate::core::time::BatchTime;

/// The job of a checkpoint directory, and how much of its past is kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of the job.
    pub job: String,
    /// The batch interval.
    pub interval: Duration,
    /// Number of checkpoints to keep (default: 2).
    pub keep: usize,
    /// The key groups of the job (default: 128).
    pub groups: KeyGroups,
    /// How long plans stay before the newest checkpoint, even if no recovery needs them (default: 1 hour).
    pub keep_plans: Duration,
}

impl Settings {
    /// Default settings of a job.
    pub fn new(job: impl Into<String>, interval: Duration) -> Self {
        Settings { job: job.into(), interval, keep: 2, groups: KeyGroups::default(), keep_plans: Duration::from_secs(3_600) }
    }
}

/// The state of a job that [`Checkpoints::open`] found.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The generation of this run.
    pub generation: u64,
    /// `None`: the directory is new. Call [`Checkpoints::begin`] next.
    pub genesis: Option<Genesis>,
    /// The checkpoint to load; all its chunks are intact. `None`: states begin empty, at the genesis.
    pub checkpoint: Option<Manifest>,
    /// The plans after the checkpoint. They are replayed with the same ranges before a new batch is planned.
    pub replay: Vec<PlanRecord>,
    /// Ranges of the replayed batches that the sources no longer had, as recorded.
    pub losses: Vec<LossRecord>,
    /// The last planned batch time; 0 if there is none.
    pub planned: BatchTime,
    /// Faults that recovery avoided, such as damaged checkpoints and foreign files. They have been logged.
    pub warnings: Vec<String>,
}

/// The checkpoints of a running job, in process 0. It holds the right to write until it and its [`PlanLog`] are dropped.
///
/// ```
/// use std::time::Duration;
/// use tidemill::checkpoint::{self, Checkpoints, Manifest, Origin, PlanRecord, Settings};
/// use tidemill::core::plan::Plan;
/// use tidemill::prelude::BatchTime;
/// # let dir = std::env::temp_dir().join(format!("tidemill-doc-checkpoints-{}", std::process::id()));
///
/// let settings = Settings::new("counts", Duration::from_secs(1));
/// let (checkpoints, recovered) = Checkpoints::open(&dir, settings.clone())?;
/// assert!(recovered.genesis.is_none());
/// checkpoints.begin(Origin::default())?;
/// let mut plans = checkpoints.plan_log()?;
///
/// let plan = |ms| PlanRecord { plan: Plan { time: BatchTime::from_millis(ms), ..Plan::default() }, run: 0, fill: true };
/// let checksum = plans.append(&plan(5_000))?;
/// let mut chunks = checkpoints.chunks()?.write(BatchTime::from_millis(5_000), 0)?;
/// chunks.put("count#1", 17, b"state")?;
/// let operators = checkpoint::collect([chunks.finish()?]);
/// # let operators = operators.into_iter().map(|(name, groups)| checkpoint::OperatorState {
/// #     id: checkpoint::StateId { name, fingerprint: "u64".into() }, groups }).collect();
/// checkpoints.publish(Manifest { time: BatchTime::from_millis(5_000), plan: checksum, operators, ..Manifest::default() })?;
/// plans.append(&plan(6_000))?;
/// assert!(Checkpoints::open(&dir, settings.clone()).is_err(), "two runs on one directory");
///
/// drop((checkpoints, plans)); // or a crash
/// let (_checkpoints, recovered) = Checkpoints::open(&dir, settings)?;
/// assert_eq!(recovered.generation, 2);
/// assert_eq!(recovered.checkpoint.unwrap().time.millis(), 5_000);
/// assert_eq!(recovered.replay, [plan(6_000)]);
/// # std::fs::remove_dir_all(dir).unwrap();
/// # tidemill::Result::<()>::Ok(())
/// ```
pub struct Checkpoints {
    store: Arc<dyn Store>,
    held: Arc<HeldLease>,
    settings: Settings,
    /// Also prevents `publish` and `clean` from running at the same time.
    state: Mutex<State>,
}

/// The part that changes during a generation.
struct State {
    directory: Option<DirectoryId>,
    /// The start of this generation's plan log. `plan_log` takes it.
    begin: Option<(Option<Previous>, PlanCursor)>,
    newest: BatchTime,
}

impl Checkpoints {
    /// Takes the directory for this run, creates it if it is missing, and recovers the state of the job.
    ///
    /// # Errors
    /// The directory cannot be written, is in use by another run, belongs to another job, or was written by a newer program; or
    /// a file that recovery needs is missing or damaged. The error names the file and the remedy.
    pub fn open(dir: &Path, settings: Settings) -> Result<(Checkpoints, Recovered)> {
        let store = store::open(dir)?;
        let lock = lease::lock(&*store)?;
        let genesis = Genesis::read(&*store)?;
        let in_use = generations(&*store)?;
        match &genesis {
            Some(genesis) => genesis.check(&store.place(), &settings.job, settings.interval, settings.groups)?,
            None => not_headless(&*store)?,
        }
        let held = Arc::new(HeldLease::take(&*store, lock, in_use, wall_ms())?);
        plan_log::close_older(&*store, held.lease.generation)?;
        store.delete(&clean::leftovers(&*store)?)?;
        let mut recovered = Recovered { generation: held.lease.generation, ..Recovered::default() };
        let begin = match &genesis {
            Some(genesis) => {
                let chunks = Chunks::new(store.clone(), genesis.id, held.lease.generation);
                let found = recover::recover(&*store, genesis, &chunks)?;
                recovered.checkpoint = found.manifest;
                recovered.replay = found.replay;
                recovered.losses = found.losses;
                recovered.planned = found.cursor.end;
                recovered.warnings = found.warnings;
                Some((found.tail, found.cursor))
            }
            None => None,
        };
        let foreign = clean::foreign(&*store)?;
        if !foreign.is_empty() {
            recovered.warnings.push(format!(
                "{}: left alone, because they do not belong to a checkpoint directory: {}",
                store.place(),
                few(&foreign)
            ));
        }
        recovered.warnings.iter().for_each(|w| tracing::warn!("checkpoint: {w}"));
        let newest = recovered.checkpoint.as_ref().map_or(BatchTime::default(), |m| m.time);
        let state = Mutex::new(State { directory: genesis.as_ref().map(|g| g.id), begin, newest });
        recovered.genesis = genesis;
        Ok((Checkpoints { store, held, settings, state }, recovered))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn directory(&self) -> Result<DirectoryId> {
        self.state().directory.ok_or_else(|| Error::checkpoint(self.store.place(), "has no genesis yet: call begin() first"))
    }

    /// Writes the genesis of a new directory. It is durable when this returns, before the first batch.
    ///
    /// # Errors
    /// The directory has a genesis, or the disk fails.
    pub fn begin(&self, origin: Origin) -> Result<Genesis> {
        let (now, interval_ms) = (wall_ms(), self.settings.interval.as_millis() as u64);
        let id = DirectoryId::new(now);
        let job = self.settings.job.clone();
        let key_groups = self.settings.groups.count();
        let genesis = Genesis { id, job, interval_ms, key_groups, written_ms: now, origin };
        point(FaultPoint::GenesisBefore);
        genesis.write(&*self.store)?;
        point(FaultPoint::GenesisAfter);
        let mut state = self.state();
        state.directory = Some(id);
        state.begin = Some((None, PlanCursor::new(interval_ms, BatchTime::default(), &genesis.origin.starts)));
        Ok(genesis)
    }

    /// Opens the plan log of this generation. Call it once; in a new directory, after [`begin`](Self::begin).
    ///
    /// # Errors
    /// It was called before, there is no genesis, or the disk fails.
    pub fn plan_log(&self) -> Result<PlanLog> {
        let directory = self.directory()?;
        let begin = self.state().begin.take();
        let (tail, cursor) = begin.ok_or_else(|| Error::checkpoint(self.store.place(), "its plan log is already open"))?;
        PlanLog::begin(self.store.clone(), self.held.clone(), directory, tail, cursor)
    }

    /// The chunk files of this generation.
    ///
    /// # Errors
    /// There is no genesis.
    pub fn chunks(&self) -> Result<Chunks> {
        Ok(Chunks::new(self.store.clone(), self.directory()?, self.held.lease.generation))
    }

    /// The lease of this generation.
    pub(crate) fn lease(&self) -> &Lease {
        &self.held.lease
    }

    /// Writes the manifest of a checkpoint. The checkpoint is durable when this returns. Returns the size of its chunk files in bytes,
    /// with other chunks in the same files.
    ///
    /// Each chunk must be of this checkpoint, or be named by the newest published one: `clean` may have deleted older files.
    ///
    /// # Errors
    /// A chunk is missing, `time` is not after the newest checkpoint, a newer run has the directory, or the disk fails. Earlier
    /// checkpoints stay valid.
    pub fn publish(&self, manifest: Manifest) -> Result<u64> {
        let directory = self.directory()?;
        let mut state = self.state();
        self.held.check(&*self.store)?;
        let generation = self.held.lease.generation;
        let mut manifest = Manifest { directory, generation, ..manifest };
        // A job says when by its own clock, which a test may have set.
        if manifest.written_ms == 0 {
            manifest.written_ms = wall_ms();
        }
        if manifest.time <= state.newest {
            let what = format!("is not written: the newest checkpoint is of {}, which is not before it", state.newest);
            return Err(Error::checkpoint(manifest.file().to_string(), what));
        }
        let held = manifest.write(&*self.store)?;
        state.newest = manifest.time;
        Ok(held)
    }

    /// How many complete checkpoints `clean` leaves.
    pub(crate) fn kept(&self) -> usize {
        self.settings.keep.max(1)
    }

    /// Deletes old checkpoints, chunk files that no kept checkpoint names, old plans, and files of dead generations.
    ///
    /// # Errors
    /// A newer run has the directory, or the disk fails. No needed file is deleted in either case.
    pub fn clean(&self) -> Result<Cleaned> {
        let directory = self.directory()?;
        let _alone = self.state();
        self.held.check(&*self.store)?;
        let keep = Retention {
            directory,
            checkpoints: self.settings.keep,
            plans_ms: self.settings.keep_plans.as_millis() as u64,
            generation: self.held.lease.generation,
        };
        clean::clean(&*self.store, &keep)
    }
}

/// Computations that were added to the job.
impl Checkpoints {
    /// Keeps a computation by its name, durably.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub(crate) fn keep_added(&self, name: &str, text: &str) -> Result<()> {
        added::keep(&*self.store, name, text)
    }

    /// Keeps the computation of this name no longer.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub(crate) fn drop_added(&self, name: &str) -> Result<()> {
        added::forget(&*self.store, name)
    }

    /// The computations that are kept: name and text, by name.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn kept_added(&self) -> Result<Vec<(String, String)>> {
        added::all(&*self.store)
    }
}

/// Runs the test suite of stores on `dir`: see `testing::store`.
#[cfg(any(test, doctest, feature = "testing"))]
pub(crate) fn check_store(dir: &Path) {
    store::suite::all(&|| store::open(dir).expect("a directory"));
}

/// The highest generation in any file name.
fn generations(store: &dyn Store) -> Result<u64> {
    let mut all = vec![0];
    all.extend(store.list("plans")?.iter().filter_map(|e| plan_log::PlanFile::parse(&e.name)).map(|f| f.generation));
    all.extend(store.list("pieces")?.iter().filter_map(|e| ChunkFile::parse(&e.name)).map(|f| f.generation));
    all.extend(store.list(received_log::FOLDER)?.iter().filter_map(|e| ReceivedFile::parse(&e.name)).map(|f| f.generation));
    all.extend(manifest::newest_first(store)?.iter().map(|f| f.generation));
    Ok(all.into_iter().max().unwrap_or(0))
}

/// Checks that a directory without a genesis has no plans and no manifests.
fn not_headless(store: &dyn Store) -> Result<()> {
    let orphan = ["manifests", "plans"].into_iter().find_map(|folder| {
        store.list(folder).ok()?.into_iter().find(|e| clean::is_own(&e.name) && !e.name.ends_with(store::UNFINISHED))
    });
    match orphan {
        None => Ok(()),
        Some(e) => Err(Error::checkpoint(
            genesis::FILE,
            format!("is missing, but {} contains {}: restore it, or choose an empty directory", store.place(), e.name),
        )),
    }
}

/// The first few names, and the number of others.
fn few(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let more = names.len().saturating_sub(SHOWN);
    let shown = names[..names.len() - more].join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

#[cfg(test)]
pub(crate) mod tests;
