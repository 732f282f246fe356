//! Verbs that choose partitions, and those that see them. The harness reads a batch of `n` rows in four partitions; partition `l`
//! begins at row `n * l / 4`.

use std::collections::BTreeMap;

use tidemill::api::context::StreamingContext;
use tidemill::core::key_groups::KeyGroups;
use tidemill::core::time::millis;
use tidemill::testing::{check, graph};

use crate::harness::{bag, each, pairs};

/// The rows as the harness reads them, each with its partition and its place there.
fn places<T: Clone>(rows: &[T]) -> Vec<(u32, u64, T)> {
    let cut = |l: usize| rows.len() * l / 4;
    (0..4).flat_map(|l| (0..).zip(&rows[cut(l)..cut(l + 1)]).map(move |(i, row)| (l as u32, i, row.clone()))).collect()
}

/// Rows by the partition that is chosen for each, in their order.
fn chosen<T>(rows: impl IntoIterator<Item = (u64, T)>) -> Vec<Vec<T>> {
    let mut partitions: BTreeMap<u64, Vec<T>> = BTreeMap::new();
    rows.into_iter().for_each(|(partition, row)| partitions.entry(partition).or_default().push(row));
    partitions.into_values().collect()
}

#[test]
fn glom() {
    let model = |rows: Vec<i64>| chosen(places(&rows).into_iter().map(|(l, _, row)| (l.into(), row)));
    each(0..50i64, |s| s.glom(), model);
}

/// The vectors of an unordered stream have a defined order, although its rows have none.
#[test]
fn glom_of_unordered_rows() {
    let by_group = |mut rows: Vec<i64>| {
        rows.sort_unstable();
        rows.dedup();
        bag(chosen(bag(rows).into_iter().map(|n| (KeyGroups::default().of(&n), n))))
    };
    let many = |rows: Vec<i64>| rows.into_iter().flat_map(|n| n..n + 300).collect();
    each(0..50i64, |s| s.flat_map(|n| n..n + 300).distinct().glom(), move |rows| by_group(many(rows)));
    // Rows of a view without key groups.
    each(
        0..50i64,
        |s| s.over(millis(1), millis(1)).distinct().map(|n| n).complete().glom(),
        move |rows| {
            let mut groups = by_group(rows);
            groups.sort_by_key(|group| KeyGroups::default().of(&group[0]));
            groups
        },
    );
}

#[test]
fn map_partitions_with_index() {
    let model = |rows: Vec<i64>| {
        let mut counts = BTreeMap::new();
        places(&rows).into_iter().for_each(|(l, ..)| *counts.entry(l).or_insert(0u64) += 1);
        counts.into_iter().chain([(1 << 16, rows.len() as u64)].into_iter().filter(|(_, n)| *n > 0)).collect()
    };
    each(0..50i64, |s| s.union(&s.coalesce(1)).map_partitions_with_index(|i, part| [(i, part.len() as u64)]), model);
}

#[test]
fn repartition() {
    let model = |n: u64| move |rows: Vec<i64>| chosen(places(&rows).into_iter().map(|(l, i, row)| ((u64::from(l) + i) % n, row)));
    each(0..50i64, |s| s.repartition(3).glom(), model(3));
    each(0..50i64, |s| s.repartition(128).glom(), model(128));
    each(0..50i64, |s| s.repartition(1), |rows| rows);
}

/// More rows than a container has: every worker gets the same number.
#[test]
fn repartition_of_many_rows() {
    let rows: Vec<i64> = (0..40_000).collect();
    check([rows], |s| s.coalesce(1).repartition(8).glom().map(|part| part.len() as u64), [vec![5_000; 8]]);
}

/// Unordered rows are dealt by their encoding.
#[test]
fn repartition_of_unordered_rows() {
    let model = |rows: Vec<(u8, i64)>| {
        let mut once: BTreeMap<u8, i64> = BTreeMap::new();
        rows.into_iter().for_each(|(k, n)| *once.entry(k).or_default() += n);
        chosen(bag(once).into_iter().map(|row| (KeyGroups::default().of(&row) * 3 / 128, row)))
    };
    each(pairs(), |s| s.reduce_by_key(|a, b| a + b).repartition(3).glom(), model);
}

