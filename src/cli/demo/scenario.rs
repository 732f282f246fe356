//! The demo's events by batch: the same for every run of the same length.

use std::ops::Range;

/// The shortest run in which everything has its place.
pub const SHORTEST: u64 = 12;

/// The demo's events, by the number of completed batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// One author writes most tweets.
    pub burst: Range<u64>,
    /// Records that are not JSON: at which batch, and the number.
    pub bad: [(u64, u32); 2],
    /// The broker is unavailable.
    pub away: Range<u64>,
    /// From here on nothing more is sent, so that the rest can be read.
    pub last: u64,
}

impl Scenario {
    /// A burst after a third, bad records at the half, the broker away after two thirds.
    pub fn new(batches: u64) -> Self {
        let at = |from: u64, length: u64| from..from + length;
        // Two at least: events fall between batches, and one batch is to be empty.
        let away = at(batches * 2 / 3, (batches / 20).max(2));
        Scenario {
            burst: at(batches / 3, (batches / 12).max(1)),
            bad: [(batches / 2, 3), (away.start, 8)],
            away,
            last: batches.saturating_sub(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_as_documented_and_short_runs_have_all_of_it() {
        let minute = Scenario { burst: 20..25, bad: [(30, 3), (40, 8)], away: 40..43, last: 58 };
        assert_eq!(Scenario::new(60), minute);
        for n in SHORTEST..300 {
            let s = Scenario::new(n);
            assert!(s.burst.end <= s.bad[0].0 && s.bad[0].0 <= s.away.start && s.away.end <= s.last, "{n}: {s:?}");
        }
    }
}
