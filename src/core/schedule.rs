//! When windows slide: the clock by which slides are counted, where a batch is in the windows, and the times at which a view may emit
//! rows.
//!
//! Invariant: a window slides with a batch. With which one depends on batch times alone, so a restart or a replay has the same windows.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::core::time::BatchTime;

const DAY: i64 = 86_400_000;

/// The greatest common divisor.
pub(crate) fn gcd(a: i128, b: i128) -> i128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Milliseconds that may be added and subtracted. Longer times are cut off, so that sums of a few of them fit.
pub(crate) fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX).min(i64::MAX / 4)
}

/// By how many milliseconds the clock of a place is ahead of UTC at the times of this century, ascending.
///
/// Earlier times are left out: many clocks then differed from UTC by odd minutes, which few batch intervals divide.
pub(crate) fn offsets(zone: &TimeZone) -> Vec<i64> {
    let year = |year| jiff::civil::date(year, 1, 1).to_zoned(TimeZone::UTC).expect("a year").timestamp();
    let (from, until) = (year(2000), year(2100));
    let changes = zone.following(from).take_while(|change| change.timestamp() < until).map(|change| change.offset());
    let mut ahead: Vec<i64> =
        [zone.to_offset(from)].into_iter().chain(changes).map(|offset| i64::from(offset.seconds()) * 1_000).collect();
    ahead.sort_unstable();
    ahead.dedup();
    ahead
}

/// A clock by which slides are counted. It shows milliseconds since 1970-01-01 00:00, less the offset of the slide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// UTC, and this many milliseconds more.
    Utc(i64),
    /// A place whose changes of the clock move slides.
    Zone { zone: TimeZone, offset: i64, interval: i64 },
}

impl Clock {
    /// The latest time that the clock has shown up to `t`. It stands still while a put-back clock shows times again.
    fn shows(&self, t: i64) -> i64 {
        let (zone, offset) = match self {
            Clock::Utc(shift) => return t.saturating_add(*shift),
            Clock::Zone { zone, offset, .. } => (zone, offset),
        };
        let at = |t: i64| Timestamp::from_millisecond(t).unwrap_or(if t < 0 { Timestamp::MIN } else { Timestamp::MAX });
        let local = |t: i64| t.saturating_add(i64::from(zone.to_offset(at(t)).seconds()) * 1_000);
        // No clock is put back by more than a day.
        let changes = zone.preceding(at(t.saturating_add(1))).map(|change| change.timestamp().as_millisecond());
        let before = changes.take_while(|change| *change > t.saturating_sub(DAY)).map(|change| local(change - 1));
        before.fold(local(t), i64::max).saturating_sub(*offset)
    }

    /// The first batch time at which the clock has shown this time or a later one.
    fn batch_time(&self, shown: i64) -> i64 {
        let (offset, interval) = match self {
            Clock::Utc(shift) => return shown.saturating_sub(*shift),
            Clock::Zone { offset, interval, .. } => (*offset, *interval),
        };
        // A clock is within a day of UTC, and stands still for at most a day.
        let at = |ms: i64| shown.saturating_add(offset).saturating_add(ms).div_euclid(interval);
        let (mut before, mut after) = (at(-3 * DAY), at(3 * DAY) + 1);
        while after - before > 1 {
            let middle = before + (after - before) / 2;
            *(if self.shows(middle * interval) < shown { &mut before } else { &mut after }) = middle;
        }
        after * interval
    }
}

/// The times at which a window slides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub every: i64,
    pub clock: Clock,
}

impl Grid {
    /// Multiples since the epoch.
    pub(crate) fn every(ms: u64) -> Self {
        Grid { every: signed(ms), clock: Clock::Utc(0) }
    }

    fn has(&self, t: BatchTime) -> bool {
        let t = signed(t.millis());
        match &self.clock {
            Clock::Utc(shift) => (t + shift) % self.every == 0,
            Clock::Zone { interval, .. } => {
                let before = self.clock.shows(t - interval);
                self.clock.shows(t) >= next_multiple(before, self.every)
            }
        }
    }

