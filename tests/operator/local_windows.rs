//! Windows that slide by the clock of a place, over both changes of daylight saving, with restarts on other numbers of workers. jiff
//! says when the clock shows a time.

use std::time::Duration;

use jiff::ToSpan;
use jiff::civil::{Date, DateTime, date};
use jiff::tz::{Offset, TimeZone};

use tidemill::job::ManualClock;
use tidemill::prelude::*;
use tidemill::testing::{Seen, try_run};

use super::model::{bag, by_key, counts, differences, seen};
use crate::harness::eventually;
use crate::temp_dir::TempDir;

const INTERVAL: u64 = 30 * 60_000;
const BATCHES: usize = 4 * 48;

type Row = (u8, i64);

/// A window in hours, over four days from a date on.
#[derive(Clone, Copy)]
struct Case {
    zone: &'static str,
    from: Date,
    length: u64,
    slide: u64,
    offset: u64,
}

impl Case {
    fn slide(&self) -> Slide {
        Slide::every(hours(self.slide)).offset(hours(self.offset)).time_zone(self.zone)
    }

    fn time_zone(&self) -> TimeZone {
        match self.zone {
            "-03:30" => TimeZone::fixed(Offset::from_seconds(-(3 * 3_600 + 1_800)).unwrap()),
            name => TimeZone::get(name).unwrap(),
        }
    }

    /// The time of the batch before the first one.
    fn begin(&self) -> u64 {
        self.from.to_zoned(TimeZone::UTC).unwrap().timestamp().as_millisecond() as u64
    }

    /// The rows of each batch: few keys, and some empty batches.
    fn batches(&self) -> Vec<Vec<Row>> {
        let rows = |n: i64| (0..n % 4).map(move |i| ((n * i % 5) as u8, (n * 7 + i) % 11 - 5)).collect();
        (1..=BATCHES as i64).map(rows).collect()
    }

    /// The rows of each window, oldest first.
    fn windows(&self) -> Seen<Row> {
        let (zone, begin, batches) = (self.time_zone(), self.begin(), self.batches());
        let shown = |at: DateTime| at.to_zoned(zone.clone()).unwrap().timestamp().as_millisecond() as u64;
        let batch_of = |t: u64| (t.max(begin) - begin) / INTERVAL;
        let first = (self.from - 1.day()).at(self.offset as i8, 0, 0, 0);
        let slides = (0..30).map(|n| first + ((n * self.slide) as i64).hours());
        let windows = slides.map(|end| (shown(end), shown(end - (self.length as i64).hours())));
        let last = begin + BATCHES as u64 * INTERVAL;
        let seen = windows.filter(|(end, _)| *end > begin && *end <= last);
        seen.map(|(end, start)| (end, batches[batch_of(start) as usize..batch_of(end) as usize].concat())).collect()
    }
}

const CASES: [Case; 8] = [
    Case { zone: "Europe/Vienna", from: date(2026, 3, 27), length: 24, slide: 24, offset: 0 },
    Case { zone: "Europe/Vienna", from: date(2026, 10, 23), length: 24, slide: 24, offset: 0 },
    Case { zone: "Europe/Vienna", from: date(2026, 3, 27), length: 8, slide: 24, offset: 6 },
    Case { zone: "Europe/Vienna", from: date(2026, 10, 23), length: 48, slide: 24, offset: 6 },
    Case { zone: "Europe/Vienna", from: date(2026, 3, 27), length: 12, slide: 8, offset: 6 },
    Case { zone: "Europe/Vienna", from: date(2026, 10, 23), length: 12, slide: 6, offset: 0 },
    Case { zone: "Asia/Kolkata", from: date(2026, 3, 27), length: 24, slide: 24, offset: 0 },
    Case { zone: "-03:30", from: date(2026, 10, 23), length: 24, slide: 12, offset: 6 },
];

