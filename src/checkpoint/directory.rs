//! A checkpoint directory as it lies there: to look at, to verify, to prune. Nothing is written but by `prune`.

use std::path::Path;
use std::sync::Arc;

use super::chunks::{PieceFile, Pieces};
use super::clean::{self, Cleaned, Keep};
use super::genesis::{self, Genesis};
use super::lease;
use super::loss::LossRecord;
use super::manifest::{Manifest, ManifestFile, newest_first, sizes};
use super::plan_log::{self, PlanRecord};
use super::store::{self, Lock, Store};
use crate::core::error::{Error, Result};

/// A checkpoint directory, for reading; a run may be writing it.
pub struct Directory {
    store: Arc<dyn Store>,
    genesis: Genesis,
}

/// What [`Directory::verify`] has found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Files that were read.
    pub files: usize,
    /// Pieces in them.
    pub pieces: u64,
    /// Plans in them.
    pub plans: u64,
    /// What is wrong, one entry a fault.
    pub bad: Vec<Error>,
    /// Files that are none of a checkpoint directory.
    pub foreign: Vec<String>,
    /// What is no fault: a crash left it, and recovery passes it by.
    pub notes: Vec<String>,
}

impl Directory {
    /// A directory that is there.
    ///
    /// # Errors
    /// None is there, or its genesis cannot be read.
    pub fn open(dir: &Path) -> Result<Self> {
        let store = store::look(dir)?;
        match Genesis::read(&*store)? {
            Some(genesis) => Ok(Directory { store, genesis }),
            None => {
                Err(Error::checkpoint(store.place(), format!("is no checkpoint directory: there is no file {}", genesis::FILE)))
            }
        }
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Its genesis.
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Whether it is the directory of this job.
    ///
    /// # Errors
    /// Another job's, or one of another batch interval or key groups.
    pub fn belongs_to(&self, job: &str, interval: std::time::Duration) -> Result<()> {
        self.genesis.check(&self.store.place(), job, interval)
    }

    /// The checkpoints, the newest first; those that cannot be used with what is wrong. Their pieces are not read.
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

    /// The plans that are kept, in order.
    ///
    /// # Errors
    /// A plan that cannot be read; what a crash left at the end of the log is none.
    pub fn plans(&self) -> Result<Vec<PlanRecord>> {
        Ok(self.log()?.records.into_iter().map(|l| l.record).collect())
    }

    /// What of these plans was not in the sources any more and has been passed over, in the order in which it was noticed.
    ///
    /// # Errors
    /// As [`Directory::plans`].
    pub fn losses(&self) -> Result<Vec<LossRecord>> {
        Ok(self.log()?.losses)
    }

    /// Reads every byte of every file, and says of each whether it is as it was written.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn verify(&self) -> Result<Verified> {
        let mut v = Verified { files: 1, foreign: clean::foreign(&*self.store)?, ..Verified::default() };
        let pieces = Pieces::new(self.store.clone(), self.genesis.id, 0);
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
        for file in self.store.list("pieces")?.iter().filter_map(|e| PieceFile::parse(&e.name)) {
            v.files += 1;
            match pieces.verify(file) {
                Ok(n) => v.pieces += n,
                Err(e) => v.bad.extend(self.is_there("pieces", &file.to_string())?.then_some(e)),
            }
        }
        for file in newest_first(&*self.store)? {
            v.files += 1;
            let whole = Manifest::read(&*self.store, self.genesis.id, file).and_then(|m| m.check(&*self.store, &pieces));
            if let Err(e) = whole {
                v.bad.extend(self.is_there("manifests", &file.to_string())?.then_some(e));
            }
        }
        v.notes.extend(clean::leftovers(&*self.store)?.into_iter().map(|n| format!("{n}: half written, or being written")));
        Ok(v)
    }

    /// A run that cleans takes files away while they are read: those are no faults.
    fn is_there(&self, folder: &str, name: &str) -> Result<bool> {
        Ok(self.store.list(folder)?.iter().any(|e| e.name == name))
    }

    /// Deletes all but the newest `keep` checkpoints, what only they needed, and all plans before them.
    ///
    /// # Errors
    /// A run has the directory; the disk fails.
    pub fn prune(&self, keep: usize) -> Result<Cleaned> {
        let lock = lease::lock(&*self.store)?;
        let generation = match lock {
            // Nobody writes: every generation is over.
            Lock::Held(_) => u64::MAX,
            // Somebody may: then the last generation is not.
            _ => lease::newest_generation(&*self.store)?,
        };
        let keep = Keep { directory: self.genesis.id, checkpoints: keep, plans_ms: 0, generation };
        clean::clean(&*self.store, &keep)
    }
}
