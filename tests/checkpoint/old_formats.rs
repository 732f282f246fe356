//! A checkpoint directory with every kind of window, in the first format of their chunks. Every version must load it.
//!
//! `tests/data/windows-v1` has one file for each worker and checkpoint. It has each window whole, and ends in the middle of a pane.

use std::path::{Path, PathBuf};

use crate::temp_dir::TempDir;
use tidemill::job::ManualClock;
use tidemill::prelude::*;

type Pair = (char, i64);

/// 24 batches. The directory holds the state after the first 11.
fn batches() -> Vec<Vec<Pair>> {
    (0..24i64).map(|t| (0..=t % 4).map(|k| (char::from(b'a' + ((t * 3 + k * k) % 5) as u8), t * k % 7 - 2)).collect()).collect()
}

/// The rows of every window at each batch time.
fn run(dir: Option<&Path>, workers: u16, batches: Vec<Vec<Pair>>) -> Vec<(u64, Vec<String>)> {
    let memory = MemorySink::new();
    let out = memory.clone();
    let builder = StreamingContext::builder("windows", millis(1)).workers(workers);
    let builder = match dir {
        Some(dir) => builder.checkpoint(dir).checkpoint_interval(millis(1)),
        None => builder.without_checkpoint(),
    };
    let job = builder.start_on_clock(ManualClock::at(0), move |ssc| {
        let s = ssc.test_stream(batches.clone());
        let text = |name: &'static str| move |row: String| format!("{name} {row}");
        let panes = s.over(millis(6), millis(4)).complete().map(|r| format!("{r:?}")).map(text("over"));
        let counts = s.count_by_value_and_window(millis(5), millis(1)).changes().map(|r| format!("{r:?}")).map(text("count"));
        let most =
            s.reduce_by_key_and_window(i64::max, millis(6), millis(2)).changes().map(|r| format!("{r:?}")).map(text("most"));
        let sums = s
            .reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, millis(6), millis(4))
            .changes()
            .map(|r| format!("{r:?}"))
            .map(text("sums"));
        let raw = s.window(millis(4), millis(2)).map(|r| format!("{r:?}")).map(text("raw"));
        let states = s.update_state_by_key(|new: &[i64], n: Option<i64>| Some(n.unwrap_or(0) + new.iter().sum::<i64>()));
        let states = states.map(|r| format!("{r:?}")).map(text("state"));
        for rows in [panes, counts, most, sums, raw, states] {
            rows.to_memory(&out);
        }
        Ok(())
    });
    job.and_then(JobHandle::await_termination).unwrap();
    memory.batches().into_iter().map(|(t, rows)| (t.millis(), rows)).collect()
}

/// A copy of the directory, which a test may write.
struct Copy(TempDir);

impl Copy {
    fn of(name: &str) -> Self {
        let copy = Copy(TempDir::new(&format!("windows-{name}")));
        copy_all(&saved_directory(), &copy.0);
        copy
    }
}

fn saved_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/windows-v1")
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => copy_all(&entry.path(), &to.join(entry.file_name())),
            false => _ = std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap(),
        }
    }
}

#[test]
fn windows_saved_by_the_first_version_continue() {
    if std::env::var_os("TIDEMILL_MAKE_WINDOWS").is_some() {
        run(Some(&saved_directory()), 2, batches()[..11].to_vec());
    }
    let whole = run(None, 2, batches());
    for workers in [1, 3] {
        let copy = Copy::of(&workers.to_string());
        let again = run(Some(&copy.0), workers, batches());
        assert_eq!(again.first().map(|(t, _)| *t), Some(12), "it continued after the checkpoint");
        assert_eq!(again, whole.iter().filter(|(t, _)| *t > 11).cloned().collect::<Vec<_>>());
    }
}
