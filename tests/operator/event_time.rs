//! Windows by event time against brute force: a window has all rows of its time that came before it closed.

use std::time::Duration;

use proptest::prelude::*;

use super::model::{bag, check_batches, check_view, counts, each, few};
use tidemill::prelude::*;
use tidemill::testing::{Seen, run, run_handed_over, try_run};

/// A key and a time in microseconds.
pub type Row = (u8, i64);

pub const fn micros(n: i64) -> Duration {
    Duration::from_micros(n as u64)
}

/// Windows, and how long they wait for rows.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub length: i64,
    pub slide: i64,
    pub offset: i64,
    pub delay: i64,
    pub lateness: i64,
}

pub fn case() -> impl Strategy<Value = Case> {
    let shape = (1i64..13).prop_flat_map(|length| (Just(length), prop_oneof![Just(length), 1..=length]));
    (shape, 0i64..5, 0i64..12, prop_oneof![Just(0), 0i64..9]).prop_map(|((length, slide), offset, delay, lateness)| Case {
        length,
        slide,
        offset,
        delay,
        lateness,
    })
}

/// Batches whose times ascend on the whole, from before 1970 on. Some are empty.
pub fn batches() -> impl Strategy<Value = Vec<Vec<Row>>> {
    let batch = prop_oneof![6 => prop::collection::vec((0u8..3, -12i64..13), 1..7), 1 => Just(Vec::new())];
    prop::collection::vec(batch, 1..12).prop_map(|batches| {
        let later = |(n, rows): (usize, Vec<Row>)| rows.into_iter().map(|(k, time)| (k, time + 7 * n as i64 - 20)).collect();
        batches.into_iter().enumerate().map(later).collect()
    })
}

/// The watermark before and after each batch. The test's source deals a batch over four partitions.
pub fn watermarks(batches: &[Vec<Row>], delay: i64) -> Vec<(i64, i64)> {
    let (mut largest, mut now) = ([None; 4], i64::MIN);
    let mut after = |batch: &Vec<Row>| {
        for (lane, largest) in largest.iter_mut().enumerate() {
            let part = &batch[batch.len() * lane / 4..batch.len() * (lane + 1) / 4];
            *largest = part.iter().map(|(_, time)| Some(*time)).max().flatten().max(*largest);
        }
        let before = now;
        now = largest.iter().flatten().min().map_or(now, |time| now.max(time - delay));
        (before, now)
    };
    batches.iter().map(&mut after).collect()
}

impl Case {
    /// Windows of what `row` makes of each row.
    pub fn of<'s, T: Data>(self, s: &DStream<'s, Row>, row: fn(Row) -> T) -> EventTimeWindows<'s, T> {
        let slide = Slide::every(micros(self.slide)).offset(micros(self.offset));
        let rows = s.event_time(|(_, time)| *time, micros(self.delay)).map(row);
        rows.sliding(micros(self.length), slide).allowed_lateness(micros(self.lateness))
    }

    fn counts<'s>(self, s: &DStream<'s, Row>) -> WindowedView<'s, (u8, i64)> {
        self.of(s, |(k, _)| k).count_by_value()
    }

    fn watermarks(self, batches: &[Vec<Row>]) -> Vec<(i64, i64)> {
        watermarks(batches, self.delay + self.lateness)
    }

    /// The last window that holds this time.
    pub fn last_window(self, time: i64) -> (i64, i64) {
        let start = time - (time - self.offset).rem_euclid(self.slide);
        (start, start + self.length)
    }

    /// The counts of the windows with an end that is chosen by the watermarks, after each batch.
    fn windows(self, batches: &[Vec<Row>], chosen: impl Fn(i64, (i64, i64)) -> bool) -> Seen<Windowed<(u8, i64)>> {
        each(self.rows(batches, chosen, |rows| counts(rows.into_iter().map(|(k, _)| k).collect())), bag)
    }

    /// What `of` makes of all rows of these windows.
    pub fn rows<U>(
        self,
        batches: &[Vec<Row>],
        chosen: impl Fn(i64, (i64, i64)) -> bool,
        of: impl Fn(Vec<Row>) -> Vec<U>,
    ) -> Seen<Windowed<U>> {
        let ends = (-100..200).map(|n| n * self.slide + self.offset + self.length);
        let after = |(n, watermarks): (usize, (i64, i64))| {
            let so_far = batches[..=n].concat();
            let window = |end| {
                let inside = so_far.iter().filter(|(_, time)| (end - self.length..end).contains(time)).copied().collect();
                of(inside).into_iter().map(move |row| Windowed { start: end - self.length, end, row })
            };
            (n as u64 + 1, ends.clone().filter(|end| chosen(*end, watermarks)).flat_map(window).collect())
        };
        self.watermarks(batches).into_iter().enumerate().map(after).collect()
    }
}

