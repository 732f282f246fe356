//! When records are due that are sent at a multiple of the pace of their own times.

use std::time::Duration;

/// The times of records as times of a run: the first record is due at its start.
#[derive(Clone, Debug)]
pub struct ReplayPace {
    speed: f64,
    /// The time of the first record.
    first: Option<u64>,
    due: Duration,
}

impl ReplayPace {
    /// A pace that is `speed` times as fast as the records' own.
    pub fn new(speed: f64) -> Self {
        ReplayPace { speed, first: None, due: Duration::ZERO }
    }

    /// How long after the start a record of this time, in milliseconds since the epoch, is due. A record without a time, and one that is
    /// older than the record before, is due with the record before.
    pub fn due(&mut self, time: Option<u64>) -> Duration {
        if let Some(time) = time {
            let since = time.saturating_sub(*self.first.get_or_insert(time));
            let after = Duration::try_from_secs_f64(since as f64 / 1_000.0 / self.speed).unwrap_or(Duration::MAX);
            self.due = self.due.max(after);
        }
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_due_at_a_multiple_of_their_own_pace() {
        let mut pace = ReplayPace::new(60.0);
        let due = |pace: &mut ReplayPace, ms| pace.due(ms).as_millis();
        assert_eq!(due(&mut pace, None), 0, "a record without a time before the first one with a time");
        assert_eq!(due(&mut pace, Some(1_000_000)), 0);
        assert_eq!(due(&mut pace, Some(1_060_000)), 1_000, "a minute is a second");
        assert_eq!(due(&mut pace, Some(1_030_000)), 1_000, "an older record waits for nothing");
        assert_eq!(due(&mut pace, None), 1_000);
        assert_eq!(due(&mut pace, Some(1_120_000)), 2_000);
        let mut slow = ReplayPace::new(0.5);
        assert_eq!((due(&mut slow, Some(5)), due(&mut slow, Some(1_005))), (0, 2_000));
        assert_eq!(ReplayPace::new(1e-9).due(Some(7)), Duration::ZERO);
    }

    #[test]
    fn a_time_that_is_very_far_away_is_never_due() {
        let mut pace = ReplayPace::new(1e-300);
        pace.due(Some(0));
        assert_eq!(pace.due(Some(u64::MAX)), Duration::MAX);
    }
}
