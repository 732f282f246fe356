//! For fuzzers: checkpoint directories with one forged file.

use std::path::Path;

use super::chunks::Chunks;
use super::frame::{HEAD, Kind, frame_len, framed, record_head};
use super::genesis::Genesis;
use super::recover::recover;
use super::store;
use crate::core::error::{Error, Result};

/// Recovers from a directory like the start of a job, but writes nothing.
///
/// # Errors
/// Like the start of a job.
pub(crate) fn recovers(dir: &Path) -> Result<()> {
    let store = store::read_only(dir)?;
    let genesis = Genesis::read(&*store)?.ok_or_else(|| Error::checkpoint(store.place(), "has no genesis"))?;
    recover(&*store, &genesis, &Chunks::new(store.clone(), genesis.id, u64::MAX)).map(drop)
}

fn kind(name: &str) -> Kind {
    match name.split('/').next() {
        Some("leases") => Kind::Lease,
        Some("plans") => Kind::Plans,
        Some("pieces") => Kind::Chunks,
        Some("manifests") => Kind::Manifest,
        Some("received") => Kind::Received,
        _ => Kind::Genesis,
    }
}

/// A file with valid checksums and any payload, as only an attacker would write it. A file with records keeps the head of `right`;
/// a byte before each record gives its length.
pub(crate) fn forged(name: &str, right: &[u8], mut payload: &[u8]) -> Vec<u8> {
    let kind = kind(name);
    if matches!(kind, Kind::Genesis | Kind::Lease | Kind::Manifest) {
        return framed(kind, payload);
    }
    let head = frame_len(kind, name, right).expect("a valid file") as usize;
    let mut file = right[..head].to_vec();
    while let Some((n, rest)) = payload.split_first() {
        let record;
        (record, payload) = rest.split_at(usize::from(*n).min(rest.len()));
        if record.is_empty() {
            // A length of 0: the rest is a file with its own head.
            return framed(kind, payload);
        }
        file.extend_from_slice(&record_head(file.len() as u64, &[record]));
        file.extend_from_slice(record);
    }
    file
}

/// The payload from which [`forged`] makes this file.
pub(crate) fn payload(name: &str, right: &[u8]) -> Vec<u8> {
    let kind = kind(name);
    if matches!(kind, Kind::Genesis | Kind::Lease | Kind::Manifest) {
        return right[HEAD..].to_vec();
    }
    let mut at = frame_len(kind, name, right).expect("a valid file") as usize;
    let mut payload = Vec::new();
    while let super::frame::Found::Record { payload: record, next, .. } = super::frame::record(&right[at..], at as u64) {
        payload.push(u8::try_from(record.len()).expect("short records"));
        payload.extend_from_slice(record);
        at += next;
    }
    payload
}
