//! Joins of each row with the newest earlier row of its key, against a search of all rows.

use proptest::prelude::*;

use super::event_time::{Row, batches, micros, watermarks};
use super::model::{bag, check_batches, few};
use tidemill::prelude::*;
use tidemill::testing::{Seen, run, run_handed_over};

/// A left row with its number, and the number of the right row.
type Joined = Timestamped<(u8, (i64, Option<i64>))>;
type Late = Timestamped<(u8, (Option<i64>, Option<i64>))>;

/// The tolerance, and the delays of both watermarks.
type Case = (Option<i64>, i64, i64);

/// Rows with an even number are on the left, others on the right.
fn joined<'s>(s: &DStream<'s, Row>, (tolerance, left, right): Case) -> EventTimeJoin<'s, u8, i64, i64, (i64, Option<i64>)> {
    let rows = |delay, side| {
        let rows = s.event_time(|(_, time)| *time, micros(delay)).filter(move |(k, _)| k % 2 == side);
        rows.map(|(k, time)| (k / 2, time))
    };
    match tolerance {
        None => rows(left, 0).as_of_join(&rows(right, 1)),
        Some(tolerance) => rows(left, 0).as_of_join_within(&rows(right, 1), micros(tolerance)),
    }
}

/// The joined rows, and late rows. A right row counts from its batch on.
fn model(batches: &[Vec<Row>], case: Case) -> (Seen<Joined>, Seen<Late>) {
    let (_, left, right) = case;
    let least = watermarks(batches, left).into_iter().zip(watermarks(batches, right));
    model_with(batches, case, least.map(|((a, b), (c, d))| (a.min(c), b.min(d))).collect())
}

/// The same, with these watermarks before and after each batch.
fn model_with(batches: &[Vec<Row>], (tolerance, ..): Case, least: Vec<(i64, i64)>) -> (Seen<Joined>, Seen<Late>) {
    let (mut waiting, mut known, mut all, mut all_late) = (Vec::<Row>::new(), Vec::<Row>::new(), Seen::new(), Seen::new());
    for ((t, batch), (was, now)) in (1..).zip(batches).zip(least) {
        let late = batch.iter().filter(|(_, time)| *time < was);
        let late =
            late.map(|(k, time)| (*time, (k / 2, if k.is_multiple_of(2) { (Some(*time), None) } else { (None, Some(*time)) })));
        all_late.push((t, bag(late.map(|(time, row)| Timestamped { time, row }).collect())));
        known.extend(batch.iter().filter(|(k, _)| k % 2 == 1));
        waiting.extend(batch.iter().filter(|(k, time)| k % 2 == 0 && *time >= was));
        let leaves = |(k, time): &Row| {
            let near = known.iter().filter(|(l, other)| *l == k + 1 && other <= time);
            let newest = near.map(|(_, other)| *other).max().filter(|other| tolerance.is_none_or(|d| time - other <= d));
            (*time < now).then(|| Timestamped { time: *time, row: (k / 2, (*time, newest)) })
        };
        all.push((t, bag(waiting.iter().filter_map(leaves).collect())));
        waiting.retain(|(_, time)| *time >= now);
    }
    (all, all_late)
}

/// As `joined`, of two streams that have their own rows alone, in one partition. Each is idle after `idle` batches of the other one.
fn joined_apart<'s>(
    s: &DStream<'s, Row>,
    (_, left, right): Case,
    idle: u64,
) -> EventTimeJoin<'s, u8, i64, i64, (i64, Option<i64>)> {
    let rows = |delay, side| {
        let rows = s.filter(move |(k, _)| k % 2 == side).repartition(2);
        let strategy = WatermarkStrategy::max_out_of_orderness(micros(delay)).idle_after(millis(idle));
        rows.event_time(|(_, time)| *time, strategy).map(|(k, time)| (k / 2, time))
    };
    rows(left, 0).as_of_join(&rows(right, 1))
}

/// The watermark of these two streams, before and after each batch.
fn watermarks_apart(batches: &[Vec<Row>], (_, left, right): Case, idle: u64) -> Vec<(i64, i64)> {
    let (mut largest, mut quiet, mut now) = ([i64::MIN; 2], [0; 2], i64::MIN);
    let mut after = |batch: &Vec<Row>| {
        let rows = [0, 1].map(|side| batch.iter().filter(|(k, _)| k % 2 == side).map(|(_, time)| *time).max());
        for side in 0..2 {
            largest[side] = largest[side].max(rows[side].unwrap_or(i64::MIN));
            quiet[side] = if rows[side].is_some() { 0 } else { quiet[side] + u64::from(rows[1 - side].is_some()) };
        }
        let of = |side: usize| largest[side].saturating_sub([left, right][side]);
        let before = now;
        now = (0..2).filter(|side| quiet[*side] < idle).map(of).min().map_or(now, |least| now.max(least));
        (before, now)
    };
    batches.iter().map(&mut after).collect()
}

