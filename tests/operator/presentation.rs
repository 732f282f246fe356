//! The order of `sort_by`, `top` and `top_by` on a view reaches the output in every output mode, also through narrow verbs.

use std::cmp::Reverse;
use std::fmt::Debug;

use proptest::prelude::*;
use tidemill::prelude::*;
use tidemill::testing::{Seen, check, graph};

use super::model::*;

/// The expected rows in each mode of a view that is sorted by `key` and then mapped by `f`. `contents`: the rows that are sorted.
fn presented<T: Key, U: Key, K: Ord>(
    contents: &Seen<T>,
    key: impl Fn(&T) -> K,
    f: impl Fn(T) -> Vec<U>,
) -> (Seen<U>, Seen<Change<U>>, Seen<U>) {
    let sorted = |rows: &[T]| {
        let mut rows = bag(rows.to_vec());
        rows.sort_by_key(&key);
        rows
    };
    let mapped = |rows: &[T]| sorted(rows).into_iter().flat_map(&f).collect::<Vec<U>>();
    let complete = contents.iter().map(|(t, rows)| (*t, mapped(rows))).collect();
    let before = [Vec::new()].into_iter().chain(contents.iter().map(|(_, rows)| rows.clone()));
    let changes: Seen<Change<U>> = before
        .zip(contents)
        .map(|(before, (t, now))| {
            let of_source = differences(&before, now);
            // A changed row has the position of the first source row that changed in the same direction.
            let place = |c: &Change<U>| {
                let same_side = of_source.iter().filter(|s| s.diff.signum() == c.diff.signum()).map(|s| s.row.clone());
                mapped(&same_side.collect::<Vec<T>>()).iter().position(|row| *row == c.row)
            };
            let mut changes = differences(&mapped(&before), &mapped(now));
            changes.sort_by_key(|c| (c.diff > 0, place(c)));
            (*t, changes)
        })
        .collect();
    let entered = |changes: Vec<Change<U>>| changes.into_iter().filter(|c| c.diff > 0).map(|c| c.row).collect();
    let update = each(changes.clone(), entered);
    (complete, changes, update)
}

/// Checks a view in the modes `complete`, `changes` and `update`, at 1, 2 and 4 workers.
fn check_presented<U: Key + Debug>(
    batches: &[Vec<(u8, i64)>],
    expected: (Seen<U>, Seen<Change<U>>, Seen<U>),
    verb: impl for<'s> Fn(&DStream<'s, (u8, i64)>) -> View<'s, U> + Clone + Send + Sync + 'static,
) -> Result<(), TestCaseError> {
    for workers in [1, 2, 4] {
        let (complete, changes, update) = modes(workers, batches.to_vec(), verb.clone());
        prop_assert_eq!(&complete, &expected.0, "complete at {} workers", workers);
        prop_assert_eq!(&changes, &expected.1, "changes at {} workers", workers);
        prop_assert_eq!(&update, &expected.2, "update at {} workers", workers);
    }
    Ok(())
}

