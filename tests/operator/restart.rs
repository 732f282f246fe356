//! Jobs that fail and are started again from their checkpoints, on other numbers of workers. Every batch has the same rows as
//! without the failure. A batch that is written twice has the same rows both times.

use std::collections::BTreeMap;
use std::path::Path;

use super::event_time::micros;
use crate::rust_files;
use crate::temp_dir::TempDir;
use proptest::prelude::*;
use tidemill::job::ManualClock;
use tidemill::prelude::*;

type Pair = (char, i64);
type Seen = BTreeMap<u64, Vec<String>>;
type Verb = for<'s> fn(&DStream<'s, Pair>) -> DStream<'s, String>;

fn text<'s, T: Data + std::fmt::Debug>(s: &DStream<'s, T>) -> DStream<'s, String> {
    s.map(|row| format!("{row:?}"))
}

/// Sums that time out after three batches, or are removed at 0.
fn spec() -> StateSpec<char, i64, i64, (char, u64, i64, bool)> {
    let sum = |t: BatchTime, k: &char, n: Option<i64>, sum: &mut State<i64>| {
        let new = sum.get().unwrap_or(&0) + n.unwrap_or(0);
        match n {
            Some(0) => sum.remove(),
            Some(_) => sum.update(new),
            None => {}
        }
        Some((*k, t.millis(), new, sum.is_timing_out()))
    };
    StateSpec::function(sum).initial_state([('a', 100), ('z', 1)]).timeout(millis(3))
}

/// The rows by event time: their numbers, as microseconds.
fn timed<'s>(s: &DStream<'s, Pair>) -> EventTimeStream<'s, (u8, i64)> {
    s.event_time(|(_, n)| *n, millis(0)).map(|(k, n)| (k as u8, n))
}

