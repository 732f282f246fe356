//! Verbs that keep state over batches.

use std::collections::BTreeMap;

use crate::harness::{agrees, bag, pairs};

/// Sums that forget a key at -1, and count the batches without a value of the key: `f` runs for every key in every batch.
fn step(new: &[i64], state: Option<(i64, u32)>) -> Option<(i64, u32)> {
    let (sum, silent) = state.unwrap_or_default();
    match new {
        [] => Some((sum, silent + 1)),
        [.., -1] => None,
        // Not commutative: the values must be in the order in which they were read.
        _ => Some((new.iter().fold(sum, |a, b| a.wrapping_mul(3) + b), 0)),
    }
}

#[test]
fn update_state_by_key() {
    agrees(
        pairs(),
        |s| s.update_state_by_key(step),
        |given| {
            let mut states: BTreeMap<u8, (i64, u32)> = BTreeMap::new();
            let run = |rows: Vec<(u8, i64)>| {
                let keys: Vec<u8> = (0..=u8::MAX).filter(|k| states.contains_key(k) || rows.iter().any(|r| r.0 == *k)).collect();
                for k in keys {
                    let new: Vec<i64> = rows.iter().filter(|r| r.0 == k).map(|r| r.1).collect();
                    if let Some(s) = step(&new, states.remove(&k)) {
                        states.insert(k, s);
                    }
                }
                bag(states.clone())
            };
            given.into_iter().map(run).collect()
        },
    );
}
