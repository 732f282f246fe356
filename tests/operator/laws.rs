//! Laws: verbs that must have the same result as other verbs, and which verbs `append` refuses.

use proptest::prelude::*;

use super::model::*;
use tidemill::api::dstream::DStream;
use tidemill::api::view::View;
use tidemill::core::data::{Change, Key};
use tidemill::core::time::millis;
use tidemill::testing::{Seen, check, run, try_run};

type Pairs<'s> = DStream<'s, (u8, i64)>;
type Verb = for<'s> fn(&Pairs<'s>) -> Pairs<'s>;

/// Checks that two views have the same rows at every time of their schedule.
fn same<T: Key + Sync, U: Key>(
    batches: &[Vec<T>],
    one: impl for<'s> Fn(&DStream<'s, T>) -> View<'s, U> + Clone + Send + Sync + 'static,
    two: impl for<'s> Fn(&DStream<'s, T>) -> View<'s, U> + Clone + Send + Sync + 'static,
) -> Result<(), TestCaseError> {
    for workers in [1, 2, 4] {
        let one: Seen<U> = {
            let one = one.clone();
            run(workers, batches.to_vec(), move |s| one(s).complete())
        };
        let two: Seen<U> = {
            let two = two.clone();
            run(workers, batches.to_vec(), move |s| two(s).complete())
        };
        prop_assert_eq!(one, two, "at {} workers", workers);
    }
    Ok(())
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn append_of_accumulate_is_the_batch(batches in batches(0u16..4)) {
        let rows: Seen<u16> = (1..).zip(&batches).map(|(t, batch)| (t, bag(batch.clone()))).collect();
        check_batches(&batches, rows.clone(), |s| s.accumulate().append())?;
        check_batches(&batches, rows, |s| s.over(millis(1), millis(1)).complete())?;
    }

    /// A program that reads the arrangement of a view gets the same result as the verbs.
    #[test]
    fn an_arrangement_has_the_rows_of_its_view(shape in shape(), batches in batches(0u16..4)) {
        let (length, slide) = (millis(shape.0 as u64), millis(shape.1 as u64));
        same(
            &batches,
            move |s| {
                let view = s.over(length, slide);
                view.wrap_codes(view.arranged().as_collection(|code, ()| *code))
            },
            move |s| s.over(length, slide),
        )?;
        same(
            &batches,
            move |s| {
                let view = s.over(length, slide);
                let distinct = view.distinct().arranged();
                let rows = view.arranged().join_core(distinct, |code, (), ()| Some(*code));
                // The count of the view reads the arrangement that the join reads.
                view.wrap_codes(rows).count_by_value().union(&view.count_by_value())
            },
            move |s| {
                let counts = s.over(length, slide).count_by_value();
                counts.union(&counts)
            },
        )?;
    }

    #[test]
    fn changes_make_the_view(shape in shape(), batches in batches(0u16..4)) {
        let (length, slide) = (millis(shape.0 as u64), millis(shape.1 as u64));
        for workers in [1, 2, 4] {
            let again = run(workers, batches.clone(), move |s| s.over(length, slide).changes().changes_to_view().complete());
            prop_assert_eq!(again, run(workers, batches.clone(), move |s| s.over(length, slide).complete()));
        }
    }

    #[test]
    fn windows_are_views_counted(shape in shape(), batches in batches(0u16..4)) {
        let (length, slide) = (millis(shape.0 as u64), millis(shape.1 as u64));
        same(
            &batches,
            move |s| s.count_by_window(length, slide),
            move |s| s.map(|_| ()).over(length, slide).count(),
        )?;
        same(
            &batches,
            move |s| s.count_by_value_and_window(length, slide),
            move |s| s.over(length, slide).count_by_value(),
        )?;
    }
}

/// The changes are in different partitions, and so on different workers.
#[test]
fn a_row_may_be_removed_on_another_worker() {
    let change = |row: char, diff| Change { row, diff };
    check(
        [
            vec![change('a', 2), change('b', 1), change('c', 1), change('d', 1)],
            vec![change('d', -1), change('c', -1), change('b', -1), change('a', -1)],
        ],
        |s| s.changes_to_view().complete(),
        [vec!['a', 'a', 'b', 'c', 'd'], vec!['a']],
    );
}

/// The row is removed on another worker than the one that added it.
#[test]
fn wrap_brings_equal_rows_together() {
    check(
        [vec![1u32, 2, 3, 4], vec![5]],
        |s| {
            let (rows, less) = (s.accumulate(), s.filter(|n| *n != 3).map(|n| n + 1).accumulate().map(|n| n - 1));
            rows.wrap(rows.as_collection().concat(less.as_collection().negate())).complete()
        },
        [vec![3], vec![3]],
    );
}

#[test]
fn append_names_the_verb_that_takes_rows_back() {
    let refused = |verb: Verb| try_run(1, millis(1), vec![vec![(1u8, 1i64)]], verb).map(|_| ()).map_err(|e| e.to_string());
    for (verb, error) in [
        (refused(|s| s.over(millis(2), millis(1)).append()), "over ("),
        (
            refused(|s| s.reduce_by_key_and_window(i64::max, millis(2), millis(1)).filter(|_| true).append()),
            "reduce_by_key_and_w",
        ),
        (refused(|s| s.fold_by_key(0, |a, b| a + b).append()), "fold_by_key ("),
        (refused(|s| s.accumulate().top(3).append()), "top_by ("),
        (refused(|s| s.accumulate().anti_join(&s.accumulate()).append()), "anti_join ("),
        (refused(|s| s.accumulate().semi_join(&s.sum_by_key()).append()), "sum_by_key ("),
        (refused(|s| s.accumulate().left_outer_join(&s.accumulate()).map(|(k, (v, _))| (k, v)).append()), "left_outer_join ("),
        (refused(|s| s.accumulate().sum_by_key().append()), "sum_by_key ("),
        (refused(|s| s.latest_by_key().append()), "latest_by_key ("),
        (refused(|s| s.accumulate().reduce_by_key(i64::max).append()), "reduce_by_key ("),
        (refused(|s| s.accumulate().join(&s.sum_by_key()).map(|(k, (a, _))| (k, a)).append()), "sum_by_key ("),
    ] {
        let e = verb.unwrap_err();
        assert!(e.contains("append (laws.rs:") && e.contains(error), "{e}");
    }
    assert_eq!(refused(|s| s.accumulate().distinct().append()), Ok(()));
    assert_eq!(refused(|s| s.accumulate().semi_join(&s.accumulate()).append()), Ok(()));
    assert_eq!(refused(|s| s.accumulate().join(&s.accumulate()).map(|(k, (a, _))| (k, a)).append()), Ok(()));
}
