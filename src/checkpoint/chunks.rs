//! Pieces: the state of one operator and key group, as bytes. Each worker writes one file of them a checkpoint, in any order;
//! a manifest says which pieces, of which files, are a checkpoint.

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
use crate::core::data::{KEY_GROUPS, encoded};
use crate::core::error::{Error, Result};
use crate::core::fault;
use crate::core::time::BatchTime;

/// Bytes that are collected before they are written.
const BUFFER: usize = 1 << 20;
/// No piece is longer: more of a key group goes into several.
pub const LONGEST_PIECE: usize = 1 << 30;
/// What a file of pieces begins with is shorter.
const START: u64 = 4 << 10;

/// A file of pieces: what one worker wrote for one checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PieceFile {
    /// The checkpoint's time.
    pub time: BatchTime,
    /// The generation that wrote it.
    pub generation: u64,
    /// The worker that wrote it.
    pub worker: u32,
}

/// Its name in the checkpoint directory.
impl fmt::Display for PieceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pieces/{:015}-g{:08}-w{:04}", self.time.millis(), self.generation, self.worker)
    }
}

impl PieceFile {
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (time, rest) = name.strip_prefix("pieces/")?.split_once("-g")?;
        let (generation, worker) = rest.split_once("-w")?;
        let time = BatchTime::from_millis(time.parse().ok()?);
        let file = PieceFile { time, generation: generation.parse().ok()?, worker: worker.parse().ok()? };
        (file.to_string() == name).then_some(file)
    }
}

/// Where a piece lies. It may lie in the file of an older checkpoint: what did not change is not written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PieceRef {
    /// The file.
    pub file: PieceFile,
    /// The byte at which its record begins.
    pub offset: u64,
    /// Bytes of the record, its head included.
    pub len: u64,
    /// The record's checksum.
    pub checksum: u64,
}

impl PieceRef {
    /// Where the record ends in its file.
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }
}

/// What a file of pieces begins with.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    directory: DirectoryId,
    file: PieceFile,
}

/// What a record begins with; a piece's own bytes follow.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Label<'a> {
    Piece {
        operator: &'a str,
        group: u32,
    },
    /// The last record: so many pieces are before it.
    End {
        pieces: u64,
    },
}

/// The pieces of a checkpoint directory, for the workers of one generation in any process.
#[derive(Clone, Debug)]
pub struct Pieces {
    store: Arc<dyn Store>,
    directory: DirectoryId,
    generation: u64,
}

impl Pieces {
    pub(super) fn new(store: Arc<dyn Store>, directory: DirectoryId, generation: u64) -> Self {
        Pieces { store, directory, generation }
    }

    /// The same directory, seen from a process other than the one that holds the lease, which says what id and lease are. The lease
    /// is new at each start: who can read it looks at the directory of that process, and not at another one of that name, or a copy.
    ///
    /// # Errors
    /// No such directory here, or another one: the processes do not share it. One that cannot be written here.
    pub fn attach(dir: &Path, directory: DirectoryId, lease: &Lease) -> Result<Self> {
        let own = own_host();
        let not_shared = |place: String, what: String| {
            let remedy = "all processes of a job need the same directory: put it where all their hosts see it";
            let at = format!("process 0 runs on host {} with it, and here, on host {own},", lease.host);
            Error::checkpoint(place, format!("{at} {what}: {remedy}"))
        };
        let pieces = Pieces::open(dir, directory, lease.generation, &not_shared)?;
        let copy = |what: String| Err(not_shared(pieces.store.place(), format!("it is a copy: {what}")));
        match lease::of(&*pieces.store, lease.generation)? {
            Some(found) if found == *lease => {}
            Some(found) => return copy(format!("there it was taken by {lease}, here by {found}")),
            None => return copy(format!("the lease of generation {} is not in it", lease.generation)),
        }
        pieces.store.probe()?;
        Ok(pieces)
    }

    /// As [`attach`](Pieces::attach), to read only: nobody need have taken the directory.
    ///
    /// # Errors
    /// No such directory here, or another one.
    pub fn look(dir: &Path, directory: DirectoryId) -> Result<Self> {
        let wrong = |place, what| Error::checkpoint(place, format!("{what}: all processes need the same directory"));
        Pieces::open(dir, directory, 0, &wrong)
    }

    fn open(dir: &Path, directory: DirectoryId, generation: u64, wrong: &dyn Fn(String, String) -> Error) -> Result<Self> {
        let store = store::look(dir).map_err(|e| wrong(dir.display().to_string(), format!("it is not to be seen ({e})")))?;
        match crate::checkpoint::Genesis::read(&*store)? {
            Some(genesis) if genesis.id == directory => Ok(Pieces::new(store, directory, generation)),
            Some(genesis) => {
                Err(wrong(store.place(), format!("it is the checkpoint directory {}, there {directory}", genesis.id)))
            }
            None => Err(wrong(store.place(), "it is no checkpoint directory".into())),
        }
    }

