//! The expected rows of each output mode of a view, from the rows in it: `complete` by encoded row, `changes` and `update` as
//! differences.

use std::collections::BTreeMap;
use std::fmt::Debug;

use proptest::prelude::*;

use tidemill::api::context::StreamingContext;
use tidemill::api::dstream::DStream;
use tidemill::api::view::View;
use tidemill::connector::memory::MemorySink;
use tidemill::core::data::{Change, Data, Exchange, Key, encoded};
use tidemill::core::time::{BatchTime, millis};
use tidemill::job::ManualClock;
use tidemill::testing::Seen;

/// Only a few cases: each one runs three jobs.
pub fn few() -> ProptestConfig {
    let cases = ProptestConfig::default().cases.min(crate::harness::CASES);
    ProptestConfig { cases, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() }
}

/// The length and the slide of a window, in batches.
pub fn shape() -> impl Strategy<Value = (usize, usize)> {
    (1usize..6, 1usize..6)
}

/// Batches of few rows, some empty, then empty batches until every window is empty.
pub fn batches<T: Debug + Clone>(row: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<Vec<T>>> {
    let some = prop::collection::vec(row, 0..5);
    prop::collection::vec(prop_oneof![3 => some, 1 => Just(Vec::new())], 1..8).prop_map(|mut batches: Vec<Vec<T>>| {
        batches.resize(batches.len() + 11, Vec::new());
        batches
    })
}

/// A key and a value from a small range. The values include 0.
pub fn pair() -> impl Strategy<Value = (u8, i64)> {
    (0u8..4, -2i64..3)
}

/// The rows of each window, oldest first.
pub fn windows<T: Clone>(batches: &[Vec<T>], (length, slide): (usize, usize)) -> Seen<T> {
    let on_schedule = (1..=batches.len()).filter(|t| t % slide == 0);
    on_schedule.map(|t| (t as u64, batches[t.saturating_sub(length)..t].concat())).collect()
}

/// The rows of two windows, at each time at which one of them slides: the other has the rows of its last slide.
pub fn two_windows<T: Clone>(batches: &[Vec<T>], a: (usize, usize), b: (usize, usize)) -> Vec<(u64, Vec<T>, Vec<T>)> {
    let (mut left, mut right) = (BTreeMap::from_iter(windows(batches, a)), BTreeMap::from_iter(windows(batches, b)));
    let (mut one, mut two, mut both) = (Vec::new(), Vec::new(), Vec::new());
    for t in 1..=batches.len() as u64 {
        let (new, also) = (left.remove(&t), right.remove(&t));
        if new.is_some() || also.is_some() {
            one = new.unwrap_or(one);
            two = also.unwrap_or(two);
            both.push((t, one.clone(), two.clone()));
        }
    }
    both
}

/// All rows until each batch.
pub fn so_far<T: Clone>(batches: &[Vec<T>]) -> Seen<T> {
    windows(batches, (batches.len(), 1))
}

/// Applies `f` to the contents at each time.
pub fn each<T, U>(contents: Seen<T>, mut f: impl FnMut(Vec<T>) -> Vec<U>) -> Seen<U> {
    contents.into_iter().map(|(t, rows)| (t, f(rows))).collect()
}

/// All values of each key.
pub fn by_key<K: Ord, V>(rows: Vec<(K, V)>) -> BTreeMap<K, Vec<V>> {
    let mut groups = BTreeMap::new();
    rows.into_iter().for_each(|(k, v)| groups.entry(k).or_insert_with(Vec::new).push(v));
    groups
}

/// How often each row occurs.
pub fn counts<T: Ord>(rows: Vec<T>) -> Vec<(T, i64)> {
    by_key(rows.into_iter().map(|r| (r, ())).collect()).into_iter().map(|(r, n)| (r, n.len() as i64)).collect()
}

/// Unordered rows in the order in which outputs write them.
pub fn bag<T: Exchange>(mut rows: Vec<T>) -> Vec<T> {
    rows.sort_by_cached_key(encoded);
    rows
}

/// The changes from the rows `before` to the rows `now`.
pub fn differences<T: Key>(before: &[T], now: &[T]) -> Vec<Change<T>> {
    let mut diffs = BTreeMap::new();
    now.iter().for_each(|row| *diffs.entry(row.clone()).or_insert(0) += 1);
    before.iter().for_each(|row| *diffs.entry(row.clone()).or_insert(0) -= 1);
    let changes = diffs.into_iter().filter(|(_, diff)| *diff != 0).map(|(row, diff)| Change { row, diff });
    let (minus, plus): (Vec<_>, Vec<_>) = changes.partition(|c| c.diff < 0);
    [bag(minus), bag(plus)].concat()
}

/// The rows of a view in three modes: `complete`, `changes`, `update`.
pub type Modes<U> = (Seen<U>, Seen<Change<U>>, Seen<U>);

/// Runs a verb that makes a view, and returns its rows in each mode.
pub fn modes<T, U, V>(workers: u16, batches: Vec<Vec<T>>, verb: V) -> Modes<U>
where
    T: Data + Send + Sync,
    U: Key,
    V: for<'s> Fn(&DStream<'s, T>) -> View<'s, U> + Send + Sync + 'static,
{
    let (complete, changes, update) = (MemorySink::new(), MemorySink::new(), MemorySink::new());
    let out = (complete.clone(), changes.clone(), update.clone());
    let job = StreamingContext::builder("modes", millis(1)).workers(workers).start_on_clock(ManualClock::at(0), move |ssc| {
        let view = verb(&ssc.test_stream(batches.clone()));
        view.complete().to_memory(&out.0);
        view.changes().to_memory(&out.1);
        view.update().to_memory(&out.2);
        Ok(())
    });
    job.expect("a job").await_termination().expect("its end");
    (seen(&complete), seen(&changes), seen(&update))
}

