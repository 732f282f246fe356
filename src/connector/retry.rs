//! How a failed output is retried: after 100 ms, 400 ms and so on, at most 5 s, until a limit is reached. Panics end the job.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::api::config::RetryLimits;
use crate::connector::sink::FatalError;
use crate::core::clock::wall_ms;
use crate::core::error::{BoxError, Error, Result, panic_text};
use crate::core::time::{BatchTime, clock_time, human_duration};

/// The first pause before a retry; each further one is four times as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The least time between two log lines about an output that keeps failing.
const TELL: Duration = Duration::from_secs(10);
/// How often a pause checks whether the job is over.
const LOOK: Duration = Duration::from_millis(20);

/// Why an output has not written a batch.
pub(crate) struct Failed {
    pub time: BatchTime,
    pub reason: String,
    /// A retry would fail too.
    pub fatal: bool,
}

/// Runs a step of an output, which may run code of the program.
pub(crate) fn attempt<R>(output: &str, time: BatchTime, work: impl FnOnce() -> Result<R, BoxError>) -> Result<Result<R, Failed>> {
    // Formatting an error also runs code of the program.
    let work = || work().map_err(|e| Failed { time, reason: e.to_string(), fatal: e.is::<FatalError>() });
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let (operator, message) = (output.into(), panic_text(&*panic));
        Error::WorkerPanicked { operator, worker: 0, batch: Some(time), message }
    })
}

/// Attempts a step until it succeeds, with growing pauses. Returns how often it was tried. `None`: the job is over, and the step is not
/// done.
///
/// # Errors
/// [`Error::Output`] when a limit is reached, or at once if a retry would fail too.
pub(crate) fn retry(
    output: &str,
    limits: RetryLimits,
    stop: &AtomicBool,
    mut work: impl FnMut() -> Result<Result<(), Failed>>,
) -> Result<Option<u32>> {
    let mut failing: Option<Failing> = None;
    for tried in 1.. {
        let Err(Failed { time, reason, fatal }) = work()? else {
            failing.inspect(|f| f.over(output, tried));
            return Ok(Some(tried));
        };
        let failing = failing.get_or_insert_with(Failing::default);
        let elapsed = failing.since.elapsed();
        let Some(pause) = failing.next_pause(limits, tried, elapsed).filter(|_| !fatal) else {
            return Err(Error::Output { output: output.into(), time, tries: tried, reason });
        };
        failing.tell(output, time, &reason, tried);
        let until = Instant::now() + pause;
        while Instant::now() < until {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            std::thread::sleep(LOOK);
        }
    }
    unreachable!("the loop ends by returning")
}

/// An output that is failing: since when, and what was logged.
struct Failing {
    since: Instant,
    /// By the machine's clock, for the log.
    since_ms: u64,
    told: Option<Instant>,
    next: Duration,
}

impl Default for Failing {
    fn default() -> Self {
        Failing { since: Instant::now(), since_ms: wall_ms(), told: None, next: FIRST_PAUSE }
    }
}

impl Failing {
    /// The pause before the next try, after this many tries and this time. `None`: a limit is reached. The last try is at the end of
    /// the time.
    fn next_pause(&mut self, limits: RetryLimits, tried: u32, elapsed: Duration) -> Option<Duration> {
        let left = limits.time.map_or(Duration::MAX, |time| time.saturating_sub(elapsed));
        let over = left.is_zero() || limits.tries.is_some_and(|tries| tried >= tries);
        (!over).then(|| self.pause().min(left))
    }

    /// The pause after the previous one.
    fn pause(&mut self) -> Duration {
        let next = (self.next * 4).min(LONGEST_PAUSE);
        std::mem::replace(&mut self.next, next)
    }

    /// Logs the failure, at most once in [`TELL`].
    fn tell(&mut self, output: &str, batch: BatchTime, reason: &str, tried: u32) {
        if self.told.is_some_and(|at| at.elapsed() < TELL) {
            return;
        }
        self.told = Some(Instant::now());
        let since = clock_time(self.since_ms);
        let tries = if tried == 1 { "once".to_string() } else { format!("{tried} times") };
        tracing::warn!("output {output} is failing since {since}: {reason}; the batch of {batch} was tried {tries}");
    }

    fn over(&self, output: &str, tried: u32) {
        let took = human_duration(self.since.elapsed());
        tracing::info!("output {output} writes again after {took}, at try {tried}");
    }
}

/// The pause before the next check of rows sent at `since`: an eighth of the time until now.
pub(crate) fn pause(since: Instant) -> Duration {
    (since.elapsed() / 8).clamp(Duration::from_micros(200), Duration::from_millis(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(tried: &mut u32) -> Result<Result<(), Failed>> {
        *tried += 1;
        Ok(Err(Failed { time: BatchTime::from_millis(1), reason: format!("no {tried}"), fatal: false }))
    }

    #[test]
    fn an_output_is_tried_until_its_time_is_over_and_once_more_at_the_end() {
        let limits = RetryLimits { time: Some(Duration::from_millis(200)), tries: None };
        let (mut tried, began) = (0, Instant::now());
        let end = retry("out", limits, &AtomicBool::new(false), || failing(&mut tried));
        let Err(Error::Output { tries, reason, .. }) = end else { panic!("{end:?}") };
        assert!(began.elapsed() >= Duration::from_millis(200));
        assert_eq!((tries, &*reason), (tried, &*format!("no {tried}")), "the last reason");
        let (mut failing, mut elapsed, mut tried) = (Failing::default(), Duration::ZERO, 1);
        while let Some(pause) = failing.next_pause(limits, tried, elapsed) {
            (elapsed, tried) = (elapsed + pause, tried + 1);
        }
        assert_eq!((elapsed, tried), (Duration::from_millis(200), 3), "at once, after 100 ms, and at the end");
    }

    #[test]
    fn the_first_limit_counts_and_no_time_is_no_second_try() {
        for (time, tries, expected) in [(None, Some(2), 2), (Some(Duration::MAX), Some(2), 2), (Some(Duration::ZERO), None, 1)] {
            let mut tried = 0;
            let end = retry("out", RetryLimits { time, tries }, &AtomicBool::new(false), || failing(&mut tried));
            assert!(end.is_err() && tried == expected, "{time:?} {tries:?}: {tried}");
        }
    }

    #[test]
    fn pauses_grow_to_five_seconds() {
        let mut failing = Failing::default();
        let pauses: Vec<u128> = (0..5).map(|_| failing.pause().as_millis()).collect();
        assert_eq!(pauses, [100, 400, 1_600, 5_000, 5_000]);
    }

    #[test]
    fn a_job_that_is_over_ends_the_tries() {
        let (stop, mut tried) = (AtomicBool::new(false), 0);
        let end = retry("out", RetryLimits { time: None, tries: Some(u32::MAX) }, &stop, || {
            stop.store(true, Ordering::Relaxed);
            failing(&mut tried)
        });
        assert_eq!(end.unwrap(), None);
        assert_eq!(tried, 1);
    }
}
