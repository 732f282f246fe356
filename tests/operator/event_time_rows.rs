//! The verbs that return rows by event time against models that remember everything: `distinct_within`, `sort_by_time`, `map_with_state`.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::event_time::{Row, batches, micros, watermarks};
use super::model::{bag, check_batches, few};
use tidemill::prelude::*;
use tidemill::testing::{Seen, run, run_handed_over};

/// Rows by what becomes of them.
type Fates = [Vec<Row>; 3];

/// What stays, what is a duplicate, and what is late, of each batch.
fn distinct(batches: &[Vec<Row>], within: i64, delay: i64) -> Vec<Fates> {
    let mut stayed = BTreeMap::<u8, Vec<i64>>::new();
    let of_batch = |(batch, (before, _)): (&Vec<Row>, (i64, i64))| {
        let mut fates = Fates::default();
        for (k, time) in batch {
            let times = stayed.entry(*k).or_default();
            let fate = match (*time < before, times.iter().any(|kept| (kept - time).abs() <= within)) {
                (true, _) => 2,
                (false, true) => 1,
                (false, false) => {
                    times.push(*time);
                    0
                }
            };
            fates[fate].push((*k, *time));
        }
        fates.map(bag)
    };
    batches.iter().zip(watermarks(batches, delay)).map(of_batch).collect()
}

fn distinct_rows<'s>(s: &DStream<'s, Row>, within: i64, delay: i64) -> DStream<'s, Row> {
    let rows = s.event_time(|(_, time)| *time, micros(delay)).distinct_within_by(micros(within), |(k, _)| *k);
    rows.timestamped().union(&rows.duplicates()).union(&rows.late()).map(|timed| timed.row)
}

/// What leaves with each batch in its order, and what is late in the order of the stream.
fn sorted(batches: &[Vec<Row>], delay: i64) -> Seen<Row> {
    let mut waiting = Vec::new();
    let of_batch = |((t, batch), (before, now)): ((u64, &Vec<Row>), (i64, i64))| {
        let (late, on_time): (Vec<Row>, Vec<Row>) = batch.iter().partition(|(_, time)| *time < before);
        waiting.extend(on_time);
        // Stable: rows of one time are in the order of the stream.
        waiting.sort_by_key(|(_, time)| *time);
        let leaving = waiting.partition_point(|(_, time)| *time < now);
        (t, waiting.drain(..leaving).chain(late).collect())
    };
    (1..).zip(batches).zip(watermarks(batches, delay)).map(of_batch).collect()
}

fn sorted_rows<'s>(s: &DStream<'s, Row>, delay: i64) -> DStream<'s, Row> {
    let sorted = s.event_time(|(_, time)| *time, micros(delay)).sort_by_time();
    sorted.union(&sorted.late()).map(|timed| timed.row)
}

/// A key, the time of a value, and how many values the key has had; no time when it times out.
type Mapped = (u8, Option<i64>, i64);

fn mapped<'s>(s: &DStream<'s, Row>, timeout: i64, delay: i64) -> DStream<'s, Mapped> {
    let count = |_, k: &u8, value: Option<Timestamped<()>>, n: &mut State<i64>| {
        let so_far = n.get().copied().unwrap_or(0);
        match &value {
            // The third value of a key is its last.
            Some(_) if so_far == 2 => n.remove(),
            Some(_) => n.update(so_far + 1),
            None => assert!(n.is_timing_out()),
        }
        Some((*k, value.map(|value| value.time), so_far))
    };
    let rows = s.event_time(|(_, time)| *time, micros(delay)).map(|(k, _)| (k, ()));
    rows.map_with_state(StateSpec::function(count).initial_state([(1, 1), (7, 0)]).timeout(micros(timeout)))
}

fn mapped_by_model(batches: &[Vec<Row>], timeout: i64, delay: i64) -> Seen<Mapped> {
    let mut states = BTreeMap::<u8, (i64, Option<i64>)>::from([(1, (1, None)), (7, (0, None))]);
    let of_batch = |((t, batch), (_, now)): ((u64, &Vec<Row>), (i64, i64))| {
        let (mut batch, mut mapped) = (batch.clone(), Vec::new());
        batch.sort_by_key(|(_, time)| *time);
        for (k, time) in batch {
            let (n, last) = states.get(&k).copied().unwrap_or_default();
            mapped.push((k, Some(time), n));
            match n {
                2 => states.remove(&k),
                _ => states.insert(k, (n + 1, last.max(Some(time)))),
            };
        }
        if now > i64::MIN {
            states.values_mut().for_each(|(_, last)| *last = last.or(Some(now)));
            let over = |(_, (_, last)): &(&u8, &(i64, Option<i64>))| last.is_some_and(|last| last + timeout <= now);
            let over: Vec<u8> = states.iter().filter(over).map(|(k, _)| *k).collect();
            mapped.extend(over.iter().filter_map(|k| Some((*k, None, states.remove(k)?.0))));
        }
        (t, bag(mapped))
    };
    (1..).zip(batches).zip(watermarks(batches, delay)).map(of_batch).collect()
}

/// The rows of a run that goes on with other workers after some batches.
fn restarted<U, V>(batches: &[Vec<Row>], cut: usize, verb: V, expected: &Seen<U>) -> Result<(), TestCaseError>
where
    U: tidemill::core::data::Exchange + PartialEq + std::fmt::Debug,
    V: for<'s> Fn(&DStream<'s, Row>) -> DStream<'s, U> + Clone + Send + Sync + 'static,
{
    let (first, then) = batches.split_at(cut.min(batches.len()));
    for workers in [(1, 2), (4, 1)] {
        let again = run_handed_over(workers, first.to_vec(), then.to_vec(), verb.clone());
        prop_assert_eq!(&again, expected, "restarted on {:?} workers", workers);
    }
    Ok(())
}

