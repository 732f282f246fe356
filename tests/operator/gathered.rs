//! Verbs that gather a whole batch on worker 0.

use std::cmp::Reverse;

use tidemill::core::data::encoded;

use crate::harness::{agrees, bag, each, pairs};

#[test]
fn sort_by() {
    let model = |rows: Vec<(u8, i64)>| {
        let mut rows = bag(rows);
        rows.sort_by_key(|(k, _)| Reverse(*k));
        rows
    };
    each(pairs(), |s| s.sort_by(|(k, _)| Reverse(*k)), model);
}

/// `take` returns the first rows as read, by their encoding, or after a sort. This depends on the stream.
#[test]
fn take() {
    let first = |mut rows: Vec<(u8, i64)>| {
        rows.truncate(3);
        rows
    };
    each(pairs(), |s| s.take(3), first);
    each(
        pairs(),
        |s| s.reduce_by_key(|a, _| a.min(0)).map_values(|_| 0i64).take(3),
        |rows| {
            let mut keys: Vec<(u8, i64)> = rows.into_iter().map(|(k, _)| (k, 0)).collect();
            keys.sort_unstable();
            keys.dedup();
            first(keys)
        },
    );
    each(
        pairs(),
        |s| s.sort_by(|(_, n)| *n).take(3),
        |rows| {
            let mut rows = bag(rows);
            rows.sort_by_key(|(_, n)| *n);
            first(rows)
        },
    );
    each(pairs(), |s| s.take(0), |_| vec![]);
}

#[test]
fn top_and_top_by() {
    let largest = |mut rows: Vec<i64>| {
        rows.sort_by_key(|n| Reverse(*n));
        rows.truncate(4);
        rows
    };
    each(-9..9i64, |s| s.top(4), largest);
    let by_key = |mut rows: Vec<(u8, i64)>| {
        rows.sort_by_key(|r| (Reverse(r.0), encoded(r)));
        rows.truncate(4);
        rows
    };
    each(pairs(), |s| s.top_by(4, |(k, _)| *k), by_key);
    each(pairs(), |s| s.top_by(0, |(k, _)| *k), |_| vec![]);
}

/// More rows than a worker keeps before it drops all but the largest.
#[test]
fn top_of_many_rows() {
    let rows: Vec<i64> = (0..9_000).map(|n| n * 7_919 % 9_001).collect();
    let mut best = rows.clone();
    best.sort_by_key(|n| Reverse(*n));
    best.truncate(1_500);
    tidemill::testing::check([rows], |s| s.top(1_500), [best]);
}

#[test]
fn union() {
    let model = |rows: Vec<i64>| {
        let left = rows.iter().map(|n| n * 10);
        let middle = [rows.len() as i64];
        left.chain(middle).chain(rows.iter().copied()).collect()
    };
    each(0..50i64, |s| s.map(|n| n * 10).union(&s.count()).union(s), model);
    each(0..50i64, |s| s.union(s), |rows| [rows.clone(), rows].concat());
}

/// Unordered rows on the left of a source: the left by encoded row, the source as read.
#[test]
fn union_of_unordered_rows_and_a_source() {
    let model = |rows: Vec<i64>| {
        let mut once = rows.clone();
        once.sort_unstable();
        once.dedup();
        bag(once).into_iter().chain(rows).collect()
    };
    each(0..9i64, |s| s.distinct().union(s), model);
}

/// `transform` is called once per batch, in order, also for an empty batch. It gets the time and the ranges of the batch.
#[test]
fn transform() {
    agrees(
        pairs(),
        |s| {
            let mut batches = 0u64;
            s.transform(move |b| {
                batches += 1;
                let (n, time) = (batches, b.time().millis());
                let read = b.offset_ranges().iter().filter(|r| (r.from, r.until) == (n as i64 - 1, n as i64)).count();
                let first = b.first().cloned();
                let rest = b.filter(|(k, _)| *k > 0).sort_by(|(_, v)| *v).take(5).map(|(_, v)| v);
                rest.map(move |v| (n, time, read, first, v))
            })
        },
        |given| {
            let batch = |(i, rows): (usize, Vec<(u8, i64)>)| {
                let n = i as u64 + 1;
                // The offsets of a test source count batches, in each of its four partitions.
                let (read, first) = (4, rows.first().cloned());
                let mut rest: Vec<i64> = rows.into_iter().filter(|(k, _)| *k > 0).map(|(_, v)| v).collect();
                rest.sort_unstable();
                rest.into_iter().take(5).map(|v| (n, n, read, first, v)).collect()
            };
            given.into_iter().enumerate().map(batch).collect()
        },
    );
}