/// The results of a run: each batch time, and each row as text.
type Results = Vec<(&'static str, Seen<String>)>;

fn texts<T: std::fmt::Debug>(name: &'static str, seen: Seen<T>) -> (&'static str, Seen<String>) {
    (name, seen.into_iter().map(|(t, rows)| (t, rows.iter().map(|row| format!("{row:?}")).collect())).collect())
}

/// All results by the definition of the window.
fn expected(case: &Case) -> Results {
    let windows = case.windows();
    assert!(windows.len() >= 3, "{} windows", windows.len());
    let each = |f: &dyn Fn(Vec<Row>) -> Vec<Row>| windows.iter().map(|(t, rows)| (*t, bag(f(rows.clone())))).collect();
    let before = [Vec::new()].into_iter().chain(windows.iter().map(|(_, rows)| rows.clone()));
    let changes = before.zip(&windows).map(|(old, (t, new))| (*t, differences(&old, new))).collect();
    let max = |rows| by_key(rows).into_iter().map(|(k, vs)| (k, vs.into_iter().max().unwrap())).collect();
    let sum = |(k, vs): (u8, Vec<i64>)| (k, vs.iter().sum::<i64>());
    let sums = |rows| by_key(rows).into_iter().map(sum).filter(|(_, n)| *n != 0).collect();
    let counted = windows.iter().map(|(t, rows)| (*t, bag(counts(rows.clone())))).collect();
    vec![
        texts("window", windows.clone()),
        texts("over, complete", each(&|rows| rows)),
        texts("over, changes", changes),
        texts("count_by_value_and_window", counted),
        texts("reduce_by_key_and_window", each(&max)),
        texts("reduce_by_key_and_window_inverse_filter", each(&sums)),
    ]
}

/// The arguments of a run with a checkpoint directory that keeps all plans.
fn arguments(dir: &TempDir, workers: u16) -> RuntimeArgs {
    RuntimeArgs { checkpoint: Some(dir.to_path_buf()), workers, keep_plans: Some(days(30)), ..RuntimeArgs::default() }
}

/// Runs the batches up to `until`, from the checkpoint on. The clock is at batch `from`.
fn run(case: Case, runtime: RuntimeArgs, from: usize, until: usize) -> Results {
    let (rows, changes, counted) = ([(); 4].map(|()| MemorySink::new()), MemorySink::new(), MemorySink::new());
    let out = (rows.clone(), changes.clone(), counted.clone());
    let builder = StreamingContext::builder("local", millis(INTERVAL)).runtime(runtime);
    let clock = ManualClock::at(case.begin() + from as u64 * INTERVAL);
    let job = builder.start_on_clock(clock, move |ssc| {
        let s = ssc.test_stream(&case.batches()[..until]);
        let (length, slide) = (hours(case.length), case.slide());
        s.window(length, slide.clone()).to_memory(&out.0[0]);
        let over = s.over(length, slide.clone());
        over.complete().to_memory(&out.0[1]);
        over.changes().to_memory(&out.1);
        s.count_by_value_and_window(length, slide.clone()).complete().to_memory(&out.2);
        s.reduce_by_key_and_window(i64::max, length, slide.clone()).complete().to_memory(&out.0[2]);
        let sums = s.reduce_by_key_and_window_inverse_filter(|a, b| a + b, |a, b| a - b, |(_, n)| *n != 0, length, slide);
        sums.complete().to_memory(&out.0[3]);
        Ok(())
    });
    job.expect("a job").await_termination().expect("its end");
    let [window, over, max, sums] = rows.map(|memory| seen(&memory));
    vec![
        texts("window", window),
        texts("over, complete", over),
        texts("over, changes", seen(&changes)),
        texts("count_by_value_and_window", seen(&counted)),
        texts("reduce_by_key_and_window", max),
        texts("reduce_by_key_and_window_inverse_filter", sums),
    ]
}

#[test]
fn a_window_ends_when_the_clock_of_its_place_says() {
    for (n, case) in CASES.into_iter().enumerate() {
        let expected = expected(&case);
        // A restart on the first day, and one within the hour that comes twice, or soon after the one that is left out.
        let workers = [[1, 2, 4], [2, 4, 1], [4, 1, 2]][n % 3];
        let (dir, mut all, mut from) = (TempDir::new("local-windows"), Results::new(), 0);
        for (workers, until) in workers.into_iter().zip([20, 2 * 48 + 3, BATCHES]) {
            let more = run(case, arguments(&dir, workers), from, until);
            from = until;
            match all.is_empty() {
                true => all = more,
                false => all.iter_mut().zip(more).for_each(|((_, seen), (_, more))| seen.extend(more)),
            }
        }
        for (seen, expected) in all.iter().zip(&expected) {
            assert_eq!(seen, expected, "case {n} at {workers:?} workers");
        }
        let time = |batch: usize| Some(BatchTime::from_millis(case.begin() + batch as u64 * INTERVAL));
        let replay = RuntimeArgs { replay_from: time(1), replay_to: time(BATCHES), replay_foreach: true, ..arguments(&dir, 3) };
        for (seen, expected) in run(case, replay, BATCHES, BATCHES).iter().zip(&expected) {
            assert_eq!(seen, expected, "the replay of case {n}");
        }
    }
}

/// What the documentation says: a day is 23 or 25 hours long when daylight saving begins or ends.
#[test]
fn a_day_of_vienna_has_23_to_25_hours() {
    for (from, hours_of_days) in [(date(2026, 3, 27), [24, 23, 24]), (date(2026, 10, 23), [24, 25, 24])] {
        let case = Case { from, ..CASES[0] };
        let (seen, clock) = (MemorySink::new(), ManualClock::at(case.begin()));
        let out = seen.clone();
        let job = StreamingContext::builder("days", hours(1)).start_on_clock(clock, move |ssc| {
            let ones = ssc.test_stream(vec![vec![1]; 96]);
            ones.count_by_window(days(1), case.slide()).complete().to_memory(&out);
            Ok(())
        });
        job.unwrap().await_termination().unwrap();
        // The first midnight ends a part of a day.
        let rows: Vec<i64> = seen.rows();
        assert_eq!(rows[1..4], hours_of_days);
    }
}

/// A job that counts the rows of each day in Vienna, over a queue.
struct Daily {
    clock: ManualClock,
    queue: QueueSource<char>,
    days: MemorySink<(char, i64)>,
    job: JobHandle,
}

impl Daily {
    fn start(dir: &TempDir, now: u64, zone: &'static str) -> tidemill::Result<Daily> {
        let (clock, queue, days_out) = (ManualClock::at(now), QueueSource::new(), MemorySink::new());
        let (q, out) = (queue.clone(), days_out.clone());
        let builder = StreamingContext::builder("daily", hours(1)).workers(2).checkpoint(dir.to_path_buf());
        let job = builder.start_on_clock(clock.clone(), move |ssc| {
            let slide = Slide::every(days(1)).time_zone(zone);
            ssc.queue_stream(&q).count_by_value_and_window(days(1), slide).complete().to_memory(&out);
            Ok(())
        })?;
        Ok(Daily { clock, queue, days: days_out, job })
    }

    /// Runs one batch that has these rows.
    fn batch(&self, time: u64, rows: Vec<char>) {
        let before = self.job.statistics().batches;
        self.queue.push(rows);
        self.clock.set(time);
        eventually("the batch", || self.job.statistics().batches > before);
    }
}

/// The job is down over a midnight, and over the change to daylight saving: the days end as if it had run.
#[test]
fn a_midnight_while_the_job_is_down_ends_its_day() {
    let (dir, hour) = (TempDir::new("local-downtime"), 3_600_000);
    // In Vienna it is 2026-03-28 20:00.
    let evening = date(2026, 3, 28).at(19, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap().timestamp().as_millisecond() as u64;
    let run = Daily::start(&dir, evening, "Europe/Vienna").unwrap();
    run.batch(evening + hour, vec!['a', 'b']);
    run.batch(evening + 2 * hour, vec!['a']);
    run.job.stop_gracefully().unwrap();
    assert!(run.days.batches().is_empty());

    let other = Daily::start(&dir, evening + 14 * hour, "Europe/London").and_then(|run| run.job.await_termination());
    let e = other.expect_err("another zone is another window").to_string();
    assert!(e.contains("Europe/Vienna") && e.contains("Europe/London"), "{e}");

    let run = Daily::start(&dir, evening + 14 * hour, "Europe/Vienna").unwrap();
    // Records of the restart would be in the first batch that is overdue.
    eventually("the first day", || !run.days.batches().is_empty());
    run.batch(evening + 15 * hour, vec!['c']);
    // The next midnight is 23 hours after the one before.
    run.batch(evening + 27 * hour, vec![]);
    eventually("the second day", || run.days.batches().len() >= 2);
    run.job.stop_now().unwrap();
    let days: Vec<_> = run.days.batches().into_iter().map(|(t, rows)| (t.millis() - evening, rows)).collect();
    assert_eq!(days, [(4 * hour, vec![('a', 2), ('b', 1)]), (27 * hour, vec![('c', 1)])]);
}

#[test]
fn slides_that_are_not_at_batch_times_are_refused_with_the_nearest_that_are() {
    let run = |interval: Duration, slide: Slide| {
        let seen = try_run(1, interval, vec![vec![1]], move |s| s.window(days(1), slide.clone()));
        seen.map(|seen| seen.len()).map_err(|e| e.to_string())
    };
    let daily = || Slide::every(days(1));
    for (interval, slide) in [
        (mins(30), daily().time_zone("Asia/Kolkata")),
        (hours(1), daily().offset(mins(30)).time_zone("Asia/Kolkata")),
        (mins(15), daily().time_zone("Asia/Kathmandu")),
        (hours(1), daily().offset(hours(6)).time_zone("Europe/Vienna")),
        (hours(1), daily().time_zone("-03:00")),
        (days(1), daily().offset(days(1))),
    ] {
        assert!(run(interval, slide.clone()).is_ok(), "{slide:?}");
    }
    for (interval, slide, all) in [
        (
            hours(1),
            daily().time_zone("Asia/Kolkata"),
            "a window of 86400s with a slide of 86400s and an offset of 0ns in the time zone Asia/Kolkata would not slide at batch \
             times, the multiples of the batch interval of 3600s; the nearest valid value is an offset of 1800s, or a batch interval of \
             1800s",
        ),
        (
            secs(60),
            daily().offset(secs(100)),
            "offset of 100s would not slide at batch times, the multiples of the batch interval of 60s; \
             the nearest valid value is an offset of 120s, or a batch interval of 20s",
        ),
        (days(1), daily().time_zone("Europe/Vienna"), "the nearest valid value is a batch interval of 3600s"),
        (hours(1), daily().time_zone("Australia/Lord_Howe"), "the nearest valid value is a batch interval of 1800s"),
        (secs(1), daily().offset(Duration::from_micros(1_200)), "the nearest valid value is an offset of 0ns"),
        (
            secs(1),
            daily().time_zone("Vienna"),
            "\"Vienna\" is not a time zone: write a name of the tz database such as Europe/Paris",
        ),
    ] {
        let e = run(interval, slide).unwrap_err();
        let lines = e.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            lines.contains(&all.split_whitespace().collect::<Vec<_>>().join(" ")) && lines.contains("window (local_windows.rs:"),
            "{e}"
        );
    }
}
