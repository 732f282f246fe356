//! Rows that are not spread evenly: nearly all have one key, or one partition.

use std::collections::BTreeMap;

use crate::harness::bag;

/// Of 100 rows, 99 have the same key. All other keys are different.
fn skewed() -> [Vec<String>; 3] {
    let row = |n: u32| if n.is_multiple_of(100) { format!("key {n}") } else { "hot".to_owned() };
    [(0..30_000).map(row).collect(), Vec::new(), (30_000..40_000).map(row).collect()]
}

#[test]
fn e4_one_key_that_has_nearly_all_rows_is_counted_like_any_other() {
    let mut all = BTreeMap::new();
    let [counts, totals] = [false, true].map(|total| {
        skewed().map(|rows| {
            let mut batch = BTreeMap::new();
            let into = if total { &mut all } else { &mut batch };
            rows.into_iter().for_each(|row| *into.entry(row).or_insert(0i64) += 1);
            bag(into.clone())
        })
    });
    assert_eq!((all["hot"], all.len()), (39_600, 401), "the rows are skewed");
    tidemill::testing::check(skewed(), |s| s.count_by_value(), counts);
    tidemill::testing::check(skewed(), |s| s.count_by_value().sum_by_key().complete(), totals);
}

/// The rows of the hot key stay in the order in which they were read.
#[test]
fn e4_one_key_that_has_nearly_all_rows_keeps_their_order() {
    let rows: Vec<(u8, i64)> = (0..20_000).map(|n| (u8::from(n % 100 == 0), n)).collect();
    let of = |key| rows.iter().filter(|(k, _)| *k == key).map(|(_, n)| *n).collect::<Vec<i64>>();
    let expected = bag([(0u8, of(0)), (1u8, of(1))]);
    tidemill::testing::check([rows.clone()], |s| s.group_by_key(), [expected]);
}