/// What leaves of the counts: open windows, closed ones, and what is taken back.
fn all<'s>(case: Case, s: &DStream<'s, Row>) -> DStream<'s, Windowed<(u8, i64)>> {
    let counts = case.counts(s);
    counts.complete().union(&counts.append()).union(&counts.changes().filter(|c| c.diff < 0).map(|c| c.row))
}

proptest! {
    #![proptest_config(few())]

    /// A window closes once, with all rows that came until then.
    #[test]
    fn append(case in case(), batches in batches()) {
        let closed = case.windows(&batches, |end, (before, now)| before < end && end <= now);
        check_batches(&batches, closed, move |s| case.counts(s).append())?;
    }

    /// A view has the open windows. A window leaves it in the batch after it closed.
    #[test]
    fn the_view(case in case(), batches in batches()) {
        let open = case.windows(&batches, |end, (before, _)| before < end);
        check_view(&batches, open, move |s| case.counts(s).view())?;
    }

    /// Both are read in one job, of a reduction without an inverse.
    #[test]
    fn the_view_and_append(case in case(), batches in batches()) {
        let most = |rows: Vec<Windowed<(u8, i64)>>| {
            let mut most = std::collections::BTreeMap::new();
            for w in rows {
                let k = w.row.0;
                let largest = most.entry((w.start, w.end, k % 2)).or_insert(0);
                *largest = i64::from(k).max(*largest);
            }
            bag(most.into_iter().map(|((start, end, k), n)| Windowed { start, end, row: (k, n) }).collect())
        };
        let open = each(case.windows(&batches, |end, (before, _)| before < end), most);
        let closed = each(case.windows(&batches, |end, (before, now)| before < end && end <= now), most);
        let both = open.into_iter().zip(closed).map(|((t, open), (_, closed))| (t, [open, closed].concat())).collect();
        check_batches(&batches, both, move |s| {
            let view = case.of(s, |(k, _)| (k % 2, i64::from(k))).reduce_by_key(i64::max);
            view.complete().union(&view.append())
        })?;
    }

    /// A late row is behind the watermark of all its windows. It is in none of them.
    #[test]
    fn late(case in case(), batches in batches()) {
        let late = |((n, rows), (before, _)): ((usize, &Vec<Row>), (i64, i64))| {
            let late = rows.iter().filter(|(_, time)| case.last_window(*time).1 <= before);
            (n as u64 + 1, late.map(|(k, time)| Timestamped { time: *time, row: *k }).collect())
        };
        let expected = batches.iter().enumerate().zip(case.watermarks(&batches)).map(late).collect();
        check_batches(&batches, expected, move |s| case.of(s, |(k, _)| k).late())?;
    }

    /// If no row is late, the windows that close do not depend on how rows were cut into batches.
    #[test]
    fn the_cut_does_not_matter(case in case(), rows in prop::collection::vec((0u8..3, -30i64..90), 1..40), cuts in prop::collection::vec(1usize..9, 2)) {
        let case = Case { delay: 200, ..case };
        // Four rows end it: one for each partition.
        let end = vec![(9, 1_000); 4];
        let closed = |size: usize| {
            let batches = rows.chunks(size).map(<[Row]>::to_vec).chain([end.clone()]).collect();
            bag(run(2, batches, move |s| case.counts(s).append()).into_iter().flat_map(|(_, rows)| rows).collect())
        };
        let whole = closed(rows.len());
        let expected = case.windows(std::slice::from_ref(&rows), |_, _| true);
        prop_assert_eq!(&whole, &expected[0].1);
        for size in cuts {
            prop_assert_eq!(&closed(size), &whole, "in batches of {}", size);
        }
    }

    /// Panes, watermarks and the rows of the view are restored on another number of workers.
    #[test]
    fn restarts(case in case(), batches in batches(), cut in 0usize..12) {
        let cut = cut.min(batches.len());
        let whole = run(1, batches.clone(), move |s| all(case, s));
        for workers in [(1, 2), (4, 1)] {
            let (first, then) = batches.split_at(cut);
            prop_assert_eq!(&run_handed_over(workers, first.to_vec(), then.to_vec(), move |s| all(case, s)), &whole, "{:?}", workers);
        }
    }
}