/// Every verb that keeps state, and verbs on its result.
const VERBS: [(&str, Verb); 57] = [
    ("update_state_by_key", |s| {
        text(&s.update_state_by_key(|new: &[i64], sum: Option<i64>| {
            let sum = new.iter().sum::<i64>() + sum.unwrap_or(0);
            (sum % 5 != 0).then_some(sum)
        }))
    }),
    ("update_state_by_key of empty batches", |s| {
        text(
            &s.count()
                .map(|n| ((), n))
                .update_state_by_key(|new: &[i64], calls: Option<i64>| Some(calls.unwrap_or(0) + 10 + new.len() as i64)),
        )
    }),
    ("sum_by_key, update", |s| text(&s.sum_by_key().update())),
    ("sum_by_key, complete", |s| text(&s.sum_by_key().complete())),
    ("sum_by_key, changes", |s| text(&s.sum_by_key().changes())),
    ("accumulate, append", |s| text(&s.accumulate().append())),
    ("accumulate, distinct", |s| text(&s.map(|(k, _)| k).accumulate().distinct().changes())),
    ("accumulate, count", |s| text(&s.accumulate().count().changes())),
    ("fold_by_key", |s| text(&s.fold_by_key(0i64, |a, n| (a * 31 + n) % 1_000_003).changes())),
    ("update_state_by_key_with", |s| {
        let sum = |t: BatchTime, k: &char, new: &[i64], sum: Option<i64>| {
            let sum = new.iter().sum::<i64>() + sum.unwrap_or(0);
            (!(t.millis() + u64::from(u32::from(*k))).is_multiple_of(5)).then_some(sum)
        };
        text(&s.update_state_by_key_with([('a', 100), ('z', 1)], sum))
    }),
    ("map_with_state", |s| text(&s.map_with_state(spec()))),
    ("map_with_state, snapshots", |s| text(&s.map_with_state(spec()).state_snapshots())),
    ("latest_by_key", |s| text(&s.latest_by_key().changes())),
    ("join_broadcast", |s| text(&s.join_broadcast(&s.sum_by_key().broadcast()))),
    ("window", |s| text(&s.window(millis(4), millis(2)))),
    ("group_by_key_and_window", |s| text(&s.group_by_key_and_window(millis(4), millis(2)))),
    ("count_by_window", |s| text(&s.count_by_window(millis(4), millis(2)).changes())),
    ("count_by_value_and_window", |s| text(&s.count_by_value_and_window(millis(3), millis(1)).changes())),
    ("over with panes, complete", |s| text(&s.over(millis(6), millis(4)).complete())),
    ("over with panes, top_by", |s| text(&s.over(millis(6), millis(2)).count_by_value().top_by(2, |(_, n)| *n).changes())),
    ("reduce_by_key_and_window", |s| text(&s.reduce_by_key_and_window(|a, b| a.max(b), millis(4), millis(2)).changes())),
    ("reduce_by_key_and_window_inverse", |s| {
        text(&s.reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, millis(5), millis(1)).update())
    }),
    ("sums of floats", |s| text(&s.map(|(k, n)| (k, n as f64 / 4.0)).sum_by_key().update())),
    ("reduce_by_window", |s| text(&s.reduce_by_window(|a, b| a.max(b), millis(4), millis(2)).changes())),
    ("reduce_by_window_inverse", |s| {
        text(&s.map(|(_, n)| n).reduce_by_window_inverse(|a, b| a + b, |a, b| a - b, millis(3), millis(1)).changes())
    }),
    ("reduce_by_key_and_window_inverse_filter", |s| {
        let sums = s.reduce_by_key_and_window_inverse_filter(|a, b| a + b, |a, b| a - b, |(_, n)| *n > 0, millis(4), millis(1));
        text(&sums.changes())
    }),
    ("a lookup in a view", |s| text(&s.join_view(&s.sum_by_key()))),
    ("functions with a broadcast", |s| {
        let sums = s.sum_by_key().broadcast();
        let rows = s.flat_map_with_broadcast(&sums, |(k, n), sums| sums.get(&k).map(|sum| (k, n, *sum)));
        let known = s.map_partitions_with_broadcast(&sums, |part, sums| {
            [part.iter().map(|(k, _)| sums.get(k).copied().unwrap_or(0)).sum::<i64>()]
        });
        text(&rows).union(&text(&known))
    }),
    ("views joined on one side", |s| {
        let (all, now) = (s.sum_by_key(), s.over(millis(2), millis(2)));
        let outer = text(&all.left_outer_join(&now).changes()).union(&text(&all.right_outer_join(&now).changes()));
        outer.union(&text(&all.semi_join(&now).changes()))
    }),
    ("least and largest values of a view", |s| {
        let rows = s.accumulate();
        let ends = text(&rows.min_by_key().changes()).union(&text(&rows.max_by_key().changes()));
        ends.union(&text(&rows.top(2).changes()))
    }),
    ("views joined", |s| text(&s.sum_by_key().join(&s.over(millis(2), millis(2))).changes())),
    ("views joined, with what has no partner", |s| {
        text(&s.sum_by_key().full_outer_join(&s.over(millis(2), millis(2))).changes())
    }),
    ("rows of a view without partner", |s| text(&s.accumulate().anti_join(&s.over(millis(2), millis(1))).changes())),
    ("averages of a view", |s| text(&s.over(millis(4), millis(2)).average_by_key().changes())),
    ("a view reduced", |s| text(&s.accumulate().reduce_by_key(|a, b| a.min(b)).changes())),
    ("a loop that another view enters", |s| {
        let steps = s.accumulate().map(|(k, n)| (i64::from(u32::from(k)) % 4, n));
        let near = steps.map(|(from, _)| (from, ()));
        text(
            &near
                .iterate(move |near| near.enter(&steps).join(near).map(|(_, (to, ()))| (to, ())).union(near).distinct())
                .changes(),
        )
    }),
    ("components of a window of edges", |s| {
        let edges = s.over(millis(4), millis(2)).map(|(k, n)| (i64::from(u32::from(k)) % 4, n));
        text(&tidemill::graph::connected_components(&edges).changes())
    }),
    ("ranks of all edges", |s| {
        let edges = s.accumulate().map(|(k, n)| (i64::from(u32::from(k)) % 4, n));
        text(&tidemill::graph::page_rank(&edges, 3).complete())
    }),
    ("triangles of a window of edges", |s| {
        let edges = s.over(millis(4), millis(2)).map(|(k, n)| (i64::from(u32::from(k)) % 4, n));
        text(&tidemill::graph::triangles(&edges).changes())
    }),
    ("distances over all edges", |s| {
        let edges = s.accumulate().map(|(k, n)| (i64::from(u32::from(k)) % 4, n));
        text(&tidemill::graph::reachable(&edges, &edges.map(|_| 0).distinct()).complete())
    }),
    ("the core of a window of edges", |s| {
        let edges = s.over(millis(4), millis(2)).map(|(k, n)| (i64::from(u32::from(k)) % 4, n));
        text(&tidemill::graph::k_core(&edges, 2).changes())
    }),
    ("bad rows of a view", |s| {
        let even = |rows: Vec<Pair>| {
            let one = |row: Pair| if row.1 % 2 == 0 { Ok(row) } else { Err(BoxError::from(format!("{row:?}"))) };
            rows.into_iter().map(|row| Some(one(row))).collect()
        };
        let (good, bad) = s.sum_by_key().try_map_vectorized(even);
        text(&good.changes()).union(&bad.map(|bad| bad.reason))
    }),
    ("a view from changes", |s| text(&s.sum_by_key().changes().changes_to_view().count_by_value().changes())),
    ("windows by event time", |s| {
        let (length, slide) = (std::time::Duration::from_micros(2), std::time::Duration::from_micros(1));
        let counts = timed(s).map(|(k, _)| k).sliding(length, slide).count_by_value();
        text(&counts.append()).union(&text(&counts.changes()))
    }),
    ("top and collected rows of windows by event time", |s| {
        let windows = timed(s).sliding(std::time::Duration::from_micros(4), std::time::Duration::from_micros(2));
        let top = windows.count_by_value().top_by(1, |(_, n)| *n);
        text(&top.changes()).union(&text(&windows.collect().append()))
    }),
    ("sessions by event time", |s| {
        let counts = timed(s).map(|(k, _)| k).session(std::time::Duration::from_micros(1)).count_by_value();
        text(&counts.append()).union(&text(&counts.changes()))
    }),
    ("values by key in windows by event time", |s| {
        let windows = timed(s).sliding(micros(4), micros(2));
        let sums = windows.aggregate_by_key(0i64, |sum, n| sum + n, |a, b| a + b);
        let late = windows.reduce_by_key(|a, b| a.max(b)).late().map(|late| late.window);
        text(&sums.append()).union(&text(&sums.changes())).union(&text(&late))
    }),
    ("values by key in sessions by event time", |s| {
        let sessions = timed(s).session(micros(1));
        let sums = sessions.aggregate_by_key(|n| n, |a, b| a + b);
        text(&sums.append()).union(&text(&sums.changes())).union(&text(&sessions.reduce_by_key(|a, b| a.max(b)).append()))
    }),
    ("distinct_within of whole rows", |s| text(&timed(s).distinct_within(micros(2)).timestamped())),
    ("distinct_within", |s| {
        let rows = timed(s).distinct_within_by(std::time::Duration::from_micros(2), |(k, _)| *k);
        text(&rows.timestamped()).union(&text(&rows.duplicates()))
    }),
    ("sort_by_time", |s| {
        let rows = s.event_time(|(_, n)| *n, std::time::Duration::from_micros(3)).sort_by_time();
        text(&rows).union(&text(&rows.late()))
    }),
    ("map_with_state by event time", |s| {
        let count = |_, k: &u8, n: Option<Timestamped<i64>>, count: &mut State<i64>| {
            let so_far = count.get().copied().unwrap_or(0);
            if n.is_some() {
                count.update(so_far + 1);
            }
            Some((*k, n.map(|n| n.row), so_far))
        };
        text(&timed(s).map_with_state(StateSpec::function(count).timeout(std::time::Duration::from_micros(2))))
    }),
    ("join_within", |s| {
        let [left, right] = [0, 1].map(|side| timed(s).filter(move |(_, n)| n % 2 == side));
        text(&left.join_within(&right, millis(0), std::time::Duration::from_micros(1)).timestamped())
    }),
    ("event_time_of", |s| {
        let [left, right] = [0, 1].map(|side| timed(s).filter(move |(_, n)| n % 2 == side));
        let pairs = left.join_within(&right, millis(0), std::time::Duration::from_micros(1));
        let lefts = pairs.timestamped().map(|pair| pair.row.1.0);
        let by_left = lefts.event_time_of(|left| *left, &pairs, std::time::Duration::from_micros(1));
        text(&by_left.tumbling(std::time::Duration::from_micros(2)).count().append())
    }),
    ("full_outer_join_within", |s| {
        let [left, right] = [0, 1].map(|side| timed(s).filter(move |(_, n)| n % 2 == side));
        let join = left.full_outer_join_within(&right, millis(0), std::time::Duration::from_micros(1));
        text(&join.timestamped()).union(&text(&join.late()))
    }),
    ("outer joins by event time, of one side", |s| {
        let [left, right] = [0, 1].map(|side| timed(s).filter(move |(_, n)| n % 2 == side));
        let lefts = left.left_outer_join_within(&right, millis(0), micros(1));
        let near = left.as_of_join_within(&right, micros(1));
        let rights = left.right_outer_join_within(&right, millis(0), micros(1));
        text(&lefts.timestamped()).union(&text(&rights.timestamped())).union(&text(&near.timestamped()))
    }),
    ("as_of_join", |s| {
        let [left, right] = [0, 1].map(|side| timed(s).filter(move |(_, n)| n % 2 == side));
        text(&left.as_of_join(&right).timestamped())
    }),
];

