//! `max_parallelism`: a job has the same results with any number of key groups, and its checkpoint directory keeps the number.

use std::fmt::Debug;
use std::path::Path;

use crate::temp_dir::TempDir;
use tidemill::job::ManualClock;
use tidemill::prelude::*;
use tidemill::testing;

type Pair = (String, i64);
type Verb = for<'s> fn(&DStream<'s, Pair>) -> DStream<'s, String>;

fn text<'s, T: Data + Debug>(s: &DStream<'s, T>) -> DStream<'s, String> {
    s.map(|row| format!("{row:?}"))
}

/// Verbs of every family, with and without state.
const VERBS: [(&str, Verb); 13] = [
    ("count_by_value", |s| text(&s.count_by_value())),
    ("reduce_by_key", |s| text(&s.reduce_by_key(|a, b| a + b))),
    ("group_by_key", |s| text(&s.group_by_key())),
    ("sum_by_key", |s| text(&s.sum_by_key().update())),
    ("distinct and count", |s| text(&s.map(|(k, _)| k).accumulate().distinct().count().changes())),
    ("fold_by_key", |s| text(&s.fold_by_key(0i64, |a, n| (a * 31 + n) % 1_000_003).changes())),
    ("update_state_by_key", |s| {
        text(&s.update_state_by_key(|new: &[i64], sum: Option<i64>| {
            let sum = new.iter().sum::<i64>() + sum.unwrap_or(0);
            (sum % 5 != 0).then_some(sum)
        }))
    }),
    ("map_with_state", |s| {
        let sum = |_: BatchTime, k: &String, n: Option<i64>, sum: &mut State<i64>| {
            let new = sum.get().unwrap_or(&0) + n.unwrap_or(0);
            if !sum.is_timing_out() {
                sum.update(new);
            }
            Some((k.clone(), new))
        };
        text(&s.map_with_state(StateSpec::function(sum).initial_state([("k3".into(), 7)]).timeout(millis(3))).mapped())
    }),
    ("windows", |s| {
        let counts = text(&s.count_by_value_and_window(millis(4), millis(2)).complete());
        let largest = text(&s.reduce_by_key_and_window(|a, b| a.max(b), millis(3), millis(1)).changes());
        counts.union(&largest).union(&text(&s.window(millis(2), millis(1))))
    }),
    ("join", |s| text(&s.join(&s.map(|(k, n)| (k, n * 10))))),
    ("join_view and views", |s| {
        let (sums, last) = (s.sum_by_key(), s.latest_by_key());
        text(&s.join_view(&sums)).union(&text(&sums.join(&last).changes()))
    }),
    ("event time", |s| {
        let timed = s.event_time(|(_, n)| *n, millis(0)).map(|(k, n)| (k, n));
        let windows = timed.tumbling(std::time::Duration::from_micros(3)).count_by_value();
        let sessions = timed.session(std::time::Duration::from_micros(2)).count_by_value();
        text(&windows.append()).union(&text(&sessions.append()))
    }),
    ("partitions", |s| text(&s.partition_by(1).glom())),
];

fn batches(n: u64) -> Vec<Vec<Pair>> {
    let row = |i: u64| (format!("k{}", i * 7 % 23), (i % 9) as i64 + 1);
    (0..n).map(|b| (0..b * 5 % 17).map(|i| row(b * 31 + i)).collect()).collect()
}

/// Runs a verb over these batches from the first that the directory does not have.
fn job(
    groups: u16,
    workers: u16,
    dir: Option<&Path>,
    done: u64,
    given: Vec<Vec<Pair>>,
    verb: Verb,
) -> tidemill::Result<Vec<(u64, Vec<String>)>> {
    let seen = MemorySink::new();
    let out = seen.clone();
    let builder = StreamingContext::builder("groups", millis(1)).workers(workers).max_parallelism(groups).without_logging();
    let builder = match dir {
        Some(dir) => builder.checkpoint(dir),
        None => builder.without_checkpoint(),
    };
    let job = builder.start_on_clock(ManualClock::at(done), move |ssc| {
        verb(&ssc.test_stream(given.clone())).to_memory(&out);
        Ok(())
    })?;
    job.await_termination()?;
    Ok(seen.batches().into_iter().map(|(t, rows)| (t.millis(), rows)).collect())
}

#[test]
fn results_do_not_depend_on_the_number_of_key_groups() {
    for (name, verb) in VERBS {
        let usual = testing::run(1, batches(9), verb);
        assert!(usual.iter().any(|(_, rows)| !rows.is_empty()), "{name} has rows");
        for (groups, workers) in [(1, 1), (7, 2), (7, 4), (128, 3), (1_000, 1), (1_000, 3), (4_096, 2)] {
            let seen = job(groups, workers, None, 0, batches(9), verb).unwrap();
            assert_eq!(seen, usual, "{name} with {groups} key groups on {workers} workers");
        }
    }
}

/// A second job on another number of workers goes on where the first one ended, and says the same number of key groups.
#[test]
fn a_directory_keeps_its_key_groups_through_restarts_and_rescaling() {
    for (name, verb) in VERBS {
        let usual = testing::run(1, batches(9), verb);
        for (groups, workers) in [(7, (2, 5)), (1_000, (1, 4)), (1_000, (4, 3))] {
            let dir = TempDir::new("key-groups");
            let mut seen = job(groups, workers.0, Some(&dir), 0, batches(9)[..5].to_vec(), verb).unwrap();
            seen.extend(job(groups, workers.1, Some(&dir), 5, batches(9), verb).unwrap());
            assert_eq!(seen, usual, "{name} with {groups} key groups on {workers:?} workers");
        }
    }
}

#[test]
fn another_number_of_key_groups_is_refused_before_anything_is_read() {
    let dir = TempDir::new("other-groups");
    let (_, verb) = VERBS[0];
    job(1_000, 2, Some(&dir), 0, batches(3), verb).unwrap();
    for other in [128, 999] {
        let e = job(other, 2, Some(&dir), 3, batches(6), verb).unwrap_err().to_string();
        let parts =
            ["max_parallelism 1000", &format!("this start has {other}"), "--max-parallelism 1000", &*dir.display().to_string()];
        assert!(parts.iter().all(|part| e.contains(part)), "{e}");
    }
    assert_eq!(job(1_000, 1, Some(&dir), 3, batches(6), verb).unwrap().len(), 3);
}

#[test]
fn wrong_numbers_are_refused() {
    let (_, verb) = VERBS[0];
    let e = |groups, workers| job(groups, workers, None, 0, batches(2), verb).unwrap_err().to_string();
    assert!(e(7, 8).contains("8 workers (-w 8 in each of -n 1 processes) are more than max_parallelism 7"), "{}", e(7, 8));
    assert!(e(0, 1).contains("max_parallelism 0: it must be 1 to 4096"), "{}", e(0, 1));
    let many: Verb = |s| text(&s.partition_by(8));
    let e = job(7, 1, None, 0, batches(2), many).unwrap_err().to_string();
    assert!(e.contains("8 partitions: there can be 1 to 7, as there are key groups; max_parallelism sets their number"), "{e}");
}
