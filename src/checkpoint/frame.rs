//! How every file of a checkpoint directory begins, and how records lie in those that grow: docs/formats.md has the bytes.
//!
//! What is read is checked before it is decoded, and decoding allocates no more than a small multiple of what was read.

use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_64_with_seed};

use crate::core::data::encoded;
use crate::core::error::{Error, Result};

/// The format that is written; one higher with every change that an older program would misread.
pub(crate) const FORMAT: u32 = 1;
/// What every file begins with.
const MAGIC: &[u8; 8] = b"tidemill";
/// Bytes before the payload of a frame: magic, kind, format, length, checksum, checksum of all that.
pub(crate) const HEAD: usize = 40;
/// Bytes before the payload of a record: length, checksum of the length, checksum.
pub(crate) const RECORD: usize = 16;
/// What a disk writes as a whole: where such a piece is all noughts, it never got there.
const SECTOR: usize = 512;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Genesis,
    Lease,
    Plans,
    Pieces,
    Manifest,
}

impl Kind {
    fn tag(self) -> &'static [u8; 4] {
        match self {
            Kind::Genesis => b"gene",
            Kind::Lease => b"leas",
            Kind::Plans => b"plan",
            Kind::Pieces => b"piec",
            Kind::Manifest => b"mani",
        }
    }
}

/// A value behind a head: what a file begins with, or all of it.
pub(crate) fn frame<T: Serialize>(kind: Kind, value: &T) -> Vec<u8> {
    framed(kind, &encoded(value))
}

/// A payload behind a head.
pub(super) fn framed(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + payload.len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(kind.tag());
    out.extend_from_slice(&FORMAT.to_be_bytes());
    out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
    out.extend_from_slice(&xxh3_64(payload).to_be_bytes());
    out.extend_from_slice(&xxh3_64(&out).to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// How many bytes the frame that begins with `head` has, head included.
pub(crate) fn frame_len(kind: Kind, file: &str, head: &[u8]) -> Result<u64> {
    if head.len() < HEAD {
        return Err(Error::damaged(file, format!("it ends at byte {}, inside its head of {HEAD}", head.len())));
    }
    if &head[..8] != MAGIC {
        return Err(Error::damaged(file, "it does not begin as a file of a checkpoint directory does"));
    }
    if xxh3_64(&head[..32]) != u64_at(head, 32) {
        return Err(Error::damaged(file, format!("its head, bytes 0 to {HEAD}, does not match the head's checksum")));
    }
    let format = u32::from_be_bytes([head[12], head[13], head[14], head[15]]);
    if format != FORMAT {
        return Err(Error::CheckpointFormat { file: file.into(), found: format, known: FORMAT });
    }
    if &head[8..12] != kind.tag() {
        let (found, expected) = (head[8..12].escape_ascii(), kind.tag().escape_ascii());
        return Err(Error::damaged(file, format!("it is of the kind \"{found}\", where \"{expected}\" belongs")));
    }
    u64_at(head, 16).checked_add(HEAD as u64).ok_or_else(|| Error::damaged(file, "its head claims more bytes than there can be"))
}

/// The value at the beginning of `bytes`, and where what follows it begins.
pub(crate) fn unframe<T: DeserializeOwned>(kind: Kind, file: &str, bytes: &[u8]) -> Result<(T, usize)> {
    let len = frame_len(kind, file, bytes)?;
    if (bytes.len() as u64) < len {
        return Err(Error::damaged(file, format!("it has {} bytes, where its head promises {len}", bytes.len())));
    }
    let payload = &bytes[HEAD..len as usize];
    if xxh3_64(payload) != u64_at(bytes, 24) {
        return Err(Error::damaged(file, format!("bytes {HEAD} to {len} do not match their checksum")));
    }
    Ok((decode(payload).map_err(|e| Error::damaged(file, e))?, len as usize))
}

/// The value of a file that holds nothing else.
pub(crate) fn unframe_all<T: DeserializeOwned>(kind: Kind, file: &str, bytes: &[u8]) -> Result<T> {
    let (value, end) = unframe(kind, file, bytes)?;
    match bytes.len() - end {
        0 => Ok(value),
        more => Err(Error::damaged(file, format!("{more} bytes follow its end at byte {end}"))),
    }
}

/// All of `bytes` as one value.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} bytes are left after what it should hold", rest.len())),
        Err(e) => Err(format!("its checksum is right, but it does not hold what it should: {e}")),
    }
}

