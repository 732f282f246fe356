//! Dictionaries forget the keys that are in no window any more, so they are as large as the windows.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::api::context::StreamingContext;
use crate::connector::memory::MemorySink;
use crate::core::time::millis;
use crate::job::{JobHandle, ManualClock};
use crate::testing::temp_dir::TempDir;

const BATCHES: u64 = 2_000;
const ROWS: u64 = 8;

/// Two windows that share panes, a third that no output reads, with two batches in flight: codes are used again often, but
/// never too early.
#[test]
fn e5_a_dictionary_is_as_large_as_its_windows() {
    let batches: Vec<Vec<u64>> = (0..BATCHES).map(|t| (t..t + ROWS).map(|k| k * 3).collect()).collect();
    let (counts, sums, largest) = (MemorySink::new(), MemorySink::new(), Arc::new(AtomicUsize::new(0)));
    let out = (counts.clone(), sums.clone(), largest.clone());
    let job = StreamingContext::builder("churn", millis(1)).workers(2).batches_in_flight(2).start_on_clock(
        ManualClock::at(0),
        move |ssc| {
            let rows = ssc.test_stream(batches.clone());
            let counted = rows.count_by_value_and_window(millis(3), millis(1));
            let (dict, largest) = (rows.node.panes.get().expect("a window").dict.clone(), out.2.clone());
            let measured = move |row| {
                largest.fetch_max(dict.borrow().len(), Ordering::Relaxed);
                row
            };
            counted.complete().map(measured).count().to_memory(&out.0);
            rows.over(millis(12), millis(4)).map(|k| ((), k)).reduce_by_key(|a, b| a + b).complete().to_memory(&out.1);
            let _unread = rows.over(millis(7), millis(2)).count_by_value();
            Ok(())
        },
    );
    job.expect("a job").await_termination().expect("its end");
    let expected: Vec<i64> = (1..=BATCHES).map(|t| (ROWS + t.min(3) - 1) as i64).collect();
    assert_eq!(counts.rows(), expected);
    let sum = |t: u64| (t.saturating_sub(12)..t).flat_map(|b| (b..b + ROWS).map(|k| k * 3)).sum::<u64>();
    assert_eq!(sums.rows(), (1..=BATCHES / 4).map(|s| ((), sum(4 * s))).collect::<Vec<_>>());
    let largest = largest.load(Ordering::Relaxed);
    assert!((10..=60).contains(&largest), "{largest} keys on one worker");
}

/// The number of new words in each batch.
const NEW: u64 = 8;

fn word(n: u64) -> String {
    format!("word {n}")
}

/// The words of batch `t`: new ones, and those of the previous batch again.
fn words(t: u64) -> impl Iterator<Item = u64> {
    (t.saturating_sub(2) * NEW..t * NEW).map(|n| n + NEW)
}

/// The rows of one run of `churn`, and the largest sizes of its dictionaries.
#[derive(Default)]
struct Seen {
    windows: MemorySink<(String, i64)>,
    sums: MemorySink<(String, i64)>,
    codes: AtomicUsize,
    kept: AtomicU64,
}

/// Runs a job whose words live for a few batches, in windows and in sums that become 0. It has two batches in flight and a
/// checkpoint as often as possible. The output fails at `fail_at`.
fn churn(dir: &Path, workers: u16, batches: u64, fail_at: Option<u64>) -> Arc<Seen> {
    let seen = Arc::new(Seen::default());
    // A word adds 1 to its sum in its first batch, and -1 in its second.
    let batch = |t| words(t).map(|n| (n, if n < t * NEW { -1 } else { 1 })).collect();
    let input: Vec<Vec<(u64, i64)>> = (1..=batches).map(batch).collect();
    let (out, states) = (seen.clone(), dir.to_owned());
    let builder = StreamingContext::builder("churn", millis(1)).workers(workers).batches_in_flight(2).output_tries(1);
    let builder = builder.checkpoint(dir).checkpoint_interval(millis(1));
    let job = builder.start_on_clock(ManualClock::at(0), move |ssc| {
        let rows = ssc.test_stream(input.clone());
        let words = rows.map(|(n, _)| word(n));
        let counted = words.count_by_value_and_window(millis(3), millis(1));
        let (dict, seen) = (words.node.panes.get().expect("a window").dict.clone(), out.clone());
        let measured = move |row| {
            let dict = dict.borrow();
            seen.codes.fetch_max(dict.codes(), Ordering::Relaxed);
            seen.kept.fetch_max(dict.kept, Ordering::Relaxed);
            row
        };
        counted.complete().map(measured).to_memory(&out.windows);
        let _long = words.over(millis(12), millis(4)).count_by_value();
        rows.map(|(n, sign)| (word(n), sign)).sum_by_key().complete().to_memory(&out.sums);
        let manifests = states.join("manifests");
        rows.count().foreach_batch(move |b| match fail_at {
            Some(t) if b.time().millis() == t => {
                while std::fs::read_dir(&manifests)?.next().is_none() {
                    std::thread::yield_now();
                }
                Err("pulled out".into())
            }
            _ => Ok(()),
        });
        Ok(())
    });
    let end = job.and_then(JobHandle::await_termination);
    assert_eq!(end.is_err(), fail_at.is_some_and(|t| t <= batches), "{:?}", end.err());
    seen
}

/// Thousands of words share a few dozen codes, over batches in flight, snapshots and restarts. Each result has the right words.
#[test]
fn no_id_is_used_for_two_words_at_once() {
    let dir = TempDir::new("churn");
    let mut last = 0;
    for (workers, fail_at) in [(2, Some(250)), (1, Some(500)), (3, None)] {
        let seen = churn(&dir, workers, 700, fail_at);
        let windows = seen.windows.batches();
        let first = windows[0].0.millis();
        assert!(first <= last + 1 && (first > 1 || last == 0), "the run continues from a checkpoint: {first} after {last}");
        for ((t, counts), (u, sums)) in windows.iter().zip(seen.sums.batches()) {
            let mut expected = BTreeMap::new();
            (t.millis().saturating_sub(2).max(1)..=t.millis())
                .flat_map(words)
                .for_each(|n| *expected.entry(word(n)).or_insert(0) += 1);
            assert_eq!(counts.iter().cloned().collect::<BTreeMap<_, _>>(), expected, "at {t}");
            let once: BTreeMap<_, _> = words(t.millis()).skip_while(|n| *n < t.millis() * NEW).map(|n| (word(n), 1)).collect();
            assert_eq!((*t, sums.into_iter().collect::<BTreeMap<_, _>>()), (u, once));
        }
        last = windows.last().expect("batches").0.millis();
        let (codes, kept) = (seen.codes.load(Ordering::Relaxed), seen.kept.load(Ordering::Relaxed));
        assert!(codes < 40 * NEW as usize, "{codes} codes for {} words: codes must be used again", (last - first) * NEW);
        assert!(kept > 0, "with batches in flight, released codes must wait for them");
    }
    assert_eq!(last, 700);
}
