//! The logs of receivers: what senders were told to be safe. Invariant: a record is acknowledged only after it is durable in the log
//! of the newest generation.
//!
//! A log has segments. Each names the number of its first record. So bytes after the records before it, from an append that a crash
//! interrupted or that a newer run did not see, are never read.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::frame::{Found, HEAD, Kind, frame, frame_len, record, record_head, unframe};
use super::genesis::{DirectoryId, Genesis, Position};
use super::lease;
use super::plan_log::foreign;
use super::store::{self, Log, Store};
use crate::core::data::encoded;
use crate::core::error::{Error, Result};
use crate::core::plan::{RunId, Split};

/// The folder of the logs.
pub(super) const FOLDER: &str = "received";
/// A segment of this length, in bytes, is followed by a new one. Cleaning deletes whole segments, and reading holds one in memory.
const SEGMENT: u64 = 16 << 20;
/// The maximum length of a block in bytes.
pub(crate) const LONGEST: usize = 64 << 20;
/// The maximum length of a segment's head in bytes.
const LONGEST_HEAD: u64 = 64 << 10;

/// The name of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct ReceivedFile {
    /// The `xxh3_64` of the receiver's name.
    pub receiver: u64,
    pub generation: u64,
    /// Counts from 1 in each generation.
    pub segment: u32,
}

impl fmt::Display for ReceivedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{FOLDER}/{:016x}-g{:08}-{:06}", self.receiver, self.generation, self.segment)
    }
}

impl ReceivedFile {
    pub fn parse(name: &str) -> Option<Self> {
        let (receiver, rest) = name.strip_prefix(FOLDER)?.strip_prefix('/')?.split_once("-g")?;
        let (generation, segment) = rest.split_once('-')?;
        let receiver = u64::from_str_radix(receiver, 16).ok()?;
        let file = ReceivedFile { receiver, generation: generation.parse().ok()?, segment: segment.parse().ok()? };
        (file.to_string() == name).then_some(file)
    }
}

/// The head of a segment. Blocks follow: the number of records, and their bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    directory: DirectoryId,
    file: ReceivedFile,
    /// The name of the receiver.
    name: String,
    /// The number of its first record. Records count from 0.
    first: u64,
}

/// Records that were made durable together.
pub(crate) struct Block<'a> {
    /// The number of the first record.
    pub first: u64,
    /// How many records it has.
    pub count: u32,
    /// Their bytes, one after the other.
    pub bytes: &'a [u8],
}

/// The log of one receiver.
#[derive(Clone, Debug)]
pub(crate) struct ReceivedLog {
    store: Arc<dyn Store>,
    directory: DirectoryId,
    generation: u64,
    name: Arc<str>,
}

impl ReceivedLog {
    /// Opens the log of the receiver `name` for a run of the checkpoint directory.
    ///
    /// # Errors
    /// The directory is missing, or is another one.
    pub fn open(dir: &Path, run: RunId, name: &str) -> Result<Self> {
        let store = store::read_only(dir)?;
        let found = Genesis::read(&*store)?.map(|genesis| genesis.id);
        if found != Some(DirectoryId(run.directory)) {
            let what = format!("is not the checkpoint directory {}: all processes need the same one", DirectoryId(run.directory));
            return Err(Error::checkpoint(store.place(), what));
        }
        Ok(ReceivedLog { store, directory: DirectoryId(run.directory), generation: run.generation, name: name.into() })
    }

    fn receiver(&self) -> u64 {
        xxh3_64(self.name.as_bytes())
    }

    fn heads(&self) -> Result<Vec<Head>> {
        Ok(heads(&*self.store, self.directory)?.remove(&self.receiver()).unwrap_or_default())
    }

    /// Closes the logs of all older runs, and continues after their records. A run that is still active there acknowledges nothing
    /// from then on.
    ///
    /// # Errors
    /// The log is damaged, belongs to another receiver, or cannot be read.
    pub fn append(&self) -> Result<Appender> {
        let receiver = self.receiver();
        let file = |(generation, segment)| ReceivedFile { receiver, generation, segment };
        let parse = |name: &str| ReceivedFile::parse(name).filter(|f| f.receiver == receiver).map(|f| (f.generation, f.segment));
        lease::close_older(&*self.store, self.generation, FOLDER, parse, |at| file(at).to_string())?;
        let next = end(&*self.store, &self.heads()?)?;
        Ok(Appender { log: self.clone(), file: file((self.generation, 0)), segment: None, len: 0, limit: SEGMENT, next })
    }