    /// Whether these are all times of the other grid, and more.
    fn covers(&self, other: &Grid) -> bool {
        match (&self.clock, &other.clock) {
            (Clock::Utc(a), Clock::Utc(b)) => other.every % self.every == 0 && (a - b) % self.every == 0,
            _ => self == other,
        }
    }
}

/// The first multiple after `t`.
fn next_multiple(t: i64, of: i64) -> i64 {
    (t.div_euclid(of) + 1).saturating_mul(of)
}

/// The times at which a view may emit rows: those of any of its windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schedule(Vec<Grid>);

impl Schedule {
    pub(crate) fn every(ms: u64) -> Self {
        Schedule(vec![Grid::every(ms)])
    }

    /// The times of both schedules.
    pub(crate) fn union(&self, other: &Schedule) -> Schedule {
        let mut all: Vec<Grid> = Vec::new();
        for grid in self.0.iter().chain(&other.0) {
            if !all.iter().any(|known| known.covers(grid)) {
                all.retain(|known| !grid.covers(known));
                all.push(grid.clone());
            }
        }
        Schedule(all)
    }

    pub(crate) fn has(&self, t: BatchTime) -> bool {
        self.0.iter().any(|grid| grid.has(t))
    }
}

/// A window: its length, when it slides, and its panes. Every border of a window is a border of panes.
#[derive(Clone, Debug)]
pub(crate) struct WindowSpec {
    length: i64,
    pane: i64,
    interval: i64,
    grid: Grid,
}

/// Where a batch is in the windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub time: BatchTime,
    /// When the pane of the batch ends.
    pub pane_end: u64,
    /// Whether a window slides with this batch, and ends with it.
    pub slides: bool,
    /// The start of this window: it holds the batches after it.
    pub start: u64,
    /// Whether the batch is in no window, because the slide is longer than the window.
    pub skipped: bool,
}

impl Position {
    /// Whether a pane, or a batch, with this end is in the window that ends here.
    pub fn holds(&self, end: u64) -> bool {
        end <= self.time.millis() && end > self.start
    }
}

/// Where rows of an earlier batch go in the panes of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    /// Into the pane that is open.
    Open,
    /// Into a pane with this end, which enters with the next slide.
    Waiting(u64),
    /// Into a pane with this end, which is in the window. The next slide shows them.
    Inside(u64),
    /// Nowhere: no window that ends with this batch or a later one holds the batch.
    Left,
}

impl WindowSpec {
    /// Where the rows of the batch of `of` go that come with the batch of `now`.
    pub fn placed(&self, of: BatchTime, now: BatchTime) -> Placed {
        let (then, here) = (self.at(of), self.at(now));
        let end = then.pane_end;
        let shown = self.grid.clock.shows(signed(now.millis()));
        let later = || self.at(BatchTime::from_millis(self.batch_time(next_multiple(shown, self.grid.every))));
        let next = if here.slides { here } else { later() };
        if !next.holds(end) {
            Placed::Left
        } else if end == here.pane_end {
            Placed::Open
        } else if end > self.last_slide(now).time.millis() {
            Placed::Waiting(end)
        } else {
            Placed::Inside(end)
        }
    }

    pub fn new(length: u64, grid: Grid, interval: u64) -> Self {
        let length = signed(length);
        WindowSpec { length, pane: gcd(length.into(), grid.every.into()) as i64, interval: signed(interval), grid }
    }

    /// A window in batches of a millisecond.
    #[cfg(any(test, feature = "testing"))]
    pub fn of(length: u64, slide: u64) -> Self {
        WindowSpec::new(length, Grid::every(slide), 1)
    }

    /// The times at which it slides.
    pub fn schedule(&self) -> Schedule {
        Schedule(vec![self.grid.clone()])
    }

    pub fn interval(&self) -> u64 {
        self.interval as u64
    }

    /// The most batches that a window may hold: more than its length, if clocks are put back.
    pub fn batches(&self) -> usize {
        let longer = match &self.grid.clock {
            Clock::Utc(_) => 0,
            Clock::Zone { zone, .. } => {
                let ahead = offsets(zone);
                ahead[ahead.len() - 1] - ahead[0]
            }
        };
        ((self.length + longer) / self.interval) as usize
    }

