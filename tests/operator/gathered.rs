//! Verbs that gather a whole batch on worker 0.

use std::cmp::Reverse;

use tidemill::api::context::StreamingContext;
use tidemill::connector::memory::MemorySink;
use tidemill::core::data::encoded;
use tidemill::core::time::millis;
use tidemill::job::ManualClock;
use tidemill::testing::Seen;

use super::model::check_batches;
use crate::harness::{agrees, bag, batches, cases, each, pairs};

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

/// A function may return rows of its own, and early.
#[test]
fn transform_into_a_vector() {
    each(
        0..50i64,
        |s| {
            s.transform(|batch| {
                if batch.len() > 10 {
                    return vec![batch.len() as i64];
                }
                batch.collect()
            })
        },
        |rows| if rows.len() > 10 { vec![rows.len() as i64] } else { rows },
    );
}

#[test]
fn first() {
    each(0..50i64, |s| s.first(), |rows| rows.into_iter().take(1).collect());
    each(0..50i64, |s| s.sort_by(|n| -n).first(), |rows| rows.into_iter().max().into_iter().collect());
    each(0..50u8, |s| s.distinct().first(), |rows| rows.into_iter().min().into_iter().collect());
}

/// The rows of a source that cannot be among the first stay where they are: they are no part of what is gathered.
#[test]
fn take_gathers_only_what_it_may_need() {
    let job = StreamingContext::builder("first", millis(1)).gather_cap(2_000).workers(2);
    let seen = MemorySink::new();
    let out = seen.clone();
    job.start_on_clock(ManualClock::at(0), move |ssc| {
        ssc.test_stream(vec![(0..50_000i64).collect::<Vec<_>>()]).take(3).to_memory(&out);
        Ok(())
    })
    .unwrap()
    .await_termination()
    .unwrap();
    assert_eq!(seen.rows(), [0, 1, 2]);
}

#[test]
fn zip_with_index() {
    let numbered = |rows: Vec<i64>| rows.into_iter().zip(0..).collect::<Vec<(i64, i64)>>();
    each(0..50i64, |s| s.zip_with_index(), numbered);
    let sorted = move |mut rows: Vec<i64>| {
        rows.sort_unstable_by_key(|n| -n);
        numbered(rows)
    };
    each(0..50i64, |s| s.sort_by(|n| -n).zip_with_index(), sorted);
    each(
        0..50u8,
        |s| s.distinct().zip_with_index().map(|(n, i)| (i, n)),
        |rows| {
            let once: std::collections::BTreeSet<u8> = rows.into_iter().collect();
            (0..).zip(once).collect()
        },
    );
}

/// `transform_with` sees both batches, their times and ranges, in order, also if they are empty.
#[test]
fn transform_with() {
    agrees(
        pairs(),
        |s| {
            let mut batches = 0u64;
            let counts = s.map_values(|_| 1i64).reduce_by_key(|a, b| a + b);
            s.filter(|(_, n)| n % 2 == 0).transform_with(&counts, move |rows, counts| {
                batches += 1;
                assert_eq!((rows.time().millis(), counts.time().millis()), (batches, batches));
                assert_eq!(rows.offset_ranges(), counts.offset_ranges());
                let head = (batches, rows.len() as i64);
                std::iter::once(head)
                    .chain(rows.collect().into_iter().map(|(_, n)| (0, n)))
                    .chain(counts.collect().into_iter().map(|(k, n)| (u64::from(k), n)))
                    .collect::<Vec<_>>()
            })
        },
        |given| {
            let batch = |(i, rows): (u64, Vec<(u8, i64)>)| {
                let mut counts = std::collections::BTreeMap::new();
                rows.iter().for_each(|(k, _)| *counts.entry(u64::from(*k)).or_insert(0) += 1);
                let even: Vec<i64> = rows.into_iter().map(|(_, n)| n).filter(|n| n % 2 == 0).collect();
                let rows = [(i, even.len() as i64)].into_iter().chain(even.into_iter().map(|n| (0, n)));
                rows.chain(counts).collect()
            };
            (1..).zip(given).map(batch).collect()
        },
    );
}

/// Streams that have batches at other times: the function runs at the times of both.
#[test]
fn transform_with_a_stream_of_other_times() {
    cases(12, batches(0..50i64), |given| {
        let of = |t: usize, n: usize| given[t.saturating_sub(n)..t].concat();
        let row = |t: usize| {
            let sum = of(t, 2).into_iter().reduce(|a, b| a + b).filter(|_| t.is_multiple_of(2));
            let count = t.is_multiple_of(3).then(|| of(t, 3).len() as i64);
            (t as u64, vec![(sum, count)])
        };
        let expected: Seen<_> = (1..=given.len()).filter(|t| t.is_multiple_of(2) || t.is_multiple_of(3)).map(row).collect();
        check_batches(&given, expected, |s| {
            let sums = s.window(millis(2), millis(2)).reduce(|a, b| a + b);
            let counts = s.window(millis(3), millis(3)).count();
            sums.transform_with(&counts, |sum, count| [(sum.first().copied(), count.first().copied())])
        })
    });
}