    /// Gives each block with records from `from` on, in order, until `each` returns `false`. Returns the number of the next record.
    /// Holds one segment in memory.
    ///
    /// # Errors
    /// The log no longer has the record `from`, or never had the one before it. Or it is damaged, or cannot be read.
    pub fn read(&self, from: u64, mut each: impl FnMut(Block<'_>) -> Result<bool>) -> Result<u64> {
        let heads = self.heads()?;
        let start = heads.iter().rposition(|h| h.first <= from).unwrap_or(0);
        let mut next = heads.get(start).map_or(0, |h| h.first);
        if let Some(head) = heads.get(start).filter(|head| head.first > from) {
            let what = format!("the log of \"{}\" begins at record {}, and record {from} is to be read", self.name, head.first);
            let why = "records are deleted when no kept checkpoint needs them; --keep-checkpoints keeps more";
            return Err(Error::checkpoint(head.file.to_string(), format!("{what}: {why}")));
        }
        for i in start..heads.len() {
            let mut go_on = true;
            next = blocks(&*self.store, &heads[i], heads.get(i + 1), &mut |block| {
                if block.first + u64::from(block.count) > from {
                    go_on = each(block)?;
                }
                Ok(go_on)
            })?
            .next;
            if !go_on {
                return Ok(next);
            }
        }
        if next < from {
            let what = format!("the log of \"{}\" ends before record {next}, and records up to {from} are planned", self.name);
            return Err(Error::checkpoint(FOLDER, format!("{what}: records are lost; restore {FOLDER}/ from a copy")));
        }
        Ok(next)
    }
}

/// Appends blocks to a log, in segments of this generation.
pub(crate) struct Appender {
    log: ReceivedLog,
    file: ReceivedFile,
    /// `None` before the first block of a segment.
    segment: Option<Box<dyn Log>>,
    len: u64,
    limit: u64,
    next: u64,
}

impl Appender {
    /// Appends a block. When this returns, it is durable, and a newer run will read it.
    ///
    /// # Errors
    /// The disk fails, the block is too long, or a newer run has the directory. The block may be in the log or not: do not use the
    /// appender again.
    pub fn append(&mut self, count: u32, bytes: &[u8]) -> Result<()> {
        let count_bytes = encoded(&count);
        if count_bytes.len() + bytes.len() > LONGEST {
            let what = format!("a block of {} bytes; at most {LONGEST} are possible", bytes.len());
            return Err(Error::checkpoint(self.file.to_string(), what));
        }
        if self.segment.is_none() {
            self.file.segment += 1;
            let head = Head { directory: self.log.directory, file: self.file, name: self.log.name.to_string(), first: self.next };
            let head = frame(Kind::Received, &head);
            self.len = head.len() as u64;
            self.segment = Some(self.log.store.begin_log(&self.file.to_string(), &head)?);
        }
        let mut block = record_head(self.len, &[&count_bytes, bytes]).to_vec();
        block.extend_from_slice(&count_bytes);
        block.extend_from_slice(bytes);
        let mut segment = self.segment.take().expect("it was just begun");
        segment.append(&block)?;
        // A newer run takes its lease before it reads the log. So without a newer lease now, it will read this block.
        lease::check(&*self.log.store, self.log.generation)?;
        self.len += block.len() as u64;
        self.next += u64::from(count);
        self.segment = (self.len < self.limit && !segment.is_long()).then_some(segment);
        Ok(())
    }

    /// The number of the next record.
    #[cfg(test)]
    pub fn next(&self) -> u64 {
        self.next
    }

