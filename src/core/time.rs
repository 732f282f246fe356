//! The time of a batch, the batch interval, and durations.
//!
//! A batch is identified by its `BatchTime`, the moment it closes. There are no batch numbers.
//! `BatchTime` is the timely timestamp. Differential needs a lattice, and a total order is one.

use std::fmt;
use std::time::Duration;

use differential_dataflow::lattice::{Lattice, Maximum};
use serde::{Deserialize, Serialize};
use timely::order::{PartialOrder, TotalOrder};
use timely::progress::timestamp::Refines;
use timely::progress::{PathSummary, Timestamp};

use crate::core::error::{Error, Result};
use crate::core::time_zone;

/// The time a batch closes: milliseconds since the Unix epoch, a multiple of the batch interval.
///
/// ```
/// use tidemill::prelude::*;
/// let t = BatchTime::from_millis(1_500);
/// assert_eq!(t.millis(), 1_500);
/// assert!(t < t + millis(500));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BatchTime(u64);

impl BatchTime {
    /// After all batches.
    pub(crate) const MAX: BatchTime = BatchTime(u64::MAX);

    /// The batch time `millis` milliseconds after the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        BatchTime(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> u64 {
        self.0
    }
}

impl std::ops::Add<Duration> for BatchTime {
    type Output = BatchTime;
    fn add(self, d: Duration) -> BatchTime {
        BatchTime(self.0 + d.as_millis() as u64)
    }
}

/// The batch time as `print` shows it: `2026-11-28 21:00:05`, in the zone of `--time-zone`, otherwise in that of the machine. With
/// milliseconds if it has them. [`millis`](BatchTime::millis) is for programs.
///
/// ```
/// use tidemill::prelude::*;
/// let t = BatchTime::from_millis(1_484_154_535_007).to_string();
/// assert!(t.starts_with("2017-01-1") && t.ends_with(":55.007"));
/// ```
impl fmt::Display for BatchTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&clock_time(self.0))
    }
}

/// How far an operator moves a time: the path summary that timely needs.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Step(u64);

impl PartialOrder for BatchTime {
    #[inline]
    fn less_equal(&self, other: &Self) -> bool {
        self.0 <= other.0
    }
}
impl TotalOrder for BatchTime {}
impl PartialOrder for Step {
    #[inline]
    fn less_equal(&self, other: &Self) -> bool {
        self.0 <= other.0
    }
}
impl PathSummary<BatchTime> for Step {
    #[inline]
    fn results_in(&self, t: &BatchTime) -> Option<BatchTime> {
        t.0.checked_add(self.0).map(BatchTime)
    }
    #[inline]
    fn followed_by(&self, other: &Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Step)
    }
}
impl Timestamp for BatchTime {
    type Summary = Step;
    #[inline]
    fn minimum() -> Self {
        BatchTime(0)
    }
}
impl Refines<()> for BatchTime {
    fn to_inner(_: ()) -> Self {
        BatchTime(0)
    }
    fn to_outer(self) {}
    fn summarize(_: Step) {}
}
impl Lattice for BatchTime {
    #[inline]
    fn join(&self, other: &Self) -> Self {
        *self.max(other)
    }
    #[inline]
    fn meet(&self, other: &Self) -> Self {
        *self.min(other)
    }
}
impl Maximum for BatchTime {
    fn maximum() -> Self {
        BatchTime(u64::MAX)
    }
}

/// `n` seconds.
///
/// ```
/// assert_eq!(tidemill::prelude::secs(5).as_millis(), 5_000);
/// ```
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// `n` milliseconds.
///
/// ```
/// assert_eq!(tidemill::prelude::millis(5), std::time::Duration::from_millis(5));
/// ```
pub const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// `n` minutes.
///
/// ```
/// assert_eq!(tidemill::prelude::mins(2).as_secs(), 120);
/// ```
pub const fn mins(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

/// `n` hours.
///
/// ```
/// assert_eq!(tidemill::prelude::hours(6).as_secs(), 21_600);
/// ```
pub const fn hours(n: u64) -> Duration {
    mins(60 * n)
}

/// `n` times 24 hours. A window that ends at midnight of a place needs a [`Slide`](crate::prelude::Slide) too.
///
/// ```
/// use tidemill::prelude::*;
/// assert_eq!(days(7), hours(168));
/// ```
pub const fn days(n: u64) -> Duration {
    hours(24 * n)
}

/// Reads a duration as people write it: `100ms`, `5s`, `2m`, `1h`.
///
/// # Errors
/// Anything else, with the accepted forms.
///
/// ```
/// use tidemill::core::time::parse_duration;
/// assert_eq!(parse_duration("100ms").unwrap().as_millis(), 100);
/// assert!(parse_duration("5 min").unwrap_err().to_string().contains("5m"));
/// ```
pub fn parse_duration(text: &str) -> Result<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let scale = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    match text[..digits].parse::<u64>().ok().filter(|_| scale > 0).and_then(|n| n.checked_mul(scale)) {
        Some(ms) => Ok(Duration::from_millis(ms)),
        None => {
            Err(Error::config(format!("\"{text}\" is not a duration: write a whole number and a unit, as 100ms, 5s, 5m or 1h")))
        }
    }
}

/// A moment in a zone. A moment too late for a date becomes the latest date.
pub(crate) fn zoned(ms: u64, zone: jiff::tz::TimeZone) -> jiff::Zoned {
    let at = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.unwrap_or(jiff::Timestamp::MAX).to_zoned(zone)
}

/// A moment as a person writes it, for log lines and messages: `2026-11-28 21:00:05`, in the zone of [`time_zone::shown`], with
/// milliseconds if it has them.
pub(crate) fn clock_time(ms: u64) -> String {
    date_time(ms, time_zone::shown(), !ms.is_multiple_of(1_000))
}

