//! A row on which the program always panics: the launcher gives up and names the batch. A fixed program continues with that batch.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tidemill::cluster::launch::Launch;

use super::*;
use crate::temp_dir::TempDir;

/// The checkpoint directory of the child.
const DIR: &str = "TIDEMILL_TEST_POISON_DIR";

/// Sums of twelve batches. The program panics on the seventh, unless it is fixed.
fn run(dir: &Path, fixed: bool) -> (Result<(), Error>, Vec<(u64, i64)>) {
    let sums = MemorySink::new();
    let out = sums.clone();
    let job = job(2).checkpoint(dir).checkpoint_interval(millis(TICK)).start_on_clock(ManualClock::at(0), move |ssc| {
        let rows = ssc.test_stream((1..=12i64).map(|n| vec![n]).collect::<Vec<_>>());
        let rows = rows.map(move |n| if n == 7 && !fixed { panic!("row {n} is poison") } else { ((), n) });
        rows.sum_by_key().complete().map(|(_, n)| n).to_memory(&out);
        Ok(())
    });
    let end = job.and_then(JobHandle::await_termination).map(drop);
    (end, sums.batches().into_iter().map(|(t, sum)| (t.millis() / TICK, sum[0])).collect())
}

#[test]
#[ignore = "the child of the test beside it"]
fn the_job_with_a_poison_batch() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let (end, _) = run(Path::new(&dir), false);
    eprintln!("{}", end.unwrap_err());
    std::process::exit(1);
}

/// Collects the output of the launcher.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a17_a_poison_batch_is_named_and_runs_once_the_program_is_fixed() {
    let dir = TempDir::new("poison");
    let test = "--exact job::poison::the_job_with_a_poison_batch --ignored --nocapture";
    let binary = std::env::current_exe().unwrap();
    let script = format!("{DIR}='{}' exec '{}' {test}", dir.display(), binary.display());
    let launch = Launch {
        checkpoint: Some(dir.to_path_buf()),
        restarts: 2,
        pause: millis(10),
        ..Launch::new("sh", vec!["-c".into(), script.into()], 1, 2)
    };
    let said = Lines::default();
    assert_eq!(launch.run(Lines::default(), said.clone()).unwrap(), 1);
    let said = String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
    let named = said.lines().filter(|l| l.contains("panicked in map (poison.rs:") && l.contains(".070: row 7 is poison"));
    assert!(named.count() >= 3, "{said}");
    assert!(said.contains("[launch] gave up after 2 restarts without a new batch"), "{said}");
    assert!(said.trim_end().ends_with("it continues from its checkpoint"), "{said}");

    let (end, sums) = run(&dir, true);
    end.unwrap();
    assert!(sums[0].0 <= 7, "the failed batch runs again: {sums:?}");
    let expected: Vec<_> = (sums[0].0..=12).map(|n| (n, (n * (n + 1) / 2) as i64)).collect();
    assert_eq!(sums, expected);
}