/// The head of a record of these parts, one after another, that begins at byte `at` of its file.
///
/// # Panics
/// If the parts are empty or longer than 4 GiB together: callers see to that.
pub(crate) fn record_head(at: u64, parts: &[&[u8]]) -> [u8; RECORD] {
    let len: usize = parts.iter().map(|p| p.len()).sum();
    let len = u32::try_from(len).ok().filter(|n| *n > 0).expect("a record of 1 byte to 4 GiB").to_be_bytes();
    // The place is in the checksum: a record that lies elsewhere is not this one.
    let mut hash = Xxh3::with_seed(at);
    parts.iter().for_each(|p| hash.update(p));
    let mut head = [0; RECORD];
    head[..4].copy_from_slice(&len);
    head[4..8].copy_from_slice(&len_check(&len, at));
    head[8..].copy_from_slice(&hash.digest().to_be_bytes());
    head
}

fn len_check(len: &[u8], at: u64) -> [u8; 4] {
    (xxh3_64_with_seed(len, at) as u32).to_be_bytes()
}

/// Bytes of the record that begins with `head`, if it has a right length: what a reader has to have room for.
pub(crate) fn record_len(head: &[u8], at: u64) -> Option<u64> {
    let len = head.get(..4).filter(|len| head.len() == RECORD && head[4..8] == len_check(len, at))?;
    Some(RECORD as u64 + u64::from(u32::from_be_bytes([len[0], len[1], len[2], len[3]])))
}

/// What lies where a record should begin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A record; the next one begins at `next`.
    Record { payload: &'a [u8], checksum: u64, next: usize },
    /// Nothing: the end.
    End,
    /// An append that did not come to its end: what a crash may leave, at the end of a file and nowhere else.
    Torn,
    /// Something that no crash leaves.
    Damaged(String),
}

/// The record that begins at `rest`, which is at byte `at` of its file and goes to the file's end.
pub(crate) fn record(rest: &[u8], at: u64) -> Found<'_> {
    match whole_record(rest, at) {
        Ok(found) => found,
        // A sector that never reached the disk, and nothing after it: a power cut during the last append.
        Err(_) if unwritten(rest, at) && !another(rest, at) => Found::Torn,
        Err(what) => Found::Damaged(what),
    }
}

fn whole_record(rest: &[u8], at: u64) -> Result<Found<'_>, String> {
    if rest.is_empty() {
        return Ok(Found::End);
    }
    if rest.len() < RECORD {
        return Ok(Found::Torn);
    }
    if rest[4..8] != len_check(&rest[..4], at) {
        return Err(format!("the length of the record at byte {at} does not match its checksum"));
    }
    let next = RECORD + u32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
    if next == RECORD {
        return Err(format!("the record at byte {at} is empty"));
    }
    // The length is right, so nothing can follow a record that is too short.
    let Some(payload) = rest.get(RECORD..next) else { return Ok(Found::Torn) };
    let checksum = u64_at(rest, 8);
    if xxh3_64_with_seed(payload, at) != checksum {
        return Err(format!("the record at byte {at}, {} bytes long, does not match its checksum", payload.len()));
    }
    Ok(Found::Record { payload, checksum, next })
}

/// Whether a sector, or the part of one that is here, is all noughts. A few of them prove nothing: lengths begin with some, and
/// records may end with some.
fn unwritten(rest: &[u8], at: u64) -> bool {
    let first = (SECTOR - (at % SECTOR as u64) as usize).min(rest.len());
    let (first, others) = rest.split_at(first);
    std::iter::once(first).chain(others.chunks(SECTOR)).any(|s| s.len() >= 8 && s.iter().all(|b| *b == 0))
}

/// Whether a whole record begins anywhere after the first byte.
fn another(rest: &[u8], at: u64) -> bool {
    (1..rest.len()).any(|i| matches!(whole_record(&rest[i..], at + i as u64), Ok(Found::Record { .. })))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
