//! Keys that come and go leave nothing behind: dictionaries are as large as what is in the windows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::batch::ManualClock;
use crate::context::StreamingContext;
use crate::sink::memory::Memory;
use crate::time::millis;

const BATCHES: u64 = 2_000;
const ROWS: u64 = 8;

/// Two windows that share panes, a third that no output wants, with two batches in flight: ids are used again all the time,
/// and never too early.
#[test]
fn a_dictionary_is_as_large_as_its_windows() {
    let batches: Vec<Vec<u64>> = (0..BATCHES).map(|t| (t..t + ROWS).map(|k| k * 3).collect()).collect();
    let (counts, sums, largest) = (Memory::new(), Memory::new(), Arc::new(AtomicUsize::new(0)));
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
            let _unwanted = rows.over(millis(7), millis(2)).count_by_value();
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
