//! Chunks: encoded state of one operator and key group. Each worker writes its chunks to its own files, in any order.
//!
//! A manifest lists the chunks of a checkpoint. Invariant: a chunk is returned only if its checksum and its label are right.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::checkpoint::frame::{Found, Kind, RECORD, frame, record, record_head, record_len, unframe};
use crate::checkpoint::genesis::DirectoryId;
use crate::checkpoint::lease::{self, Lease, own_host};
use crate::checkpoint::plan_log::foreign;
use crate::checkpoint::store::{self, Draft, Store};
use crate::core::data::encoded;
use crate::core::error::{Error, Result};
use crate::core::fault;
use crate::core::key_groups::KeyGroups;
use crate::core::time::BatchTime;

/// Size of the write buffer, in bytes.
const BUFFER: usize = 1 << 20;
/// The maximum length of a chunk, in bytes. A larger state of a key group takes several chunks.
pub(super) const LONGEST_CHUNK: usize = 1 << 30;
/// Key groups are below this number in every job.
const MOST_GROUPS: u32 = KeyGroups::MOST as u32;
/// An upper limit for the head of a chunk file, in bytes.
const START: u64 = 4 << 10;

/// The name of a chunk file: the chunks that one worker wrote for one checkpoint. Displays as its path in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkFile {
    /// The checkpoint's time.
    pub time: BatchTime,
    /// The generation that wrote it.
    pub generation: u64,
    /// The worker that wrote it.
    pub worker: u32,
}

impl fmt::Display for ChunkFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pieces/{:015}-g{:08}-w{:04}", self.time.millis(), self.generation, self.worker)
    }
}

impl ChunkFile {
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (time, rest) = name.strip_prefix("pieces/")?.split_once("-g")?;
        let (generation, worker) = rest.split_once("-w")?;
        let time = BatchTime::from_millis(time.parse().ok()?);
        let file = ChunkFile { time, generation: generation.parse().ok()?, worker: worker.parse().ok()? };
        (file.to_string() == name).then_some(file)
    }
}

/// The location of a chunk. An unchanged chunk is not written again, so the file may be of an older checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkRef {
    /// The file.
    pub file: ChunkFile,
    /// The byte offset of its record.
    pub offset: u64,
    /// Length of the record in bytes, with its head.
    pub len: u64,
    /// The record's checksum.
    pub checksum: u64,
}

impl ChunkRef {
    /// The byte offset where the record ends.
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }
}

/// The head of a chunk file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    directory: DirectoryId,
    file: ChunkFile,
}

/// The beginning of a record. The bytes of the chunk follow.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Label<'a> {
    Chunk {
        operator: &'a str,
        group: u32,
    },
    /// The last record: the number of chunks before it.
    End {
        chunks: u64,
    },
}

/// Writes and reads the chunks of a checkpoint directory, for one generation. Public because tests of stores use it.
#[derive(Clone, Debug)]
pub struct Chunks {
    store: Arc<dyn Store>,
    directory: DirectoryId,
    generation: u64,
}

impl Chunks {
    pub(super) fn new(store: Arc<dyn Store>, directory: DirectoryId, generation: u64) -> Self {
        Chunks { store, directory, generation }
    }

    /// Opens the directory in another process than the one that holds the lease. That process sends `directory` and `lease`.
    ///
    /// Each start writes a new lease. So a process that reads the right lease sees the same directory, not a copy of it.
    ///
    /// # Errors
    /// The directory is missing, is another one, or cannot be written: the processes do not share it.
    pub(crate) fn attach(dir: &Path, directory: DirectoryId, lease: &Lease) -> Result<Self> {
        let own = own_host();
        let not_shared = |place: String, what: String| {
            let remedy = "all processes of a job need the same directory: put it where all their hosts see it";
            let at = format!("process 0 runs on host {} with it; here, on host {own},", lease.host);
            Error::checkpoint(place, format!("{at} {what}: {remedy}"))
        };
        let chunks = Chunks::open(dir, directory, lease.generation, &not_shared)?;
        let copy = |what: String| Err(not_shared(chunks.store.place(), format!("it is a copy: {what}")));
        match lease::of(&*chunks.store, lease.generation)? {
            Some(found) if found == *lease => {}
            Some(found) => return copy(format!("there it was taken by {lease}, here by {found}")),
            None => return copy(format!("the lease of generation {} is not in it", lease.generation)),
        }
        chunks.store.probe()?;
        Ok(chunks)
    }

    /// Like [`attach`](Chunks::attach), but read-only: no process needs a lease.
    ///
    /// # Errors
    /// The directory is missing, or is another one.
    pub(crate) fn read_only(dir: &Path, directory: DirectoryId) -> Result<Self> {
        let wrong = |place, what| Error::checkpoint(place, format!("{what}: all processes need the same directory"));
        Chunks::open(dir, directory, 0, &wrong)
    }

