//! Joins of two windows in which rows are added and removed, each against all pairs of rows.

use proptest::prelude::*;

use super::model::*;
use tidemill::core::time::millis;

type Row = (u8, i64);
type Outer = (u8, (Option<i64>, Option<i64>));

/// The values of a key, each as an option; `None` if there is none.
fn values(rows: &[Row], k: u8) -> Vec<Option<i64>> {
    let found: Vec<Option<i64>> = rows.iter().filter(|row| row.0 == k).map(|row| Some(row.1)).collect();
    if found.is_empty() { vec![None] } else { found }
}

/// Each value of a key on the left with each value on the right; the missing side has `None`.
fn outer(left: &[Row], right: &[Row]) -> Vec<Outer> {
    let keys = (0..=u8::MAX).filter(|k| left.iter().chain(right).any(|row| row.0 == *k));
    keys.flat_map(|k| {
        let rights = values(right, k);
        values(left, k).into_iter().flat_map(move |v| rights.clone().into_iter().map(move |w| (k, (v, w))))
    })
    .collect()
}

fn has(rows: &[Row], k: u8) -> bool {
    rows.iter().any(|row| row.0 == k)
}

/// Few keys, so that they meet, and few values, so that rows occur more than once.
fn rows() -> impl Strategy<Value = Row> {
    (0u8..3, 0i64..2)
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn outer_joins(a in shape(), b in shape(), batches in batches(rows())) {
        let [(l, s), (m, u)] = [a, b].map(|(length, slide)| (millis(length as u64), millis(slide as u64)));
        let outer: Vec<_> = two_windows(&batches, a, b).into_iter().map(|(t, one, two)| (t, outer(&one, &two))).collect();
        check_view(&batches, outer.clone(), move |d| d.over(l, s).full_outer_join(&d.over(m, u)))?;
        let left = each(outer.clone(), |rows| rows.into_iter().filter_map(|(k, (v, w))| Some((k, (v?, w)))).collect());
        check_view(&batches, left, move |d| d.over(l, s).left_outer_join(&d.over(m, u)))?;
        let right = each(outer, |rows| rows.into_iter().filter_map(|(k, (v, w))| Some((k, (v, w?)))).collect());
        check_view(&batches, right, move |d| d.over(l, s).right_outer_join(&d.over(m, u)))?;
    }

    #[test]
    fn semi_and_anti_joins(a in shape(), b in shape(), batches in batches(rows())) {
        let [(l, s), (m, u)] = [a, b].map(|(length, slide)| (millis(length as u64), millis(slide as u64)));
        let split = |there: bool| {
            let windows = two_windows(&batches, a, b).into_iter();
            windows.map(move |(t, one, two)| (t, one.into_iter().filter(|(k, _)| has(&two, *k) == there).collect())).collect()
        };
        check_view(&batches, split(true), move |d| d.over(l, s).semi_join(&d.over(m, u)))?;
        check_view(&batches, split(false), move |d| d.over(l, s).anti_join(&d.over(m, u)))?;
    }

    /// The views only grow, a key enters one of them before the other, and both read one stream.
    #[test]
    fn joins_of_views_that_grow(batches in batches(rows())) {
        let contents: Vec<_> = so_far(&batches).into_iter().map(|(t, rows)| {
            let (ones, all) = (rows.iter().copied().filter(|row| row.1 == 1).collect::<Vec<_>>(), rows);
            let semi: Vec<Row> = all.iter().copied().filter(|(k, _)| has(&ones, *k)).collect();
            (t, (outer(&all, &ones), semi))
        }).collect();
        let (outer, semi) = contents.into_iter().map(|(t, (outer, semi))| ((t, outer), (t, semi))).unzip();
        check_view(&batches, outer, |d| d.accumulate().full_outer_join(&d.filter(|row| row.1 == 1).accumulate()))?;
        check_view(&batches, semi, |d| d.accumulate().semi_join(&d.filter(|row| row.1 == 1).accumulate()))?;
    }
}
