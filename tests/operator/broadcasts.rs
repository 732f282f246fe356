//! Values that every worker has: tables of views, and files that change while a job runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tidemill::core::data::{Change, encoded};
use tidemill::job::ManualClock;
use tidemill::prelude::*;

use crate::harness::{agrees, eventually, pairs};
use crate::temp_dir::TempDir;

type Pair = (u8, i64);

/// The sum of each key after each batch. A key whose sum is 0 has no row.
fn totals(batches: &[Vec<Pair>]) -> Vec<BTreeMap<u8, i64>> {
    let mut sums = BTreeMap::new();
    let after = |batch: &Vec<Pair>| {
        batch.iter().for_each(|(k, n)| *sums.entry(*k).or_insert(0) += n);
        sums.iter().filter(|(_, n)| **n != 0).map(|(k, n)| (*k, *n)).collect()
    };
    batches.iter().map(after).collect()
}

#[test]
fn join_broadcast() {
    agrees(
        pairs(),
        |s| s.join_broadcast(&s.sum_by_key().filter(|(k, _)| *k > 1).broadcast()),
        |batches| {
            let sums = totals(&batches);
            let joined = |(batch, sums): (Vec<Pair>, &BTreeMap<u8, i64>)| {
                batch.into_iter().filter(|(k, _)| *k > 1).filter_map(|(k, n)| Some((k, (n, *sums.get(&k)?)))).collect()
            };
            batches.into_iter().zip(&sums).map(joined).collect()
        },
    );
}

/// How many rows each key has.
fn counted(rows: &[Pair]) -> BTreeMap<u8, usize> {
    rows.iter().fold(BTreeMap::new(), |mut keys, (k, _)| {
        *keys.entry(*k).or_default() += 1;
        keys
    })
}

#[test]
fn map_partitions_with_broadcast() {
    agrees(
        pairs(),
        |s| {
            let sums = s.sum_by_key().broadcast();
            // All rows of a key are in one partition.
            s.partition_by(3).map_partitions_with_broadcast(&sums, |part, sums| {
                counted(&part).into_iter().map(|(k, n)| (k, (n, sums.get(&k).copied()))).collect::<Vec<_>>()
            })
        },
        |batches| {
            let sums = totals(&batches);
            let rows = |(batch, sums): (Vec<Pair>, &BTreeMap<u8, i64>)| {
                counted(&batch).into_iter().map(|(k, n)| (k, (n, sums.get(&k).copied()))).collect()
            };
            batches.into_iter().zip(&sums).map(rows).collect()
        },
    );
}

/// The number of rows of both joins with a view whose keys have several values, which have the same rows.
fn joined_both_ways<'s>(s: &DStream<'s, Pair>) -> DStream<'s, i64> {
    let view = s.accumulate().union(&s.over(millis(2), millis(2)));
    let (broadcast, exchanged) = (s.join_broadcast(&view.broadcast()), s.join_view(&view));
    broadcast.transform_with(&exchanged, |a, b| {
        let mut a = a.collect();
        a.sort_by_cached_key(encoded);
        assert!(a.iter().eq(b.iter()), "{a:?} {b:?}");
        [a.len() as i64]
    })
}

#[test]
fn a_broadcast_join_has_the_rows_of_join_view() {
    let rows = |batches: Vec<Vec<Pair>>| {
        let (mut seen, mut all) = (Vec::new(), Vec::new());
        for batch in batches {
            seen.extend(batch.iter().copied());
            all.push((batch, seen.clone()));
        }
        let in_window = |i: usize| -> Vec<Pair> {
            // The window of two batches is as of the last even one.
            let end = i.div_ceil(2) * 2;
            all[end.saturating_sub(2)..end].iter().flat_map(|(batch, _)| batch.clone()).collect()
        };
        let of = |(i, (batch, seen)): (usize, &(Vec<Pair>, Vec<Pair>))| {
            let window = in_window(i);
            let found = |k: &u8| seen.iter().chain(&window).filter(|(other, _)| other == k).count() as i64;
            vec![batch.iter().map(|(k, _)| found(k)).sum()]
        };
        all.iter().enumerate().map(of).collect()
    };
    agrees(pairs(), joined_both_ways, rows);
}

/// Moves a version into place.
fn put(file: &Path, version: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, version).unwrap();
    std::fs::rename(&new, file).unwrap();
}