proptest! {
    #![proptest_config(few())]

    /// `map` maps several rows to one here, so changes of source rows cancel out.
    #[test]
    fn map_keeps_the_order(shape in shape(), batches in batches(pair())) {
        let (length, slide) = (millis(shape.0 as u64), millis(shape.1 as u64));
        let expected = presented(&windows(&batches, shape), |(_, n)| -n, |(k, n)| vec![(n / 2, k / 2)]);
        check_presented(&batches, expected, move |s| s.over(length, slide).sort_by(|(_, n)| -n).map(|(k, n)| (n / 2, k / 2)))?;
    }

    /// A view that keeps counts, with three verbs after the sort. `named` and `sum_by_key` work after a sort too.
    #[test]
    fn filter_and_map_values_keep_the_order(batches in batches(pair())) {
        let sum = |(k, vs): (u8, Vec<i64>)| (k, vs.iter().sum::<i64>());
        let sums = each(so_far(&batches), |rows| by_key(rows).into_iter().map(sum).filter(|(_, n)| *n != 0).collect());
        let even = |(k, n): (u8, i64)| if n % 2 == 0 { vec![(k, Reverse(n.abs()))] } else { vec![] };
        let expected = presented(&sums, |(_, n)| Reverse(*n), even);
        check_presented(&batches, expected, |s| {
            let sums = s.sum_by_key().sort_by(|(_, n)| Reverse(*n)).named("sums");
            sums.filter(|(_, n)| n % 2 == 0).map_values(|n| n.abs()).map_values(Reverse)
        })?;
    }

    #[test]
    fn flat_map_keeps_the_order(shape in shape(), batches in batches(pair())) {
        let (length, slide) = (millis(shape.0 as u64), millis(shape.1 as u64));
        let few = |(k, n): (u8, i64)| (0..k % 3).map(|i| (n, i)).collect::<Vec<_>>();
        let expected = presented(&windows(&batches, shape), |(k, n)| (Reverse(*n), *k), few);
        check_presented(&batches, expected, move |s| s.over(length, slide).sort_by(|(k, n)| (Reverse(*n), *k)).flat_map(few))?;
    }

    #[test]
    fn the_order_of_top_by_is_kept(shape in shape(), n in 0usize..6, batches in batches(pair())) {
        let (length, slide) = (millis(shape.0 as u64), millis(shape.1 as u64));
        let best = each(windows(&batches, shape), |rows| {
            let mut rows = bag(rows);
            rows.sort_by_key(|(_, v)| Reverse(*v));
            rows.truncate(n);
            rows
        });
        let text = |(k, n): (u8, i64)| vec![format!("{k} has {n}")];
        let expected = presented(&best, |(_, v)| Reverse(*v), text);
        check_presented(&batches, expected, move |s| {
            s.over(length, slide).top_by(n, |(_, v)| *v).map(|(k, n)| format!("{k} has {n}"))
        })?;
    }

    /// If different rows have equal results, `append` writes each result at its own position.
    #[test]
    fn append_keeps_the_order(batches in batches(pair())) {
        let in_order = |rows: Vec<(u8, i64)>| {
            let mut rows = bag(rows);
            rows.sort_by_key(|(_, n)| *n);
            rows.into_iter().map(|(k, _)| k % 2).collect()
        };
        let expected = (1..).zip(&batches).map(|(t, batch)| (t, in_order(batch.clone()))).collect();
        check_batches(&batches, expected, |s| s.accumulate().sort_by(|(_, n)| *n).map(|(k, _)| k % 2).append())?;
    }
}

/// The program of the tutorial: the text is in the order of the counts, not of the text.
#[test]
fn the_largest_counts_are_printed_first() {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let lines = |rows: &[&str]| rows.iter().map(|&row| row.to_owned()).collect::<Vec<_>>();
    check(
        [words("b b b a c c"), words("a a a a")],
        |s| {
            s.count_by_value_and_window(millis(9), millis(1))
                .sort_by(|x| -x.1)
                .map(|x| format!("{} {}", x.0, x.1))
                .complete()
                .take(2)
        },
        [lines(&["b 3", "c 2"]), lines(&["a 5", "b 3"])],
    );
}

/// If a verb cannot keep the order, the error names both lines. The last `sort_by` counts.
#[test]
fn a_lost_order_is_an_error_that_names_both_lines() {
    let queue = QueueSource::from_batches([vec![(1u8, 2i64)]]);
    let from = line!();
    let refused = graph(millis(1), move |ssc| {
        let rows = ssc.queue_stream(&queue).accumulate();
        let sorted = rows.sort_by(|(k, _)| *k);
        let united = sorted.union(&rows);
        united.filter(|_| true).print(1);
        let best = rows.top(3);
        let once = best.distinct();
        once.update().print(1);
        sorted.wrap(sorted.as_collection()).changes().print(1);
        united.sort_by(|(_, n)| *n).map(|(k, _)| k).print(1);
        united.count().print(1);
        best.count_by_value().print(1);
        Ok(())
    });
    let e = refused.unwrap_err().to_string();
    let [sorted, united, print, best, once, update, wrap] =
        [3, 4, 5, 6, 7, 8, 9].map(|n| format!("presentation.rs:{}", from + n));
    for expected in [
        format!("complete ({print}): union ({united}) cannot keep the order of sort_by ({sorted}); call sort_by after it"),
        format!("update ({update}): distinct ({once}) cannot keep the order of top_by ({best}); call sort_by after it"),
        format!("changes ({wrap}): wrap ({wrap}) cannot keep the order of sort_by ({sorted}); call sort_by after it"),
    ] {
        assert!(e.contains(&expected), "{expected}\n{e}");
    }
    assert_eq!(e.matches("cannot keep").count(), 3, "{e}");
}
