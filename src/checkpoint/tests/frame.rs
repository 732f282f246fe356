//! Frames and records: only the written bytes are read back.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::frame::*;

fn log(payloads: &[Vec<u8>], from: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for p in payloads {
        bytes.extend_from_slice(&record_head(from + bytes.len() as u64, &[p]));
        bytes.extend_from_slice(p);
    }
    bytes
}

/// The records of a log, and whether its last append is incomplete.
fn records(bytes: &[u8], from: u64) -> Result<(Vec<Vec<u8>>, bool), String> {
    let (mut at, mut all) = (0, Vec::new());
    loop {
        match record(&bytes[at..], from + at as u64) {
            Found::Record { payload, next, .. } => {
                all.push(payload.to_vec());
                at += next;
            }
            Found::End => return Ok((all, false)),
            Found::Torn => return Ok((all, true)),
            Found::Damaged(what) => return Err(what),
        }
    }
}

proptest! {
    #[test]
    fn written_records_are_read_back(payloads in vec(vec(any::<u8>(), 1..600), 0..5), from in 0..2_000u64) {
        prop_assert_eq!(records(&log(&payloads, from), from), Ok((payloads, false)));
    }

    /// A crash of the process leaves the beginning of an append. A power failure leaves zeros in the place of a sector.
    #[test]
    fn an_append_torn_at_any_byte_is_cut_off(payloads in vec(vec(1u8.., 1..600), 1..4), from in 0..2_000u64, sectors in any::<u8>()) {
        let whole = log(&payloads, from);
        let last = log(&payloads[..payloads.len() - 1], from).len();
        for cut in last + 1..whole.len() {
            let expected = (payloads[..payloads.len() - 1].to_vec(), true);
            prop_assert_eq!(records(&whole[..cut], from), Ok(expected));
        }
        let mut zeroed = whole.clone();
        let mut parts = std::collections::BTreeMap::<usize, usize>::new();
        for (i, byte) in zeroed.iter_mut().enumerate().skip(last) {
            let sector = (from as usize + i) / 512;
            if sectors >> (sector % 8) & 1 == 1 {
                *byte = 0;
                *parts.entry(sector).or_default() += 1;
            }
        }
        let found = records(&zeroed, from);
        if parts.values().any(|n| *n >= 8) {
            prop_assert_eq!(found, Ok((payloads[..payloads.len() - 1].to_vec(), true)));
        } else {
            prop_assert!(found.is_err() || found == Ok((payloads, false)), "{:?}", found);
        }
    }

    #[test]
    fn a_flipped_bit_is_an_error(payloads in vec(vec(1u8.., 1..60), 1..4), bit in any::<prop::sample::Index>()) {
        let mut bytes = log(&payloads, 77);
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(records(&bytes, 77).is_err(), "bit {bit} of {}", bytes.len() * 8);
    }

    /// No crash leaves a sector of zeros with complete records after it.
    #[test]
    fn a_hole_in_the_log_is_an_error(before in vec(1u8.., 1..900), hole in vec(1u8.., 600..1_200), after in vec(1u8.., 1..900)) {
        let payloads = [before, hole, after];
        let mut bytes = log(&payloads, 0);
        let (from, to) = (log(&payloads[..1], 0).len(), log(&payloads[..2], 0).len());
        bytes[from..to].fill(0);
        prop_assert!(records(&bytes, 0).is_err());
        bytes.copy_within(to.., from);
        bytes.truncate(bytes.len() + from - to);
        prop_assert!(records(&bytes, 0).is_err(), "a record in another place than it was written");
    }

    #[test]
    fn no_bytes_cause_a_panic(bytes in vec(any::<u8>(), 0..3_000), at in any::<u32>()) {
        let _ = records(&bytes, at.into());
        let _ = unframe_all::<String>(Kind::Manifest, "x", &bytes);
        let mut framed = frame(Kind::Manifest, &String::new());
        framed.extend_from_slice(&bytes);
        prop_assert_eq!(unframe_all::<String>(Kind::Manifest, "x", &framed).is_ok(), bytes.is_empty());
    }

    /// Bytes with valid checksums that cannot be decoded are an error too.
    #[test]
    fn any_payload_decodes_or_is_an_error(bytes in vec(any::<u8>(), 0..400)) {
        let _ = decode::<super::super::Manifest>(&bytes);
        let _ = decode::<super::super::Genesis>(&bytes);
        let _ = decode::<super::super::PlanRecord>(&bytes);
        let _ = decode::<super::super::Lease>(&bytes);
    }
}

#[test]
fn another_format_differs_from_damage() {
    let mut bytes = frame(Kind::Genesis, &"tide");
    assert_eq!(unframe_all::<String>(Kind::Genesis, "genesis", &bytes).unwrap(), "tide");
    let wrong_kind = unframe_all::<String>(Kind::Lease, "leases/1", &bytes).unwrap_err().to_string();
    assert!(wrong_kind.contains("leases/1") && wrong_kind.contains("\"gene\""), "{wrong_kind}");
    bytes[15] = 2;
    let flipped = unframe_all::<String>(Kind::Genesis, "genesis", &bytes).unwrap_err().to_string();
    assert!(flipped.contains("bytes 0 to 40"), "{flipped}");
    let check = xxhash_rust::xxh3::xxh3_64(&bytes[..32]).to_be_bytes();
    bytes[32..40].copy_from_slice(&check);
    let newer = unframe_all::<String>(Kind::Genesis, "genesis", &bytes).unwrap_err().to_string();
    assert!(newer.contains("format 2") && newer.contains("format 1"), "{newer}");
}
