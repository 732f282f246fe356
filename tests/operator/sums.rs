//! Sums that overflow, and keys that are equal but have different bits. Results are the same on any number of workers.

use tidemill::core::data::Exchange;
use tidemill::core::error::Error;
use tidemill::prelude::*;
use tidemill::testing::{check, try_run};

/// The operator, key and batch of the error with which a job ends, at 1, 2 and 4 workers.
fn refused<T, U, V>(batches: Vec<Vec<T>>, verb: V) -> (String, String, u64)
where
    T: Data + Send + Sync,
    U: Exchange + std::fmt::Debug,
    V: for<'s> Fn(&DStream<'s, T>) -> DStream<'s, U> + Clone + Send + Sync + 'static,
{
    let error = |workers| match try_run(workers, millis(1), batches.clone(), verb.clone()) {
        Err(Error::SumTooLarge { operator, key, time }) => (operator, key, time.millis()),
        other => panic!("at {workers} workers: {other:?}"),
    };
    let [one, two, four] = [1, 2, 4].map(error);
    assert_eq!((&one, &two), (&two, &four));
    one
}

fn verb_of(operator: &str) -> &str {
    operator.split(' ').next().unwrap()
}

#[test]
fn a_sum_that_does_not_fit_ends_the_job_and_names_the_key() {
    let given =
        |ns: &[&[i64]]| ns.iter().map(|ns| ns.iter().map(|n| ("tide".to_owned(), *n)).collect::<Vec<_>>()).collect::<Vec<_>>();
    let several = [&[1][..], &[i64::MAX - 1], &[], &[1]];
    let (operator, key, batch) = refused(given(&several), |s| s.sum_by_key().update());
    assert_eq!((verb_of(&operator), &*key, batch), ("sum_by_key", "\"tide\"", 4));
    assert!(operator.contains("(sums.rs:"), "{operator}");
    let one_batch = [&[7][..], &[i64::MIN + 1, -7, -7, -7]];
    assert_eq!(refused(given(&one_batch), |s| s.sum_by_key().complete()).2, 2);
    // These rows are already on the worker of their key, so there is no partial aggregation.
    let keyed = refused(given(&several), |s| s.reduce_by_key(|a, _| a).sum_by_key().complete());
    assert_eq!((verb_of(&keyed.0), keyed.2), ("sum_by_key", 4));
    let copies = |(word, diff)| Change { row: word, diff };
    let of_view = refused(given(&several), move |s| s.map(copies).changes_to_view().count_by_value().complete());
    assert_eq!((verb_of(&of_view.0), &*of_view.1, of_view.2), ("changes_to_view", "\"tide\"", 4));
}

#[test]
fn a_count_of_rows_that_does_not_fit_ends_the_job() {
    let rows = vec![vec![(1u8, i64::MAX)], vec![(2, 1)]];
    let (operator, key, batch) =
        refused(rows, |s| s.map(|(row, diff)| Change { row, diff }).changes_to_view().count().complete());
    assert_eq!((verb_of(&operator), &*key, batch), ("count", "all rows", 2));
}

#[test]
fn sums_up_to_the_end_of_the_range_are_right() {
    let rows = |n| vec![('a', n)];
    check(
        [rows(i64::MAX - 1), rows(1), rows(-i64::MAX), rows(-i64::MAX)],
        |s| s.sum_by_key().update(),
        [rows(i64::MAX - 1), rows(i64::MAX), vec![], rows(-i64::MAX)],
    );
    check(
        [rows(i64::MAX), rows(i64::MAX)],
        |s| s.fold_by_key(0i128, |sum, n| sum + i128::from(n)).update(),
        [vec![('a', i128::from(i64::MAX))], vec![('a', 2 * i128::from(i64::MAX))]],
    );
}

/// Each number of workers could sum `0.1` a thousand times in another order, and so give other digits.
#[test]
fn floats_are_summed_in_stream_order() {
    let prices: Vec<(u8, f64)> = (0..1_000u16).map(|n| ((n % 3) as u8, f64::from(n) / 10.0)).collect();
    let sum = |key| prices.iter().filter(|(k, _)| *k == key).fold(0.0, |sum, (_, x)| sum + x);
    check([prices.clone()], |s| s.sum_by_key().complete(), [[0, 1, 2].map(|k| (k, F64::from(sum(k)))).to_vec()]);
}

#[test]
fn equal_floats_are_one_key() {
    let floats = [0.0, -0.0, f64::NAN, -f64::NAN, f64::from_bits(0x7ff8_0000_0000_0001), -0.0].map(F64::from).to_vec();
    let expected = [(F64::from(0.0), 3i64), (F64::from(f64::NAN), 3)].to_vec();
    check([floats.clone()], |s| s.count_by_value(), [expected.clone()]);
    check([floats.clone()], |s| s.distinct().map(|x| x.is_nan()), [vec![false, true]]);
    check([floats.clone()], |s| s.accumulate().count_by_value().complete(), [expected.clone()]);
    check([floats.clone()], |s| s.map(|x| (x, 1i64)).group_by_key().map(|(x, ones)| (x, ones.len() as i64)), [expected.clone()]);
    check([floats.clone()], |s| s.map(|x| (x, 1i64)).sum_by_key().complete(), [expected.clone()]);
    check([floats], |s| s.count_by_value_and_window(millis(2), millis(1)).complete(), [expected]);
}
