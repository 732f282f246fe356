//! The example `examples/custom_source.rs` is killed at any point and started again. No number is missing from its counts, and none
//! is counted twice.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use crate::child::{Ended, Program, TempDir, path};

/// A plain `cargo test` builds the examples.
fn example() -> PathBuf {
    let program = path("examples/custom_source");
    assert!(program.exists(), "{} does not exist: cargo build --example custom_source", program.display());
    program
}

/// The counts of each printed batch, by its time: how many numbers have the remainder 0, 1 and 2.
type Blocks = BTreeMap<String, [u64; 3]>;

/// The complete blocks of a run.
fn blocks(out: &str) -> Blocks {
    let block = |block: &str| {
        let time = block.lines().find_map(|line| line.strip_prefix("Time: "))?.to_owned();
        let mut counts = [0; 3];
        for row in block.lines().filter_map(|line| line.strip_prefix('(')?.strip_suffix(')')) {
            let (remainder, count) = row.split_once(", ")?;
            counts[remainder.parse::<usize>().ok()?] = count.parse().ok()?;
        }
        Some((time, counts))
    };
    // The last block of a killed program may be cut off.
    let complete = out.rfind("\n\n").map_or("", |end| &out[..end]);
    complete.split("\n\n").filter_map(block).collect()
}

/// Position `k` of split `p` of 3 is the number `3 k + p`. So the count of a remainder is the position of its split, and never falls. A
/// batch that was printed twice has the same counts both times.
fn agrees(all: &mut Blocks, end: &Ended) {
    for (time, counts) in blocks(&end.out) {
        let known = all.entry(time.clone()).or_insert(counts);
        assert_eq!(*known, counts, "the batch of {time} ran again with other counts");
    }
    let rows: Vec<&[u64; 3]> = all.values().collect();
    for (remainder, (before, after)) in rows.windows(2).flat_map(|w| (0..3).map(move |r| (r, (w[0][r], w[1][r])))) {
        assert!(before <= after, "the count of remainder {remainder} falls from {before} to {after}: {all:?}");
    }
}

#[test]
fn counts_of_a_custom_source_survive_kills() {
    let dir = TempDir::new("lesson-custom-source");
    let start = |env: &[(&str, &str)]| Program::spawn("custom_source", Command::new(example()).arg(dir.path()), env);
    let mut all = Blocks::new();
    let mut read = 0;
    for point in ["lease.after:1", "plan.written:1", "plan.after:2", "output:2", "pieces.before:1", "manifest.before:1"] {
        let end = start(&[("TIDEMILL_CRASH_AT", point)]).end();
        assert_eq!(end.code, None, "{point}: the run should have died there\n{}{}", end.out, end.err);
        agrees(&mut all, &end);
        // Next the test kills a run that has counted more than before. A run ends after five batches. An earlier run may have
        // printed all of them, or they may be empty. Then the next run counts more.
        loop {
            let counts_more = |out: &str| blocks(out).values().any(|counts| counts.iter().sum::<u64>() > read);
            let end = start(&[]).kill_when("it counts more numbers", |out, _| counts_more(out));
            let more = counts_more(&end.out);
            assert!(matches!(end.code, None | Some(0)), "{:?} {}", end.code, end.err);
            agrees(&mut all, &end);
            if more {
                break;
            }
        }
        let now = all.values().last().map_or(0, |counts| counts.iter().sum());
        assert!(now > read, "{point}: the run should have read more than {read} numbers: {all:?}");
        read = now;
    }
    let end = start(&[]).end();
    assert_eq!(end.code, Some(0), "{}", end.err);
    agrees(&mut all, &end);
    // The five batches of the last run may all have been printed before, so the counts may be the same.
    let last = all.values().last().unwrap();
    assert!(last.iter().sum::<u64>() >= read && last.iter().max().unwrap() - last.iter().min().unwrap() <= 10_000, "{last:?}");
    assert!(end.out.contains(" numbers in this run\n"), "{}", end.out);
}
