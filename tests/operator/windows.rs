//! Verbs over the last batches.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::model::*;
use tidemill::core::slide::Slide;
use tidemill::core::time::millis;
use tidemill::testing::try_run;

/// The length and the slide of a window whose batch interval is 1 ms.
fn of((length, slide): (usize, usize)) -> (Duration, Duration) {
    (millis(length as u64), millis(slide as u64))
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn window(shape in shape(), batches in batches(0u16..300)) {
        let (length, slide) = of(shape);
        check_batches(&batches, windows(&batches, shape), move |s| s.window(length, slide))?;
    }

    #[test]
    fn over(shape in shape(), batches in batches(0u16..4)) {
        let (length, slide) = of(shape);
        check_view(&batches, windows(&batches, shape), move |s| s.over(length, slide))?;
    }

    #[test]
    fn count_by_window(shape in shape(), batches in batches(0u16..4)) {
        let (length, slide) = of(shape);
        let mut begun = false;
        let count = each(windows(&batches, shape), |rows| {
            begun |= !rows.is_empty();
            if begun { vec![rows.len() as i64] } else { vec![] }
        });
        check_view(&batches, count, move |s| s.count_by_window(length, slide))?;
    }

    #[test]
    fn count_by_value_and_window(shape in shape(), batches in batches(0u16..4)) {
        let (length, slide) = of(shape);
        let counts = each(windows(&batches, shape), counts);
        check_view(&batches, counts, move |s| s.count_by_value_and_window(length, slide))?;
    }

    #[test]
    fn reduce_by_window(shape in shape(), batches in batches(0u16..300)) {
        let (length, slide) = of(shape);
        let max = each(windows(&batches, shape), |rows| rows.into_iter().max().into_iter().collect());
        check_view(&batches, max.clone(), move |s| s.reduce_by_window(u16::max, length, slide))?;
        check_view(&batches, max, move |s| s.over(length, slide).top(1))?;
    }

    #[test]
    fn reduce_by_window_inverse(shape in shape(), batches in batches(-5i64..5)) {
        let (length, slide) = of(shape);
        let mut begun = false;
        let sums = each(windows(&batches, shape), |rows| {
            begun |= !rows.is_empty();
            if begun { vec![rows.iter().sum()] } else { vec![] }
        });
        check_view(&batches, sums, move |s| s.reduce_by_window_inverse(|a, b| a + b, |a, b| a - b, length, slide))?;
    }

    #[test]
    fn reduce_by_key_and_window(shape in shape(), batches in batches(pair())) {
        let (length, slide) = of(shape);
        let max = |rows| by_key(rows).into_iter().map(|(k, vs)| (k, vs.into_iter().max().unwrap())).collect();
        check_view(&batches, each(windows(&batches, shape), max), move |s| {
            s.reduce_by_key_and_window(i64::max, length, slide)
        })?;
    }

    /// After its first value, a key always has a row.
    #[test]
    fn reduce_by_key_and_window_inverse(shape in shape(), batches in batches(pair())) {
        let (length, slide) = of(shape);
        let mut all: BTreeMap<u8, i64> = BTreeMap::new();
        let sums = each(windows(&batches, shape), |rows| {
            all.values_mut().for_each(|n| *n = 0);
            rows.into_iter().for_each(|(k, v)| *all.entry(k).or_insert(0) += v);
            all.iter().map(|(k, n)| (*k, *n)).collect()
        });
        check_view(&batches, sums, move |s| {
            s.reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, length, slide)
        })?;
    }

    /// A key whose sum is 0 has no row, but keeps its values.
    #[test]
    fn reduce_by_key_and_window_inverse_filter(shape in shape(), batches in batches(pair())) {
        let (length, slide) = of(shape);
        let sum = |(k, vs): (u8, Vec<i64>)| (k, vs.iter().sum::<i64>());
        let sums = |rows| by_key(rows).into_iter().map(sum).filter(|(_, n)| *n != 0).collect();
        check_view(&batches, each(windows(&batches, shape), sums), move |s| {
            s.reduce_by_key_and_window_inverse_filter(|a, b| a + b, |a, b| a - b, |(_, n)| *n != 0, length, slide)
        })?;
    }

    /// The values of the oldest batch come first.
    #[test]
    fn group_by_key_and_window(shape in shape(), batches in batches(pair())) {
        let (length, slide) = of(shape);
        let groups = each(windows(&batches, shape), |rows| bag(by_key(rows).into_iter().collect()));
        check_batches(&batches, groups, move |s| s.group_by_key_and_window(length, slide))?;
    }

    #[test]
    fn windows_in_every_batch(length in 1usize..6, batches in batches(pair())) {
        let (all, length) = (windows(&batches, (length, 1)), millis(length as u64));
        check_batches(&batches, all.clone(), move |s| s.window(length, Slide::every_batch()))?;
        let max = |rows| by_key(rows).into_iter().map(|(k, vs)| (k, vs.into_iter().max().unwrap())).collect();
        check_view(&batches, each(all, max), move |s| s.reduce_by_key_and_window(i64::max, length, Slide::every_batch()))?;
    }

    /// Two windows over one stream share its panes and its dictionary. Their union has the times of both schedules.
    #[test]
    fn windows_of_one_stream(a in shape(), b in shape(), batches in batches(0u16..4)) {
        let ((length, slide), (other, step)) = (of(a), of(b));
        let stand = |windows: &[(u64, Vec<u16>)], t| {
            windows.iter().rev().find(|(at, _)| *at <= t).map(|(_, rows)| rows.clone()).unwrap_or_default()
        };
        let (one, two) = (windows(&batches, a), windows(&batches, b));
        let on_schedule = (1..=batches.len() as u64).filter(|t| t % a.1 as u64 == 0 || t % b.1 as u64 == 0);
        let both = on_schedule.map(|t| (t, [stand(&one, t), stand(&two, t)].concat())).collect();
        check_view(&batches, both, move |s| s.over(length, slide).union(&s.over(other, step)))?;
    }
}

#[test]
fn a_wrong_window_is_refused_with_the_nearest_right_one() {
    let run = |length, slide| {
        let seen = try_run(1, millis(5), vec![vec![(1u8, 1i64)]], move |s| {
            s.reduce_by_key_and_window(i64::max, millis(length), millis(slide)).complete()
        });
        seen.map(|seen| seen.len()).map_err(|e| e.to_string())
    };
    assert_eq!(run(10, 5), Ok(1));
    let e = run(12, 5).unwrap_err();
    assert!(e.contains("reduce_by_key_and_window (windows.rs:"), "{e}");
    assert!(e.contains("window length of 12 ms") && e.contains("interval, 5 ms; the nearest is 10 ms"), "{e}");
    let e = run(0, 3).unwrap_err();
    assert!(e.contains("window length of 0 ms") && e.contains("slide of 3 ms") && e.lines().count() == 2, "{e}");
}
