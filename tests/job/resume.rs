//! Live jobs that stop or fail and continue from their checkpoint directory, for each kind of source.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;

use super::*;
use crate::harness::eventually;
use crate::temp_dir::TempDir;

/// A window still has the files from before the crash.
#[test]
fn f10_a_window_over_files_continues_after_a_crash_and_reads_new_files() {
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
    eventually("all files are counted", || has(&totals, &[("a", 2), ("b", 1), ("c", 1)]));
    job.stop_now().unwrap();
}

/// The rows of a static table after one run, joined with one live batch. `gracefully`: how the run ends.
fn with_table(states: &Path, table: &[&[(u8, &'static str)]], from: u64, gracefully: bool) -> Vec<(u8, (i64, String))> {
    let table: Vec<Vec<(u8, String)>> =
        table.iter().map(|batch| batch.iter().map(|(k, name)| (*k, (*name).to_owned())).collect()).collect();
    let batches = table.len() as u64 + 1;
    let (names, live, seen) = (QueueSource::from_batches(table), QueueSource::new(), MemorySink::new());
    let (feed, out, clock) = (live.clone(), seen.clone(), ManualClock::at(from));
    let builder = job(2).checkpoint(states).checkpoint_interval(millis(TICK));
    let job = builder.start_on_clock(clock.clone(), move |ssc| {
        let names = ssc.queue_stream(&names).accumulate();
        ssc.queue_stream(&live).join_view(&names).to_memory(&out);
        Ok(())
    });
    let job = job.unwrap();
    for batch in 1..=batches {
        clock.set(from + batch * TICK);
        // Not the number of batches: overdue ones count too, and read nothing.
        eventually("the batch is complete", || {
            let end = |last: BatchInfo| last.time.millis() + u64::from(last.overdue) * TICK;
            job.statistics().last.is_some_and(|last| end(last) >= from + batch * TICK)
        });
    }
    feed.push(vec![(1, 10), (2, 20)]);
    if gracefully {
        job.stop_gracefully().unwrap();
    } else {
        clock.set(from + (batches + 1) * TICK);
        eventually("the rows are joined", || !seen.rows().is_empty());
        job.stop_now().unwrap();
    }
    seen.rows()
}

/// A batch from memory is identified by its rows. A restart does not read it again if the state has it; it reads new batches.
#[test]
fn a_static_table_is_read_once_over_restarts() {
    let dir = TempDir::new("resume-table");
    let (one, two, three) = (&[(1, "one"), (2, "two")][..], &[(2, "zwei")][..], &[(1, "eins")][..]);
    let joined =
        |names: &[(u8, &str)]| names.iter().map(|(k, name)| (*k, (i64::from(*k) * 10, (*name).to_owned()))).collect::<Vec<_>>();
    let runs = [
        (&[one, two][..], true, joined(&[(1, "one"), (2, "two"), (2, "zwei")])),
        (&[one, two], true, joined(&[(1, "one"), (2, "two"), (2, "zwei")])),
        (&[two, three, one], false, joined(&[(1, "eins"), (1, "one"), (2, "two"), (2, "zwei")])),
        // `two` occurs once more than in the previous run, so one of them is new.
        (&[two, two, three, one], true, joined(&[(1, "eins"), (1, "one"), (2, "two"), (2, "zwei"), (2, "zwei")])),
    ];
    for (n, (table, gracefully, expected)) in (0..).zip(runs) {
        let mut seen = with_table(&dir, table, n * 100 * TICK, gracefully);
        seen.sort();
        assert_eq!(seen, expected, "run {n}");
    }
}

/// When a job over batches from memory alone is started again, it reads only added batches.
#[test]
fn given_batches_are_counted_once_over_restarts() {
    let dir = TempDir::new("resume-given");
    let counts = |batches: &[&[i64]]| {
        let (queue, seen) = (QueueSource::from_batches(batches.iter().map(|b| b.to_vec())), MemorySink::new());
        let out = seen.clone();
        let program = move |ssc: &StreamingContext<'_>| {
            ssc.queue_stream(&queue).count_by_value().sum_by_key().complete().to_memory(&out);
            Ok(())
        };
        job(2).checkpoint(&*dir).run(program).unwrap();
        seen.batches().into_iter().map(|(_, rows)| rows).collect::<Vec<_>>()
    };
    assert_eq!(counts(&[&[1, 2], &[1]]), [vec![(1, 1), (2, 1)], vec![(1, 2), (2, 1)]]);
    assert!(counts(&[&[1, 2], &[1]]).is_empty(), "no batch is new");
    assert_eq!(counts(&[&[1, 2], &[3], &[1], &[1]]), [vec![(1, 2), (2, 1), (3, 1)], vec![(1, 3), (2, 1), (3, 1)]]);
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
fn files_are_read_once_over_a_restart_and_so_are_new_files() {
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

/// Only the verb that saved a state may load it. The error names both verbs and a remedy.
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
    eventually("the program that saved the state continues", || job.statistics().batches > 1);
    job.stop_gracefully().unwrap();
    let job = start(2, true).unwrap();
    eventually("another program begins empty if it may drop the state", || job.statistics().batches > 1);
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

/// A socket cannot send lines again. The batch in flight is lost, which the log says. All other lines stay counted.
#[test]
fn a_socket_loses_only_the_batch_in_flight() {
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
    eventually("the new line is added to the saved counts", || has(&totals, &[("a", 2), ("b", 1)]));
    drop(guest);
    job.stop_gracefully().unwrap();
}