    fn open(dir: &Path, directory: DirectoryId, generation: u64, wrong: &dyn Fn(String, String) -> Error) -> Result<Self> {
        let store = store::read_only(dir).map_err(|e| wrong(dir.display().to_string(), format!("it cannot be opened ({e})")))?;
        match crate::checkpoint::Genesis::read(&*store)? {
            Some(genesis) if genesis.id == directory => Ok(Chunks::new(store, directory, generation)),
            Some(genesis) => {
                Err(wrong(store.place(), format!("it is the checkpoint directory {}, and not {directory} as there", genesis.id)))
            }
            None => Err(wrong(store.place(), "it is not a checkpoint directory".into())),
        }
    }

    /// The directory's id, and the generation.
    pub(crate) fn id(&self) -> (DirectoryId, u64) {
        (self.directory, self.generation)
    }

    /// Creates the chunk file of one worker for the checkpoint of `time`.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn write(&self, time: BatchTime, worker: u32) -> Result<ChunkWriter> {
        let file = ChunkFile { time, generation: self.generation, worker };
        let head = frame(Kind::Chunks, &Head { directory: self.directory, file });
        let mut buffer = Vec::with_capacity(BUFFER);
        buffer.extend_from_slice(&head);
        let draft = self.store.create(&file.to_string())?;
        Ok(ChunkWriter { file, draft, buffer, at: head.len() as u64, index: Vec::new() })
    }

    /// The bytes of a chunk, as they were written for this operator and key group.
    ///
    /// # Errors
    /// The chunk is missing, damaged, or of another operator or key group. The error names the file and the byte.
    pub fn read(&self, operator: &str, group: u32, chunk: &ChunkRef) -> Result<Vec<u8>> {
        let mut bytes = self.record(operator, group, chunk)?;
        let label = encoded(&Label::Chunk { operator, group }).len();
        bytes.drain(..RECORD + label);
        Ok(bytes)
    }

    /// The whole record of a chunk, after all checks.
    pub(super) fn record(&self, operator: &str, group: u32, chunk: &ChunkRef) -> Result<Vec<u8>> {
        let name = chunk.file.to_string();
        let damaged = |what: String| Error::damaged(&name, what);
        if chunk.len > longest_record() {
            return Err(damaged(format!(
                "a manifest names a chunk of {} bytes; at most {} are possible",
                chunk.len,
                longest_record()
            )));
        }
        let missing = || Error::checkpoint(&name, "is missing: restore it, or go back to an older checkpoint");
        let bytes = self.store.read_range(&name, chunk.offset, chunk.len)?.ok_or_else(missing)?;
        if bytes.len() as u64 != chunk.len {
            let (offset, end, has) = (chunk.offset, chunk.end(), chunk.offset + bytes.len() as u64);
            return Err(damaged(format!("a chunk is at bytes {offset} to {end}, but the file has {has} bytes")));
        }
        let payload = match record(&bytes, chunk.offset) {
            Found::Record { payload, checksum, next } if checksum == chunk.checksum && next == bytes.len() => payload,
            Found::Damaged(what) => return Err(damaged(what)),
            _ => return Err(damaged(format!("at byte {} is another chunk than the manifest names", chunk.offset))),
        };
        match postcard::take_from_bytes(payload) {
            Ok((Label::Chunk { operator: o, group: g }, _)) if o == operator && g == group => Ok(bytes),
            Ok((found, _)) => Err(damaged(format!("at byte {} is {found:?}, not key group {group} of {operator}", chunk.offset))),
            Err(e) => Err(damaged(format!("the chunk at byte {}: {e}", chunk.offset))),
        }
    }

    /// Reads and checks a whole file. Returns its number of chunks.
    ///
    /// # Errors
    /// The file is missing or damaged.
    pub(super) fn verify(&self, file: ChunkFile) -> Result<u64> {
        let name = file.to_string();
        let damaged = |what: String| Error::damaged(&name, what);
        let start = self.store.read_range(&name, 0, START)?.ok_or_else(|| damaged("it is missing".into()))?;
        let (head, at) = unframe::<Head>(Kind::Chunks, &name, &start)?;
        if head.directory != self.directory {
            return Err(foreign(&name, head.directory, self.directory));
        }
        if head.file != file {
            return Err(damaged(format!("it was written as {}, and has been renamed", head.file)));
        }
        let (mut at, mut chunks, mut end) = (at as u64, 0, None);
        loop {
            let mut bytes = self.store.read_range(&name, at, RECORD as u64)?.unwrap_or_default();
            if let Some(len) = record_len(&bytes, at) {
                bytes = self.store.read_range(&name, at, len.min(longest_record()))?.unwrap_or_default();
            }
            let (payload, next) = match record(&bytes, at) {
                Found::Record { payload, next, .. } if end.is_none() => (payload, next),
                Found::Record { .. } => return Err(damaged(format!("bytes follow its end at byte {at}"))),
                Found::End if end == Some(chunks) => return Ok(chunks),
                Found::End => return Err(damaged(format!("it ends at byte {at}, before its last record"))),
                Found::Torn => return Err(damaged(format!("the record at byte {at} is cut off"))),
                Found::Damaged(what) => return Err(damaged(what)),
            };
            match postcard::take_from_bytes(payload) {
                Ok((Label::Chunk { .. }, _)) => chunks += 1,
                Ok((Label::End { chunks }, _)) => end = Some(chunks),
                Err(e) => return Err(damaged(format!("the record at byte {at}: {e}"))),
            }
            at += next as u64;
        }
    }
}

