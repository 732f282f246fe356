//! The lesson `examples/once.rs`: a database that has every row once, whenever its program is killed.

use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;

use crate::child::{Program, TempDir, path};

/// `cargo test` builds the examples, if it is not told to build something else.
fn example() -> PathBuf {
    let program = path("examples/once");
    assert!(program.exists(), "{} does not exist: cargo build --example once", program.display());
    program
}

/// Every kill waits for progress: for a crash point, or for a write to the database. None waits for a time.
#[test]
fn rows_and_progress_in_one_transaction_survive_any_kill() {
    let dir = TempDir::new("lesson-once");
    let start = |env: &[(&str, &str)]| Program::spawn("once", Command::new(example()).arg(dir.path()), env);
    let dies_at = |point: &str| {
        let end = start(&[("TIDEMILL_CRASH_AT", point)]).end();
        assert_eq!(end.code, None, "{point}: it was expected to die there\n{}{}", end.out, end.err);
    };
    // Before any row is written.
    ["lease.after:1", "plan.written:1", "plan.after:2", "output:1"].into_iter().for_each(dies_at);
    // In the middle: with each write of the program another part of the batch is in.
    let database = PathBuf::from(dir.path()).join("rows.redb");
    let written = || std::fs::metadata(&database).and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    for writes in [1, 2, 4, 7, 11] {
        let (mut last, mut seen) = (written(), 0);
        let end = start(&[]).kill_when("writes to the database", |_, _| {
            let now = written();
            seen += u32::from(now != last);
            last = now;
            seen == writes
        });
        assert!(matches!(end.code, None | Some(0)), "after {writes} writes: {:?} {}", end.code, end.err);
    }
    // When all rows are in, and the program stops in order.
    ["manifest.before:1", "manifest.after:1"].into_iter().for_each(dies_at);
    // The second time nothing is left to read: a job that was stopped in order knows its files.
    for _ in 0..2 {
        let end = start(&[]).end();
        assert_eq!((end.code, end.out.as_str()), (Some(0), "21000 rows, sum 220510500\n"), "{}", end.err);
    }
}