    #[cfg(test)]
    pub fn with_segments_of(mut self, bytes: u64) -> Self {
        self.limit = bytes;
        self
    }
}

/// The heads of all segments, in order, by receiver.
fn heads(store: &dyn Store, directory: DirectoryId) -> Result<BTreeMap<u64, Vec<Head>>> {
    let mut files: Vec<ReceivedFile> = store.list(FOLDER)?.iter().filter_map(|e| ReceivedFile::parse(&e.name)).collect();
    files.sort();
    let mut all: BTreeMap<u64, Vec<Head>> = BTreeMap::new();
    for file in files {
        let name = file.to_string();
        // It was deleted after it was listed: no checkpoint needs it.
        let Some(start) = store.read_range(&name, 0, HEAD as u64)? else { continue };
        let len = frame_len(Kind::Received, &name, &start)?.min(LONGEST_HEAD);
        let Some(bytes) = store.read_range(&name, 0, len)? else { continue };
        let (head, _): (Head, _) = unframe(Kind::Received, &name, &bytes)?;
        if head.directory != directory {
            return Err(foreign(&name, head.directory, directory));
        }
        if head.file != file || xxh3_64(head.name.as_bytes()) != file.receiver {
            return Err(Error::damaged(&name, format!("it was written as {}, and has been renamed", head.file)));
        }
        let known = all.entry(file.receiver).or_default();
        if let Some(before) = known.last().filter(|before| before.first > head.first) {
            let what = format!("it begins at record {}, but {} begins at record {}", head.first, before.file, before.first);
            return Err(Error::damaged(&name, what));
        }
        known.push(head);
    }
    Ok(all)
}

/// How far a segment was read.
struct Read {
    /// The number of the record after it.
    next: u64,
    /// A description of an incomplete append, if there is one.
    torn: Option<String>,
}

/// Gives the blocks of one segment, until `each` returns `false`. `after`: the next segment of this receiver.
fn blocks(store: &dyn Store, head: &Head, after: Option<&Head>, each: &mut dyn FnMut(Block<'_>) -> Result<bool>) -> Result<Read> {
    let name = head.file.to_string();
    let damaged = |what: String| Error::damaged(&name, what);
    let bytes = store.read(&name, SEGMENT + LONGEST as u64 + LONGEST_HEAD)?.unwrap_or_default();
    let (_, mut at) = unframe::<Head>(Kind::Received, &name, &bytes)?;
    let mut next = head.first;
    let end = after.map(|h| h.first);
    // Within a generation, a segment follows only a complete one.
    let may_be_torn = after.is_none_or(|h| h.file.generation > head.file.generation);
    let after = || end.map_or(String::new(), |end| format!(", but the next segment begins at record {end}"));
    loop {
        // The next run did not see what is after this.
        if end == Some(next) && may_be_torn {
            return Ok(Read { next, torn: None });
        }
        let (payload, skip) = match record(&bytes[at..], at as u64) {
            Found::Record { payload, next, .. } => (payload, next),
            Found::End if end.is_none_or(|end| end == next) => return Ok(Read { next, torn: None }),
            Found::Torn if end.is_none() => {
                let left = bytes.len() - at;
                let torn = format!("{name}: a crash interrupted the last append: {left} bytes from byte {at} are ignored");
                return Ok(Read { next, torn: Some(torn) });
            }
            Found::End | Found::Torn => return Err(damaged(format!("it ends before record {next}{}", after()))),
            Found::Damaged(what) => return Err(damaged(what)),
        };
        let wrong = |e: String| damaged(format!("block at byte {at}: {e}"));
        let (count, rows) = postcard::take_from_bytes::<u32>(payload).map_err(|e| wrong(e.to_string()))?;
        let first = next;
        next = first.checked_add(u64::from(count)).ok_or_else(|| wrong(format!("{count} records after record {first}")))?;
        if end.is_some_and(|end| next > end) {
            return Err(wrong(format!("it has records up to {next}{}", after())));
        }
        if !each(Block { first, count, bytes: rows })? {
            return Ok(Read { next, torn: None });
        }
        at += skip;
    }
}

/// The number of the record after the last one.
fn end(store: &dyn Store, heads: &[Head]) -> Result<u64> {
    heads.last().map_or(Ok(0), |last| Ok(blocks(store, last, None, &mut |_| Ok(true))?.next))
}

/// Segments that no checkpoint needs: `kept` has the positions of each checkpoint that stays. Oldest first, so that a crash leaves
/// the newer part. The last segment of a receiver always stays.
pub(super) fn unused(store: &dyn Store, directory: DirectoryId, kept: &[&[Position]]) -> Result<Vec<String>> {
    let mut unused = Vec::new();
    for of_one in heads(store, directory)?.values() {
        // A checkpoint that is older than the receiver needs the log from its start.
        let position = |checkpoint: &&[Position]| {
            let own = Split::custom(&of_one[0].name, 0);
            checkpoint.iter().find(|p| p.split == own).map_or(0, |p| p.next as u64)
        };
        let needed = kept.iter().map(position).min().unwrap_or(0);
        let over = of_one.iter().zip(of_one.iter().skip(1)).take_while(|(_, next)| next.first <= needed);
        unused.extend(over.map(|(head, _)| head.file.to_string()));
    }
    Ok(unused)
}

/// Reads every byte. Returns the number of files, and descriptions of incomplete appends.
pub(super) fn verify(store: &dyn Store, directory: DirectoryId) -> Result<(usize, Vec<String>)> {
    let (mut files, mut notes) = (0, Vec::new());
    for of_one in heads(store, directory)?.values() {
        for (i, head) in of_one.iter().enumerate() {
            files += 1;
            match blocks(store, head, of_one.get(i + 1), &mut |_| Ok(true)) {
                Ok(read) => notes.extend(read.torn),
                // A running job may have deleted it meanwhile: that is not a fault.
                Err(e) if store.read_range(&head.file.to_string(), 0, 1)?.is_some() => return Err(e),
                Err(_) => {}
            }
        }
    }
    Ok((files, notes))
}
