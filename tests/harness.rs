//! Helpers of all tests: a verb against its sequential model on random batches, and waits with a limit.

use std::fmt::Debug;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};
use serde::Serialize;
use tidemill::core::data::{Data, Exchange, encoded};
use tidemill::prelude::*;
use tidemill::testing;

/// Each case starts three jobs, so there are only a few cases. A case has up to five batches of up to 24 rows.
pub const CASES: u32 = 12;

/// How long a test waits for an event before it fails. It is long because the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Rows in the order in which outputs write unordered rows: by their encoded bytes.
pub fn bag<T: Serialize>(rows: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut rows: Vec<T> = rows.into_iter().collect();
    rows.sort_by_cached_key(encoded);
    rows
}

/// Batches of these rows. Some batches are empty.
pub fn batches<S: Strategy>(rows: S) -> impl Strategy<Value = Vec<Vec<S::Value>>>
where
    S::Value: Clone,
{
    vec(prop_oneof![1 => Just(Vec::new()), 6 => vec(rows, 0..24)], 1..6)
}

/// Pairs with few keys, so that they repeat.
pub fn pairs() -> impl Strategy<Value = (u8, i64)> {
    (0..5u8, -3..100i64)
}

/// Checks random cases, and all cases that ever failed: `tests/regressions.txt` keeps them. There are at most `PROPTEST_CASES` random ones.
pub fn cases<S: Strategy>(cases: u32, what: S, check: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let kept = FileFailurePersistence::Direct("tests/regressions.txt");
    let cases = cases.min(Config::default().cases);
    let config = Config { cases, max_shrink_iters: 64, failure_persistence: Some(Box::new(kept)), ..Config::default() };
    if let Err(e) = TestRunner::new(config).run(&what, check) {
        panic!("{e}");
    }
}

/// Compares a verb with a model of a whole run at 1, 2 and 4 workers. Both return batches, and their rows must have the same order.
pub fn agrees<S, T, U, V>(rows: S, verb: V, model: impl Fn(Vec<Vec<T>>) -> Vec<Vec<U>>)
where
    S: Strategy<Value = T>,
    T: Data + Send + Sync + Debug,
    U: Exchange + PartialEq + Debug,
    V: for<'s> Fn(&DStream<'s, T>) -> DStream<'s, U> + Clone + Send + Sync + 'static,
{
    cases(CASES, batches(rows), |given| {
        let expected = model(given.clone());
        for workers in [1, 2, 4] {
            let seen = testing::run(workers, given.clone(), verb.clone());
            let times: Vec<u64> = seen.iter().map(|(t, _)| *t).collect();
            prop_assert_eq!(times, (1..=given.len() as u64).collect::<Vec<_>>(), "at {} workers", workers);
            let seen: Vec<Vec<U>> = seen.into_iter().map(|(_, rows)| rows).collect();
            prop_assert_eq!(&seen, &expected, "at {} workers", workers);
        }
        Ok(())
    });
}

/// Like `agrees`, with a model of a single batch, for verbs without state.
pub fn each<S, T, U, V>(rows: S, verb: V, model: impl Fn(Vec<T>) -> Vec<U>)
where
    S: Strategy<Value = T>,
    T: Data + Send + Sync + Debug,
    U: Exchange + PartialEq + Debug,
    V: for<'s> Fn(&DStream<'s, T>) -> DStream<'s, U> + Clone + Send + Sync + 'static,
{
    agrees(rows, verb, |given| given.into_iter().map(&model).collect());
}

/// Runs `f` on another thread. If it hangs, the test fails and the suite continues.
#[track_caller]
pub fn in_time<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let (tx, rx) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let _ = tx.send(f());
    });
    match rx.recv_timeout(PATIENCE) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("not done after {PATIENCE:?}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => std::panic::resume_unwind(thread.join().unwrap_err()),
    }
}

/// Waits until `condition` holds. `what` names it in the failure.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "waited {PATIENCE:?} for this: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