    /// The directory's id, and the generation.
    pub fn id(&self) -> (DirectoryId, u64) {
        (self.directory, self.generation)
    }

    /// Begins the file of one worker for one checkpoint.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn write(&self, time: BatchTime, worker: u32) -> Result<PieceWriter> {
        let file = PieceFile { time, generation: self.generation, worker };
        let head = frame(Kind::Pieces, &Head { directory: self.directory, file });
        let mut buffer = Vec::with_capacity(BUFFER);
        buffer.extend_from_slice(&head);
        let draft = self.store.create(&file.to_string())?;
        Ok(PieceWriter { file, draft, buffer, at: head.len() as u64, index: Vec::new() })
    }

    /// The bytes of a piece, if they are those that were written for this operator and key group.
    ///
    /// # Errors
    /// They are not, or cannot be read: named with file and byte.
    pub fn read(&self, operator: &str, group: u32, piece: &PieceRef) -> Result<Vec<u8>> {
        let mut bytes = self.record(operator, group, piece)?;
        let label = encoded(&Label::Piece { operator, group }).len();
        bytes.drain(..RECORD + label);
        Ok(bytes)
    }

    /// The whole record of a piece, checked.
    pub(super) fn record(&self, operator: &str, group: u32, piece: &PieceRef) -> Result<Vec<u8>> {
        let name = piece.file.to_string();
        let damaged = |what: String| Error::damaged(&name, what);
        if piece.len > longest_record() {
            return Err(damaged(format!("a piece of {} bytes is asked for, which none has", piece.len)));
        }
        let gone = || Error::checkpoint(&name, "is missing: restore it, or go back to an older checkpoint");
        let bytes = self.store.read_range(&name, piece.offset, piece.len)?.ok_or_else(gone)?;
        if bytes.len() as u64 != piece.len {
            let (offset, end, has) = (piece.offset, piece.end(), piece.offset + bytes.len() as u64);
            return Err(damaged(format!("a piece goes from byte {offset} to {end}, and the file has {has} bytes")));
        }
        let payload = match record(&bytes, piece.offset) {
            Found::Record { payload, checksum, next } if checksum == piece.checksum && next == bytes.len() => payload,
            Found::Damaged(what) => return Err(damaged(what)),
            _ => return Err(damaged(format!("at byte {} lies another piece than its manifest names", piece.offset))),
        };
        match postcard::take_from_bytes(payload) {
            Ok((Label::Piece { operator: o, group: g }, _)) if o == operator && g == group => Ok(bytes),
            Ok((found, _)) => {
                Err(damaged(format!("at byte {} lies {found:?}, not key group {group} of {operator}", piece.offset)))
            }
            Err(e) => Err(damaged(format!("the piece at byte {}: {e}", piece.offset))),
        }
    }

    /// Reads a whole file. Returns how many pieces are in it.
    ///
    /// # Errors
    /// A byte that is not as it was written.
    pub(super) fn verify(&self, file: PieceFile) -> Result<u64> {
        let name = file.to_string();
        let damaged = |what: String| Error::damaged(&name, what);
        let start = self.store.read_range(&name, 0, START)?.ok_or_else(|| damaged("it is gone".into()))?;
        let (head, at) = unframe::<Head>(Kind::Pieces, &name, &start)?;
        if head.directory != self.directory {
            return Err(foreign(&name, head.directory, self.directory));
        }
        if head.file != file {
            return Err(damaged(format!("it was written as {}: somebody renamed it", head.file)));
        }
        let (mut at, mut pieces, mut end) = (at as u64, 0, None);
        loop {
            let mut bytes = self.store.read_range(&name, at, RECORD as u64)?.unwrap_or_default();
            if let Some(len) = record_len(&bytes, at) {
                bytes = self.store.read_range(&name, at, len.min(longest_record()))?.unwrap_or_default();
            }
            let (payload, next) = match record(&bytes, at) {
                Found::Record { payload, next, .. } if end.is_none() => (payload, next),
                Found::Record { .. } => return Err(damaged(format!("something follows its end at byte {at}"))),
                Found::End if end == Some(pieces) => return Ok(pieces),
                Found::End => return Err(damaged(format!("it ends at byte {at}, before its last record"))),
                Found::Torn => return Err(damaged(format!("the record at byte {at} is cut off"))),
                Found::Damaged(what) => return Err(damaged(what)),
            };
            match postcard::take_from_bytes(payload) {
                Ok((Label::Piece { .. }, _)) => pieces += 1,
                Ok((Label::End { pieces }, _)) => end = Some(pieces),
                Err(e) => return Err(damaged(format!("the record at byte {at}: {e}"))),
            }
            at += next as u64;
        }
    }
}