/// A verb whose page says what state it keeps is called above, or in another test that goes on with other workers.
#[test]
fn every_verb_that_keeps_state_is_restarted() {
    let tests = rust_files::below("tests/operator").into_iter().map(|path| std::fs::read_to_string(path).unwrap());
    let restarting: Vec<String> =
        tests.filter(|test| test.contains("run_handed_over") || test.contains("const VERBS:")).collect();
    let (mut known, mut missing) = (0, Vec::new());
    for path in rust_files::below("src/operator") {
        let mut keeps = false;
        for line in std::fs::read_to_string(&path).unwrap().lines().map(str::trim) {
            match line.strip_prefix("pub fn ") {
                _ if line.starts_with("///") => keeps |= line.contains("State: ") || line.ends_with("State:"),
                _ if line.starts_with("#[") => {}
                Some(verb) if keeps => {
                    let name = verb.split(['(', '<']).next().unwrap();
                    match restarting.iter().any(|test| test.contains(&format!(".{name}("))) {
                        true => known += 1,
                        false => missing.push(format!("{path}: {name}")),
                    }
                    keeps = false;
                }
                _ => keeps = false,
            }
        }
    }
    assert!(missing.is_empty() && known > 25, "{known} are restarted, and these are not: {missing:?}");
}

/// The times of the checkpoints in a directory.
fn checkpoints(dir: &Path) -> Vec<u64> {
    let made = tidemill::checkpoint::Directory::open(dir).and_then(|d| d.checkpoints()).unwrap();
    made.iter().map(|(file, _)| file.time.millis()).collect()
}