fn longest_record() -> u64 {
    (LONGEST_CHUNK + (1 << 20)) as u64
}

/// The chunks that one worker wrote for one checkpoint, in order: operator, key group, location.
pub type ChunkIndex = Vec<(String, u32, ChunkRef)>;

/// A chunk file that is being written. If it is dropped before `finish`, no file remains.
pub struct ChunkWriter {
    file: ChunkFile,
    draft: Box<dyn Draft>,
    buffer: Vec<u8>,
    at: u64,
    index: ChunkIndex,
}

impl ChunkWriter {
    /// Appends a chunk. Order is free, and a key group may have several chunks. Empty `bytes` append nothing.
    ///
    /// # Errors
    /// The disk fails, the chunk is longer than 1 GiB, or `group` is 4,096 or more.
    pub fn put(&mut self, operator: &str, group: u32, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if bytes.len() > LONGEST_CHUNK || group >= MOST_GROUPS || operator.len() > 1 << 16 {
            let what = format!("{} bytes for key group {group} of {operator:.40}", bytes.len());
            let limit = format!("a chunk has at most {LONGEST_CHUNK} bytes, and its key group is below {MOST_GROUPS}");
            return Err(Error::checkpoint(self.file.to_string(), format!("{what}: {limit}")));
        }
        fault::point(fault::FaultPoint::PiecesPut);
        let chunk = self.add(&encoded(&Label::Chunk { operator, group }), bytes)?;
        self.index.push((operator.to_owned(), group, chunk));
        Ok(())
    }

    fn add(&mut self, label: &[u8], bytes: &[u8]) -> Result<ChunkRef> {
        let head = record_head(self.at, &[label, bytes]);
        let len = (RECORD + label.len() + bytes.len()) as u64;
        let checksum = u64::from_be_bytes(head[8..].try_into().expect("eight bytes"));
        let chunk = ChunkRef { file: self.file, offset: self.at, len, checksum };
        self.buffer.extend_from_slice(&head);
        self.buffer.extend_from_slice(label);
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
        }
        match bytes.len() > BUFFER {
            true => self.draft.write(bytes)?,
            false => self.buffer.extend_from_slice(bytes),
        }
        self.at += len;
        Ok(chunk)
    }

    fn flush(&mut self) -> Result<()> {
        let written = self.draft.write(&self.buffer);
        self.buffer.clear();
        written
    }

    /// Completes the file and makes it durable. Returns the locations of its chunks; without chunks there is no file.
    ///
    /// # Errors
    /// The disk fails, or the file exists. No file is created then.
    pub fn finish(mut self) -> Result<ChunkIndex> {
        let chunks = self.index.len() as u64;
        if chunks == 0 {
            return Ok(self.index);
        }
        self.add(&encoded(&Label::End { chunks }), &[])?;
        self.flush()?;
        fault::point(fault::FaultPoint::PiecesBefore);
        if !self.draft.publish()? {
            return Err(Error::checkpoint(self.file.to_string(), "already exists: does another run write here?"));
        }
        fault::point(fault::FaultPoint::PiecesAfter);
        Ok(self.index)
    }
}

/// Groups the chunks of all workers as a manifest lists them: by operator, then by key group, in the given order.
///
/// ```
/// # use tidemill::checkpoint::{self, Settings, Checkpoints, Origin};
/// # let dir = std::env::temp_dir().join(format!("tidemill-doc-collect-{}", std::process::id()));
/// # let (checkpoints, _) = Checkpoints::open(&dir, Settings::new("job", std::time::Duration::from_secs(1))).unwrap();
/// # checkpoints.begin(Origin::default()).unwrap();
/// # let chunks = checkpoints.chunks().unwrap();
/// let mut file = chunks.write(tidemill::prelude::BatchTime::from_millis(5_000), 0)?;
/// file.put("sum_by_key#1", 7, b"state")?;
/// file.put("sum_by_key#1", 3, b"other state")?;
/// let by_operator = checkpoint::collect([file.finish()?]);
/// assert_eq!(by_operator["sum_by_key#1"].keys().collect::<Vec<_>>(), [&3, &7]);
/// assert_eq!(chunks.read("sum_by_key#1", 7, &by_operator["sum_by_key#1"][&7][0])?, b"state");
/// # std::fs::remove_dir_all(dir).unwrap();
/// # tidemill::Result::<()>::Ok(())
/// ```
pub fn collect(indices: impl IntoIterator<Item = ChunkIndex>) -> BTreeMap<String, GroupChunks> {
    let mut all: BTreeMap<String, GroupChunks> = BTreeMap::new();
    for (operator, group, chunk) in indices.into_iter().flatten() {
        all.entry(operator).or_default().entry(group).or_default().push(chunk);
    }
    all
}

/// The chunks of one operator, by key group. A restore loads the chunks of a group in this order.
pub type GroupChunks = BTreeMap<u32, Vec<ChunkRef>>;
