//! [`StartFrom`]: where a Kafka stream begins if no checkpoint exists.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// 2001 to 2286 in seconds. In milliseconds these are days of early 1970, before any Kafka.
const SECONDS_OF_OUR_TIME: RangeInclusive<i64> = 1_000_000_000..=9_999_999_999;

/// The year 2286 in milliseconds. Later times are in another unit.
const YEAR_2286: i64 = 10_000_000_000_000;

/// Where a stream begins if no checkpoint exists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StartFrom {
    /// After the last record at the start: Spark's default.
    #[default]
    Latest,
    /// At the first record each partition still holds.
    Earliest,
    /// At these offsets. Partitions that are not named begin like `Latest`.
    Offsets(BTreeMap<(String, i32), i64>),
    /// At the first record at or after a time, in milliseconds since the epoch. A partition without such a record begins at its
    /// end.
    Timestamp(i64),
    /// Where the consumer group of the source has committed. A partition without a committed offset begins at its first record if
    /// `or_earliest`, otherwise like `Latest`.
    Group {
        /// Where a partition begins that the group has not read: at its first record, or after its last one.
        or_earliest: bool,
    },
}

impl StartFrom {
    /// See [`StartFrom::Latest`].
    pub fn latest() -> Self {
        StartFrom::Latest
    }

    /// See [`StartFrom::Earliest`].
    pub fn earliest() -> Self {
        StartFrom::Earliest
    }

    /// See [`StartFrom::Offsets`]. An offset outside the log is an error at the start, which states the log's bounds.
    ///
    /// ```
    /// use tidemill::connector::kafka::source::StartFrom;
    /// let start = StartFrom::from_offsets([("twitter", 0, 200), ("twitter", 1, 0)]);
    /// # assert!(matches!(start, StartFrom::Offsets(o) if o.len() == 2));
    /// ```
    pub fn from_offsets<S: Into<String>>(offsets: impl IntoIterator<Item = (S, i32, i64)>) -> Self {
        StartFrom::Offsets(offsets.into_iter().map(|(t, p, o)| ((t.into(), p), o)).collect())
    }

    /// See [`StartFrom::Timestamp`]. A number that cannot be milliseconds of our time, such as microseconds, is an error at the
    /// start.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let start = StartFrom::from_timestamp(1_764_331_200_000);          // 2025-11-28 12:00 UTC
    /// assert_eq!(start, StartFrom::Timestamp(1_764_331_200_000));
    /// ```
    pub fn from_timestamp(ms: i64) -> Self {
        StartFrom::Timestamp(ms)
    }

    /// See [`StartFrom::Group`]. The group is that of [`KafkaSource::group_id`](super::source::KafkaSource::group_id); the source does not
    /// join it. Partitions that the group has not read begin after their last record. A committed offset that the log no longer has is
    /// treated as [`KafkaSource::fail_on_data_loss`](super::source::KafkaSource::fail_on_data_loss) says.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let kafka = KafkaSource::brokers("127.0.0.1:9092").topic("words").group_id("word-count").start(StartFrom::from_group());
    /// kafka.check()?;
    /// assert_eq!(StartFrom::from_group(), StartFrom::Group { or_earliest: false });
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn from_group() -> Self {
        StartFrom::Group { or_earliest: false }
    }

    /// As [`StartFrom::from_group`]. Partitions that the group has not read begin at their first record.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// assert_eq!(StartFrom::from_group_or_earliest(), StartFrom::Group { or_earliest: true });
    /// ```
    pub fn from_group_or_earliest() -> Self {
        StartFrom::Group { or_earliest: true }
    }

    /// What is wrong with a time that no record of our time can have: another unit than milliseconds, usually.
    pub(super) fn problem(&self) -> Option<String> {
        let StartFrom::Timestamp(ms) = self else { return None };
        let what = format!("Kafka: from_timestamp({ms}): the time is in milliseconds since 1970");
        match *ms {
            ..0 => Some(format!("{what}, and must not be negative; for all records say StartFrom::earliest()")),
            ms if SECONDS_OF_OUR_TIME.contains(&ms) => Some(format!("{what}, and this looks like seconds; multiply it by 1,000")),
            0..YEAR_2286 => None,
            ms if ms < YEAR_2286 * 1_000 => Some(format!("{what}, and this looks like microseconds; divide it by 1,000")),
            _ => Some(format!("{what}, and this looks like nanoseconds; divide it by 1,000,000")),
        }
    }
}