/// One run from where the previous one stopped, until the output fails at a batch or all batches are done. Returns whether it failed.
fn run(
    dir: &TempDir,
    verb: Verb,
    batches: &[Vec<Pair>],
    workers: u16,
    every: u64,
    fail_at: Option<u64>,
    seen: &mut Seen,
) -> bool {
    let (memory, batches) = (MemorySink::new(), batches.to_vec());
    let (out, states) = (memory.clone(), dir.to_path_buf());
    let end = StreamingContext::builder("restart", millis(1))
        .workers(workers)
        .checkpoint(&**dir)
        .checkpoint_interval(millis(every))
        .output_tries(1)
        .start_on_clock(ManualClock::at(0), move |ssc| {
            let s = ssc.test_stream(batches.clone());
            verb(&s).to_memory(&out);
            let made = states.clone();
            s.count().foreach_batch(move |b| match fail_at {
                Some(t) if b.time().millis() == t => {
                    // A restart must load a checkpoint to prove anything, so wait for the first one.
                    if t > every {
                        crate::harness::eventually("there is a checkpoint", || !checkpoints(&made).is_empty());
                    }
                    Err("pulled out".into())
                }
                _ => Ok(()),
            });
            Ok(())
        })
        .and_then(JobHandle::await_termination);
    let failed = match end {
        Ok(_) => false,
        Err(e) => {
            assert!(e.to_string().contains("pulled out"), "{e}");
            true
        }
    };
    for (t, rows) in memory.batches() {
        match seen.get(&t.millis()) {
            Some(before) => assert_eq!(*before, rows, "batch {t} was written twice with different rows"),
            None => _ = seen.insert(t.millis(), rows),
        }
    }
    failed
}

#[test]
fn b10_a_failed_job_continues_where_it_was() {
    let batch = prop::collection::vec((prop::char::range('a', 'e'), 0i64..4), 0..6);
    let stops = prop::collection::vec((1u16..4, 1u64..16), 1..4);
    crate::harness::cases(2, (prop::collection::vec(batch, 8..16), stops, 1u64..5), |(batches, stops, every)| {
        for (name, verb) in VERBS {
            let (mut whole, mut parts, mut failures) = (Seen::new(), Seen::new(), 0);
            run(&TempDir::new("restart"), verb, &batches, 2, every, None, &mut whole);
            let dir = TempDir::new("restart");
            for (workers, fail_at) in &stops {
                failures += u32::from(run(&dir, verb, &batches, *workers, every, Some(*fail_at), &mut parts));
            }
            run(&dir, verb, &batches, 2, every, None, &mut parts);
            prop_assert_eq!(&parts, &whole, "{}", name);
            prop_assert!(failures > 0 || stops[0].1 as usize > batches.len(), "{} never failed", name);
        }
        Ok(())
    });
}

#[test]
fn a_restart_begins_after_its_checkpoint() {
    let batches: Vec<Vec<Pair>> = (0..12).map(|n| vec![('a', n)]).collect();
    let (dir, mut seen) = (TempDir::new("restart"), Seen::new());
    assert!(run(&dir, VERBS[2].1, &batches, 2, 2, Some(10), &mut seen));
    let newest = checkpoints(&dir).into_iter().max().unwrap();
    assert!((1..10).contains(&newest), "{newest}");
    let mut again = Seen::new();
    assert!(!run(&dir, VERBS[2].1, &batches, 3, 2, None, &mut again));
    assert_eq!(again.keys().copied().collect::<Vec<_>>(), (newest + 1..=12).collect::<Vec<_>>());
    assert_eq!(again[&12], ["('a', 66)"], "the sum of all rows, though the second run read only the last ones");
    let mut nothing = Seen::new();
    assert!(!run(&dir, VERBS[2].1, &batches, 1, 2, None, &mut nothing));
    assert!(nothing.is_empty(), "all batches were written before");
}
