//! Every decoder on untrusted bytes: random bytes, and valid encodings that are truncated, changed or have forged lengths.
//!
//! A decoder must not panic, or allocate more than docs/formats.md allows. `scripts/fuzz` runs the same functions for longer.

use std::panic::{catch_unwind, resume_unwind};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tidemill::core::data::{DECODE_LEAST, DECODE_PER_BYTE};
use tidemill::testing::{TARGETS, Target};

/// Whether the decoder accepts the bytes. Checks that the peak allocation of this thread stays within the bound.
fn accepts(target: &Target, bytes: &[u8]) -> bool {
    let mut run = Ok(false);
    // The panic is caught inside: a panic through `measure` would corrupt its counters.
    let most = allocation_counter::measure(|| run = catch_unwind(|| (target.run)(bytes))).bytes_max;
    let accepted = run.unwrap_or_else(|panic| {
        eprintln!("{} panics on {bytes:?}", target.name);
        resume_unwind(panic)
    });
    let bound = (DECODE_LEAST + DECODE_PER_BYTE * bytes.len()) as u64;
    assert!(most <= bound, "{}: allocated {most} bytes for {}, at most {bound} allowed: {bytes:?}", target.name, bytes.len());
    accepted
}

/// About `tried` positions spread over a long seed, or every position of a short one.
fn places(seed: &[u8], tried: usize) -> impl Iterator<Item = usize> {
    (0..seed.len()).step_by(1 + seed.len() / tried)
}

/// Runs `check` for each target and seed.
fn each(check: impl Fn(&Target, &[u8])) {
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{}", target.name);
        seeds.iter().for_each(|seed| check(target, seed));
    }
}

#[test]
fn valid_bytes_are_accepted() {
    for target in TARGETS {
        let accepted = (target.seeds)().iter().filter(|seed| accepts(target, seed)).count();
        assert!(accepted > 0, "{} accepts none of its seeds", target.name);
    }
}

#[test]
fn truncated_bytes_are_refused_or_decode_to_a_prefix() {
    each(|target, seed| {
        let refused = places(seed, 200).filter(|n| !accepts(target, &seed[..*n])).count();
        assert!(refused > 0, "{} refuses no truncated seed", target.name);
    });
}

/// A length is a varint, or has four or eight bytes. The largest value of each form is written at each position.
#[test]
fn d11_a_forged_length_anywhere_allocates_nothing() {
    let varints = [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]];
    let sizes = [&[0xff; 4][..], &[0xff; 8], &[0, 0, 1, 0, 0, 0, 0, 0], &[0x7f, 0xff, 0xff, 0xff]];
    each(|target, seed| {
        let mut refused = 0;
        for at in places(seed, 60) {
            for varint in varints {
                let forged = [&seed[..at], varint, &seed[at + 1..]].concat();
                refused += u32::from(!accepts(target, &forged));
            }
            for size in sizes {
                let end = (at + size.len()).min(seed.len());
                let forged = [&seed[..at], size, &seed[end..]].concat();
                refused += u32::from(!accepts(target, &forged));
            }
        }
        assert!(refused > 0, "{} accepts every change", target.name);
    });
}

/// One change of a valid encoding.
#[derive(Clone, Debug)]
enum Change {
    Set(prop::sample::Index, u8),
    Flip(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    /// Inserts a copy of a part at another position.
    Copy(prop::sample::Index, prop::sample::Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(i, b)| Change::Set(i, b)),
        (at(), 0u8..8).prop_map(|(i, bit)| Change::Flip(i, bit)),
        (at(), prop::collection::vec(any::<u8>(), 1..12)).prop_map(|(i, b)| Change::Insert(i, b)),
        (at(), 1usize..20).prop_map(|(i, n)| Change::Remove(i, n)),
        (at(), at(), 1usize..60).prop_map(|(i, j, n)| Change::Copy(i, j, n)),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        if bytes.is_empty() {
            break;
        }
        let len = bytes.len();
        let place = move |i: &prop::sample::Index| i.index(len);
        match change {
            Change::Set(i, b) => bytes[place(i)] = *b,
            Change::Flip(i, bit) => bytes[place(i)] ^= 1 << bit,
            Change::Insert(i, more) => drop(bytes.splice(place(i)..place(i), more.iter().copied())),
            Change::Remove(i, n) => drop(bytes.drain(place(i)..(place(i) + n).min(len))),
            Change::Copy(i, j, n) => {
                let part = bytes[place(i)..(place(i) + n).min(len)].to_vec();
                drop(bytes.splice(place(j)..place(j), part));
            }
        }
    }
    bytes
}

/// Runs a property for each target. A failing case is not saved; the failure message contains its bytes.
fn random<S: Strategy>(cases: u32, strategy: impl Fn(&Target) -> S, bytes: impl Fn(S::Value) -> Vec<u8>) {
    for target in TARGETS {
        let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
        let run = runner.run(&strategy(target), |value| {
            accepts(target, &bytes(value));
            Ok(())
        });
        run.unwrap_or_else(|e| panic!("{}: {e}", target.name));
    }
}

#[test]
fn arbitrary_bytes_do_no_harm() {
    random(200, |_| prop::collection::vec(any::<u8>(), 0..2_000), |bytes| bytes);
}

#[test]
fn changed_valid_bytes_do_no_harm() {
    let strategy = |target: &Target| (prop::sample::select((target.seeds)()), prop::collection::vec(change(), 1..6));
    random(400, strategy, |(seed, changes)| changed(seed, &changes));
}

/// Many of the smallest elements: there the ratio of memory to input bytes is largest.
#[test]
fn small_elements_do_not_exceed_the_memory_bound() {
    for target in TARGETS {
        for byte in [0, 1, 2, 0x7f] {
            // The length is 2^21 - 1; the elements are 60,000 equal bytes.
            for n in [0, 1, 2, 3, 5] {
                let many = [&[byte.min(1); 8][..n], &[0xff, 0xff, 0x7f], &vec![byte; 60_000]].concat();
                accepts(target, &many);
            }
        }
    }
}
