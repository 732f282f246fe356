//! Checkpoints: what a job needs to go on after any end. A service: it knows plans and bytes, not batches in flight.
//!
//! A directory holds a genesis, leases, a log of plans, pieces of state, and manifests that say which pieces are a checkpoint;
//! docs/formats.md has every byte. [`Checkpoints`] is for the run that writes it, [`Directory`] for who wants to look.

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
pub(crate) mod recover;
mod store;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use chunks::{Groups, Index, LONGEST_PIECE, PieceFile, PieceRef, PieceWriter, Pieces, collect};
pub use clean::Cleaned;
pub use directory::{Directory, Verified};
pub use genesis::{DirectoryId, Genesis, Origin, Position, StateId};
pub use lease::Lease;
pub use loss::LossRecord;
pub(crate) use loss::without;
pub use manifest::{Comparison, Manifest, ManifestFile, OperatorState};
pub use plan_log::{PlanLog, PlanRecord};

use self::clean::Keep;
use self::lease::Held;
use self::plan_log::{Course, Previous};
use self::store::Store;
pub(crate) use self::store::url;
use crate::core::clock::wall_ms;
use crate::core::data::KEY_GROUPS;
use crate::core::error::{Error, Result};
use crate::core::time::BatchTime;

/// Whose checkpoints these are, and how many of them stay.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of the job.
    pub job: String,
    /// The batch interval.
    pub interval: Duration,
    /// So many checkpoints stay, 2 unless said.
    pub keep: usize,
    /// Plans stay for so long before the newest checkpoint, though no recovery needs them; an hour unless said.
    pub keep_plans: Duration,
}

impl Settings {
    /// Those of a job.
    pub fn new(job: impl Into<String>, interval: Duration) -> Self {
        Settings { job: job.into(), interval, keep: 2, keep_plans: Duration::from_secs(3_600) }
    }
}

/// What a checkpoint directory brings back.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The generation that begins now.
    pub generation: u64,
    /// `None`: the directory is new, [`Checkpoints::begin`] comes next.
    pub genesis: Option<Genesis>,
    /// The checkpoint to load; all its pieces have been checked. `None`: states begin empty, at the genesis.
    pub checkpoint: Option<Manifest>,
    /// The plans after the checkpoint, which run again with these ranges before anything new is planned.
    pub replay: Vec<PlanRecord>,
    /// What of the replayed batches was not in the sources any more, as far as that was noticed.
    pub losses: Vec<LossRecord>,
    /// The last batch time that is planned; 0 if none is.
    pub planned: BatchTime,
    /// What was found and got round: torn tails, damaged checkpoints, files that are not ours. They have been logged.
    pub warnings: Vec<String>,
}

/// The checkpoints of a running job. Process 0 has it; the right to write goes with it and with its [`PlanLog`].
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
/// let mut pieces = checkpoints.pieces()?.write(BatchTime::from_millis(5_000), 0)?;
/// pieces.put("count#1", 17, b"state")?;
/// let operators = checkpoint::collect([pieces.finish()?]);
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
    held: Arc<Held>,
    settings: Settings,
    /// One that publishes and one that cleans do not meet.
    state: Mutex<State>,
}

/// What changes over a generation.
struct State {
    directory: Option<DirectoryId>,
    /// Where the plan log of this generation begins; taken by it.
    begin: Option<(Option<Previous>, Course)>,
    newest: BatchTime,
}

