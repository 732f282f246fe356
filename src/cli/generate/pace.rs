//! How many records are due at a rate, without drift, and without a burst after a pause.

use std::time::Duration;

/// A rate of records per second. Returns how many are due at a time after the start.
#[derive(Clone, Debug)]
pub struct Pace {
    rate: f64,
    at: Duration,
    owed: f64,
}

impl Pace {
    /// A pace of this many records per second.
    pub fn new(rate: f64) -> Self {
        Pace { rate, at: Duration::ZERO, owed: 0.0 }
    }

    /// Changes the rate from now on.
    pub fn set_rate(&mut self, rate: f64) {
        self.rate = rate;
    }

    /// How many are due now, `elapsed` after the start. Late records are sent later, at most one second of them.
    pub fn due(&mut self, elapsed: Duration) -> u64 {
        let since = elapsed.saturating_sub(self.at);
        self.at = self.at.max(elapsed);
        self.owed = (self.owed + since.as_secs_f64() * self.rate).min(self.rate.max(1.0));
        let due = self.owed.floor();
        self.owed -= due;
        due as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_to_the_record() {
        let mut p = Pace::new(333.0);
        let sent: u64 = (1..=10_000).map(|ms| p.due(Duration::from_millis(ms))).sum();
        assert!((3_329..=3_330).contains(&sent), "{sent}");
        p.set_rate(0.5);
        let sent: u64 = (10_001..=20_000).map(|ms| p.due(Duration::from_millis(ms))).sum();
        assert!((4..=6).contains(&sent), "a rate below one a second: {sent}");
    }

    #[test]
    fn after_a_pause_there_is_no_flood() {
        let mut p = Pace::new(1_000.0);
        assert_eq!(p.due(Duration::from_secs(60)), 1_000);
        assert_eq!(p.due(Duration::from_secs(59)), 0, "time does not go back");
    }
}