fn number(bytes: &[u8]) -> Result<i64, BoxError> {
    Ok(std::str::from_utf8(bytes)?.trim().parse()?)
}

/// Each row with the version of the file in the place of its value.
fn versions<'s>(rows: &DStream<'s, Pair>, file: &Broadcast<'s, i64>) -> DStream<'s, Pair> {
    rows.flat_map_with_broadcast(file, |(k, _), version| [(k, *version)])
}

#[test]
fn a_file_is_read_again_when_it_changes() {
    for workers in [1, 2, 4] {
        let dir = TempDir::made("broadcast");
        let (file, queue, seen, clock) = (dir.join("file"), QueueSource::<Pair>::new(), MemorySink::new(), ManualClock::at(5));
        put(&file, "1");
        let (path, rows, out) = (file.clone(), queue.clone(), seen.clone());
        let job = StreamingContext::builder("reload", millis(10)).workers(workers).without_checkpoint();
        let build = move |ssc: &StreamingContext<'_>| {
            let version = ssc.broadcast_file(&path, number);
            // Behind an exchange: rows are on all workers.
            versions(&ssc.queue_stream(&rows).reduce_by_key(|a, _| a), &version).to_memory(&out);
            Ok(())
        };
        let job = job.start_on_clock(clock.clone(), build).unwrap();
        let batch = |n: u64, version: Option<&str>, sees: i64| {
            version.inspect(|version| put(&file, version));
            queue.push((0..20).map(|k| (k, 0)).collect());
            clock.set(10 * n);
            eventually("the batch is written", || job.statistics().batches == n);
            let last = seen.batches().pop().unwrap();
            assert_eq!(last.1.len(), 20);
            assert!(last.1.iter().all(|(_, version)| *version == sees), "batch {n} at {workers} workers: {last:?}");
        };
        batch(1, None, 1);
        batch(2, Some("2"), 2);
        batch(3, None, 2);
        batch(4, Some("no number"), 2);
        let trouble = job.statistics().trouble;
        assert!(trouble.iter().any(|t| t.contains("cannot be decoded: invalid digit")), "{trouble:?}");
        batch(5, Some("3"), 3);
        assert_eq!(job.statistics().trouble, Vec::<String>::new());
        std::fs::remove_file(&file).unwrap();
        batch(6, None, 3);
        assert!(job.statistics().trouble[0].contains("cannot be read"));
        batch(7, Some("4"), 4);
        job.stop_now().unwrap();
    }
}

fn numbers(bytes: &[u8]) -> Result<Vec<u8>, BoxError> {
    std::str::from_utf8(bytes)?.split_whitespace().map(|word| Ok(word.parse()?)).collect()
}

#[test]
fn a_view_of_a_file_changes_with_it() {
    for workers in [1, 2, 4] {
        let dir = TempDir::made("file-view");
        let (file, queue, seen, clock) = (dir.join("file"), QueueSource::<u8>::new(), MemorySink::new(), ManualClock::at(5));
        put(&file, "1 2 2");
        let (path, rows, out) = (file.clone(), queue.clone(), seen.clone());
        let job = StreamingContext::builder("view", millis(10)).workers(workers).without_checkpoint();
        let build = move |ssc: &StreamingContext<'_>| {
            let known = ssc.file_view(&path, numbers).count_by_value();
            // How often each number that came is in the file.
            ssc.queue_stream(&rows)
                .accumulate()
                .map(|n| (n, ()))
                .join(&known)
                .map(|(n, ((), times))| (n, times))
                .changes()
                .to_memory(&out);
            Ok(())
        };
        let job = job.start_on_clock(clock.clone(), build).unwrap();
        let batch = |n: u64, version: Option<&str>, changed: &[((u8, i64), i64)]| {
            version.inspect(|version| put(&file, version));
            queue.push(if n == 1 { vec![1, 2, 3] } else { Vec::new() });
            clock.set(10 * n);
            eventually("the batch is written", || job.statistics().batches == n);
            let mut changes: Vec<_> = seen.batches().pop().unwrap().1.into_iter().map(|c: Change<_>| (c.row, c.diff)).collect();
            changes.sort();
            assert_eq!(changes, changed, "batch {n} at {workers} workers");
        };
        batch(1, None, &[((1, 1), 1), ((2, 2), 1)]);
        batch(2, None, &[]);
        batch(3, Some("3 1 2"), &[((2, 1), 1), ((2, 2), -1), ((3, 1), 1)]);
        batch(4, Some("no number"), &[]);
        assert!(job.statistics().trouble[0].contains("cannot be decoded: invalid digit"));
        batch(5, Some("1"), &[((2, 1), -1), ((3, 1), -1)]);
        job.stop_now().unwrap();
    }
}

