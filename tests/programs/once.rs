//! The lesson `examples/once.rs`: a database that has every row once, whenever its program is killed.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::child::{PATIENCE, path};

/// `cargo test` builds the examples, if it is not told to build something else.
fn example() -> PathBuf {
    let program = path("examples/once");
    assert!(program.exists(), "{} is not there: cargo build --example once", program.display());
    program
}

#[test]
fn rows_and_progress_in_one_transaction_survive_any_kill() {
    let dir = std::env::temp_dir().join(format!("tidemill-lesson-once-{}", std::process::id()));
    let start = || Command::new(example()).arg(&dir).stdout(Stdio::piped()).spawn().unwrap();
    let mut killed = 0;
    for ms in [150, 400, 250, 550, 300, 700] {
        let mut job = start();
        std::thread::sleep(Duration::from_millis(ms));
        killed += u32::from(job.try_wait().unwrap().is_none());
        job.kill().unwrap();
        job.wait().unwrap();
    }
    assert!(killed > 2, "it was killed only {killed} times");
    // The second time there is nothing left to read: a job that was stopped in order knows its files.
    for _ in 0..2 {
        let (mut last, begun) = (start(), Instant::now());
        while last.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "it goes on");
            std::thread::sleep(Duration::from_millis(20));
        }
        let said = last.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(said.stdout).unwrap(), "21000 rows, sum 220510500\n");
    }
    let _ = std::fs::remove_dir_all(&dir);
}