    /// The earliest batch time that is not before this time of the clock.
    fn batch_time(&self, shown: i64) -> u64 {
        self.grid.clock.batch_time(shown).max(0) as u64
    }

    pub fn at(&self, time: BatchTime) -> Position {
        let t = signed(time.millis());
        let (before, now) = (self.grid.clock.shows(t - self.interval), self.grid.clock.shows(t));
        let (pane_end, slide) = (next_multiple(before, self.pane), next_multiple(before, self.grid.every));
        let slides = slide <= now;
        Position {
            time,
            pane_end: self.batch_time(pane_end),
            slides,
            start: if slides { self.batch_time(slide.saturating_sub(self.length)) } else { 0 },
            skipped: pane_end.saturating_add(self.length) <= slide,
        }
    }

    /// Where the last batch is with which a window slid, up to `t`. The time 0, if there was none.
    pub fn last_slide(&self, t: BatchTime) -> Position {
        let shown = self.grid.clock.shows(signed(t.millis()));
        self.at(BatchTime::from_millis(self.batch_time(shown.div_euclid(self.grid.every) * self.grid.every)))
    }

    /// The last batch time that is in no window that ends at `t` or later.
    pub fn left(&self, t: BatchTime) -> BatchTime {
        let before = self.grid.clock.shows(signed(t.millis()) - self.interval);
        BatchTime::from_millis(self.batch_time(next_multiple(before, self.interval).saturating_sub(self.length)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::slide::Slide;
    use crate::core::time::{Interval, days, hours, mins};

    const QUARTER: u64 = 15 * 60_000;

    fn window(length: u64, slide: Slide, interval: u64) -> WindowSpec {
        let unit = Interval::new(std::time::Duration::from_millis(interval)).unwrap();
        let every = slide.duration(unit).as_millis() as u64;
        WindowSpec::new(length, slide.grid(every, slide.duration(unit), unit).unwrap(), interval)
    }

    fn at(text: &str) -> u64 {
        text.parse::<Timestamp>().unwrap().as_millisecond() as u64
    }

    #[test]
    fn a_union_of_schedules_has_the_times_of_both() {
        let g = Schedule::every(2_000).union(&Schedule::every(3_000)).union(&Schedule::every(4_000));
        assert_eq!(g, Schedule(vec![Grid::every(2_000), Grid::every(3_000)]));
        let time = BatchTime::from_millis;
        assert!(g.has(time(4_000)) && g.has(time(9_000)) && !g.has(time(5_000)));
        let later = window(4_000, Slide::every(hours(1)).offset(mins(15)), QUARTER).schedule();
        assert_eq!(later.union(&Schedule::every(QUARTER)), Schedule::every(QUARTER));
        assert_eq!(later.union(&later), later);
        let both = later.union(&Schedule::every(3_600_000));
        let slides: Vec<u64> = (1..10).filter(|n| both.has(time(n * QUARTER))).collect();
        assert_eq!(slides, [1, 4, 5, 8, 9]);

        let day = window(QUARTER, Slide::every(days(1)).time_zone("Europe/Vienna"), QUARTER).schedule();
        assert_eq!(day.union(&day), day);
        let both = day.union(&Schedule::every(6 * 3_600_000));
        let times = |date: &str| (0..96).map(|n| n * QUARTER).filter(|t| both.has(time(at(date) + t))).collect::<Vec<_>>();
        assert_eq!(times("2026-03-28T00:00:00Z"), [0, 6, 12, 18, 23].map(|h| h * 3_600_000));
        assert_eq!(times("2026-03-29T00:00:00Z"), [0, 6, 12, 18, 22].map(|h| h * 3_600_000));
    }

    /// jiff says when the days of a place begin, also where midnight comes twice or not at all.
    #[test]
    fn a_day_is_from_midnight_to_midnight() {
        let zones = "Europe/Vienna America/New_York America/St_Johns Asia/Kolkata Australia/Lord_Howe America/Santiago America/Havana \
                     Africa/Cairo Pacific/Chatham Pacific/Kiritimati Pacific/Pago_Pago -03:30 +05:45 UTC";
        for name in zones.split_whitespace() {
            let daily = window(days(1).as_millis() as u64, Slide::every(days(1)).time_zone(name), QUARTER);
            let zone = crate::core::time_zone::parse(name).unwrap();
            let (first, last) = (at("2026-01-02T00:00:00Z"), at("2027-01-02T00:00:00Z"));
            let mut begun = 0;
            for t in (first..last).step_by(QUARTER as usize) {
                let local = crate::core::time::zoned(t, zone.clone());
                let here = daily.at(BatchTime::from_millis(t));
                let midnight = local.start_of_day().unwrap() == local;
                assert_eq!(here.slides, midnight, "{name} at {local}");
                assert_eq!(daily.schedule().has(here.time), midnight, "{name} at {local}");
                if midnight && begun > 0 {
                    assert_eq!(here.start, begun, "{name} at {local}");
                }
                if midnight {
                    begun = t;
                }
                let ends = |t: u64| daily.at(BatchTime::from_millis(t)).pane_end;
                assert!(begun == 0 || t == begun || ends(t) == ends(begun + QUARTER), "{name} at {local}");
            }
        }
    }

    #[test]
    fn the_day_that_samoa_left_out_is_no_day() {
        let daily = window(days(1).as_millis() as u64, Slide::every(days(1)).time_zone("Pacific/Apia"), QUARTER);
        let slides = |t: &u64| daily.at(BatchTime::from_millis(*t)).slides;
        let (from, until) = (at("2011-12-29T00:00:00Z"), at("2012-01-01T00:00:00Z"));
        let midnights: Vec<u64> = (from..until).step_by(QUARTER as usize).filter(slides).collect();
        assert_eq!(midnights, ["2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"].map(at));
        let whole = |t: u64| t - daily.at(BatchTime::from_millis(t)).start;
        assert_eq!(midnights.into_iter().map(whole).collect::<Vec<_>>(), [86_400_000; 3]);
    }

    /// Slides from 00:00 to 09:00 on the clock of Vienna.
    fn slides_in_vienna(date: &str, slide: Slide) -> Vec<String> {
        let length = slide.duration(Interval::new(mins(15)).unwrap()).as_millis() as u64;
        let spec = window(length, slide.time_zone("Europe/Vienna"), QUARTER);
        let zone = crate::core::time_zone::parse("Europe/Vienna").unwrap();
        let first = format!("{date}T00:00:00[Europe/Vienna]").parse::<jiff::Zoned>().unwrap().timestamp().as_millisecond() as u64;
        let times = (0..40).map(|n| first + n * QUARTER).filter(|t| spec.at(BatchTime::from_millis(*t)).slides);
        times.map(|t| crate::core::time::zoned(t, zone.clone()).strftime("%H:%M%:z").to_string()).collect()
    }

    /// What the documentation of `Slide::time_zone` says of times that the clock shows twice, or skips.
    #[test]
    fn slides_below_a_day_follow_the_clock() {
        let (spring, autumn) = ("2026-03-29", "2026-10-25");
        let of = |date, slide| slides_in_vienna(date, slide).join(" ");
        assert_eq!(of(spring, Slide::every(hours(6))), "00:00+01:00 06:00+02:00");
        assert_eq!(of(autumn, Slide::every(hours(6))), "00:00+02:00 06:00+01:00");
        assert_eq!(of(spring, Slide::every(hours(2))), "00:00+01:00 03:00+02:00 04:00+02:00 06:00+02:00 08:00+02:00 10:00+02:00");
        assert_eq!(of(autumn, Slide::every(hours(2))), "00:00+02:00 02:00+02:00 04:00+01:00 06:00+01:00 08:00+01:00");
        assert_eq!(of(spring, Slide::every(days(1)).offset(mins(150))), "03:00+02:00");
        assert_eq!(of(autumn, Slide::every(days(1)).offset(mins(150))), "02:30+02:00");
        // An hour is not affected.
        let (hourly, half) = (Slide::every(hours(1)), Slide::every(hours(1)).offset(mins(30)));
        assert!(of(autumn, hourly).starts_with("00:00+02:00 01:00+02:00 02:00+02:00 02:00+01:00 03:00+01:00"));
        assert!(of(spring, half).starts_with("00:30+01:00 01:30+01:00 03:30+02:00 04:30+02:00"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Windows by their definition, over three days around a change of the clock: a window that ends when the clock shows L has
        /// the batches after it showed L less the length. Panes are whole in each window, and a batch that is skipped is in none.
        #[test]
        fn a_window_is_what_the_clock_shows(
            place in prop::sample::select(vec![
                ("Europe/Vienna", "2026-03-28T00:00:00Z"),
                ("Europe/Vienna", "2026-10-24T00:00:00Z"),
                ("America/St_Johns", "2026-11-01T00:00:00Z"),
                ("Australia/Lord_Howe", "2026-04-03T00:00:00Z"),
                ("America/Santiago", "2026-09-05T00:00:00Z"),
                ("Asia/Kathmandu", "2026-09-05T00:00:00Z"),
                ("-03:30", "2026-09-05T00:00:00Z"),
            ]),
            length in 1u64..150,
            slide in 1u64..150,
            offset in 0u64..150,
        ) {
            let quarters = |n: u64| mins(15 * n);
            let spec = window(length * QUARTER, Slide::every(quarters(slide)).offset(quarters(offset)).time_zone(place.0), QUARTER);
            let zone = crate::core::time_zone::parse(place.0).unwrap();
            let elapsed = matches!(spec.grid.clock, Clock::Utc(_));
            let (mut shown, mut clock) = (i64::MIN, Vec::new());
            for t in (0..700).map(|n| at(place.1) - 200 * QUARTER + n * QUARTER) {
                let wall = crate::core::time::zoned(t, zone.clone()).datetime().to_zoned(TimeZone::UTC).unwrap();
                let now = wall.timestamp().as_millisecond();
                shown = if elapsed { now } else { shown.max(now) };
                clock.push((t, shown));
            }
            if elapsed {
                // Every change is a multiple of the slide: the clock of the first batch continues without changes.
                let first = clock[0];
                clock.iter_mut().for_each(|(t, shown)| *shown = first.1 + (*t - first.0) as i64);
            }
            let first_at = |shown: i64| clock.iter().find(|(_, s)| *s >= shown).map(|(t, _)| *t);
            let (every, origin) = ((slide * QUARTER) as i64, (offset * QUARTER) as i64);
            let positions: Vec<Position> = clock.iter().map(|(t, _)| spec.at(BatchTime::from_millis(*t))).collect();
            let mut in_a_window = vec![false; clock.len()];
            for i in 250..clock.len() {
                let (before, now) = (clock[i - 1].1, clock[i].1);
                let border = ((before - origin).div_euclid(every) + 1) * every + origin;
                let here = positions[i];
                prop_assert_eq!(here.slides, border <= now);
                prop_assert_eq!(spec.schedule().has(here.time), here.slides);
                if !here.slides {
                    continue;
                }
                let start = first_at(border - (length * QUARTER) as i64).unwrap();
                prop_assert_eq!(here.start, start);
                let left = spec.left(here.time);
                for (batch, used) in positions[..=i].iter().zip(&mut in_a_window).skip(100) {
                    let inside = batch.time.millis() > start;
                    prop_assert_eq!(here.holds(batch.time.millis()), inside);
                    prop_assert_eq!(here.holds(batch.pane_end), inside);
                    prop_assert!(!inside || batch.time > left);
                    *used |= inside;
                }
                prop_assert_eq!(spec.last_slide(here.time), here);
                prop_assert!((clock[..=i].iter().filter(|(u, _)| *u > start).count()) <= spec.batches());
            }
            for (batch, used) in positions.iter().zip(in_a_window).skip(250).take(150) {
                prop_assert_eq!(batch.skipped, !used);
            }
        }
    }
}
