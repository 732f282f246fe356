//! Live jobs that are stopped or fail and go on from their checkpoint directory: what each kind of source does then.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;

use super::*;
use crate::harness::eventually;
use crate::temp_dir::TempDir;

/// A window reaches back to files of before the crash.
#[test]
fn f10_a_window_over_files_goes_on_after_a_crash_with_those_that_came_meanwhile() {
    let dir = TempDir::made("resume-window");
    let (states, files) = (dir.join("states"), dir.join("in"));
    std::fs::create_dir(&files).unwrap();
    let start = || {
        let (totals, watched) = (Totals::new(), files.clone());
        let out = totals.clone();
        let job = StreamingContext::builder("window", millis(50)).workers(2).checkpoint(&states);
        let job = job.checkpoint_interval(millis(500)).start(move |ssc| {
            let counts = ssc.text_file_stream(&watched).oks().count_by_value_and_window(mins(30), millis(50));
            counts.complete().to_memory(&out);
            Ok(())
        });
        (job.unwrap(), totals)
    };
    let (job, totals) = start();
    eventually("the job runs", || job.statistics().batches > 1);
    std::fs::write(files.join("first"), "a\nb\n").unwrap();
    eventually("the first file is counted", || has(&totals, &[("a", 1), ("b", 1)]));
    job.stop_now().unwrap();
    std::fs::write(files.join("second"), "a\n").unwrap();
    std::fs::write(files.join("third"), "c\n").unwrap();
    let (job, totals) = start();
    eventually("all are counted", || has(&totals, &[("a", 2), ("b", 1), ("c", 1)]));
    job.stop_now().unwrap();
}

type Totals = MemorySink<(String, i64)>;

fn has(totals: &Totals, expected: &[(&str, i64)]) -> bool {
    totals.batches().last().is_some_and(|(_, rows)| rows.iter().map(|(k, n)| (k.as_str(), *n)).eq(expected.iter().copied()))
}

/// Starts a job that counts the lines of a directory's files.
fn of_files(states: &Path, files: &Path) -> (JobHandle, Totals) {
    let (totals, files) = (Totals::new(), files.to_owned());
    let out = totals.clone();
    let job = StreamingContext::builder("files", millis(50)).workers(2).checkpoint(states).checkpoint_interval(millis(100));
    let job = job.start(move |ssc| {
        ssc.text_file_stream(&files).oks().count_by_value().sum_by_key().complete().to_memory(&out);
        Ok(())
    });
    (job.unwrap(), totals)
}

#[test]
fn files_are_read_once_over_a_restart_and_those_that_came_meanwhile_too() {
    let dir = TempDir::made("resume-files");
    let (states, files) = (dir.join("states"), dir.join("in"));
    std::fs::create_dir(&files).unwrap();
    std::fs::write(files.join("before.txt"), "old\n").unwrap();
    let (job, totals) = of_files(&states, &files);
    eventually("the job runs", || job.statistics().batches > 1);
    std::fs::write(files.join("first.txt"), "a\nb\n").unwrap();
    eventually("the first file is counted", || has(&totals, &[("a", 1), ("b", 1)]));
    job.stop_gracefully().unwrap();
    std::fs::write(files.join("meanwhile.txt"), "a\n").unwrap();
    let (job, totals) = of_files(&states, &files);
    eventually("the second file is counted", || has(&totals, &[("a", 2), ("b", 1)]));
    std::fs::write(files.join("last.txt"), "c\n").unwrap();
    eventually("the third file is counted", || has(&totals, &[("a", 2), ("b", 1), ("c", 1)]));
    job.stop_gracefully().unwrap();
}

/// A state is taken by the verb that saved it and no other: both are named, with what would help.
#[test]
fn b8_a_program_with_another_window_or_verb_is_refused_by_name() {
    let dir = TempDir::made("resume-other");
    let queue = QueueSource::<String>::new();
    let start = |program: u8, drop: bool| {
        let queue = queue.clone();
        let runtime = RuntimeArgs { checkpoint: Some(dir.join("states")), drop_state: drop, ..RuntimeArgs::default() };
        StreamingContext::builder("other", millis(20)).runtime(runtime).start(move |ssc| {
            let words = ssc.queue_stream(&queue);
            match program {
                0 => words.count_by_value_and_window(millis(200), millis(20)).update().print(1),
                1 => words.count_by_value_and_window(millis(300), millis(20)).update().print(1),
                _ => words.count_by_value().sum_by_key().update().print(1),
            }
            Ok(())
        })
    };
    queue.push(vec!["a".to_owned()]);
    let job = start(0, false).unwrap();
    eventually("the job runs", || job.statistics().batches > 1);
    job.stop_gracefully().unwrap();
    for (program, says) in [(1, "300"), (2, "is not in this program")] {
        let e = start(program, false).and_then(|job| job.await_termination()).unwrap_err().to_string();
        for word in ["count_by_value_and_window#1", "200", says, "--drop-state"] {
            assert!(e.contains(word), "{word}: {e}");
        }
    }
    let job = start(0, false).unwrap();
    eventually("the one that saved it goes on", || job.statistics().batches > 1);
    job.stop_gracefully().unwrap();
    let job = start(2, true).unwrap();
    eventually("another one begins empty when it is told to", || job.statistics().batches > 1);
    job.stop_gracefully().unwrap();
}

/// Starts a job that counts the lines of a socket; its output fails once it has seen `poison`.
fn of_lines(states: &Path, port: u16, poison: &'static str) -> (JobHandle, Totals) {
    let totals = Totals::new();
    let out = totals.clone();
    let job = StreamingContext::builder("lines", millis(20)).checkpoint(states).checkpoint_interval(millis(20)).output_tries(1);
    let job = job.start(move |ssc| {
        let lines = ssc.socket_text_stream("127.0.0.1", port);
        lines.oks().count_by_value().sum_by_key().complete().to_memory(&out);
        lines.oks().foreach_batch(move |b| match b.iter().any(|line| line == poison) {
            true => Err("poisoned".into()),
            false => Ok(()),
        });
        Ok(())
    });
    (job.unwrap(), totals)
}

/// Nobody can send again what a socket sent: the batch that was on its way is lost, which the log says, and the rest stays.
#[test]
fn a_socket_loses_what_was_on_its_way_and_no_more() {
    let dir = TempDir::made("resume-lines");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (job, totals) = of_lines(&dir.join("states"), port, "poison");
    let mut guest = listener.accept().unwrap().0;
    guest.write_all(b"a\nb\n").unwrap();
    eventually("the lines are counted", || has(&totals, &[("a", 1), ("b", 1)]));
    eventually("a checkpoint has them", || {
        let made = tidemill::checkpoint::Directory::open(&dir.join("states")).unwrap().checkpoints().unwrap();
        let (counted, _) = totals.batches().into_iter().find(|(_, rows)| rows.len() == 2).unwrap();
        made.iter().any(|(file, _)| file.time >= counted)
    });
    guest.write_all(b"a\npoison\n").unwrap();
    assert!(job.await_termination().unwrap_err().to_string().contains("poisoned"));
    drop(guest);
    let (job, totals) = of_lines(&dir.join("states"), port, "other poison");
    let mut guest = listener.accept().unwrap().0;
    guest.write_all(b"a\n").unwrap();
    eventually("the new line is counted, and what was saved", || has(&totals, &[("a", 2), ("b", 1)]));
    drop(guest);
    job.stop_gracefully().unwrap();
}
