//! The clock by which windows by event time are counted: UTC, or that of a place with its daylight saving. At any time of history, in
//! microseconds.
//!
//! A clock never goes back here: while a put-back clock shows times again, it stands still. So a time and what the clock shows have the
//! same order, and windows are computed in what it shows. A change by a multiple of the slide is left out, since no window begins or ends at
//! another moment because of it.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

/// How many changes of a clock are looked up together.
const BLOCK: usize = 64;

/// UTC, or the clock of a place.
#[derive(Clone, Default)]
pub(crate) struct LocalClock(Option<Rc<Place>>);

struct Place {
    name: String,
    zone: TimeZone,
    /// Microseconds.
    slide: i64,
    table: RefCell<Table>,
}

/// The times between changes of the clock, as far as they were needed.
struct Table {
    times: Vec<Between>,
    /// Whether there is no earlier, or later, change.
    first: bool,
    last: bool,
}

/// A time between two changes, all in microseconds.
#[derive(Clone, Copy)]
struct Between {
    from: i64,
    /// By how much the clock of the place is ahead of UTC.
    offset: i64,
    /// By how much this clock is, without the changes that are left out.
    ahead: i64,
    /// The latest time that it had shown before.
    floor: i64,
}

impl Between {
    fn shows(&self, t: i64) -> i64 {
        t.saturating_add(self.ahead).max(self.floor)
    }
}

impl LocalClock {
    /// The clock of a place, for windows with this slide in microseconds.
    pub fn of(name: &str, zone: TimeZone, slide: i64) -> Self {
        let since_1970 = Timestamp::UNIX_EPOCH;
        let offset = micros(zone.to_offset(since_1970));
        // A change at this very moment is the one before it.
        let change = zone.preceding(since_1970 + jiff::SignedDuration::from_micros(1)).next();
        let from = change.as_ref().map_or(i64::MIN, |change| change.timestamp().as_microsecond());
        let times = vec![Between { from, offset, ahead: offset, floor: i64::MIN }];
        let table = Table { times, first: change.is_none(), last: false };
        LocalClock(Some(Rc::new(Place { name: name.to_owned(), zone, slide, table: RefCell::new(table) })))
    }

    /// What the clock shows at a time.
    pub fn shows(&self, t: i64) -> i64 {
        let Some(place) = &self.0 else { return t };
        let mut table = place.table.borrow_mut();
        place.look_up(&mut table, |second| second.from <= t, |last| last.from > t);
        let at = table.times.partition_point(|between| between.from <= t);
        table.times[at.saturating_sub(1)].shows(t)
    }

    /// The first time at which the clock shows this, or more.
    pub fn first(&self, shown: i64) -> i64 {
        let Some(place) = &self.0 else { return shown };
        let mut table = place.table.borrow_mut();
        let begins = |between: &Between| between.shows(between.from);
        place.look_up(&mut table, |second| begins(second) < shown, |last| begins(last) >= shown);
        let at = table.times.partition_point(|between| begins(between) < shown);
        let t = shown.saturating_sub(table.times[at.saturating_sub(1)].ahead);
        table.times.get(at).map_or(t, |next| t.min(next.from))
    }
}

impl Place {
    /// Looks changes up until the table is long enough at both ends, as its second and its last entry say. What the clock had shown before
    /// the first one is not known.
    fn look_up(&self, table: &mut Table, before: impl Fn(&Between) -> bool, after: impl Fn(&Between) -> bool) {
        while !table.first && !table.times.get(1).is_some_and(&before) {
            self.earlier(table);
        }
        while !table.last && !table.times.last().is_some_and(&after) {
            self.later(table);
        }
    }

    /// What a change adds to the clock.
    fn change(&self, from: i64, to: i64) -> i64 {
        if (to - from) % self.slide == 0 { 0 } else { to - from }
    }

    fn later(&self, table: &mut Table) {
        let mut last = table.times[table.times.len() - 1];
        let since = Timestamp::from_microsecond(last.from).unwrap_or(Timestamp::MIN);
        table.last = true;
        for (n, change) in self.zone.following(since).enumerate() {
            let (from, offset) = (change.timestamp().as_microsecond(), micros(change.offset()));
            let ahead = last.ahead + self.change(last.offset, offset);
            last = Between { from, offset, ahead, floor: last.shows(from - 1) };
            table.times.push(last);
            if n == BLOCK {
                table.last = false;
                break;
            }
        }
    }

    fn earlier(&self, table: &mut Table) {
        let mut next = table.times[0];
        let before = |next: &Between| Timestamp::from_microsecond(next.from - 1).unwrap_or(Timestamp::MIN);
        let mut times = Vec::new();
        for _ in 0..BLOCK {
            let offset = micros(self.zone.to_offset(before(&next)));
            let ahead = next.ahead - self.change(offset, next.offset);
            let until = Timestamp::from_microsecond(next.from).unwrap_or(Timestamp::MIN);
            let change = self.zone.preceding(until).next();
            let from = change.as_ref().map_or(i64::MIN, |change| change.timestamp().as_microsecond());
            next = Between { from, offset, ahead, floor: i64::MIN };
            times.push(next);
            if change.is_none() {
                table.first = true;
                break;
            }
        }
        times.reverse();
        times.append(&mut table.times);
        for at in 1..times.len() {
            times[at].floor = times[at - 1].shows(times[at].from - 1);
        }
        table.times = times;
    }
}

