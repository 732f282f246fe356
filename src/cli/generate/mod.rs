//! Generated input data for programs. The same seed gives the same bytes.
//!
//! [`Tweets`], [`Words`], [`Weblogs`] and [`Nexmark`] write one record per call. [`Spoiled`] makes some of them unreadable. [`Pace`] returns how
//! many are due, and [`ReplayPace`] when each is due by its own time.

pub mod nexmark;
mod pace;
mod random;
mod replay_pace;
mod spoiled;
mod tweets;
mod weblogs;
mod words;

pub use nexmark::Nexmark;
pub use pace::Pace;
pub use random::{Random, Zipf};
pub use replay_pace::ReplayPace;
pub use spoiled::{Spoiled, spoil_json};
pub use tweets::Tweets;
pub use weblogs::Weblogs;
pub use words::Words;

/// The first moment of generated data, in milliseconds since the epoch: 2017-01-11 17:08:55 UTC, the tutorial's first batch.
/// No clock is read, so that a seed gives the same bytes at any time.
pub const BEGIN_MS: u64 = 1_484_154_535_000;

/// Generates records, one after another.
pub trait Generate: Send {
    /// Appends the next record, without a line end. `at_ms` is when it happened, milliseconds since the epoch.
    fn write(&mut self, at_ms: u64, out: &mut Vec<u8>);

    /// Appends a record that no parser of this data accepts.
    fn write_spoiled(&mut self, at_ms: u64, out: &mut Vec<u8>);
}

/// `at_ms` in a `strftime` format, in UTC.
pub(super) fn date(at_ms: u64, format: &str) -> String {
    crate::core::time::zoned(at_ms, jiff::tz::TimeZone::UTC).strftime(format).to_string()
}