#[test]
fn coalesce() {
    let model = |rows: Vec<i64>| chosen(places(&rows).into_iter().map(|(l, _, row)| (u64::from(l) % 3, row)));
    each(0..50i64, |s| s.coalesce(3).glom(), model);
    each(0..50i64, |s| s.coalesce(1), |rows| rows);
    each(0..50i64, |s| s.coalesce(100).glom(), |rows| chosen(places(&rows).into_iter().map(|(l, _, row)| (l.into(), row))));
}

/// A sorted stream keeps its order, and key groups stay together.
#[test]
fn coalesce_of_sorted_and_of_unordered_rows() {
    let sorted = |mut rows: Vec<i64>| {
        rows.sort_unstable_by_key(|n| -n);
        rows
    };
    each(0..50i64, |s| s.sort_by(|n| -n).coalesce(4), sorted);
    let model = |mut rows: Vec<i64>| {
        rows.sort_unstable();
        rows.dedup();
        chosen(bag(rows).into_iter().map(|n| (KeyGroups::default().of(&n) * 2 / 128, n)))
    };
    each(0..50i64, |s| s.distinct().coalesce(2).glom(), model);
}

#[test]
fn partition_by() {
    let model = |rows: Vec<(u8, i64)>| chosen(rows.into_iter().map(|(k, n)| (KeyGroups::default().of(&k) * 5 / 128, (k, n))));
    each(pairs(), |s| s.partition_by(5).glom(), model);
}

/// The partitions of a repartitioned stream are those of the verbs that follow, windows and unions among them.
#[test]
fn repartitioned_rows_stay_in_their_partitions() {
    let twice = |parts: Vec<Vec<i64>>| parts.clone().into_iter().chain(parts).collect::<Vec<_>>();
    let model =
        move |rows: Vec<i64>| twice(chosen(places(&rows).into_iter().map(|(l, i, row)| ((u64::from(l) + i) % 3, row + 1))));
    each(
        0..50i64,
        |s| {
            let dealt = s.repartition(3);
            let window = dealt.window(millis(1), millis(1)).map(|n| n + 1);
            window.union(&dealt.map(|n| n + 1)).map_partitions(|part| [part])
        },
        model,
    );
}

/// A part file for each partition, and one for each shard without `coalesce`.
#[test]
fn partitions_are_part_files() {
    let files = |workers, build: fn(&tidemill::prelude::DStream<'_, String>, &str)| {
        let dir = crate::temp_dir::TempDir::made("partitions");
        let prefix = dir.join("words").display().to_string();
        let words: Vec<String> = (0..200).map(|n| format!("word {}", n % 50)).collect();
        let job = StreamingContext::builder("parts", millis(1)).workers(workers);
        job.start_on_clock(tidemill::job::ManualClock::at(0), move |ssc| {
            build(&ssc.test_stream(vec![words.clone()]), &prefix);
            Ok(())
        })
        .unwrap()
        .await_termination()
        .unwrap();
        let mut parts = BTreeMap::new();
        for file in std::fs::read_dir(dir.join("words-1")).unwrap().map(|file| file.unwrap().path()) {
            let text = std::fs::read_to_string(&file).unwrap();
            parts.insert(file.file_name().unwrap().to_str().unwrap().to_owned(), text.lines().count());
        }
        parts.into_iter().filter(|(name, _)| name.starts_with("part")).map(|(_, lines)| lines).collect::<Vec<_>>()
    };
    for workers in [1, 2, 4] {
        assert_eq!(files(workers, |s, to| s.save_as_text_files(to, "")), [50; 4]);
        assert_eq!(files(workers, |s, to| s.repartition(10).save_as_text_files(to, "")), [20; 10]);
        assert_eq!(files(workers, |s, to| s.coalesce(1).save_as_text_files(to, "")), [200]);
        assert_eq!(files(workers, |s, to| s.count_by_value().coalesce(1).save_as_text_files(to, "")), [50]);
        assert_eq!(files(workers, |s, to| s.count_by_value().save_as_text_files(to, "")).len(), 8);
    }
}

#[test]
fn numbers_that_cannot_be_are_refused() {
    for n in [0, 129] {
        let refused = graph(millis(1), move |ssc| {
            let s = ssc.test_stream(vec![vec![(1u8, 1u8)]]);
            s.repartition(n).coalesce(n).partition_by(n).print(1);
            Ok(())
        });
        let e = refused.unwrap_err().to_string();
        for verb in ["repartition (", "coalesce (", "partition_by ("] {
            assert!(e.contains(verb) && e.contains(&format!("{n} partitions: there can be 1 to 128")), "{e}");
        }
    }
}
