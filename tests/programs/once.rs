//! The example `examples/once.rs`: whenever the program is killed, its database has every row once.

use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;

use crate::child::{Program, TempDir, path};

/// A plain `cargo test` builds the examples.
fn example() -> PathBuf {
    let program = path("examples/once");
    assert!(program.exists(), "{} does not exist: cargo build --example once", program.display());
    program
}

/// Every kill waits for an event: a crash point, or a write to the database.
#[test]
fn rows_and_progress_in_one_transaction_survive_any_kill() {
    let dir = TempDir::new("lesson-once");
    let start = |env: &[(&str, &str)]| Program::spawn("once", Command::new(example()).arg(dir.path()), env);
    let dies_at = |point: &str| {
        let end = start(&[("TIDEMILL_CRASH_AT", point)]).end();
        assert_eq!(end.code, None, "{point}: the run should have died there\n{}{}", end.out, end.err);
    };
    // Before any row is written.
    ["lease.after:1", "plan.written:1", "plan.after:2", "output:1"].into_iter().for_each(dies_at);
    // In the middle of a batch: each write of the program adds another part.
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
    // After all rows are written, while the program stops gracefully.
    ["manifest.before:1", "manifest.after:1"].into_iter().for_each(dies_at);
    // The second run reads nothing: after a graceful stop, the checkpoint has all files.
    for _ in 0..2 {
        let end = start(&[]).end();
        assert_eq!((end.code, end.out.as_str()), (Some(0), "21000 rows, sum 220510500\n"), "{}", end.err);
    }
}
