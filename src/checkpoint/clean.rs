//! Cleaning: deletes the files that no recovery needs.
//!
//! Invariant: the order of deletions is such that a crash at any point leaves every file that a recovery needs.

use std::collections::BTreeSet;

use super::chunks::ChunkFile;
use super::genesis::{self, DirectoryId};
use super::lease;
use super::manifest::{Manifest, ManifestFile, newest_first, sizes};
use super::plan_log::{self, PlanFile};
use super::received_log::{self, ReceivedFile};
use super::store::{FOLDERS, LOCK, Store, UNFINISHED};
use crate::core::error::{Error, Result};
use crate::core::fault::{FaultPoint, point};
use crate::core::time::BatchTime;

/// The result of a cleaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// The deleted files, as paths in the directory.
    pub removed: Vec<String>,
    /// Their size in bytes.
    pub bytes: u64,
}

/// Which checkpoints and plans to keep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retention {
    pub directory: DirectoryId,
    /// Number of complete checkpoints to keep; at least 1.
    pub checkpoints: usize,
    /// Plans of this many milliseconds before the newest checkpoint stay, even if no recovery needs them.
    pub plans_ms: u64,
    /// This generation may be writing. Every older one is dead.
    pub generation: u64,
}

/// Deletes old manifests, then the chunk files that no manifest names, then old plans and leases. So after a crash a checkpoint
/// is complete, or has no manifest.
pub(super) fn clean(store: &dyn Store, keep: &Retention) -> Result<Cleaned> {
    point(FaultPoint::CleanBefore);
    let mut cleaned = Cleaned::default();
    let (kept, old) = split_manifests(store, keep)?;
    delete(store, old.iter().map(ToString::to_string).collect(), &mut cleaned)?;
    delete(store, unused_chunks(store, keep, &kept)?, &mut cleaned)?;
    delete(store, old_plans(store, keep, &kept)?, &mut cleaned)?;
    delete(store, unused_received(store, keep, &kept)?, &mut cleaned)?;
    let leases = store.list("leases")?;
    let newest = leases.iter().filter_map(|e| lease::generation_of(&e.name)).max();
    let old = leases.into_iter().map(|e| e.name).filter(|n| lease::generation_of(n).is_some_and(|g| Some(g) < newest));
    delete(store, old.collect(), &mut cleaned)?;
    Ok(cleaned)
}

/// Deletes the files and adds them to `cleaned`. Sizes are those of the listing.
fn delete(store: &dyn Store, names: Vec<String>, cleaned: &mut Cleaned) -> Result<()> {
    let Some(folder) = names.first().and_then(|n| n.split('/').next()) else { return Ok(()) };
    let gone: BTreeSet<&String> = names.iter().collect();
    let bytes: u64 = store.list(folder)?.iter().filter(|e| gone.contains(&e.name)).map(|e| e.bytes).sum();
    store.delete(&names)?;
    cleaned.bytes += bytes;
    cleaned.removed.extend(names);
    Ok(())
}

/// The checkpoints to keep, newest first, and the manifests to delete, oldest first. An unusable manifest does not count. It
/// stays until it is older than the kept ones, so that a person can examine it.
fn split_manifests(store: &dyn Store, keep: &Retention) -> Result<(Vec<Manifest>, Vec<ManifestFile>)> {
    let sizes = sizes(store)?;
    let mut kept: Vec<Manifest> = Vec::new();
    let mut old = Vec::new();
    for file in newest_first(store)? {
        if kept.len() == keep.checkpoints.max(1) {
            old.push(file);
            continue;
        }
        match Manifest::read(store, keep.directory, file) {
            Ok(m) if m.missing(&sizes).is_empty() => kept.push(m),
            // This program cannot read which files it names.
            Err(e @ Error::CheckpointFormat { .. }) => return Err(e),
            _ => {}
        }
    }
    old.reverse();
    Ok((kept, old))
}

