//! Verbs on views: on windows, where rows are added and removed, and on views that only grow.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::model::*;
use tidemill::core::time::millis;
use tidemill::prelude::{BadRecord, BoxError, DStream, View};

/// Every value of a key on the left with every value of it on the right.
fn joined<A: Clone, B: Clone>(left: &[(u8, A)], right: &[(u8, B)]) -> Vec<(u8, (A, B))> {
    let partners = |(k, a): &(u8, A)| {
        let (k, a) = (*k, a.clone());
        right.iter().filter(move |(l, _)| *l == k).map(move |(_, b)| (k, (a.clone(), b.clone())))
    };
    left.iter().flat_map(partners).collect()
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn accumulate(batches in batches(0u16..4)) {
        check_view(&batches, so_far(&batches), |s| s.accumulate())?;
    }

    #[test]
    fn sum_by_key(batches in batches(pair())) {
        let sum = |(k, vs): (u8, Vec<i64>)| (k, vs.iter().sum::<i64>());
        let sums = each(so_far(&batches), |rows| by_key(rows).into_iter().map(sum).filter(|(_, n)| *n != 0).collect());
        check_view(&batches, sums, |s| s.sum_by_key())?;
    }

    /// The function is not commutative, so the order of the values counts.
    #[test]
    fn fold_by_key(batches in batches(pair())) {
        let fold = |s: i64, v: i64| s.wrapping_mul(31) ^ v;
        let folds = each(so_far(&batches), |rows| {
            by_key(rows).into_iter().map(|(k, vs)| (k, vs.into_iter().fold(7, fold))).collect()
        });
        check_view(&batches, folds, move |s| s.fold_by_key(7, fold))?;
    }

    /// An odd number is bad: a bad record for each that comes, and none when it leaves.
    #[test]
    fn try_map_vectorized(length in 1usize..4, batches in batches(0u16..6)) {
        fn tens<'s>(s: &DStream<'s, u16>, length: usize) -> (View<'s, u16>, DStream<'s, BadRecord>) {
            let ten = |n: u16| match n % 3 {
                0 => None,
                1 => Some(Ok(10 * n)),
                _ => Some(Err(BoxError::from(n.to_string()))),
            };
            s.over(millis(length as u64), millis(1)).try_map_vectorized(move |rows| rows.into_iter().map(ten).collect())
        }
        let contents = windows(&batches, (length, 1));
        let good = each(contents.clone(), |rows| rows.into_iter().filter(|n| n % 3 == 1).map(|n| 10 * n).collect());
        check_view(&batches, good, move |s| tens(s, length).0)?;
        let (mut before, mut bad) = (BTreeMap::new(), Vec::new());
        for (t, rows) in contents {
            let now: BTreeMap<u16, i64> = counts(rows.into_iter().filter(|n| n % 3 == 2).collect()).into_iter().collect();
            let new = |(n, times): (&u16, &i64)| (before.get(n).copied().unwrap_or(0)..*times).map(|_| n.to_string()).collect::<Vec<_>>();
            bad.push((t, bag(now.iter().flat_map(new).collect())));
            before = now;
        }
        check_batches(&batches, bad, move |s| tens(s, length).1.map(|bad| bad.reason))?;
    }

    #[test]
    fn distinct(shape in shape(), batches in batches(0u16..4)) {
        let (length, slide) = (millis(shape.0 as u64), millis(shape.1 as u64));
        let rows = each(windows(&batches, shape), |rows| counts(rows).into_iter().map(|(row, _)| row).collect());
        check_view(&batches, rows, move |s| s.over(length, slide).distinct())?;
        let counted = each(windows(&batches, shape), |rows| counts(rows).into_iter().map(|(row, _)| (row, 1i64)).collect());
        check_view(&batches, counted, move |s| s.over(length, slide).distinct().count_by_value())?;
    }

    /// A sum depends on how often each row occurs.
    #[test]
    fn reduce_by_key(shape in shape(), batches in batches(pair())) {
        let (length, slide) = (millis(shape.0 as u64), millis(shape.1 as u64));
        let sums = each(windows(&batches, shape), |rows| {
            by_key(rows).into_iter().map(|(k, vs)| (k, vs.iter().sum::<i64>())).collect()
        });
        check_view(&batches, sums, move |s| s.over(length, slide).reduce_by_key(|a, b| a + b))?;
    }

    #[test]
    fn join(a in shape(), b in shape(), batches in batches(pair())) {
        let [(l, s), (m, u)] = [a, b].map(|(length, slide)| (millis(length as u64), millis(slide as u64)));
        let contents = two_windows(&batches, a, b).into_iter().map(|(t, one, two)| (t, joined(&one, &two))).collect();
        check_view(&batches, contents, move |d| d.over(l, s).join(&d.over(m, u)))?;
    }

    /// The best `n` rows in order. If one of them is removed, the next best row takes its place.
    #[test]
    fn top_by(shape in shape(), n in 0usize..7, batches in batches((0u8..2, 0i64..3))) {
        let (length, slide) = (millis(shape.0 as u64), millis(shape.1 as u64));
        let best = each(windows(&batches, shape), |rows| {
            let mut rows = bag(rows);
            rows.sort_by_key(|(_, v)| std::cmp::Reverse(*v));
            rows.truncate(n);
            rows
        });
        for workers in [1, 2, 4] {
            let (complete, changes, _) = modes(workers, batches.clone(), move |s| s.over(length, slide).top_by(n, |(_, v)| *v));
            prop_assert_eq!(&complete, &best, "at {} workers", workers);
            // The changes add up to the contents, and no row occurs twice in one batch of changes.
            let mut held = BTreeMap::new();
            for ((_, changes), (_, best)) in changes.into_iter().zip(&best) {
                let rows: std::collections::BTreeSet<_> = changes.iter().map(|c| c.row).collect();
                prop_assert!(rows.len() == changes.len() && changes.iter().all(|c| c.diff != 0));
                changes.into_iter().for_each(|c| *held.entry(c.row).or_insert(0) += c.diff);
                held.retain(|_, diff| *diff != 0);
                prop_assert_eq!(held.clone().into_iter().collect::<Vec<_>>(), counts(best.clone()));
            }
        }
    }

    /// A batch is joined with the view at its time. Later changes of the view do not change the result.
    #[test]
    fn join_view(shape in shape(), batches in batches(pair())) {
        let (length, slide) = (millis(shape.0 as u64), millis(shape.1 as u64));
        let mut windows = BTreeMap::from_iter(windows(&batches, shape));
        let mut view = Vec::new();
        let mut met = Vec::new();
        for (t, batch) in (1u64..).zip(&batches) {
            view = windows.remove(&t).unwrap_or(view);
            met.push((t, bag(joined(batch, &view))));
        }
        check_batches(&batches, met, move |s| s.join_view(&s.over(length, slide)))?;
    }
}