fn micros(offset: Offset) -> i64 {
    i64::from(offset.seconds()) * 1_000_000
}

/// What the fingerprint of a job has: nothing for UTC.
impl fmt::Display for LocalClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|place| write!(f, " {}", place.name))
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;
    use jiff::civil::{Date, date};

    use super::*;
    use crate::core::time_zone::parse_built_in;

    const HOUR: i64 = 3_600_000_000;
    const DAY: i64 = 24 * HOUR;

    fn clock(name: &str, slide: i64) -> (LocalClock, TimeZone) {
        let zone = parse_built_in(name).unwrap();
        (LocalClock::of(name, zone.clone(), slide), zone)
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_microsecond()
    }

    /// When the day begins in a place.
    fn midnight(day: Date, zone: &TimeZone) -> i64 {
        day.to_zoned(zone.clone()).unwrap().start_of_day().unwrap().timestamp().as_microsecond()
    }

    /// jiff says when days begin: before and after 1970, when clocks were set otherwise, and in the far future. Each half hour belongs to the
    /// last midnight before it.
    #[test]
    fn a_day_is_from_midnight_to_midnight() {
        let years = [1, 1880, 1893, 1916, 1919, 1943, 1945, 1950, 1969, 1970, 1988, 2007, 2011, 2026, 2027, 2100, 9_990];
        let zones = "Europe/Vienna America/New_York America/St_Johns Asia/Shanghai Asia/Tokyo Asia/Kolkata Australia/Lord_Howe America/Havana \
                     America/Sao_Paulo Africa/Cairo Africa/Monrovia Pacific/Chatham Pacific/Apia Pacific/Kiritimati -03:30 +05:45 UTC";
        for name in zones.split_whitespace() {
            let (daily, zone) = clock(name, DAY);
            for year in years {
                let first = date(year, 1, 1);
                let mut midnights: Vec<i64> = (0..367).map(|n| midnight(first.checked_add(n.days()).unwrap(), &zone)).collect();
                midnights.sort_unstable();
                midnights.dedup();
                let mut now = midnights[0];
                for day in midnights.windows(2) {
                    let start = |t| daily.first(daily.shows(t).div_euclid(DAY) * DAY);
                    let end = |t| daily.first(daily.shows(t).div_euclid(DAY) * DAY + DAY);
                    while now < day[1] {
                        assert_eq!((start(now), end(now)), (day[0], day[1]), "{name} at {now}, {year}");
                        now += HOUR / 2;
                    }
                    assert_eq!((start(day[1] - 1), start(day[0])), (day[0], day[0]), "{name}, {year}");
                }
            }
        }
    }

    /// As `Slide::time_zone` says of times that the clock shows twice, or skips.
    #[test]
    fn a_put_back_clock_stands_still() {
        let (two, _) = clock("Europe/Vienna", 2 * HOUR);
        let shown = |text: &str| text.parse::<jiff::civil::DateTime>().unwrap().to_zoned(TimeZone::UTC).unwrap();
        let first = |text: &str| two.first(shown(text).timestamp().as_microsecond());
        // From 02:00 to 03:00 there is nothing in spring.
        assert_eq!(first("2026-03-29T02:00:00"), at("2026-03-29T01:00:00Z"));
        assert_eq!(first("2026-03-29T04:00:00"), at("2026-03-29T02:00:00Z"));
        // The hour from 02:00 is twice in autumn.
        assert_eq!(first("2026-10-25T02:00:00"), at("2026-10-25T00:00:00Z"));
        assert_eq!(first("2026-10-25T04:00:00"), at("2026-10-25T03:00:00Z"));
        assert_eq!(two.shows(at("2026-10-25T01:30:00Z")), two.shows(at("2026-10-25T00:59:59.999999Z")));
        // A change by a multiple of the slide changes nothing: each of these hours is a window.
        let (hourly, _) = clock("Europe/Vienna", HOUR);
        let hours = (0..6).map(|n| hourly.shows(at("2026-10-24T23:00:00Z") + n * HOUR));
        assert!(hours.clone().zip(hours.skip(1)).all(|(a, b)| b - a == HOUR));
    }

    #[test]
    fn the_order_is_kept_and_the_first_time_is_found() {
        for (name, slide) in
            [("Europe/Vienna", DAY), ("America/St_Johns", DAY), ("Africa/Monrovia", HOUR), ("Pacific/Apia", 7 * DAY)]
        {
            let (place, _) = clock(name, slide);
            let mut before = i64::MIN;
            let times = (-62_000_000_000..250_000_000_000i64).step_by(86_399_000).map(|second| second * 1_000_000);
            for t in [i64::MIN, i64::MIN + 1].into_iter().chain(times) {
                let shown = place.shows(t);
                assert!(shown >= before, "{name} at {t}");
                before = shown;
                if t > i64::MIN + DAY {
                    let first = place.first(shown);
                    assert!(first <= t && place.shows(first) >= shown && place.shows(first - 1) < shown, "{name} at {t}");
                }
            }
        }
        assert_eq!((LocalClock::default().shows(7), LocalClock::default().first(7)), (7, 7));
    }
}
