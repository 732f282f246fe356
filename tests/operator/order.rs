//! If a verb calls a function with several rows, it passes them in a defined order. The order does not depend on arrival or hash seeds.

use std::collections::BTreeSet;

use crate::harness::{bag, each};

/// The values of a key in an unordered stream.
#[test]
fn values_grouped_from_unordered_rows() {
    let model = |rows: Vec<u8>| {
        let once: BTreeSet<u8> = rows.into_iter().collect();
        let of = |k: u8| -> Vec<u8> { once.iter().filter(|n| **n % 2 == k).copied().collect() };
        bag((0..2).map(|k| (k, of(k))).filter(|(_, ns)| !ns.is_empty()))
    };
    each(0..200u8, |s| s.distinct().map(|n| (n % 2, n)).group_by_key(), model);
}

/// The partitions of an unordered stream are its key groups. Their rows have no order of their own.
#[test]
fn partitions_of_unordered_rows() {
    let model = |rows: Vec<u8>| {
        let once: BTreeSet<u8> = rows.into_iter().flat_map(|n| n..n.saturating_add(200)).collect();
        let of =
            |g| once.iter().copied().filter(|n| tidemill::core::key_groups::KeyGroups::default().of(n) == g).collect::<Vec<u8>>();
        bag((0..128).map(of).filter(|part| !part.is_empty()))
    };
    each(
        0..200u8,
        |s| {
            s.flat_map(|n| n..n.saturating_add(200)).distinct().map_partitions(|mut part| {
                part.sort_unstable();
                [part]
            })
        },
        model,
    );
}

/// The values that `update_state_by_key` gets from an unordered stream.
#[test]
fn values_of_a_state_from_unordered_rows() {
    let model = |rows: Vec<u8>| {
        let once: BTreeSet<u8> = rows.into_iter().flat_map(|n| n..n.saturating_add(100)).collect();
        if once.is_empty() { vec![] } else { vec![(0u8, once.into_iter().collect())] }
    };
    each(
        0..200u8,
        |s| {
            let wide = s.flat_map(|n| n..n.saturating_add(100)).distinct().map(|n| (0u8, n));
            wide.update_state_by_key(|new: &[u8], _: Option<Vec<u8>>| (!new.is_empty()).then(|| new.to_vec()))
        },
        model,
    );
}
