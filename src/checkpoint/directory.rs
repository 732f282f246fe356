//! A checkpoint directory as tools see it: list, verify, prune. Invariant: only `prune` writes.

use std::path::Path;
use std::sync::Arc;

use super::chunks::{ChunkFile, Chunks};
use super::clean::{self, Cleaned, Retention};
use super::genesis::{self, Genesis};
use super::lease;
use super::loss::LossRecord;
use super::manifest::{Manifest, ManifestFile, newest_first, sizes};
use super::plan_log::{self, PlanRecord};
use super::received_log;
use super::store::{self, Lock, Store};
use crate::core::error::{Error, Result};
use crate::core::key_groups::KeyGroups;

/// A checkpoint directory, opened for reading. A job may be using it at the same time.
///
/// ```
/// use std::time::Duration;
/// use tidemill::checkpoint::{Checkpoints, Directory, Origin, Settings};
/// # let dir = std::env::temp_dir().join(format!("tidemill-doc-directory-{}", std::process::id()));
/// # let (checkpoints, _) = Checkpoints::open(&dir, Settings::new("counts", Duration::from_secs(1)))?;
/// # checkpoints.begin(Origin::default())?;
///
/// let directory = Directory::open(&dir)?;
/// assert_eq!(directory.genesis().job, "counts");
/// assert!(directory.checkpoints()?.is_empty());
/// assert!(directory.verify()?.bad.is_empty());
/// # std::fs::remove_dir_all(dir).unwrap();
/// # tidemill::Result::<()>::Ok(())
/// ```
pub struct Directory {
    store: Arc<dyn Store>,
    genesis: Genesis,
}

/// The result of [`Directory::verify`].
#[derive(Debug, Default)]
pub struct Verified {
    /// Number of files that were read.
    pub files: usize,
    /// Number of chunks in them.
    pub chunks: u64,
    /// Number of plans in them.
    pub plans: u64,
    /// One error for each fault; empty if every byte is as it was written.
    pub bad: Vec<Error>,
    /// Files that do not belong to a checkpoint directory.
    pub foreign: Vec<String>,
    /// Remarks that are not faults, such as the traces of a crash.
    pub notes: Vec<String>,
}

impl Directory {
    /// Opens an existing directory: a path, or `s3://BUCKET/PREFIX`.
    ///
    /// # Errors
    /// The directory does not exist, or its genesis is missing or damaged.
    pub fn open(dir: &Path) -> Result<Self> {
        let store = store::read_only(dir)?;
        match Genesis::read(&*store)? {
            Some(genesis) => Ok(Directory { store, genesis }),
            None => {
                Err(Error::checkpoint(store.place(), format!("is not a checkpoint directory: it has no file {}", genesis::FILE)))
            }
        }
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The genesis: the job's name, its interval, and where its sources started.
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Checks that this is the directory of a job.
    ///
    /// # Errors
    /// It has another job name, batch interval, or number of key groups.
    pub(crate) fn belongs_to(&self, job: &str, interval: std::time::Duration, groups: KeyGroups) -> Result<()> {
        self.genesis.check(&self.store.place(), job, interval, groups)
    }

    /// All checkpoints, newest first; an unusable one comes with its error. Chunks are not read: see [`verify`](Self::verify).
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn checkpoints(&self) -> Result<Vec<(ManifestFile, Result<Manifest>)>> {
        let sizes = sizes(&*self.store)?;
        let read = |file: ManifestFile| {
            let manifest = Manifest::read(&*self.store, self.genesis.id, file)?;
            match manifest.missing(&sizes) {
                missing if missing.is_empty() => Ok(manifest),
                missing => Err(Error::checkpoint(file.to_string(), missing.join(", "))),
            }
        };
        Ok(newest_first(&*self.store)?.into_iter().map(|file| (file, read(file))).collect())
    }

    fn log(&self) -> Result<plan_log::Plans> {
        plan_log::read(&*self.store, self.genesis.id, self.genesis.interval_ms, None)
    }

    /// All plans in the log, in order of time. The rest of an append that a crash interrupted is ignored.
    ///
    /// # Errors
    /// The log is damaged.
    pub fn plans(&self) -> Result<Vec<PlanRecord>> {
        Ok(self.log()?.records.into_iter().map(|l| l.record).collect())
    }

    /// Planned ranges that the sources no longer had, in the order in which the job noticed. The job skipped them.
    ///
    /// # Errors
    /// The log is damaged.
    pub fn losses(&self) -> Result<Vec<LossRecord>> {
        Ok(self.log()?.losses)
    }

    /// Reads every byte of every file and checks it against its checksums.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn verify(&self) -> Result<Verified> {
        let mut v = Verified { files: 1, foreign: clean::foreign(&*self.store)?, ..Verified::default() };
        let chunks = Chunks::new(self.store.clone(), self.genesis.id, 0);
        for entry in self.store.list("leases")?.iter().filter(|e| lease::generation_of(&e.name).is_some()) {
            v.files += 1;
            let read = self.store.read(&entry.name, lease::LIMIT).and_then(|b| lease::read(&entry.name, &b.unwrap_or_default()));
            v.bad.extend(read.err());
        }
        match self.log() {
            Ok(plans) => {
                v.plans = plans.records.len() as u64;
                v.notes.extend(plans.torn);
                let lost = |l: &LossRecord| l.ranges.iter().map(|r| r.until - r.from).sum::<i64>();
                v.notes.extend(plans.losses.iter().map(|l| format!("batch {}: {} positions had aged out", l.time, lost(l))));
            }
            Err(e) => v.bad.push(e),
        }
        v.files += self.store.list("plans")?.iter().filter(|e| plan_log::PlanFile::parse(&e.name).is_some()).count();
        match received_log::verify(&*self.store, self.genesis.id) {
            Ok((files, notes)) => {
                v.files += files;
                v.notes.extend(notes);
            }
            Err(e) => v.bad.push(e),
        }
        for file in self.store.list("pieces")?.iter().filter_map(|e| ChunkFile::parse(&e.name)) {
            v.files += 1;
            match chunks.verify(file) {
                Ok(n) => v.chunks += n,
                Err(e) => v.bad.extend(self.is_there("pieces", &file.to_string())?.then_some(e)),
            }
        }
        for file in newest_first(&*self.store)? {
            v.files += 1;
            let whole = Manifest::read(&*self.store, self.genesis.id, file).and_then(|m| m.check(&*self.store, &chunks));
            if let Err(e) = whole {
                v.bad.extend(self.is_there("manifests", &file.to_string())?.then_some(e));
            }
        }
        v.notes.extend(clean::leftovers(&*self.store)?.into_iter().map(|n| format!("{n}: incomplete, or being written")));
        Ok(v)
    }

    /// A running job may delete a file while it is read: that is not a fault.
    fn is_there(&self, folder: &str, name: &str) -> Result<bool> {
        Ok(self.store.list(folder)?.iter().any(|e| e.name == name))
    }

    /// Deletes all but the newest `keep` checkpoints, with the chunk files and plans that only those needed. At least one stays.
    ///
    /// # Errors
    /// A job is using the directory, or the disk fails.
    pub fn prune(&self, keep: usize) -> Result<Cleaned> {
        let lock = lease::lock(&*self.store)?;
        let generation = match lock {
            // The lock proves that no run writes: every generation is over.
            Lock::Held(_) => u64::MAX,
            // Without locks, the newest generation may be writing.
            _ => lease::newest_generation(&*self.store)?,
        };
        let keep = Retention { directory: self.genesis.id, checkpoints: keep, plans_ms: 0, generation };
        clean::clean(&*self.store, &keep)
    }
}
