//! Recovery: finds the newest intact checkpoint, and the plans after it, which are replayed with the same ranges.
//!
//! Invariant: recovery never guesses. A fault leads to an error, or to an older checkpoint and a warning.

use std::sync::Arc;

use super::chunks::Chunks;
use super::genesis::Genesis;
use super::loss::LossRecord;
use super::manifest::{Manifest, ManifestFile, newest_first};
use super::plan_log::{self, PlanCursor, PlanRecord, Plans, Previous};
use super::store::Store;
use crate::core::error::{Error, Result};
use crate::core::time::BatchTime;

/// The result of a recovery.
#[derive(Debug)]
pub(crate) struct Found {
    pub manifest: Option<Manifest>,
    pub replay: Vec<PlanRecord>,
    pub losses: Vec<LossRecord>,
    pub tail: Option<Previous>,
    pub cursor: PlanCursor,
    pub warnings: Vec<String>,
}

/// Why a checkpoint is not used.
enum Unfit {
    /// An older one may be usable.
    Older(Error),
    /// No checkpoint is usable.
    All(Error),
}

pub(crate) fn recover(store: &dyn Store, genesis: &Genesis, chunks: &Chunks) -> Result<Found> {
    let mut unfit = Vec::new();
    let files = newest_first(store)?;
    // A plan is durable before its batch runs. So the log once reached the newest checkpoint, even if that is unusable.
    let reached = files.first().map_or(BatchTime::default(), |f| f.time);
    for file in files {
        match from_manifest(store, genesis, chunks, file, reached) {
            Ok(mut found) => {
                let older = format!("the checkpoint of {} is used instead", file.time);
                found.warnings.extend(unfit.iter().map(|e| format!("{e}: {older}")));
                return Ok(found);
            }
            Err(Unfit::Older(e)) => unfit.push(e.to_string()),
            Err(Unfit::All(e)) => return Err(with(e, &unfit)),
        }
    }
    let plans = plan_log::read(store, genesis.id, genesis.interval_ms, None).map_err(|e| with(e, &unfit))?;
    reaches(&plans, reached).map_err(|e| with(e, &unfit))?;
    if !plans.from_start {
        let first = plans.records.first().map_or(BatchTime::default(), |r| r.record.plan.time);
        let what = format!(
            "no checkpoint can be used, and the plan log begins only at {first}: restore the directory from a copy, or start with an empty one"
        );
        return Err(with(Error::checkpoint(store.place(), what), &unfit));
    }
    let warnings = unfit.iter().map(|e| format!("{e}: all batches are replayed from the first one instead")).collect();
    let cursor = PlanCursor::new(genesis.interval_ms, BatchTime::default(), &genesis.origin.starts);
    let mut found = after(plans, cursor, BatchTime::default()).map_err(|e| with(e, &unfit))?;
    found.warnings.extend::<Vec<_>>(warnings);
    Ok(found)
}

/// The newest usable checkpoint before `from`, or the start of the job, with all plans after it. `from` is `None`: always the start
/// of the job. Returns `None` if there is no such checkpoint and the log does not reach back to the first batch.
///
/// # Errors
/// Plans or manifests cannot be read.
pub(crate) fn before(store: &Arc<dyn Store>, genesis: &Genesis, from: Option<BatchTime>) -> Result<Option<Found>> {
    // Chunks are only read, so no generation is needed.
    let chunks = Chunks::new(Arc::clone(store), genesis.id, 0);
    for file in newest_first(&**store)?.into_iter().filter(|f| from.is_some_and(|from| f.time < from)) {
        match from_manifest(&**store, genesis, &chunks, file, BatchTime::default()) {
            Ok(found) => return Ok(Some(found)),
            Err(Unfit::Older(e)) => tracing::warn!("checkpoint: {e}: an older one is used instead"),
            Err(Unfit::All(e)) => return Err(e),
        }
    }
    let plans = plan_log::read(&**store, genesis.id, genesis.interval_ms, None)?;
    if !plans.from_start {
        return Ok(None);
    }
    let cursor = PlanCursor::new(genesis.interval_ms, BatchTime::default(), &genesis.origin.starts);
    after(plans, cursor, BatchTime::default()).map(Some)
}

/// Adds to an error why newer checkpoints are unusable.
fn with(e: Error, unfit: &[String]) -> Error {
    match e {
        Error::Checkpoint { file, reason } if !unfit.is_empty() => {
            Error::checkpoint(file, format!("{reason}\nand: {}", unfit.join("\nand: ")))
        }
        other => other,
    }
}

/// A damaged checkpoint may have an intact predecessor. A file of a newer program is an error.
fn older(e: Error) -> Unfit {
    match e {
        Error::CheckpointFormat { .. } => Unfit::All(e),
        e => Unfit::Older(e),
    }
}

fn from_manifest(
    store: &dyn Store,
    genesis: &Genesis,
    chunks: &Chunks,
    file: ManifestFile,
    reached: BatchTime,
) -> Result<Found, Unfit> {
    let manifest = Manifest::read(store, genesis.id, file).map_err(older)?;
    manifest.check(store, chunks).map_err(older)?;
    let (time, interval) = (manifest.time, genesis.interval_ms);
    let plans = plan_log::read(store, genesis.id, interval, Some(time)).map_err(Unfit::All)?;
    reaches(&plans, reached).map_err(Unfit::All)?;
    let unfit = |what: String| Unfit::Older(Error::checkpoint(file.to_string(), what));
    match plans.records.iter().find(|l| l.record.end(interval) >= time) {
        Some(l) if l.record.end(interval) == time && l.record.checksum() == manifest.plan => {}
        Some(l) if l.record.end(interval) == time => {
            return Err(unfit(format!("the plan of {time} at byte {} of {} is not the plan of this checkpoint", l.at, l.file)));
        }
        Some(l) if plans.from_start || l.record.plan.time <= time => {
            return Err(unfit(format!("{time} is not the last time of a plan")));
        }
        _ => return Err(unfit(format!("the plan log does not reach back to {time}"))),
    }
    let cursor = PlanCursor::new(interval, time, &manifest.positions);
    let mut found = after(plans, cursor, time).map_err(Unfit::Older)?;
    found.manifest = Some(manifest);
    Ok(found)
}

fn reaches(plans: &Plans, reached: BatchTime) -> Result<()> {
    let (end, file) = plans.tail.map_or((BatchTime::default(), "plans".into()), |t| (t.end, t.file.to_string()));
    if end >= reached {
        return Ok(());
    }
    let what =
        format!("the plan log ends at {end}, but there is a checkpoint of {reached}: plans are lost; restore plans/ from a copy");
    Err(Error::checkpoint(file, what))
}

/// The plans after `time`. Each must continue the previous one.
fn after(plans: Plans, mut cursor: PlanCursor, time: BatchTime) -> Result<Found> {
    let mut replay = Vec::new();
    for l in plans.records.into_iter().filter(|l| l.record.plan.time > time) {
        let wrong = |e| Error::damaged(l.file.to_string(), format!("record at byte {}: {e}", l.at));
        cursor.follow(l.file.generation, &l.record).map_err(wrong)?;
        replay.push(l.record);
    }
    let losses = plans.losses.into_iter().filter(|l| l.time > time).collect();
    Ok(Found { manifest: None, replay, losses, tail: plans.tail, cursor, warnings: plans.torn.into_iter().collect() })
}