fn longest_record() -> u64 {
    (LONGEST_PIECE + (1 << 20)) as u64
}

/// What one worker has written for one checkpoint: by operator and key group, in the order of writing.
pub type Index = Vec<(String, u32, PieceRef)>;

/// The file of one worker for one checkpoint, as it is written. Dropped before `finish`, it leaves nothing.
pub struct PieceWriter {
    file: PieceFile,
    draft: Box<dyn Draft>,
    buffer: Vec<u8>,
    at: u64,
    index: Index,
}

impl PieceWriter {
    /// Adds a piece: in any order, and as many of one operator and key group as there are. No bytes, no piece.
    ///
    /// # Errors
    /// The disk fails; the piece is longer than [`LONGEST_PIECE`], or its key group is none.
    pub fn put(&mut self, operator: &str, group: u32, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if bytes.len() > LONGEST_PIECE || u64::from(group) >= KEY_GROUPS || operator.len() > 1 << 16 {
            let what = format!("{} bytes for key group {group} of {operator:.40}", bytes.len());
            return Err(Error::checkpoint(
                self.file.to_string(),
                format!("{what}: at most {LONGEST_PIECE} bytes, below group 128"),
            ));
        }
        fault::point(fault::FaultPoint::PiecesPut);
        let piece = self.add(&encoded(&Label::Piece { operator, group }), bytes)?;
        self.index.push((operator.to_owned(), group, piece));
        Ok(())
    }

    fn add(&mut self, label: &[u8], bytes: &[u8]) -> Result<PieceRef> {
        let head = record_head(self.at, &[label, bytes]);
        let len = (RECORD + label.len() + bytes.len()) as u64;
        let checksum = u64::from_be_bytes(head[8..].try_into().expect("eight bytes"));
        let piece = PieceRef { file: self.file, offset: self.at, len, checksum };
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
        Ok(piece)
    }

    fn flush(&mut self) -> Result<()> {
        let written = self.draft.write(&self.buffer);
        self.buffer.clear();
        written
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.at
    }

    /// The file is whole and durable: where each piece lies in it.
    ///
    /// # Errors
    /// The disk fails: the file is not there.
    pub fn finish(mut self) -> Result<Index> {
        let pieces = self.index.len() as u64;
        if pieces == 0 {
            return Ok(self.index);
        }
        self.add(&encoded(&Label::End { pieces }), &[])?;
        self.flush()?;
        fault::point(fault::FaultPoint::PiecesBefore);
        if !self.draft.publish()? {
            return Err(Error::checkpoint(self.file.to_string(), "is there already: does another run write here?"));
        }
        fault::point(fault::FaultPoint::PiecesAfter);
        Ok(self.index)
    }
}

/// Puts what workers have written into the order of a manifest: by operator, by key group, pieces in the order of the list.
///
/// ```
/// # use tidemill::checkpoint::{self, Settings, Checkpoints, Origin};
/// # let dir = std::env::temp_dir().join(format!("tidemill-doc-collect-{}", std::process::id()));
/// # let (checkpoints, _) = Checkpoints::open(&dir, Settings::new("job", std::time::Duration::from_secs(1))).unwrap();
/// # checkpoints.begin(Origin::default()).unwrap();
/// # let pieces = checkpoints.pieces().unwrap();
/// let mut file = pieces.write(tidemill::prelude::BatchTime::from_millis(5_000), 0)?;
/// file.put("sum_by_key#1", 7, b"state")?;
/// file.put("sum_by_key#1", 3, b"other state")?;
/// let by_operator = checkpoint::collect([file.finish()?]);
/// assert_eq!(by_operator["sum_by_key#1"].keys().collect::<Vec<_>>(), [&3, &7]);
/// assert_eq!(pieces.read("sum_by_key#1", 7, &by_operator["sum_by_key#1"][&7][0])?, b"state");
/// # std::fs::remove_dir_all(dir).unwrap();
/// # tidemill::Result::<()>::Ok(())
/// ```
pub fn collect(indices: impl IntoIterator<Item = Index>) -> BTreeMap<String, Groups> {
    let mut all: BTreeMap<String, Groups> = BTreeMap::new();
    for (operator, group, piece) in indices.into_iter().flatten() {
        all.entry(operator).or_default().entry(group).or_default().push(piece);
    }
    all
}

/// The pieces of one operator, by key group; those of a group are loaded in this order.
pub type Groups = BTreeMap<u32, Vec<PieceRef>>;
