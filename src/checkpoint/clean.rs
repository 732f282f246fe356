//! Cleaning: what no recovery will ask for goes, in an order in which every crash on the way leaves all that one may ask for.

use std::collections::BTreeSet;

use super::chunks::PieceFile;
use super::genesis::{self, DirectoryId};
use super::lease;
use super::manifest::{Manifest, ManifestFile, newest_first, sizes};
use super::plan_log::{self, PlanFile};
use super::store::{FOLDERS, LOCK, Store, UNFINISHED};
use crate::core::error::{Error, Result};
use crate::core::time::BatchTime;

/// What cleaning has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// The files that are gone.
    pub removed: Vec<String>,
    /// Bytes in them.
    pub bytes: u64,
}

/// What is to be kept, and whose files are not to be touched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep {
    pub directory: DirectoryId,
    /// So many checkpoints that are all there.
    pub checkpoints: usize,
    /// Plans of so many milliseconds before the last one, whether recovery needs them or not.
    pub plans_ms: u64,
    /// This generation may be writing; every older one is dead.
    pub generation: u64,
}

/// Deletes what is needed no more: first manifests, then pieces that none names, then plans. So whatever is left of a
/// checkpoint after a crash is all of it, or not its manifest.
pub(super) fn clean(store: &dyn Store, keep: &Keep) -> Result<Cleaned> {
    crate::core::fault::point(crate::core::fault::FaultPoint::CleanBefore);
    let mut cleaned = Cleaned::default();
    let (kept, old) = sort_out(store, keep)?;
    delete(store, old.iter().map(ToString::to_string).collect(), &mut cleaned)?;
    delete(store, useless_pieces(store, keep, &kept)?, &mut cleaned)?;
    delete(store, old_plans(store, keep, &kept)?, &mut cleaned)?;
    let leases = store.list("leases")?;
    let newest = leases.iter().filter_map(|e| lease::generation_of(&e.name)).max();
    let old = leases.into_iter().map(|e| e.name).filter(|n| lease::generation_of(n).is_some_and(|g| Some(g) < newest));
    delete(store, old.collect(), &mut cleaned)?;
    Ok(cleaned)
}

/// Deletes, and remembers; the sizes are those of the listing.
fn delete(store: &dyn Store, names: Vec<String>, cleaned: &mut Cleaned) -> Result<()> {
    let Some(folder) = names.first().and_then(|n| n.split('/').next()) else { return Ok(()) };
    let gone: BTreeSet<&String> = names.iter().collect();
    let bytes: u64 = store.list(folder)?.iter().filter(|e| gone.contains(&e.name)).map(|e| e.bytes).sum();
    store.delete(&names)?;
    cleaned.bytes += bytes;
    cleaned.removed.extend(names);
    Ok(())
}

/// The checkpoints to keep, the newest first, and the manifests to delete, the oldest first. A manifest that cannot be used
/// does not count, and stays until it is older than the ones that are kept: somebody may want to look at it.
fn sort_out(store: &dyn Store, keep: &Keep) -> Result<(Vec<Manifest>, Vec<ManifestFile>)> {
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
            // What it names cannot be known here.
            Err(e @ Error::CheckpointFormat { .. }) => return Err(e),
            _ => {}
        }
    }
    old.reverse();
    Ok((kept, old))
}

/// Files of pieces that no checkpoint names and nobody is writing, and what writers of dead generations left.
fn useless_pieces(store: &dyn Store, keep: &Keep, kept: &[Manifest]) -> Result<Vec<String>> {
    // Without a checkpoint nothing is known: not even what could still be saved by hand.
    let Some(newest) = kept.first() else { return Ok(Vec::new()) };
    let named: BTreeSet<PieceFile> = kept.iter().flat_map(Manifest::files).collect();
    let over = |f: PieceFile| f.generation < keep.generation || f.time <= newest.time;
    let useless = |name: &str| match PieceFile::parse(name) {
        Some(file) => !named.contains(&file) && over(file),
        None => unfinished(name, PieceFile::parse).is_some_and(over),
    };
    Ok(store.list("pieces")?.into_iter().map(|e| e.name).filter(|n| useless(n)).collect())
}

/// What a file that was not finished was to be.
fn unfinished<T>(name: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    let (name, _writer) = name.strip_suffix(UNFINISHED)?.rsplit_once('.')?;
    parse(name)
}

/// Segments in which every plan is older than the oldest checkpoint that is kept, and than what is kept anyway. The oldest
/// first: a crash leaves the newer part. Until there are as many checkpoints as are to be kept, the first plan is needed too.
fn old_plans(store: &dyn Store, keep: &Keep, kept: &[Manifest]) -> Result<Vec<String>> {
    let Some(oldest) = kept.get(keep.checkpoints.max(1) - 1) else { return Ok(Vec::new()) };
    let last = kept[0].time.millis();
    let floor = oldest.time.min(BatchTime::from_millis(last.saturating_sub(keep.plans_ms)));
    let heads = plan_log::heads(store, keep.directory)?;
    let over = heads.iter().zip(heads.iter().skip(1)).take_while(|(_, next)| next.previous.is_some_and(|p| p.end < floor));
    Ok(over.map(|(head, _)| head.file.to_string()).collect())
}

/// What crashed runs left half written. Only when nobody writes.
pub(super) fn leftovers(store: &dyn Store) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for folder in FOLDERS.into_iter().chain([""]) {
        let files = store.list(folder)?.into_iter().filter(|e| !e.folder).map(|e| e.name);
        names.extend(files.filter(|n| n.ends_with(UNFINISHED) && is_own(n)));
    }
    Ok(names)
}

/// What lies in the directory and is none of ours.
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

/// Whether a file of this name is one of ours, finished or not.
pub(super) fn is_own(name: &str) -> bool {
    let known = |n: &str| {
        n == genesis::FILE
            || n == LOCK
            || lease::generation_of(n).is_some()
            || ManifestFile::parse(n).is_some()
            || PieceFile::parse(n).is_some()
            || PlanFile::parse(n).is_some()
    };
    let probe = |n: &str| n.strip_prefix("probe-").is_some_and(|n| n.ends_with(UNFINISHED));
    known(name) || probe(name) || unfinished(name, |n| known(n).then_some(())).is_some()
}