/// The batches of a sink, with their times as numbers.
pub fn seen<T: Clone>(memory: &MemorySink<T>) -> Seen<T> {
    memory.batches().into_iter().map(|(t, rows)| (BatchTime::millis(t), rows)).collect()
}

/// Checks a view against its contents at each time of its schedule, in every mode, at 1, 2 and 4 workers.
pub fn check_view<T, U, V>(batches: &[Vec<T>], contents: Seen<U>, verb: V) -> Result<(), TestCaseError>
where
    T: Data + Send + Sync,
    U: Key,
    V: for<'s> Fn(&DStream<'s, T>) -> View<'s, U> + Clone + Send + Sync + 'static,
{
    let before = [Vec::new()].into_iter().chain(contents.iter().map(|(_, rows)| rows.clone()));
    let changes: Seen<Change<U>> = before.zip(&contents).map(|(old, (t, new))| (*t, differences(&old, new))).collect();
    let entered = |changes: Vec<Change<U>>| bag(changes.into_iter().filter(|c| c.diff > 0).map(|c| c.row).collect());
    let update = each(changes.clone(), entered);
    let complete = each(contents, bag);
    for workers in [1, 2, 4] {
        let (all, diffs, new) = modes(workers, batches.to_vec(), verb.clone());
        prop_assert_eq!(&all, &complete, "complete at {} workers", workers);
        prop_assert_eq!(&diffs, &changes, "changes at {} workers", workers);
        prop_assert_eq!(&new, &update, "update at {} workers", workers);
    }
    Ok(())
}

/// Checks the batches that a verb makes, at 1, 2 and 4 workers.
pub fn check_batches<T, U, V>(batches: &[Vec<T>], expected: Seen<U>, verb: V) -> Result<(), TestCaseError>
where
    T: Data + Send + Sync,
    U: Exchange + PartialEq + Debug,
    V: for<'s> Fn(&DStream<'s, T>) -> DStream<'s, U> + Clone + Send + Sync + 'static,
{
    for workers in [1, 2, 4] {
        prop_assert_eq!(&tidemill::testing::run(workers, batches.to_vec(), verb.clone()), &expected, "at {} workers", workers);
    }
    Ok(())
}