/// A moment in a zone as a person writes it: `2026-11-28 21:00:05`, and its milliseconds if they are wanted.
pub(crate) fn date_time(ms: u64, zone: jiff::tz::TimeZone, with_millis: bool) -> String {
    zoned(ms, zone).strftime(if with_millis { "%Y-%m-%d %H:%M:%S.%3f" } else { "%Y-%m-%d %H:%M:%S" }).to_string()
}

/// A duration as a person writes it, for log lines: `250 ms`, `1.2 s`, `5 s`, `2 min 5 s`, `3 h 20 min`.
pub(crate) fn human_duration(d: Duration) -> String {
    let (ms, s) = (d.as_millis(), d.as_secs());
    let two = |big: u64, unit: &str, small: u64, part: &str| match small {
        0 => format!("{big} {unit}"),
        _ => format!("{big} {unit} {small} {part}"),
    };
    match s {
        0 => format!("{ms} ms"),
        1..10 if ms % 1_000 >= 100 => format!("{s}.{} s", ms % 1_000 / 100),
        1..60 => format!("{s} s"),
        60..3_600 => two(s / 60, "min", s % 60, "s"),
        _ => two(s / 3_600, "h", s % 3_600 / 60, "min"),
    }
}

/// A number with a comma every three digits.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, d) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(d);
    }
    out
}

/// `1 batch`, `2 batches`.
pub(crate) fn counted(n: u64, what: &str) -> String {
    let many = if what.ends_with("ch") || what.ends_with("ss") { "es" } else { "s" };
    format!("{n} {what}{}", if n == 1 { "" } else { many })
}

/// The batch interval: a whole number of milliseconds, at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Interval(u64);

impl Interval {
    pub(crate) fn new(d: Duration) -> Result<Self> {
        let ms = d.as_millis();
        if ms == 0 || ms > u64::MAX as u128 / 4 || !d.subsec_nanos().is_multiple_of(1_000_000) {
            return Err(Error::config(format!("batch interval {d:?}: it must be a whole number of milliseconds, at least 1 ms")));
        }
        Ok(Interval(ms as u64))
    }

    pub(crate) fn millis(self) -> u64 {
        self.0
    }

    pub(crate) fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// The batch after `t`.
    pub(crate) fn after(self, t: BatchTime) -> BatchTime {
        BatchTime(t.0 + self.0)
    }

    /// The first batch time that is not before `ms`.
    pub(crate) fn at_or_after(self, ms: u64) -> BatchTime {
        BatchTime(ms.div_ceil(self.0).max(1) * self.0)
    }

    /// `d` in milliseconds, if it is a positive multiple of the interval.
    ///
    /// # Errors
    /// Names the argument, its value, the interval, and the nearest valid value.
    pub(crate) fn multiple(self, what: &str, d: Duration) -> Result<u64, String> {
        let ms = d.as_millis() as u64;
        if ms > 0 && ms.is_multiple_of(self.0) && d.subsec_nanos().is_multiple_of(1_000_000) {
            return Ok(ms);
        }
        let near = ((ms + self.0 / 2) / self.0).max(1) * self.0;
        Err(format!(
            "{what} of {ms} ms must be a positive multiple of the batch interval, {} ms; the nearest is {near} ms",
            self.0
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn g2_interval_refuses_what_is_not_whole_milliseconds() {
        assert!(Interval::new(Duration::ZERO).is_err());
        assert!(Interval::new(Duration::from_micros(1500)).is_err());
        assert_eq!(Interval::new(secs(1)).unwrap().millis(), 1000);
    }

    #[test]
    fn g1_a_wrong_window_names_the_nearest_right_one() {
        let i = Interval::new(secs(5)).unwrap();
        assert_eq!(i.multiple("window", secs(60)), Ok(60_000));
        let e = i.multiple("slide", secs(7)).unwrap_err();
        assert!(e.contains("slide of 7000 ms") && e.contains("nearest is 5000 ms"), "{e}");
        assert!(i.multiple("slide", secs(0)).is_err());
    }

    #[test]
    fn durations_are_written_as_people_write_them() {
        let of = [0, 250, 1_000, 1_250, 5_000, 59_999, 60_000, 125_000, 3_600_000, 12_000_000].map(millis);
        let written = ["0 ms", "250 ms", "1 s", "1.2 s", "5 s", "59 s", "1 min", "2 min 5 s", "1 h", "3 h 20 min"];
        assert_eq!(of.map(human_duration), written);
        assert_eq!(clock_time(1_484_154_535_000).len(), "2017-01-11 17:08:55".len());
        assert!(clock_time(1_484_154_535_007).ends_with(".007") && !clock_time(u64::MAX).is_empty());
    }

    proptest! {
        #[test]
        fn g2_durations_never_panic(s in "\\PC*") {
            let _ = parse_duration(&s);
        }

        #[test]
        fn batch_times_are_on_the_grid(ms in 0u64..1 << 40, i in 1u64..1 << 20) {
            let i = Interval(i);
            let t = i.at_or_after(ms);
            prop_assert!(t.millis() >= ms && t.millis().is_multiple_of(i.millis()) && t.millis() > 0);
        }
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!([0, 999, 1_000, 61_204, 1_234_567].map(grouped), ["0", "999", "1,000", "61,204", "1,234,567"]);
    }

    #[test]
    fn one_batch_and_two_processes() {
        assert_eq!([counted(1, "batch"), counted(2, "batch"), counted(0, "record")], ["1 batch", "2 batches", "0 records"]);
        assert_eq!([counted(1, "process"), counted(2, "process")], ["1 process", "2 processes"]);
    }
}