/// Chunk files that no kept checkpoint names and no worker is writing, and drafts of dead generations.
fn unused_chunks(store: &dyn Store, keep: &Retention, kept: &[Manifest]) -> Result<Vec<String>> {
    // Without a usable checkpoint, a person may still need any of the files.
    let Some(newest) = kept.first() else { return Ok(Vec::new()) };
    let named: BTreeSet<ChunkFile> = kept.iter().flat_map(Manifest::files).collect();
    let over = |f: ChunkFile| f.generation < keep.generation || f.time <= newest.time;
    let useless = |name: &str| match ChunkFile::parse(name) {
        Some(file) => !named.contains(&file) && over(file),
        None => unfinished(name, ChunkFile::parse).is_some_and(over),
    };
    Ok(store.list("pieces")?.into_iter().map(|e| e.name).filter(|n| useless(n)).collect())
}

/// What a draft would have become.
fn unfinished<T>(name: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    let (name, _writer) = name.strip_suffix(UNFINISHED)?.rsplit_once('.')?;
    parse(name)
}

/// Segments whose plans are all older than the oldest kept checkpoint and than `plans_ms`. Oldest first, so that a crash leaves
/// the newer part. None, until there are as many checkpoints as `keep` asks for: recovery may need the first plan.
fn old_plans(store: &dyn Store, keep: &Retention, kept: &[Manifest]) -> Result<Vec<String>> {
    let Some(oldest) = kept.get(keep.checkpoints.max(1) - 1) else { return Ok(Vec::new()) };
    let last = kept[0].time.millis();
    let floor = oldest.time.min(BatchTime::from_millis(last.saturating_sub(keep.plans_ms)));
    let heads = plan_log::heads(store, keep.directory)?;
    let over = heads.iter().zip(heads.iter().skip(1)).take_while(|(_, next)| next.previous.is_some_and(|p| p.end < floor));
    Ok(over.map(|(head, _)| head.file.to_string()).collect())
}

/// What receivers stored before every kept checkpoint. None, until there are as many checkpoints as `keep` asks for.
fn unused_received(store: &dyn Store, keep: &Retention, kept: &[Manifest]) -> Result<Vec<String>> {
    if kept.len() < keep.checkpoints.max(1) {
        return Ok(Vec::new());
    }
    let positions: Vec<_> = kept.iter().map(|m| &m.positions[..]).collect();
    received_log::unused(store, keep.directory, &positions)
}

/// Drafts that crashed runs left. Call it only when no run is writing.
pub(super) fn leftovers(store: &dyn Store) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for folder in FOLDERS.into_iter().chain([""]) {
        let files = store.list(folder)?.into_iter().filter(|e| !e.folder).map(|e| e.name);
        names.extend(files.filter(|n| n.ends_with(UNFINISHED) && is_own(n)));
    }
    Ok(names)
}

/// Files and folders that do not belong to a checkpoint directory.
pub(super) fn foreign(store: &dyn Store) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in store.list("")? {
        let own = if entry.folder { FOLDERS.contains(&entry.name.as_str()) } else { is_own(&entry.name) };
        if !own {
            names.push(entry.name);
        }
    }
    for folder in FOLDERS {
        names.extend(store.list(folder)?.into_iter().map(|e| e.name).filter(|n| !is_own(n)));
    }
    Ok(names)
}

/// Whether this is the name of a file of a checkpoint directory, or of a draft of one.
pub(super) fn is_own(name: &str) -> bool {
    let known = |n: &str| {
        n == genesis::FILE
            || n == LOCK
            || super::added::is_name(n)
            || super::unplanned::is_name(n)
            || lease::generation_of(n).is_some()
            || ManifestFile::parse(n).is_some()
            || ChunkFile::parse(n).is_some()
            || PlanFile::parse(n).is_some()
            || ReceivedFile::parse(n).is_some()
    };
    let probe = |n: &str| n.strip_prefix("probe-").is_some_and(|n| n.ends_with(UNFINISHED));
    known(name) || probe(name) || unfinished(name, |n| known(n).then_some(())).is_some()
}
