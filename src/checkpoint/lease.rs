//! Leases: the right of one generation to write. Invariant: at most one generation has it.
//!
//! A lock guards the current lease. A file for each generation records who had the lease, and since when.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::frame::{Kind, frame, unframe_all};
use super::store::{Lock, Store};
use crate::core::error::{Error, Result};
use crate::core::fault::{FaultPoint, point};

pub(crate) const LIMIT: u64 = 64 << 10;

/// The right of one process to write the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    /// Increases by one at each start of the job.
    pub generation: u64,
    /// The process id of process 0 of the job.
    pub pid: u32,
    /// The host of that process.
    pub host: String,
    /// When it was taken, in milliseconds since the epoch.
    pub since_ms: u64,
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lease { generation, pid, host, .. } = self;
        let since = jiff::Timestamp::from_millisecond(self.since_ms as i64).unwrap_or_default();
        write!(f, "process {pid} on host {host} since {since:.0} (generation {generation})")
    }
}

fn name(generation: u64) -> String {
    format!("leases/{generation:08}")
}

/// The generation in the name of a lease file; `None` for other files.
pub(crate) fn generation_of(file: &str) -> Option<u64> {
    let generation = file.strip_prefix("leases/")?.parse().ok()?;
    (name(generation) == file).then_some(generation)
}

/// A lease that this process holds, until the value is dropped.
pub(crate) struct HeldLease {
    pub lease: Lease,
    _lock: Lock,
}

/// Locks the directory for this process.
///
/// # Errors
/// Another process holds the lock. The error names it, if its lease can be read.
pub(crate) fn lock(store: &dyn Store) -> Result<Lock> {
    match store.lock()? {
        lock @ (Lock::Held(_) | Lock::None) => Ok(lock),
        Lock::Taken => Err(Error::CheckpointInUse { dir: store.place(), holder: newest(store)?.map(|l| l.to_string()) }),
    }
}

/// The generation of the newest lease; 0 if there is none.
pub(crate) fn newest_generation(store: &dyn Store) -> Result<u64> {
    Ok(store.list("leases")?.iter().filter_map(|e| generation_of(&e.name)).max().unwrap_or(0))
}

/// The newest lease; `None` if it cannot be read.
fn newest(store: &dyn Store) -> Result<Option<Lease>> {
    Ok(of(store, newest_generation(store)?).unwrap_or_default())
}

/// The lease of a generation, if its file exists.
pub(crate) fn of(store: &dyn Store, generation: u64) -> Result<Option<Lease>> {
    let file = name(generation);
    store.read(&file, LIMIT)?.map(|bytes| read(&file, &bytes)).transpose()
}

/// The name of this host.
pub(crate) fn own_host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

pub(crate) fn read(file: &str, bytes: &[u8]) -> Result<Lease> {
    unframe_all(Kind::Lease, file, bytes)
}

impl HeldLease {
    /// Takes the next generation: higher than every lease and than `seen`.
    pub fn take(store: &dyn Store, lock: Lock, seen: u64, now_ms: u64) -> Result<HeldLease> {
        let generation = newest_generation(store)?.max(seen) + 1;
        let lease = Lease { generation, pid: std::process::id(), host: own_host(), since_ms: now_ms };
        // In a store without locks, creating this file is the lock.
        if !store.put_new(&name(generation), &frame(Kind::Lease, &lease))? {
            return Err(Error::CheckpointInUse { dir: store.place(), holder: newest(store)?.map(|l| l.to_string()) });
        }
        point(FaultPoint::LeaseAfter);
        Ok(HeldLease { lease, _lock: lock })
    }

    /// Checks that this is still the newest generation.
    pub fn check(&self, store: &dyn Store) -> Result<()> {
        check(store, self.lease.generation)
    }
}

/// Checks that the generation `own` is still the newest one.
pub(crate) fn check(store: &dyn Store, own: u64) -> Result<()> {
    let newest = newest_generation(store)?;
    match newest == own {
        true => Ok(()),
        false if newest == 0 => {
            Err(Error::checkpoint(name(own), "is missing: somebody has cleared the directory under this run"))
        }
        false => Err(Error::checkpoint(
            name(newest),
            format!("a newer run has this directory; generation {own} must stop: two runs cannot share a directory"),
        )),
    }
}

/// Closes the logs that older generations have in a folder. A run that is still active there cannot append any more. `parse` tells
/// the generation and the number of a segment from its name, and `file` makes the name.
pub(crate) fn close_older(
    store: &dyn Store,
    generation: u64,
    folder: &str,
    parse: impl Fn(&str) -> Option<(u64, u32)>,
    file: impl Fn((u64, u32)) -> String,
) -> Result<()> {
    // A run may have taken its lease, and not created its log yet.
    let leases = store.list("leases")?.into_iter().filter_map(|e| generation_of(&e.name));
    let mut last: BTreeMap<u64, u32> = leases.map(|g| (g, 1)).collect();
    for (generation, found) in store.list(folder)?.iter().filter_map(|e| parse(&e.name)) {
        let segment = last.entry(generation).or_default();
        *segment = found.max(*segment);
    }
    // Segments before the last one were closed when the last one was created.
    for (generation, mut segment) in last.range(..generation).map(|(g, s)| (*g, *s)) {
        while store.close_log(&file((generation, segment)))? {
            segment += 1;
        }
    }
    Ok(())
}
