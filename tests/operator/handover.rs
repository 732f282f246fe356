//! State is saved by key group and restored on another number of workers. The second job continues where the first one ended.

use std::fmt::Debug;

use tidemill::prelude::*;
use tidemill::testing::{run, run_handed_over};

type Pairs = Vec<Vec<(String, i64)>>;

fn batches(n: u64) -> Pairs {
    let word = |i: u64| (format!("k{}", i * 7 % 23), (i % 5) as i64 + 1);
    (0..n).map(|b| (0..b * 3 % 17).map(|i| word(b * 31 + i)).collect()).collect()
}

/// Two jobs, with different numbers of workers, return the same batches as one job.
fn same_as_one_job<U: Exchange + PartialEq + Debug>(
    verb: impl for<'s> Fn(&DStream<'s, (String, i64)>) -> DStream<'s, U> + Clone + Send + Sync + 'static,
) {
    let all = batches(12);
    let whole = run(1, all.clone(), verb.clone());
    for (workers, cut) in [((1, 2), 5), ((4, 1), 7), ((2, 4), 1)] {
        let (first, then) = all.split_at(cut);
        let seen = run_handed_over(workers, first.to_vec(), then.to_vec(), verb.clone());
        assert_eq!(seen, whole, "{workers:?} workers, cut after {cut} batches");
    }
}

#[test]
fn update_state_by_key() {
    same_as_one_job(|s| s.update_state_by_key(|new: &[i64], sum: Option<i64>| Some(new.iter().sum::<i64>() + sum.unwrap_or(0))));
}

#[test]
fn sum_by_key() {
    same_as_one_job(|s| s.sum_by_key().complete());
}

#[test]
fn accumulate() {
    same_as_one_job(|s| s.accumulate().complete());
}

#[test]
fn windows_over_values() {
    same_as_one_job(|s| s.count_by_value_and_window(millis(5), millis(1)).complete());
    same_as_one_job(|s| s.over(millis(4), millis(2)).complete());
    same_as_one_job(|s| s.over(millis(3), millis(4)).complete());
    same_as_one_job(|s| s.group_by_key_and_window(millis(4), millis(2)));
}

#[test]
fn windows_by_a_function() {
    same_as_one_job(|s| s.reduce_by_key_and_window(|a, b| a.max(b), millis(4), millis(1)).complete());
    same_as_one_job(|s| s.reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, millis(6), millis(2)).complete());
}

#[test]
fn fold_by_key() {
    same_as_one_job(|s| s.fold_by_key(0i64, |sum, n| sum * 3 + n).complete());
}

#[test]
fn latest_by_key() {
    same_as_one_job(|s| s.latest_by_key().complete());
}

#[test]
fn map_with_state() {
    let spec = |timeout| {
        let sum = |_: BatchTime, k: &String, n: Option<i64>, sum: &mut State<i64>| {
            let new = sum.get().unwrap_or(&0) + n.unwrap_or(0);
            n.into_iter().for_each(|_| sum.update(new));
            Some((k.clone(), new, sum.is_timing_out()))
        };
        StateSpec::function(sum).initial_state([("k3".to_owned(), 100), ("silent".to_owned(), 1)]).timeout(millis(timeout))
    };
    // The second job begins in the middle of the longer timeout.
    same_as_one_job(move |s| s.map_with_state(spec(2)).mapped());
    same_as_one_job(move |s| s.map_with_state(spec(8)).mapped());
    same_as_one_job(move |s| s.map_with_state(spec(4)).state_snapshots());
}

/// All states of the beginning were removed before the checkpoint: the second job does not have them again. The checkpoint names the
/// empty state.
#[test]
fn initial_states_are_those_of_the_first_job() {
    let forget = |_: BatchTime, k: &String, new: &[i64], sum: Option<i64>| {
        (k.as_str() != "begins").then(|| new.iter().sum::<i64>() + sum.unwrap_or(0))
    };
    same_as_one_job(move |s| s.update_state_by_key_with([("begins".to_owned(), 1i64)], forget));
    let forget = |_: BatchTime, _: &String, _: &[i64], calls: Option<i64>| calls.filter(|n| *n > 0).map(|n| n - 1);
    same_as_one_job(move |s| s.update_state_by_key_with([("begins".to_owned(), 1i64)], forget));
}
