//! Narrow verbs: rows keep their partitions and their order.

use crate::harness::{agrees, each};

#[test]
fn map() {
    each(0..50i64, |s| s.map(|n| n * 3), |rows| rows.into_iter().map(|n| n * 3).collect());
}

#[test]
fn filter() {
    each(0..50i64, |s| s.filter(|n| n % 3 == 1), |rows| rows.into_iter().filter(|n| n % 3 == 1).collect());
}

/// If another verb reads the same rows, the filter takes a separate code path.
#[test]
fn filter_of_rows_that_others_read_too() {
    let model = |rows: Vec<i64>| rows.iter().copied().filter(|n| n % 2 == 0).chain(rows.iter().map(|n| -n)).collect();
    each(0..50i64, |s| s.filter(|n| n % 2 == 0).union(&s.map(|n| -n)), model);
}

#[test]
fn flat_map() {
    each(0..5u8, |s| s.flat_map(|n| 0..n), |rows| rows.into_iter().flat_map(|n| 0..n).collect());
}

#[test]
fn flat_map_into() {
    each(
        "[ab]{0,2}( [ab]{0,2}){0,2}",
        |s| s.flat_map_into(|line: &String, out| out.extend(line.split(' ').map(str::to_owned))),
        |rows| rows.iter().flat_map(|l| l.split(' ')).map(str::to_owned).collect(),
    );
}

#[test]
fn map_values() {
    each(crate::harness::pairs(), |s| s.map_values(|n| n + 1), |rows| rows.into_iter().map(|(k, n)| (k, n + 1)).collect());
}

#[test]
fn flat_map_values() {
    let model = |rows: Vec<(u8, i64)>| rows.into_iter().flat_map(|(k, n)| (0..n % 4).map(move |i| (k, i))).collect();
    each(crate::harness::pairs(), |s| s.flat_map_values(|n| 0..n % 4), model);
}

#[test]
fn keys_and_values() {
    each(crate::harness::pairs(), |s| s.keys(), |rows| rows.into_iter().map(|(k, _)| k).collect());
    each(crate::harness::pairs(), |s| s.values(), |rows| rows.into_iter().map(|(_, n)| n).collect());
}

/// The harness splits a batch of `n` rows into four partitions. Partition `l` begins at row `n * l / 4`.
#[test]
fn map_partitions() {
    let model = |rows: Vec<i64>| {
        let cut = |l: usize| rows.len() * l / 4;
        let partition = |l| rows[cut(l)..cut(l + 1)].to_vec();
        (0..4).map(partition).filter(|part: &Vec<i64>| !part.is_empty()).map(|part| (part.len() as u64, part)).collect()
    };
    each(0..50i64, |s| s.map_partitions(|part| [(part.len() as u64, part)]), model);
}

#[test]
fn cache_and_wrap_change_nothing() {
    each(0..50i64, |s| s.cache().wrap(s.inner()), |rows| rows);
}

/// A closure with state sees the rows of a partition in order, over all batches.
#[test]
fn closures_see_their_rows_in_order() {
    agrees(
        0..50i64,
        |s| {
            let mut last = i64::MIN;
            let numbered = s.transform(|b| b).map(move |n| std::mem::replace(&mut last, n));
            numbered.filter(|n| *n > i64::MIN)
        },
        |given| {
            let mut last = None;
            given.into_iter().map(|rows| rows.into_iter().filter_map(|n| last.replace(n)).collect()).collect()
        },
    );
}
