//! Checkpoint directories of which a file has been made by somebody else: what fuzzers call.

use std::path::Path;

use super::chunks::Pieces;
use super::frame::{HEAD, Kind, frame_len, framed, record_head};
use super::genesis::Genesis;
use super::recover::recover;
use super::store;
use crate::core::error::{Error, Result};

/// What a job would find in a directory; nothing is written.
///
/// # Errors
/// What a start would refuse.
pub(crate) fn recovers(dir: &Path) -> Result<()> {
    let store = store::look(dir)?;
    let genesis = Genesis::read(&*store)?.ok_or_else(|| Error::checkpoint(store.place(), "has no genesis"))?;
    recover(&*store, &genesis, &Pieces::new(store.clone(), genesis.id, u64::MAX)).map(drop)
}

fn kind(name: &str) -> Kind {
    match name.split('/').next() {
        Some("leases") => Kind::Lease,
        Some("plans") => Kind::Plans,
        Some("pieces") => Kind::Pieces,
        Some("manifests") => Kind::Manifest,
        _ => Kind::Genesis,
    }
}

/// A file with the right checksums of that name and any payload: what only one who wants to deceive can make. Files with
/// records keep the head of the `right` one; each record is as long as the byte before it says.
pub(crate) fn forged(name: &str, right: &[u8], mut payload: &[u8]) -> Vec<u8> {
    let kind = kind(name);
    if matches!(kind, Kind::Genesis | Kind::Lease | Kind::Manifest) {
        return framed(kind, payload);
    }
    let head = frame_len(kind, name, right).expect("a right file") as usize;
    let mut file = right[..head].to_vec();
    while let Some((n, rest)) = payload.split_first() {
        let record;
        (record, payload) = rest.split_at(usize::from(*n).min(rest.len()));
        if record.is_empty() {
            // A head of its own, as far as it goes.
            return framed(kind, payload);
        }
        file.extend_from_slice(&record_head(file.len() as u64, &[record]));
        file.extend_from_slice(record);
    }
    file
}

/// The payload of which [`forged`] makes that file again.
pub(crate) fn payload(name: &str, right: &[u8]) -> Vec<u8> {
    let kind = kind(name);
    if matches!(kind, Kind::Genesis | Kind::Lease | Kind::Manifest) {
        return right[HEAD..].to_vec();
    }
    let mut at = frame_len(kind, name, right).expect("a right file") as usize;
    let mut payload = Vec::new();
    while let super::frame::Found::Record { payload: record, next, .. } = super::frame::record(&right[at..], at as u64) {
        payload.push(u8::try_from(record.len()).expect("short records"));
        payload.extend_from_slice(record);
        at += next;
    }
    payload
}
