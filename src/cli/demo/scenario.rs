//! The demo's events by batch: the same for every run of the same length.

use std::ops::Range;

/// The demo's events, by the number of completed batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// One author writes most tweets.
    pub burst: Range<u64>,
    /// Records that are not JSON: at which batch, and the number.
    pub bad: Vec<(u64, u32)>,
    /// The broker is unavailable. Empty in a short run.
    pub away: Range<u64>,
    /// From here on nothing more is sent, so that the rest can be read.
    pub last: u64,
}

impl Scenario {
    /// A burst after a third, bad records at the half, the broker away after two thirds. An event that a short run has no room for is
    /// left out.
    pub fn new(batches: u64) -> Self {
        let last = batches.saturating_sub(2).max(1);
        let at = |from: u64, length: u64| if from + length <= last { from..from + length } else { u64::MAX..u64::MAX };
        // Two at least: events fall between batches, and one batch is to be empty.
        let away = at(batches * 2 / 3, (batches / 20).max(2));
        let bad = [(batches / 2, 3), (away.start, 8)];
        let bad = bad.into_iter().filter(|(batch, _)| *batch <= last).collect();
        Scenario { burst: at(batches / 3, (batches / 12).max(1)), bad, away, last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_as_documented_and_short_runs_have_what_fits() {
        let minute = Scenario { burst: 20..25, bad: vec![(30, 3), (40, 8)], away: 40..43, last: 58 };
        assert_eq!(Scenario::new(60), minute);
        for n in 12..300 {
            let s = Scenario::new(n);
            assert!(s.burst.end <= s.bad[0].0 && s.bad[0].0 <= s.away.start && s.away.end <= s.last, "{n}: {s:?}");
            assert_eq!(s.bad.len(), 2, "{n}");
        }
        for n in 0..12 {
            let s = Scenario::new(n);
            assert!(s.away.is_empty() || s.away.end <= s.last, "{n}: {s:?}");
            assert!(s.last > 0 && s.bad.iter().all(|(batch, _)| *batch <= s.last), "{n}: {s:?}");
            assert!(s.burst.is_empty() || s.burst.end <= s.last, "{n}: {s:?}");
        }
    }
}
