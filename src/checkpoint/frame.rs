//! The framing of files: a head for every file, and records in the files that grow. docs/formats.md has the bytes.
//!
//! Invariant: bytes are checked before they are decoded, and decoding allocates at most a small multiple of them.

use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_64_with_seed};

use crate::core::data::encoded;
use crate::core::error::{Error, Result};

/// The current format. It increases with every change that an older program would misread.
pub(crate) const FORMAT: u32 = 1;
/// The first bytes of every file.
const MAGIC: &[u8; 8] = b"tidemill";
/// Bytes before the payload of a frame: magic, kind, format, length, checksum, checksum of all that.
pub(crate) const HEAD: usize = 40;
/// Bytes before the payload of a record: length, checksum of the length, checksum.
pub(crate) const RECORD: usize = 16;
/// The unit in which a disk writes, in bytes. A sector of zeros was never written.
const SECTOR: usize = 512;

/// The kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Genesis,
    Lease,
    Plans,
    Chunks,
    Manifest,
    Received,
}

impl Kind {
    fn tag(self) -> &'static [u8; 4] {
        match self {
            Kind::Genesis => b"gene",
            Kind::Lease => b"leas",
            Kind::Plans => b"plan",
            Kind::Chunks => b"piec",
            Kind::Manifest => b"mani",
            Kind::Received => b"rcvd",
        }
    }
}

/// A head and an encoded value: the beginning of a file, or all of it.
pub(crate) fn frame<T: Serialize>(kind: Kind, value: &T) -> Vec<u8> {
    framed(kind, &encoded(value))
}

/// A head and a payload.
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

/// The length in bytes of the frame that begins with `head`, with its head.
pub(crate) fn frame_len(kind: Kind, file: &str, head: &[u8]) -> Result<u64> {
    if head.len() < HEAD {
        return Err(Error::damaged(file, format!("it ends at byte {}, inside its head of {HEAD}", head.len())));
    }
    if &head[..8] != MAGIC {
        return Err(Error::damaged(file, "it does not begin like a file of a checkpoint directory"));
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
        return Err(Error::damaged(file, format!("its kind is \"{found}\", but \"{expected}\" is expected")));
    }
    u64_at(head, 16).checked_add(HEAD as u64).ok_or_else(|| Error::damaged(file, "its head gives an impossible length"))
}

/// The value at the beginning of `bytes`, and the offset of the bytes after it.
pub(crate) fn unframe<T: DeserializeOwned>(kind: Kind, file: &str, bytes: &[u8]) -> Result<(T, usize)> {
    let len = frame_len(kind, file, bytes)?;
    if (bytes.len() as u64) < len {
        return Err(Error::damaged(file, format!("it has {} bytes, but its head says {len}", bytes.len())));
    }
    let payload = &bytes[HEAD..len as usize];
    if xxh3_64(payload) != u64_at(bytes, 24) {
        return Err(Error::damaged(file, format!("bytes {HEAD} to {len} do not match their checksum")));
    }
    Ok((decode(payload).map_err(|e| Error::damaged(file, e))?, len as usize))
}

/// The value of a file that contains nothing else.
pub(crate) fn unframe_all<T: DeserializeOwned>(kind: Kind, file: &str, bytes: &[u8]) -> Result<T> {
    let (value, end) = unframe(kind, file, bytes)?;
    match bytes.len() - end {
        0 => Ok(value),
        more => Err(Error::damaged(file, format!("{more} bytes follow its end at byte {end}"))),
    }
}

/// Decodes all of `bytes` as one value.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} bytes follow the value", rest.len())),
        Err(e) => Err(format!("its checksum is right, but its content cannot be decoded: {e}")),
    }
}

/// The head of a record at byte `at` of its file. The payload is the concatenation of `parts`.
///
/// # Panics
/// The payload is empty, or longer than 4 GiB.
pub(crate) fn record_head(at: u64, parts: &[&[u8]]) -> [u8; RECORD] {
    let len: usize = parts.iter().map(|p| p.len()).sum();
    let len = u32::try_from(len).ok().filter(|n| *n > 0).expect("a record of 1 byte to 4 GiB").to_be_bytes();
    // The checksum covers the offset, so a record is valid only in its place.
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

/// The length in bytes of the record that begins with `head`. `None` if the length does not match its checksum.
pub(crate) fn record_len(head: &[u8], at: u64) -> Option<u64> {
    let len = head.get(..4).filter(|len| head.len() == RECORD && head[4..8] == len_check(len, at))?;
    Some(RECORD as u64 + u64::from(u32::from_be_bytes([len[0], len[1], len[2], len[3]])))
}

/// What is found at the offset of a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A record; the next one begins at `next`.
    Record { payload: &'a [u8], checksum: u64, next: usize },
    /// The end of the file.
    End,
    /// An incomplete append: a crash may leave one at the end of a file, and nowhere else.
    Torn,
    /// Bytes that no crash can leave.
    Damaged(String),
}

/// Reads the record at byte `at` of its file. `rest` is the file from there to its end.
pub(crate) fn record(rest: &[u8], at: u64) -> Found<'_> {
    match whole_record(rest, at) {
        Ok(found) => found,
        // An unwritten sector without a record after it: the power failed during the last append.
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
    // The length is valid. So a record that is too short is the last one.
    let Some(payload) = rest.get(RECORD..next) else { return Ok(Found::Torn) };
    let checksum = u64_at(rest, 8);
    if xxh3_64_with_seed(payload, at) != checksum {
        return Err(format!("the record at byte {at}, {} bytes long, does not match its checksum", payload.len()));
    }
    Ok(Found::Record { payload, checksum, next })
}

/// Whether a sector, or the part of it in `rest`, is all zeros. Fewer than 8 zeros prove nothing: lengths begin with zeros, and
/// records may end with them.
fn unwritten(rest: &[u8], at: u64) -> bool {
    let first = (SECTOR - (at % SECTOR as u64) as usize).min(rest.len());
    let (first, others) = rest.split_at(first);
    std::iter::once(first).chain(others.chunks(SECTOR)).any(|s| s.len() >= 8 && s.iter().all(|b| *b == 0))
}

/// Whether a complete record begins anywhere after the first byte.
fn another(rest: &[u8], at: u64) -> bool {
    (1..rest.len()).any(|i| matches!(whole_record(&rest[i..], at + i as u64), Ok(Found::Record { .. })))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