fn case() -> impl Strategy<Value = Case> {
    (prop::option::of(0i64..12), 0i64..14, 0i64..14)
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn as_of_join(case in case(), batches in batches()) {
        check_batches(&batches, model(&batches, case).0, move |s| joined(s, case).timestamped())?;
    }

    #[test]
    fn late_rows(case in case(), batches in batches()) {
        check_batches(&batches, model(&batches, case).1, move |s| joined(s, case).late())?;
    }

    /// One of the streams has no rows in most batches: the other one waits for it, and goes on when it is idle.
    #[test]
    fn a_quiet_stream_does_not_hold_the_other_for_ever(
        (_, left, right) in case(), idle in 1u64..4, batches in batches(), quiet in 0u8..2, cut in 0usize..12,
    ) {
        let case = (None, left, right);
        let of = |(n, mut batch): (usize, Vec<Row>)| {
            batch.retain(|(k, _)| n % 5 == 0 || k % 2 != quiet);
            batch
        };
        let batches: Vec<Vec<Row>> = batches.into_iter().enumerate().map(of).collect();
        let (joined, late) = model_with(&batches, case, watermarks_apart(&batches, case, idle));
        check_batches(&batches, joined.clone(), move |s| joined_apart(s, case, idle).timestamped())?;
        check_batches(&batches, late, move |s| joined_apart(s, case, idle).late())?;
        let cut = cut.min(batches.len());
        let (first, then) = batches.split_at(cut);
        // The view of windows over the result: what closed with the last batch before the restart leaves with the first one after it.
        fn windows<'s>(s: &DStream<'s, Row>, case: Case, idle: u64) -> DStream<'s, Windowed<i64>> {
            joined_apart(s, case, idle).tumbling(micros(5)).count().complete()
        }
        let whole = run(1, batches.clone(), move |s| windows(s, case, idle));
        let seen = run_handed_over((2, 1), first.to_vec(), then.to_vec(), move |s| windows(s, case, idle));
        prop_assert_eq!(&seen, &whole, "windows with a restart after {}", cut);
        let seen = run_handed_over((2, 1), first.to_vec(), then.to_vec(), move |s| joined_apart(s, case, idle).timestamped());
        prop_assert_eq!(seen.into_iter().map(|(t, rows)| (t, bag(rows))).collect::<Vec<_>>(), joined, "a restart after {}", cut);
    }

    /// If no row is late, the result does not depend on how rows were cut into batches, even for right rows of the same time.
    #[test]
    fn the_cut_does_not_matter(tolerance in prop::option::of(0i64..12), sizes in prop::collection::vec(1usize..9, 2), given in prop::collection::vec((0u8..3, -9i64..30, 0i64..9), 1..40)) {
        let all = |size: usize| {
            let batches: Vec<Vec<(u8, i64, i64)>> = given.chunks(size).map(<[_]>::to_vec).chain([vec![(8, 1_000, 0); 4]]).collect();
            let seen = run(2, batches, move |s| {
                let rows = |side| {
                    let rows = s.event_time(|(_, time, _)| *time, micros(200)).filter(move |(k, ..)| k % 2 == side);
                    rows.map(|(k, _, n)| (k / 2, n))
                };
                match tolerance {
                    None => rows(0).as_of_join(&rows(1)).timestamped(),
                    Some(tolerance) => rows(0).as_of_join_within(&rows(1), micros(tolerance)).timestamped(),
                }
            });
            bag(seen.into_iter().flat_map(|(_, rows)| rows).collect())
        };
        let whole = all(given.len());
        let newest = |(_, time, _): &(u8, i64, i64)| {
            let near = given.iter().filter(|(k, other, _)| *k == 1 && other <= time);
            near.max_by_key(|(_, other, n)| (*other, *n)).filter(|(_, other, _)| tolerance.is_none_or(|d| time - other <= d))
        };
        let row = |row: &(u8, i64, i64)| {
            let right = if row.0 == 0 { newest(row).map(|(.., n)| *n) } else { None };
            Timestamped { time: row.1, row: (row.0 / 2, (row.2, right)) }
        };
        prop_assert_eq!(&whole, &bag(given.iter().filter(|(k, ..)| k % 2 == 0).map(row).collect()));
        for size in sizes {
            prop_assert_eq!(&all(size), &whole, "in batches of {}", size);
        }
    }

    #[test]
    fn restarts(case in case(), batches in batches(), cut in 0usize..12) {
        let cut = cut.min(batches.len());
        fn both<'s>(s: &DStream<'s, Row>, case: Case) -> DStream<'s, Late> {
            let join = joined(s, case);
            let rows = join.timestamped().map(|Timestamped { time, row: (k, (v, w)) }| Timestamped { time, row: (k, (Some(v), w)) });
            rows.union(&join.late())
        }
        let whole = run(1, batches.clone(), move |s| both(s, case));
        for workers in [(1, 2), (4, 1)] {
            let (first, then) = batches.split_at(cut);
            let seen = run_handed_over(workers, first.to_vec(), then.to_vec(), move |s| both(s, case));
            prop_assert_eq!(&seen, &whole, "{:?}", workers);
        }
    }
}
