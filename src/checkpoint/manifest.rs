//! The manifest of a checkpoint. Invariant: it is written after all chunks that it names are durable; then the checkpoint exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::chunks::{ChunkFile, Chunks, GroupChunks};
use super::frame::{Kind, frame, unframe_all};
use super::genesis::{DirectoryId, Position, StateId};
use super::plan_log::foreign;
use super::store::Store;
use crate::core::error::{Error, Result};
use crate::core::fault;
use crate::core::time::BatchTime;

/// The maximum length in bytes: about ten million chunks.
const LIMIT: u64 = 512 << 20;

/// The name of a manifest. Displays as its path in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ManifestFile {
    /// The checkpoint's time.
    pub time: BatchTime,
    /// The generation that wrote it.
    pub generation: u64,
}

impl fmt::Display for ManifestFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "manifests/{:015}-g{:08}", self.time.millis(), self.generation)
    }
}

impl ManifestFile {
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (time, generation) = name.strip_prefix("manifests/")?.split_once("-g")?;
        let time = BatchTime::from_millis(time.parse().ok()?);
        let file = ManifestFile { time, generation: generation.parse().ok()? };
        (file.to_string() == name).then_some(file)
    }
}

/// The saved state of one operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorState {
    /// The operator.
    pub id: StateId,
    /// Its chunks, by key group.
    pub groups: GroupChunks,
}

impl OperatorState {
    /// The size of its chunks in bytes.
    pub fn bytes(&self) -> u64 {
        self.groups.values().flatten().map(|p| p.len).sum()
    }
}

/// A checkpoint: the states of all operators after one batch, and the position of every split.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The directory it belongs to. `publish` fills in this field and the next one, and `written_ms` if it is 0.
    pub directory: DirectoryId,
    /// The generation that wrote it.
    pub generation: u64,
    /// When it was written by the clock of the job, in milliseconds since the epoch.
    pub written_ms: u64,
    /// The states are those after the batch of this time: the last batch time of a plan record.
    pub time: BatchTime,
    /// The checksum of that record, from [`PlanLog::append`](super::PlanLog::append).
    pub plan: u64,
    /// The position of each split, by split id.
    pub positions: Vec<Position>,
    /// How many split ids were ever assigned. This is the next split id.
    pub split_ids: u32,
    /// Bytes that sources and sinks saved, by name.
    pub memory: BTreeMap<String, Vec<u8>>,
    /// The state of each operator.
    pub operators: Vec<OperatorState>,
    /// The number of workers, over all processes.
    pub workers: u32,
    /// The number of processes.
    pub processes: u32,
}

impl Manifest {
    /// The name of its file.
    pub fn file(&self) -> ManifestFile {
        ManifestFile { time: self.time, generation: self.generation }
    }

    /// The size of all chunks in bytes.
    pub fn bytes(&self) -> u64 {
        self.operators.iter().map(OperatorState::bytes).sum()
    }

    /// The chunk files that it names.
    pub fn files(&self) -> BTreeSet<ChunkFile> {
        self.operators.iter().flat_map(|o| o.groups.values()).flatten().map(|p| p.file).collect()
    }

    /// Compares its states with those of a program, by name and fingerprint. Any program may drop or change an empty state.
    pub(crate) fn compare(&self, program: &[StateId]) -> Comparison {
        let mut found = Comparison::default();
        for state in &self.operators {
            match program.iter().find(|o| o.name == state.id.name) {
                Some(o) if o.fingerprint == state.id.fingerprint => {}
                _ if state.groups.is_empty() => {}
                Some(o) => found.changed.push((state.id.clone(), o.clone())),
                None => found.dropped.push(state.id.clone()),
            }
        }
        let saved: BTreeSet<&str> = self.operators.iter().map(|o| o.id.name.as_str()).collect();
        found.new = program.iter().filter(|o| !saved.contains(o.name.as_str())).cloned().collect();
        found
    }

    /// Writes the manifest if all its chunk files exist. Returns the size of those files in bytes.
    pub(super) fn write(&self, store: &dyn Store) -> Result<u64> {
        let name = self.file().to_string();
        let sizes = sizes(store)?;
        if let Some(wrong) = self.missing(&sizes).first() {
            return Err(Error::checkpoint(name, format!("is not written: {wrong}")));
        }
        fault::point(fault::FaultPoint::ManifestBefore);
        if !store.put_new(&name, &frame(Kind::Manifest, self))? {
            return Err(Error::checkpoint(name, "already exists: does another run write here?"));
        }
        fault::point(fault::FaultPoint::ManifestAfter);
        Ok(self.files().iter().filter_map(|file| sizes.get(file)).sum())
    }

    pub(super) fn read(store: &dyn Store, directory: DirectoryId, file: ManifestFile) -> Result<Manifest> {
        let name = file.to_string();
        let bytes = store.read(&name, LIMIT)?.ok_or_else(|| Error::damaged(&name, "it is missing"))?;
        let manifest: Manifest = unframe_all(Kind::Manifest, &name, &bytes)?;
        if manifest.directory != directory {
            return Err(foreign(&name, manifest.directory, directory));
        }
        if manifest.file() != file {
            return Err(Error::damaged(&name, format!("it was written as {}, and has been renamed", manifest.file())));
        }
        Ok(manifest)
    }

    /// Chunk files that are missing, or too short for the chunks in them.
    pub(super) fn missing(&self, sizes: &BTreeMap<ChunkFile, u64>) -> Vec<String> {
        let mut needed: BTreeMap<ChunkFile, u64> = BTreeMap::new();
        for p in self.operators.iter().flat_map(|o| o.groups.values()).flatten() {
            let end = needed.entry(p.file).or_default();
            *end = p.end().max(*end);
        }
        let wrong = needed.into_iter().filter_map(|(file, end)| match sizes.get(&file) {
            None => Some(format!("{file} is missing")),
            Some(size) if *size < end => Some(format!("{file} has {size} bytes, but its chunks go up to byte {end}")),
            Some(_) => None,
        });
        wrong.collect()
    }

    /// Reads and checks every chunk. A checkpoint is loaded only if all of it is intact.
    pub(super) fn check(&self, store: &dyn Store, chunks: &Chunks) -> Result<()> {
        let missing = self.missing(&sizes(store)?);
        if !missing.is_empty() {
            return Err(Error::checkpoint(self.file().to_string(), missing.join(", ")));
        }
        for state in &self.operators {
            for (group, list) in &state.groups {
                for chunk in list {
                    chunks.record(&state.id.name, *group, chunk)?;
                }
            }
        }
        Ok(())
    }
}

/// The differences between the states of a checkpoint and those of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Comparison {
    /// In both, with different fingerprints: first the checkpoint's, then the program's.
    pub changed: Vec<(StateId, StateId)>,
    /// Only in the checkpoint.
    pub dropped: Vec<StateId>,
    /// Only in the program: these states begin empty.
    pub new: Vec<StateId>,
}

/// The names of all manifests, newest first.
pub(super) fn newest_first(store: &dyn Store) -> Result<Vec<ManifestFile>> {
    let mut files: Vec<_> = store.list("manifests")?.iter().filter_map(|e| ManifestFile::parse(&e.name)).collect();
    files.sort_by(|a, b| b.cmp(a));
    Ok(files)
}

/// All chunk files, with their sizes in bytes.
pub(super) fn sizes(store: &dyn Store) -> Result<BTreeMap<ChunkFile, u64>> {
    Ok(store.list("pieces")?.into_iter().filter_map(|e| Some((ChunkFile::parse(&e.name)?, e.bytes))).collect())
}
