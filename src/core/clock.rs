//! The clock that batch times come from: the machine's, or one that a test sets. The only file that reads the wall clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The source of batch times.
#[derive(Clone, Debug)]
pub(crate) enum Clock {
    /// The machine's clock. It never goes back. It jumps ahead with the wall clock, as after a suspend or a correction.
    System,
    /// A clock that a test sets.
    Manual(ManualClock),
}

/// A clock that advances only when a test sets it. So the test decides when live batches are due.
///
/// ```
/// use tidemill::{job::ManualClock, prelude::*};
/// use std::time::Duration;
/// let (queue, clock) = (QueueSource::new(), ManualClock::at(10_000));
/// let (feed, rows) = (queue.clone(), MemorySink::new());
/// let sink = rows.clone();
/// let job = StreamingContext::builder("on-a-clock", secs(5)).start_on_clock(clock.clone(), move |ssc| {
///     ssc.queue_stream(&queue).to_memory(&sink);
///     Ok(())
/// })?;
/// feed.push(vec!['a']);
/// clock.set(15_000);                                  // the first batch is due
/// while rows.rows().is_empty() {
///     assert!(!job.await_termination_or_timeout(Duration::from_millis(1))?);
/// }
/// assert_eq!(rows.batches(), [(BatchTime::from_millis(15_000), vec!['a'])]);
/// job.stop_now()?;
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock that shows this many milliseconds since the epoch.
    pub fn at(ms: u64) -> Self {
        ManualClock(Arc::new(AtomicU64::new(ms)))
    }

    /// Sets the clock, forward or backward.
    pub fn set(&self, ms: u64) {
        self.0.store(ms, Ordering::SeqCst);
    }
}

/// A running clock that never goes back.
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

    /// The first batch is later than this time: now, or what a manual clock showed when the job started. So a test may set its
    /// clock immediately after the start.
    pub fn anchor(&mut self) -> u64 {
        match self.clock {
            Clock::System => self.now(),
            Clock::Manual(_) => self.shown,
        }
    }

    /// Milliseconds since the epoch: the wall clock, or, after it went back, its last time plus the elapsed time.
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

    /// The time left until `ms`. With a manual clock at most 1 ms, because a test may set it meanwhile.
    pub fn until(&mut self, ms: u64) -> std::time::Duration {
        let left = ms.saturating_sub(self.now());
        std::time::Duration::from_millis(match self.clock {
            Clock::System => left,
            Clock::Manual(_) => left.min(1),
        })
    }
}

/// The wall clock, in milliseconds since the epoch, for texts that people read. It may jump in both directions.
pub(crate) fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back() {
        let clock = ManualClock::at(5_000);
        let mut time = Time::new(Clock::Manual(clock.clone()));
        clock.set(9_000);
        assert_eq!(time.now(), 9_000);
        clock.set(1_000);
        assert_eq!(time.now(), 9_000);
        clock.set(9_001);
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