impl Checkpoints {
    /// Takes a directory, makes it if it is not there, and finds out where the job stands.
    ///
    /// # Errors
    /// A directory that cannot be written, that another run has, that belongs to another job, that a newer program wrote, or
    /// in which something is missing or damaged that cannot be got round: each names the file and what to do.
    pub fn open(dir: &Path, settings: Settings) -> Result<(Checkpoints, Recovered)> {
        let store = store::open(dir)?;
        let lock = lease::lock(&*store)?;
        let genesis = Genesis::read(&*store)?;
        let in_use = generations(&*store)?;
        match &genesis {
            Some(genesis) => genesis.check(&store.place(), &settings.job, settings.interval)?,
            None => not_headless(&*store)?,
        }
        let held = Arc::new(Held::take(&*store, lock, in_use, wall_ms())?);
        plan_log::close_older(&*store, held.lease.generation)?;
        store.delete(&clean::leftovers(&*store)?)?;
        let mut recovered = Recovered { generation: held.lease.generation, ..Recovered::default() };
        let begin = match &genesis {
            Some(genesis) => {
                let pieces = Pieces::new(store.clone(), genesis.id, held.lease.generation);
                let found = recover::recover(&*store, genesis, &pieces)?;
                recovered.checkpoint = found.manifest;
                recovered.replay = found.replay;
                recovered.losses = found.losses;
                recovered.planned = found.course.end;
                recovered.warnings = found.warnings;
                Some((found.tail, found.course))
            }
            None => None,
        };
        let foreign = clean::foreign(&*store)?;
        if !foreign.is_empty() {
            recovered.warnings.push(format!("{}: not of a checkpoint directory, left alone: {}", store.place(), few(&foreign)));
        }
        recovered.warnings.iter().for_each(|w| tracing::warn!("checkpoint: {w}"));
        let newest = recovered.checkpoint.as_ref().map_or(BatchTime::default(), |m| m.time);
        let state = Mutex::new(State { directory: genesis.as_ref().map(|g| g.id), begin, newest });
        recovered.genesis = genesis;
        Ok((Checkpoints { store, held, settings, state }, recovered))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn directory(&self) -> Result<DirectoryId> {
        self.state().directory.ok_or_else(|| Error::checkpoint(self.store.place(), "has no genesis yet: begin() comes first"))
    }

    /// Writes the genesis of a new directory: durable before the first batch.
    ///
    /// # Errors
    /// There is one; the disk fails.
    pub fn begin(&self, origin: Origin) -> Result<Genesis> {
        let (now, interval_ms) = (wall_ms(), self.settings.interval.as_millis() as u64);
        let id = DirectoryId::new(now);
        let job = self.settings.job.clone();
        let genesis = Genesis { id, job, interval_ms, key_groups: KEY_GROUPS, written_ms: now, origin };
        crate::core::fault::point(crate::core::fault::FaultPoint::GenesisBefore);
        genesis.write(&*self.store)?;
        crate::core::fault::point(crate::core::fault::FaultPoint::GenesisAfter);
        let mut state = self.state();
        state.directory = Some(id);
        state.begin = Some((None, Course::new(interval_ms, BatchTime::default(), &genesis.origin.starts)));
        Ok(genesis)
    }

    /// The plan log of this generation: once, after `begin` where the directory is new.
    ///
    /// # Errors
    /// It has been taken; there is no genesis; the disk fails.
    pub fn plan_log(&self) -> Result<PlanLog> {
        let directory = self.directory()?;
        let begin = self.state().begin.take();
        let (tail, course) = begin.ok_or_else(|| Error::checkpoint(self.store.place(), "its plan log has been opened before"))?;
        PlanLog::begin(self.store.clone(), self.held.clone(), directory, tail, course)
    }

    /// What workers write and read pieces with.
    ///
    /// # Errors
    /// There is no genesis.
    pub fn pieces(&self) -> Result<Pieces> {
        Ok(Pieces::new(self.store.clone(), self.directory()?, self.held.lease.generation))
    }

    /// The lease of this generation.
    pub fn lease(&self) -> &Lease {
        &self.held.lease
    }

    /// Makes a checkpoint of what has been written: when this returns, it is there for ever after. Returns how many bytes the
    /// files of its pieces have, whatever else lies in them.
    ///
    /// Its pieces are of this checkpoint, or of the newest one that has been published: older files may be gone.
    ///
    /// # Errors
    /// A piece that is not there; a time that is not after the last checkpoint's; a newer run on the directory; the disk
    /// fails. The checkpoints before it stand as they stood.
    pub fn publish(&self, manifest: Manifest) -> Result<u64> {
        let directory = self.directory()?;
        let mut state = self.state();
        self.held.check(&*self.store)?;
        let generation = self.held.lease.generation;
        let manifest = Manifest { directory, generation, written_ms: wall_ms(), ..manifest };
        if manifest.time <= state.newest {
            let what = format!("is not written: there is a checkpoint of {}, which is not before it", state.newest);
            return Err(Error::checkpoint(manifest.file().to_string(), what));
        }
        let held = manifest.write(&*self.store)?;
        state.newest = manifest.time;
        Ok(held)
    }

    /// Deletes what no recovery will ask for: checkpoints beyond those that stay, pieces that none of these names, plans
    /// before them, and what dead generations left.
    ///
    /// # Errors
    /// A newer run on the directory; the disk fails. What is needed is there in any case.
    pub fn clean(&self) -> Result<Cleaned> {
        let directory = self.directory()?;
        let _alone = self.state();
        self.held.check(&*self.store)?;
        let keep = Keep {
            directory,
            checkpoints: self.settings.keep,
            plans_ms: self.settings.keep_plans.as_millis() as u64,
            generation: self.held.lease.generation,
        };
        clean::clean(&*self.store, &keep)
    }
}

/// See `testing::store`.
#[cfg(any(test, doctest, feature = "testing"))]
pub(crate) fn check_store(dir: &Path) {
    store::suite::all(&|| store::open(dir).expect("a directory"));
}

/// The highest generation that any file names.
fn generations(store: &dyn Store) -> Result<u64> {
    let mut all = vec![0];
    all.extend(store.list("plans")?.iter().filter_map(|e| plan_log::PlanFile::parse(&e.name)).map(|f| f.generation));
    all.extend(store.list("pieces")?.iter().filter_map(|e| PieceFile::parse(&e.name)).map(|f| f.generation));
    all.extend(manifest::newest_first(store)?.iter().map(|f| f.generation));
    Ok(all.into_iter().max().unwrap_or(0))
}

/// A directory with plans or manifests had a genesis.
fn not_headless(store: &dyn Store) -> Result<()> {
    let orphan = ["manifests", "plans"].into_iter().find_map(|folder| {
        store.list(folder).ok()?.into_iter().find(|e| clean::is_own(&e.name) && !e.name.ends_with(store::UNFINISHED))
    });
    match orphan {
        None => Ok(()),
        Some(e) => Err(Error::checkpoint(
            genesis::FILE,
            format!("is missing, and there is {} in {}: restore it, or choose an empty directory", e.name, store.place()),
        )),
    }
}

/// The first few of many.
fn few(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let more = names.len().saturating_sub(SHOWN);
    let shown = names[..names.len() - more].join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

#[cfg(test)]
mod tests;
