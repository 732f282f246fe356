//! Sums, averages and extremes of the values of each key of a window.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::model::*;
use tidemill::core::error::Error;
use tidemill::core::time::millis;
use tidemill::prelude::*;
use tidemill::testing::{check, try_run};

type Row = (u8, i64);

/// What `f` makes of the values of each key.
fn folded<U>(windows: Vec<(u64, Vec<Row>)>, f: impl Fn(&[i64]) -> U) -> Vec<(u64, Vec<(u8, U)>)> {
    each(windows, |rows| by_key(rows).into_iter().map(|(k, values)| (k, f(&values))).collect())
}

fn sum(values: &[i64]) -> i64 {
    values.iter().sum()
}

/// The values are whole numbers or end with .5, so sums of them are exact.
fn halves(values: &[i64]) -> F64 {
    F64::from(sum(values) as f64 / 2.0)
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn totals_by_key(shape in shape(), batches in batches(pair())) {
        let (length, slide) = (millis(shape.0 as u64), millis(shape.1 as u64));
        let all = windows(&batches, shape);
        check_view(&batches, folded(all.clone(), sum), move |s| s.over(length, slide).sum_by_key())?;
        let average = |values: &[i64]| F64::from(sum(values) as f64 / values.len() as f64);
        check_view(&batches, folded(all, average), move |s| s.over(length, slide).average_by_key())?;
    }

    #[test]
    fn aggregates_by_key(shape in shape(), batches in batches(pair())) {
        let (length, slide) = (millis(shape.0 as u64), millis(shape.1 as u64));
        let middle = |values: &[i64]| {
            let mut values = values.to_vec();
            values.sort_unstable();
            values[values.len() / 2]
        };
        let expected = folded(windows(&batches, shape), middle);
        check_view(&batches, expected, move |s| {
            let fold = |values: &mut BTreeMap<i64, i64>, value, copies| {
                *values.entry(value).or_insert(0) += copies;
                values.retain(|_, copies| *copies != 0);
            };
            let middle = |_: &u8, values: &BTreeMap<i64, i64>| {
                let all: Vec<i64> = values.iter().flat_map(|(v, n)| std::iter::repeat_n(*v, *n as usize)).collect();
                all[all.len() / 2]
            };
            s.over(length, slide).aggregate_by_key(BTreeMap::new(), fold, middle)
        })?;
    }

    #[test]
    fn totals_of_floats_by_key(shape in shape(), batches in batches(pair())) {
        let (length, slide) = (millis(shape.0 as u64), millis(shape.1 as u64));
        let all = windows(&batches, shape);
        let half = |n: i64| F64::from(n as f64 / 2.0);
        check_view(&batches, folded(all.clone(), halves), move |s| s.map_values(half).over(length, slide).sum_by_key())?;
        let average = |values: &[i64]| halves(values) / values.len() as f64;
        check_view(&batches, folded(all, average), move |s| s.map_values(half).over(length, slide).average_by_key())?;
    }

    #[test]
    fn extremes_by_key(shape in shape(), batches in batches(pair())) {
        let (length, slide) = (millis(shape.0 as u64), millis(shape.1 as u64));
        let all = windows(&batches, shape);
        let least = folded(all.clone(), |values| *values.iter().min().unwrap());
        check_view(&batches, least, move |s| s.over(length, slide).min_by_key())?;
        let largest = folded(all, |values| *values.iter().max().unwrap());
        check_view(&batches, largest, move |s| s.over(length, slide).max_by_key())?;
    }
}

/// A sum that fits may have parts that do not.
#[test]
fn a_sum_of_a_view_that_does_not_fit_names_the_key() {
    let rows = |n: i64| vec![('a', n), ('b', 1)];
    check(
        [rows(i64::MAX), rows(-i64::MAX), vec![]],
        |s| s.over(millis(2), millis(1)).sum_by_key().complete(),
        [rows(i64::MAX), vec![('a', 0), ('b', 2)], rows(-i64::MAX)],
    );
    for workers in [1, 2, 4] {
        let seen = try_run(workers, millis(1), vec![rows(i64::MAX), rows(1)], |s| s.accumulate().sum_by_key().complete());
        match seen {
            Err(Error::SumTooLarge { operator, key, time }) => {
                assert!(operator.starts_with("sum_by_key (view_totals.rs:"), "{operator}");
                assert_eq!((&*key, time.millis()), ("'a'", 2), "at {workers} workers");
            }
            other => panic!("at {workers} workers: {other:?}"),
        }
    }
}
