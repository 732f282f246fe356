//! What time it is. The only file that reads the wall clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Where batch times come from.
#[derive(Clone, Debug)]
pub(crate) enum Clock {
    /// The machine's: never goes back, jumps ahead when the wall clock does (a suspend, a correction).
    System,
    /// A hand that a test moves.
    Manual(ManualClock),
}

/// A clock that stands until it is moved: for tests of what live batches do when time is short or jumps.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock that shows this many milliseconds since the epoch.
    pub fn at(ms: u64) -> Self {
        ManualClock(Arc::new(AtomicU64::new(ms)))
    }

    /// Moves the hand, in either direction.
    pub fn set(&self, ms: u64) {
        self.0.store(ms, Ordering::SeqCst);
    }
}

/// A running clock: what it has shown, it does not take back.
#[derive(Clone)]
pub(crate) struct Time {
    clock: Clock,
    shown: u64,
    since: Instant,
}

impl Time {
    pub fn new(clock: Clock) -> Self {
        let shown = match &clock {
            Clock::System => wall_ms(),
            Clock::Manual(m) => m.0.load(Ordering::SeqCst),
        };
        Time { clock, shown, since: Instant::now() }
    }

    /// What the first batch is later than: now, or what a manual clock showed when the job was started, so that a test may
    /// move it at once.
    pub fn anchor(&mut self) -> u64 {
        match self.clock {
            Clock::System => self.now(),
            Clock::Manual(_) => self.shown,
        }
    }

    /// Milliseconds since the epoch: the wall clock, or, where that went back, what passed since it was last ahead.
    pub fn now(&mut self) -> u64 {
        let now = match &self.clock {
            Clock::System => {
                let passed = self.since.elapsed().as_millis() as u64;
                wall_ms().max(self.shown + passed)
            }
            Clock::Manual(m) => m.0.load(Ordering::SeqCst).max(self.shown),
        };
        if now > self.shown {
            self.shown = now;
            self.since = Instant::now();
        }
        self.shown
    }

    /// How long to sleep until `ms`, at most; a manual clock is looked at every millisecond.
    pub fn until(&mut self, ms: u64) -> std::time::Duration {
        let left = ms.saturating_sub(self.now());
        std::time::Duration::from_millis(match self.clock {
            Clock::System => left,
            Clock::Manual(_) => left.min(1),
        })
    }
}

/// What the wall clock shows, for what people read: it may jump.
pub(crate) fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back() {
        let hand = ManualClock::at(5_000);
        let mut time = Time::new(Clock::Manual(hand.clone()));
        hand.set(9_000);
        assert_eq!(time.now(), 9_000);
        hand.set(1_000);
        assert_eq!(time.now(), 9_000);
        hand.set(9_001);
        assert_eq!(time.now(), 9_001);
    }

    #[test]
    fn the_system_clock_is_the_wall_clock() {
        let before = wall_ms();
        let mut time = Time::new(Clock::System);
        let now = time.now();
        assert!(now >= before && now <= wall_ms() + 1);
    }
}