/// One run over these batches. Its output changes the file, and fails at a batch. Returns what each batch wrote.
fn run(dir: &Path, file: &Path, batches: u64, workers: u16, fail_at: Option<u64>) -> BTreeMap<u64, Vec<Pair>> {
    let (seen, file) = (MemorySink::new(), file.to_owned());
    let (out, given) = (seen.clone(), (0..batches).map(|n| vec![(1, n as i64), (2, 0), (3, 0)]).collect::<Vec<Vec<Pair>>>());
    let job = StreamingContext::builder("again", millis(1)).workers(workers).checkpoint(dir);
    let build = move |ssc: &StreamingContext<'_>| {
        let (version, rows) = (ssc.broadcast_file(&file, number), ssc.test_stream(given.clone()));
        versions(&rows, &version).to_memory(&out);
        let file: PathBuf = file.clone();
        rows.count().foreach_batch(move |batch| {
            let t = batch.time().millis();
            put(&file, &(1_000 * u64::from(workers) + t).to_string());
            if fail_at == Some(t) { Err("pulled out".into()) } else { Ok(()) }
        });
        Ok(())
    };
    let job = job.checkpoint_interval(millis(2)).output_tries(1).start_on_clock(ManualClock::at(0), build).unwrap();
    let end = job.await_termination();
    assert_eq!(end.is_err(), fail_at.is_some(), "{end:?}");
    seen.batches().into_iter().map(|(t, rows)| (t.millis(), rows)).collect()
}

/// The file has another version when the job starts again. Batches that run again see the one that they saw before.
#[test]
fn a_batch_that_runs_again_sees_the_same_version() {
    let dir = TempDir::made("broadcast");
    let (states, file) = (dir.join("states"), dir.join("file"));
    put(&file, "7");
    let first = run(&states, &file, 8, 2, Some(5));
    assert_eq!(first[&1], [(1, 7), (2, 7), (3, 7)]);
    put(&file, "8");
    let second = run(&states, &file, 8, 4, Some(7));
    put(&file, "9");
    let third = run(&states, &file, 12, 1, None);
    let mut all = first.clone();
    for (t, rows) in second.iter().chain(&third) {
        assert!(rows.iter().all(|(_, version)| *version == rows[0].1), "one version in batch {t}: {rows:?}");
        let before = all.entry(*t).or_insert_with(|| rows.clone());
        assert_eq!(before, rows, "batch {t}");
    }
    assert!(second.contains_key(&5), "it ran again");
    assert_eq!(all.len(), 12);
    let newer = |rows: &[Pair]| rows[0].1 == 9 || rows[0].1 > 1_000;
    assert!(newer(&all[&12]), "the last batches were planned after the last change: {all:?}");
    // The last version is in the checkpoint, and the file has not changed: nothing is planned.
    put(&file, &all[&12][0].1.to_string());
    let fourth = run(&states, &file, 14, 2, None);
    assert_eq!(fourth[&13][0].1, all[&12][0].1);
}

#[test]
fn a_file_must_be_there_at_the_start() {
    let dir = TempDir::made("broadcast");
    let start = |file: PathBuf| {
        let job = StreamingContext::builder("missing", millis(1)).without_checkpoint();
        let job = job.run(move |ssc| {
            versions(&ssc.test_stream(vec![vec![(1, 2)]]), &ssc.broadcast_file(&file, number)).print(0);
            Ok(())
        });
        job.unwrap_err().to_string()
    };
    let missing = start(dir.join("missing"));
    assert!(missing.contains("missing") && missing.contains("cannot be read"), "{missing}");
    put(&dir.join("words"), "words");
    let wrong = start(dir.join("words"));
    assert!(wrong.contains("words") && wrong.contains("cannot be decoded: invalid digit"), "{wrong}");
}
