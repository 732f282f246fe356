//! Verbs that estimate or draw: they have no exact model, but must be the same on any number of workers and in every run.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tidemill::core::data::Exchange;
use tidemill::core::time::millis;
use tidemill::prelude::DStream;
use tidemill::testing::{Seen, graph, run, run_handed_over, try_run};

use crate::harness::{batches, cases, each};

/// What a verb makes, the same at 1, 2 and 4 workers.
fn same<U, V>(given: &[Vec<u64>], verb: V) -> Seen<U>
where
    U: Exchange + PartialEq + std::fmt::Debug,
    V: for<'s> Fn(&DStream<'s, u64>) -> DStream<'s, U> + Clone + Send + Sync + 'static,
{
    let alone = run(1, given.to_vec(), verb.clone());
    for workers in [2, 4] {
        assert_eq!(run(workers, given.to_vec(), verb.clone()), alone, "{workers} workers");
    }
    assert_eq!(alone.len(), given.len());
    alone
}

#[test]
fn all_rows_and_no_row_are_drawn() {
    each(0..50i64, |s| s.sample(1.0, 3), |rows| rows);
    each(0..50i64, |s| s.sample(0.0, 3), |_| vec![]);
    each(
        0..50u8,
        |s| s.distinct().sample(1.0, 3),
        |rows| {
            let once: BTreeSet<u8> = rows.into_iter().collect();
            once.into_iter().collect()
        },
    );
}

/// Equal rows are drawn on their own, and each batch, partition and seed draws others.
#[test]
fn a_sample_is_random() {
    let given = [vec![7; 20_000], vec![7; 20_000]];
    let drawn: Seen<u64> = same(&given, |s| s.sample(0.3, 1));
    for (_, rows) in &drawn {
        // The standard deviation is 65.
        assert!((5_740..6_260).contains(&rows.len()), "{}", rows.len());
    }
    let numbered = vec![(0..4_000).collect::<Vec<u64>>(), (0..4_000).collect()];
    let of_seed = |seed| same(&numbered, move |s| s.sample(0.3, seed));
    let (one, other) = (of_seed(1), of_seed(2));
    let common = |a: &[u64], b: &[u64]| a.iter().filter(|n| b.contains(n)).count();
    for (a, b) in [(&one[0].1, &one[1].1), (&one[0].1, &other[0].1)] {
        // Of 4,000 rows, both draw 360; the standard deviation is 18.
        assert!((270..450).contains(&common(a, b)), "{}", common(a, b));
    }
    let quarter = |l: u64| one[0].1.iter().filter(|n| *n / 1_000 == l).map(|n| n % 1_000).collect::<Vec<_>>();
    assert_ne!(quarter(0), quarter(1), "partitions draw on their own");
    assert!(one[0].1.is_sorted(), "in the order of the stream");
}

/// Rows without an order are drawn by what they are.
#[test]
fn a_sample_of_unordered_rows() {
    let given = [(0..4_000).collect::<Vec<u64>>()];
    let drawn = same(&given, |s| s.count_by_value().sample(0.5, 9));
    assert!((1_850..2_150).contains(&drawn[0].1.len()), "{}", drawn[0].1.len());
    let view = same(&given, |s| s.accumulate().update().sample(0.5, 9));
    assert!((1_850..2_150).contains(&view[0].1.len()), "{}", view[0].1.len());
}

#[test]
fn a_fraction_is_between_0_and_1() {
    for fraction in [-0.1, 1.1, f64::NAN] {
        let e = try_run(1, millis(1), vec![vec![1u8]], move |s| s.sample(fraction, 1)).unwrap_err().to_string();
        assert!(e.contains("sample (samples.rs:") && e.contains(&format!("{fraction} is not a number from 0 to 1")), "{e}");
    }
}

/// How far an estimate may be off: four standard deviations.
fn near(estimate: i64, exact: usize, sd: f64) -> bool {
    (estimate as f64 - exact as f64).abs() <= 4.0 * sd * exact as f64 + 0.5
}

#[test]
fn distinct_rows_are_estimated() {
    cases(12, batches(0..3_000u64), |given| {
        let given: Vec<Vec<u64>> =
            given.into_iter().map(|rows| rows.into_iter().flat_map(|n| n..n + n % 400).collect()).collect();
        for ((_, estimate), rows) in same(&given, |s| s.count_approx_distinct(0.05)).into_iter().zip(&given) {
            let exact = rows.iter().collect::<BTreeSet<_>>().len();
            prop_assert!(near(estimate[0], exact, 0.05), "{:?} of {}", estimate, exact);
        }
        Ok(())
    });
}

#[test]
fn distinct_rows_of_a_window_are_estimated() {
    cases(12, (batches(0..3_000u64), 1..4usize, 1..4usize), |(given, length, slide)| {
        let given: Vec<Vec<u64>> =
            given.into_iter().map(|rows| rows.into_iter().flat_map(|n| n..n + n % 400).collect()).collect();
        let (long, often) = (millis(length as u64), millis(slide as u64));
        let estimates =
            |workers| run(workers, given.clone(), move |s| s.count_approx_distinct_by_window(0.05, long, often).complete());
        let alone = estimates(1);
        for workers in [2, 4] {
            prop_assert_eq!(&estimates(workers), &alone);
        }
        prop_assert_eq!(alone.len(), given.len() / slide);
        for (t, estimate) in alone {
            let window = &given[(t as usize).saturating_sub(length)..t as usize];
            let exact = window.iter().flatten().collect::<BTreeSet<_>>().len();
            // An empty window has no row.
            prop_assert_eq!(estimate.len(), usize::from(exact > 0));
            prop_assert!(estimate.iter().all(|estimate| near(*estimate, exact, 0.05)), "{:?} of {}", estimate, exact);
        }
        Ok(())
    });
}

/// The sketches of a window are in checkpoints.
#[test]
fn estimates_of_a_window_go_on_after_a_restart() {
    let given: Vec<Vec<u64>> = (0..8u64).map(|t| (t * 100..t * 100 + 300).collect()).collect();
    let whole = run(1, given.clone(), |s| s.count_approx_distinct_by_window(0.01, millis(3), millis(1)).complete());
    for workers in [(1, 2), (4, 1)] {
        let (first, then) = (given[..5].to_vec(), given[5..].to_vec());
        let halves =
            run_handed_over(workers, first, then, |s| s.count_approx_distinct_by_window(0.01, millis(3), millis(1)).complete());
        assert_eq!(halves, whole, "{workers:?}");
    }
}

#[test]
fn a_precision_that_cannot_be_is_refused() {
    let refused = graph(millis(1), |ssc| {
        let s = ssc.test_stream(vec![vec![1u8]]);
        s.count_approx_distinct(0.0).print(1);
        s.count_approx_distinct_by_window(2.0, millis(1), millis(1)).print(1);
        Ok(())
    });
    let e = refused.unwrap_err().to_string();
    assert!(e.contains("count_approx_distinct (samples.rs:") && e.contains("deviation is 0: "), "{e}");
    assert!(e.contains("count_approx_distinct_by_window (samples.rs:") && e.contains("deviation is 2: "), "{e}");
}
