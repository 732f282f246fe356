//! How a failed output is retried: with pauses of 100 ms, 400 ms and so on, at most 60 s. Panics end the job.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::connector::sink::FatalError;
use crate::core::error::{BoxError, Error, Result, panic_text};
use crate::core::time::{BatchTime, clock_time};

/// The first pause before a retry; each further one is four times as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
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

/// Attempts a step until it succeeds, with growing pauses. `false`: the job is over, and the step is not done.
pub(crate) fn retry(
    output: &str,
    tries: u32,
    stop: &AtomicBool,
    mut work: impl FnMut() -> Result<Result<(), Failed>>,
) -> Result<bool> {
    let mut pause = FIRST_PAUSE;
    for tried in 1.. {
        let Err(Failed { time, reason, fatal }) = work()? else { return Ok(true) };
        if fatal || tried >= tries {
            return Err(Error::Output { output: output.into(), time, tries: tried, reason });
        }
        tracing::warn!(output, batch = %clock_time(time.millis()), error = reason, "the output failed and is tried again");
        let until = Instant::now() + pause;
        while Instant::now() < until {
            if stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            std::thread::sleep(LOOK);
        }
        pause = (pause * 4).min(LONGEST_PAUSE);
    }
    unreachable!("the loop ends by returning")
}

/// The pause before the next check of rows sent at `since`: an eighth of the time until now.
pub(crate) fn pause(since: Instant) -> Duration {
    (since.elapsed() / 8).clamp(Duration::from_micros(200), Duration::from_millis(10))
}