/// Rows without a time, and rows too far ahead of their batch, are bad records. They do not move the watermark.
#[test]
fn rows_without_a_valid_time_are_bad_records() {
    let batches = || vec![vec![(1u8, 500i64)], vec![(2, -1)], vec![(3, 9_000_000)], vec![(4, 2_000)]];
    fn times<'s>(s: &DStream<'s, Row>) -> EventTimeStream<'s, Row> {
        let strategy = WatermarkStrategy::max_out_of_orderness(micros(0)).max_ahead(millis(5));
        s.event_time(|(_, time)| (*time >= 0).then_some(*time), strategy)
    }
    for workers in [1, 2, 4] {
        let reasons = run(workers, batches(), |s| times(s).errors().map(|bad| bad.reason));
        let reasons: Vec<String> = reasons.into_iter().flat_map(|(_, rows)| rows).collect();
        assert_eq!(reasons.len(), 2, "{reasons:?}");
        assert_eq!(reasons[0], "the row has no time");
        assert!(reasons[1].contains(":09 is more than 5 ms ahead of the batch of"), "{}", reasons[1]);
        let closed = run(workers, batches(), |s| times(s).map(|(k, _)| k).tumbling(millis(1)).count_by_value().append());
        let closed: Seen<(u8, i64)> = each(closed, |rows| rows.into_iter().map(|w| w.row).collect());
        assert_eq!(closed, [(1, vec![]), (2, vec![]), (3, vec![]), (4, vec![(1, 1)])]);
    }
}

/// A year of event time passes, and nothing of it stays: a window that closes has the rows of its own time alone.
#[test]
fn rows_of_a_year_close_their_windows() {
    let day = 86_400_000_000i64;
    let batches: Vec<Vec<Row>> = (0..366).map(|n| vec![((n % 3) as u8, n * day)]).collect();
    let closed = run(2, batches, |s| {
        let keys = s.event_time(|(_, time)| *time, secs(0)).map(|(k, _)| k);
        keys.sliding(days(3), days(1)).count_by_value().append()
    });
    let third: Vec<(u8, i64)> = closed[100].1.iter().map(|w| w.row).collect();
    assert_eq!(third, [(0, 1), (1, 1), (2, 1)]);
    assert!(closed[3..].iter().all(|(_, rows)| rows.len() == 3), "one window of three keys in each batch");
}

#[test]
fn wrong_windows_are_errors_at_the_start() {
    let refused = |length: Duration, slide: Slide, idle: Duration| {
        let seen = try_run(1, millis(1), vec![vec![(1u8, 1i64)]], move |s| {
            let strategy = WatermarkStrategy::max_out_of_orderness(secs(1)).idle_after(idle);
            s.event_time(|(_, time)| *time, strategy).sliding(length, slide.clone()).count().append()
        });
        seen.unwrap_err().to_string()
    };
    let e = refused(secs(5), secs(7).into(), secs(1));
    assert!(e.contains("sliding (event_time.rs:") && e.contains("a window of 5s with a slide of 7s"), "{e}");
    let e = refused(secs(5), Slide::every(secs(5)).time_zone("Asia/Tokio"), secs(1));
    assert!(e.contains("\"Asia/Tokio\" is not a time zone"), "{e}");
    let e = refused(secs(5), secs(5).into(), secs(0));
    assert!(e.contains("event_time (event_time.rs:") && e.contains("idle_after of 0ns"), "{e}");
}
