//! The manifest: what a checkpoint is. It is written when all its pieces are durable; with it the checkpoint exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::chunks::{Groups, PieceFile, Pieces};
use super::frame::{Kind, frame, unframe_all};
use super::genesis::{DirectoryId, Position, StateId};
use super::plan_log::foreign;
use super::store::Store;
use crate::core::error::{Error, Result};
use crate::core::fault;
use crate::core::time::BatchTime;

/// No manifest is longer: ten million pieces.
const LIMIT: u64 = 512 << 20;

/// The name of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ManifestFile {
    /// The checkpoint's time.
    pub time: BatchTime,
    /// The generation that wrote it.
    pub generation: u64,
}

/// Its name in the checkpoint directory.
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

/// The state of one operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorState {
    /// Which operator.
    pub id: StateId,
    /// Its pieces.
    pub groups: Groups,
}

impl OperatorState {
    /// Bytes of all its pieces.
    pub fn bytes(&self) -> u64 {
        self.groups.values().flatten().map(|p| p.len).sum()
    }
}

/// A checkpoint: the states of all operators at one time, and how far every split was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The directory it belongs to. `publish` fills this in, and the two below.
    pub directory: DirectoryId,
    /// The generation that wrote it.
    pub generation: u64,
    /// When it was written, milliseconds since the epoch.
    pub written_ms: u64,
    /// The batch time whose states these are: the end of a plan's record.
    pub time: BatchTime,
    /// The checksum of that record: [`PlanLog::append`](super::PlanLog::append) returns it.
    pub plan: u64,
    /// How far each split is, by split_id.
    pub positions: Vec<Position>,
    /// How many split ids were ever given out: the next one has this number.
    pub split_ids: u32,
    /// What sources, and whoever else has a name of their own, want back.
    pub memory: BTreeMap<String, Vec<u8>>,
    /// The states.
    pub operators: Vec<OperatorState>,
    /// Workers of all processes that wrote it.
    pub workers: u32,
    /// The processes.
    pub processes: u32,
}

impl Manifest {
    /// Its name.
    pub fn file(&self) -> ManifestFile {
        ManifestFile { time: self.time, generation: self.generation }
    }

    /// Bytes of all pieces.
    pub fn bytes(&self) -> u64 {
        self.operators.iter().map(OperatorState::bytes).sum()
    }

    /// Every file in which there is a piece of it.
    pub fn files(&self) -> BTreeSet<PieceFile> {
        self.operators.iter().flat_map(|o| o.groups.values()).flatten().map(|p| p.file).collect()
    }

    /// What the program that runs now can take from this checkpoint: operators are known by name and fingerprint.
    pub fn compare(&self, program: &[StateId]) -> Comparison {
        let mut found = Comparison::default();
        for state in &self.operators {
            match program.iter().find(|o| o.name == state.id.name) {
                Some(o) if o.fingerprint == state.id.fingerprint => {}
                Some(o) => found.changed.push((state.id.clone(), o.clone())),
                None => found.dropped.push(state.id.clone()),
            }
        }
        let saved: BTreeSet<&str> = self.operators.iter().map(|o| o.id.name.as_str()).collect();
        found.new = program.iter().filter(|o| !saved.contains(o.name.as_str())).cloned().collect();
        found
    }

    /// Writes it, when everything that it names is there. Returns the bytes of the files that it names.
    pub(super) fn write(&self, store: &dyn Store) -> Result<u64> {
        let name = self.file().to_string();
        let sizes = sizes(store)?;
        if let Some(wrong) = self.missing(&sizes).first() {
            return Err(Error::checkpoint(name, format!("is not written: {wrong}")));
        }
        fault::point(fault::FaultPoint::ManifestBefore);
        if !store.put_new(&name, &frame(Kind::Manifest, self))? {
            return Err(Error::checkpoint(name, "is there already: does another run write here?"));
        }
        fault::point(fault::FaultPoint::ManifestAfter);
        Ok(self.files().iter().filter_map(|file| sizes.get(file)).sum())
    }

    pub(super) fn read(store: &dyn Store, directory: DirectoryId, file: ManifestFile) -> Result<Manifest> {
        let name = file.to_string();
        let bytes = store.read(&name, LIMIT)?.ok_or_else(|| Error::damaged(&name, "it is gone"))?;
        let manifest: Manifest = unframe_all(Kind::Manifest, &name, &bytes)?;
        if manifest.directory != directory {
            return Err(foreign(&name, manifest.directory, directory));
        }
        if manifest.file() != file {
            return Err(Error::damaged(&name, format!("it was written as {}: somebody renamed it", manifest.file())));
        }
        Ok(manifest)
    }

    /// Files of pieces that are not there, or shorter than the pieces in them.
    pub(super) fn missing(&self, sizes: &BTreeMap<PieceFile, u64>) -> Vec<String> {
        let mut needed: BTreeMap<PieceFile, u64> = BTreeMap::new();
        for p in self.operators.iter().flat_map(|o| o.groups.values()).flatten() {
            let end = needed.entry(p.file).or_default();
            *end = p.end().max(*end);
        }
        let wrong = needed.into_iter().filter_map(|(file, end)| match sizes.get(&file) {
            None => Some(format!("{file} is missing")),
            Some(size) if *size < end => Some(format!("{file} has {size} bytes, and pieces up to byte {end}")),
            Some(_) => None,
        });
        wrong.collect()
    }

    /// Reads every piece. Nothing of a checkpoint is loaded unless all of it is right.
    pub(super) fn check(&self, store: &dyn Store, pieces: &Pieces) -> Result<()> {
        let missing = self.missing(&sizes(store)?);
        if !missing.is_empty() {
            return Err(Error::checkpoint(self.file().to_string(), missing.join(", ")));
        }
        for state in &self.operators {
            for (group, list) in &state.groups {
                for piece in list {
                    pieces.record(&state.id.name, *group, piece)?;
                }
            }
        }
        Ok(())
    }
}

/// What a program and a checkpoint do not have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// In both by name, with another fingerprint: the checkpoint's, and the program's.
    pub changed: Vec<(StateId, StateId)>,
    /// In the checkpoint only.
    pub dropped: Vec<StateId>,
    /// In the program only: they begin empty.
    pub new: Vec<StateId>,
}

/// The names of all manifests, the newest first.
pub(super) fn newest_first(store: &dyn Store) -> Result<Vec<ManifestFile>> {
    let mut files: Vec<_> = store.list("manifests")?.iter().filter_map(|e| ManifestFile::parse(&e.name)).collect();
    files.sort_by(|a, b| b.cmp(a));
    Ok(files)
}

/// The files of pieces with their sizes.
pub(super) fn sizes(store: &dyn Store) -> Result<BTreeMap<PieceFile, u64>> {
    Ok(store.list("pieces")?.into_iter().filter_map(|e| Some((PieceFile::parse(&e.name)?, e.bytes))).collect())
}
