//! Event time: when something happened, as its row says. The types of such a time, rows with one, and the rule of the watermark.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::core::error::BoxError;
use crate::core::time::{BatchTime, human_duration, secs};
use crate::core::time_zone;

/// A time that a row can have. Implement it for the type of another crate, such as one of chrono, in a newtype.
///
/// An `i64` counts microseconds since 1970-01-01 00:00 UTC. `None` and an `Err` are no time: the row is a bad record.
///
/// ```
/// use tidemill::prelude::*;
/// assert_eq!(1_000_000.micros().unwrap(), 1_000_000);
/// assert_eq!("1969-12-31T23:59:59Z".parse::<jiff::Timestamp>().micros().unwrap(), -1_000_000);
/// assert_eq!((std::time::UNIX_EPOCH + secs(2)).micros().unwrap(), 2_000_000);
/// assert!(None::<i64>.micros().unwrap_err().to_string().contains("no time"));
///
/// /// Whole seconds since 1970.
/// struct Seconds(i64);
/// impl EventTime for Seconds {
///     fn micros(self) -> Result<i64, BoxError> {
///         self.0.checked_mul(1_000_000).ok_or_else(|| "too late".into())
///     }
/// }
/// assert_eq!(Seconds(3).micros().unwrap(), 3_000_000);
/// ```
pub trait EventTime {
    /// Microseconds since 1970-01-01 00:00 UTC, negative before.
    ///
    /// # Errors
    /// Why the row has no valid time.
    fn micros(self) -> Result<i64, BoxError>;
}

impl EventTime for i64 {
    fn micros(self) -> Result<i64, BoxError> {
        Ok(self)
    }
}

impl EventTime for jiff::Timestamp {
    fn micros(self) -> Result<i64, BoxError> {
        Ok(self.as_microsecond())
    }
}

impl EventTime for jiff::Zoned {
    fn micros(self) -> Result<i64, BoxError> {
        self.timestamp().micros()
    }
}

impl EventTime for SystemTime {
    fn micros(self) -> Result<i64, BoxError> {
        jiff::Timestamp::try_from(self)?.micros()
    }
}

impl<T: EventTime> EventTime for Option<T> {
    fn micros(self) -> Result<i64, BoxError> {
        self.ok_or("the row has no time")?.micros()
    }
}

impl<T: EventTime, E: Into<BoxError>> EventTime for Result<T, E> {
    fn micros(self) -> Result<i64, BoxError> {
        self.map_err(Into::into)?.micros()
    }
}

/// A row with its event time.
///
/// ```
/// use tidemill::prelude::*;
/// let row = Timestamped { time: 0, row: "tide" };
/// assert!(row < Timestamped { time: 1, row: "mill" }, "ordered by time");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamped<T> {
    /// Microseconds since 1970-01-01 00:00 UTC.
    pub time: i64,
    /// The row.
    pub row: T,
}

/// A row of a window by event time: `start <= time < end`, both in microseconds since 1970-01-01 00:00 UTC. `{:?}` shows the times as
/// `print` shows batch times.
///
/// ```
/// use tidemill::prelude::*;
/// let minute = Windowed { start: 0, end: 60_000_000, row: ("/", 3) };
/// assert!(format!("{minute:?}").ends_with(r#", ("/", 3))"#));
/// assert_eq!(minute.map(|(_, n)| n), Windowed { start: 0, end: 60_000_000, row: 3 });
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Windowed<T> {
    /// When the window begins.
    pub start: i64,
    /// When it ends. A row of this time is in the next window.
    pub end: i64,
    /// The row.
    pub row: T,
}

impl<T> Windowed<T> {
    /// The same window with the result of `f` for its row.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Windowed<U> {
        Windowed { start: self.start, end: self.end, row: f(self.row) }
    }
}

impl<T: fmt::Debug> fmt::Debug for Windowed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Windowed({} to {}, ", shown(self.start), shown(self.end))?;
        self.row.fmt(f)?;
        f.write_str(")")
    }
}

/// A result of late rows: a row of [`WindowedView::late`](crate::prelude::WindowedView::late).
///
/// ```
/// use tidemill::prelude::*;
/// let late = Late { window: Windowed { start: 0, end: 60_000_000, row: 1 }, late_by: 5_000_000 };
/// assert!(format!("{late:?}").contains("late_by: 5000000"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Late<T> {
    /// The window to which the rows belong, with the result of the late rows alone.
    pub window: Windowed<T>,
    /// By how much the watermark had passed the end of the window before the batch, in microseconds. `allowed_lateness` is part of it.
    pub late_by: i64,
}

/// A time as a person writes it, in the zone of printed times, with its fraction of a second if it has one.
pub(crate) fn shown(micros: i64) -> String {
    match jiff::Timestamp::from_microsecond(micros) {
        Ok(at) => at.to_zoned(time_zone::shown()).strftime("%Y-%m-%d %H:%M:%S%.f").to_string(),
        Err(_) => format!("{micros} µs"),
    }
}

/// A duration in microseconds; the largest number if it is longer.
pub(crate) fn in_micros(d: Duration) -> i64 {
    i64::try_from(d.as_micros()).unwrap_or(i64::MAX)
}

