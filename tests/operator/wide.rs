//! Verbs that bring rows together: counts, reductions, sets.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::{bag, each};

fn counts<T: Ord>(rows: impl IntoIterator<Item = T>) -> BTreeMap<T, i64> {
    let mut counts = BTreeMap::new();
    rows.into_iter().for_each(|r| *counts.entry(r).or_insert(0) += 1);
    counts
}

#[test]
fn count() {
    each(0..50u8, |s| s.count(), |rows| vec![rows.len() as i64]);
}

#[test]
fn count_by_value() {
    each(-3..3i64, |s| s.count_by_value(), |rows| bag(counts(rows)));
}

#[test]
fn count_by() {
    each(
        "[ab]{0,2}( [ab]{0,2}){0,3}",
        |s| s.count_by::<str>(|line: &String, out| line.split(' ').for_each(|w| out.push(w))),
        |rows| bag(counts(rows.iter().flat_map(|l| l.split(' ')).map(str::to_owned))),
    );
}

#[test]
fn distinct() {
    each(-5..5i64, |s| s.distinct(), |rows| bag(rows.into_iter().collect::<BTreeSet<_>>()));
}

#[test]
fn reduce() {
    each(-50..50i64, |s| s.reduce(|a, b| a + b), |rows| rows.into_iter().reduce(|a, b| a + b).into_iter().collect());
    each("[a-f]{1,3}", |s| s.reduce(|a, b| a.max(b)), |rows| rows.into_iter().max().into_iter().collect());
}

/// A count of counts: the second verb gets unordered rows.
#[test]
fn counts_of_counts() {
    let model = |rows| bag(counts(counts(rows).into_values()));
    each(0..6u8, |s| s.count_by_value().map(|(_, n)| n).count_by_value(), model);
}

/// Many rows in one batch: every exchange sends more than one container.
#[test]
fn many_rows() {
    let rows: Vec<i64> = (0..20_000).map(|n| n * n % 7_919).collect();
    let expected = bag(counts(rows.iter().copied()));
    tidemill::testing::check([rows, vec![1]], |s| s.count_by_value(), [expected, vec![(1, 1)]]);
}