/// Rows in batches of a size, and four rows that end it: one for each partition.
fn cut(rows: &[Row], size: usize) -> Vec<Vec<Row>> {
    rows.chunks(size).map(<[Row]>::to_vec).chain([vec![(9, 1_000); 4]]).collect()
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn distinct_within(within in 0i64..9, delay in 0i64..14, batches in batches(), at in 0usize..12) {
        let fates = distinct(&batches, within, delay);
        let expected: Seen<Row> = (1..).zip(fates.into_iter().map(|fates| fates.concat())).collect();
        check_batches(&batches, expected.clone(), move |s| distinct_rows(s, within, delay))?;
        restarted(&batches, at, move |s| distinct_rows(s, within, delay), &expected)?;
    }

    #[test]
    fn sort_by_time(delay in 0i64..14, batches in batches(), at in 0usize..12) {
        let expected = sorted(&batches, delay);
        check_batches(&batches, expected.clone(), move |s| sorted_rows(s, delay))?;
        restarted(&batches, at, move |s| sorted_rows(s, delay), &expected)?;
    }

    #[test]
    fn map_with_state(timeout in 1i64..15, delay in 0i64..14, batches in batches(), at in 0usize..12) {
        let expected = mapped_by_model(&batches, timeout, delay);
        check_batches(&batches, expected.clone(), move |s| mapped(s, timeout, delay))?;
        restarted(&batches, at, move |s| mapped(s, timeout, delay), &expected)?;
    }

    /// If no row is late, what leaves does not depend on how rows were cut into batches.
    #[test]
    fn the_cut_does_not_matter(within in 0i64..9, rows in prop::collection::vec((0u8..3, -30i64..90), 1..40), size in 1usize..9) {
        let left = |size: usize, sort: bool| -> Vec<Row> {
            let seen = run(2, cut(&rows, size), move |s| if sort { sorted_rows(s, 200) } else { distinct_rows(s, within, 200) });
            seen.into_iter().flat_map(|(_, rows)| rows).collect()
        };
        prop_assert_eq!(left(size, true), left(rows.len(), true));
        prop_assert_eq!(bag(left(size, false)), bag(left(rows.len(), false)));
    }
}

/// A state that was removed and made anew in one batch times out by the values that it has had, wherever the stream was cut.
#[test]
fn a_state_made_anew_forgets_earlier_values() {
    let batches = vec![vec![(1, -19)], vec![(1, -20), (1, -20)]];
    let seen = run(1, batches, |s| mapped(s, 1, 0));
    assert_eq!(seen, [(1, vec![(1, Some(-19), 1)]), (2, vec![(1, None, 1), (1, Some(-20), 0), (1, Some(-20), 2)])]);
}

/// Days of a place against jiff, over both changes of its clock, before 1970 and in the far future: counts, late rows and the end of the
/// window that says how late they are.
#[test]
fn days_of_a_place() {
    let day = |time: i64, zone: &jiff::tz::TimeZone| {
        let at = jiff::Timestamp::from_microsecond(time).unwrap().to_zoned(zone.clone());
        let start = at.start_of_day().unwrap();
        (start.timestamp().as_microsecond(), start.tomorrow().unwrap().start_of_day().unwrap().timestamp().as_microsecond())
    };
    for (place, from) in [
        ("Europe/Vienna", "2026-03-27T00:00:00Z"),
        ("Europe/Vienna", "2026-10-23T00:00:00Z"),
        ("America/New_York", "1967-04-28T00:00:00Z"),
        ("Asia/Shanghai", "1988-04-15T00:00:00Z"),
        ("Australia/Lord_Howe", "2026-04-02T00:00:00Z"),
        ("America/Santiago", "9990-09-01T00:00:00Z"),
    ] {
        let zone = jiff::tz::TimeZone::get(place).unwrap();
        let first = from.parse::<jiff::Timestamp>().unwrap().as_microsecond();
        // A row each half hour, for five days, and one that is late by three of them.
        let mut batches: Vec<Vec<i64>> =
            (0..5).map(|n| (0..48).map(|half| first + (n * 48 + half) * 1_800_000_000).collect()).collect();
        batches.push(vec![first + 3_600_000_000]);
        let times: Vec<i64> = batches[..5].concat();
        let mut expected = BTreeMap::<(i64, i64), i64>::new();
        times.iter().for_each(|time| *expected.entry(day(*time, &zone)).or_default() += 1);
        let watermark = times[times.len() - 1];
        let closed: Vec<Windowed<i64>> = expected
            .into_iter()
            .filter(|((_, end), _)| *end <= watermark)
            .map(|((start, end), row)| Windowed { start, end, row })
            .collect();
        assert!(closed.len() >= 4, "{place}");
        fn days<'s>(s: &DStream<'s, i64>, place: &str) -> WindowedView<'s, i64> {
            let times = s.repartition(1).event_time(|time| *time, secs(0));
            times.tumbling(Slide::every(tidemill::prelude::days(1)).time_zone(place)).count()
        }
        for workers in [1, 2, 4] {
            let seen = run(workers, batches.clone(), move |s| days(s, place).append());
            let mut seen: Vec<Windowed<i64>> = seen.into_iter().flat_map(|(_, rows)| rows).collect();
            seen.sort();
            assert_eq!(seen, closed, "{place} at {workers} workers");
            let late = run(workers, batches.clone(), move |s| days(s, place).late()).pop().unwrap().1;
            let (start, end) = day(first + 3_600_000_000, &zone);
            assert_eq!(late, [Late { window: Windowed { start, end, row: 1 }, late_by: watermark - end }], "{place}");
        }
    }
}