/// How the watermark of a stream follows from its rows: Flink's word. [`DStream::event_time`](crate::prelude::DStream::event_time) takes
/// one. A [`Duration`] is one too: [`max_out_of_orderness`](WatermarkStrategy::max_out_of_orderness).
///
/// The watermark is a time for which the job assumes that all earlier rows have arrived. After each batch it is the largest time in
/// each source partition, less `max_out_of_orderness`, and of these the smallest over all partitions. It never falls. It depends on the
/// batches alone, so a batch that runs again has the same one.
///
/// * A partition counts from its first row on, until it is [idle](WatermarkStrategy::idle_after).
/// * All files count as one partition, since each is read once. So do rows that have left their source partitions, as after `repartition`
///   or `reduce_by_key`.
///
/// ```
/// use tidemill::prelude::*;
/// let strategy = WatermarkStrategy::max_out_of_orderness(secs(10)).idle_after(mins(5)).max_ahead(hours(1));
/// assert_ne!(strategy, secs(10).into());
/// assert_eq!(WatermarkStrategy::max_out_of_orderness(secs(10)), secs(10).into());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatermarkStrategy {
    delay: Duration,
    pub(crate) idle: Duration,
    ahead: Option<Duration>,
    pub(crate) drift: Option<Duration>,
}

impl WatermarkStrategy {
    /// A row may come after rows of its partition that are later by up to this duration. Spark calls it the delay of `withWatermark`.
    /// Windows close later by as much.
    pub const fn max_out_of_orderness(delay: Duration) -> Self {
        WatermarkStrategy { delay, idle: secs(60), ahead: None, drift: None }
    }

    /// A partition without rows does not hold the watermark, after it had none in batches of this duration in total. Batches count in
    /// which another partition had rows. So downtime does not make a partition idle. It counts again from its next row on. Default: one
    /// minute. The shortest is a millisecond.
    ///
    /// Without a second partition that has rows, the watermark stays: nothing says how much time has passed. Of two streams that are joined,
    /// one is idle in the same way, after the other one had rows in batches of this duration in total.
    pub const fn idle_after(self, idle: Duration) -> Self {
        WatermarkStrategy { idle, ..self }
    }

    /// A row whose time is further than this ahead of its batch time is a bad record. Default: no limit. So a broken clock cannot close
    /// all windows. A program that replays rows of the future, or runs on a clock of a test, needs the default.
    pub const fn max_ahead(self, ahead: Duration) -> Self {
        WatermarkStrategy { ahead: Some(ahead), ..self }
    }

    /// No source partition is read further ahead of the slowest one than this, in event time. Flink's watermark alignment. Default: no
    /// limit. So a backlog is read at about the same event time in all partitions, on all workers, and windows and joins hold what is
    /// within the drift, not what one partition is ahead.
    ///
    /// * A partition can be ahead by a few thousand records more: those that were read at once.
    /// * Nobody waits for a partition without records, nor for one that had no row in batches of [`idle_after`](Self::idle_after) in total.
    /// * It decides what a live batch reads, and nothing else. A batch that runs again has the same ranges.
    /// * Sources without [`SourceReader::pause`](crate::connector::source::SourceReader::pause), files and given ranges are read as ever.
    ///
    /// Set [`max_ahead`](Self::max_ahead) too: a row of the far future stops its partition until the others are there. The shortest drift
    /// is a millisecond.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let backlog = WatermarkStrategy::max_out_of_orderness(secs(10)).max_drift(mins(10));
    /// assert_ne!(backlog, secs(10).into());
    /// ```
    #[doc(alias = "withWatermarkAlignment")]
    pub const fn max_drift(self, drift: Duration) -> Self {
        WatermarkStrategy { drift: Some(drift), ..self }
    }

    /// The watermark of a partition with this largest time.
    pub(crate) fn below(&self, largest: i64) -> i64 {
        largest.saturating_sub(in_micros(self.delay))
    }

    /// The time of a row of a batch.
    ///
    /// # Errors
    /// The time is outside the years -9999 to 9999, or too far ahead of the batch.
    pub(crate) fn check(&self, time: i64, batch: BatchTime) -> Result<i64, BoxError> {
        if jiff::Timestamp::from_microsecond(time).is_err() {
            return Err(format!("the time {time} is not in the years -9999 to 9999; it is microseconds since 1970").into());
        }
        let limit = self.ahead.map(|ahead| (batch.millis() as i64).saturating_mul(1_000).saturating_add(in_micros(ahead)));
        match self.ahead {
            Some(ahead) if limit < Some(time) => {
                let (time, ahead) = (shown(time), human_duration(ahead));
                Err(format!("the time {time} is more than {ahead} ahead of the batch of {batch}").into())
            }
            _ => Ok(time),
        }
    }
}

impl From<Duration> for WatermarkStrategy {
    fn from(delay: Duration) -> Self {
        WatermarkStrategy::max_out_of_orderness(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::millis;

    #[test]
    fn a_time_is_a_date_and_not_too_far_ahead() {
        let at = BatchTime::from_millis(5_000);
        let check = |strategy: WatermarkStrategy, time| strategy.check(time, at).map_err(|e| e.to_string());
        let strict = WatermarkStrategy::from(secs(1)).max_ahead(millis(500));
        assert_eq!([-7, 5_500_000].map(|time| check(strict, time)), [Ok(-7), Ok(5_500_000)]);
        let e = check(strict, 5_500_001).unwrap_err();
        assert!(e.contains("05.500001 is more than 500 ms ahead of the batch of"), "{e}");
        let nanoseconds = check(secs(1).into(), 1_700_000_000_000_000_000).unwrap_err();
        assert!(nanoseconds.contains("1700000000000000000") && nanoseconds.contains("microseconds since 1970"), "{nanoseconds}");
    }

    #[test]
    fn times_before_1970_are_below_0() {
        assert_eq!((std::time::UNIX_EPOCH - millis(3)).micros().unwrap(), -3_000);
        assert_eq!(WatermarkStrategy::from(secs(2)).below(1), -1_999_999);
        assert_eq!(WatermarkStrategy::from(Duration::MAX).below(-2), i64::MIN);
    }
}
