//! The watchdog of a process: reports a worker that is stuck, and ends a failed job in spite of it.
//!
//! A long batch is not a fault, so a worker that does not return from a step causes only a warning. After `--stuck-timeout` it is an
//! error. Time counts only while this process runs: a pause of the whole process is not the fault of a worker.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::api::config::RuntimeArgs;
use crate::core::error::Error;
use crate::job::shared::{End, JobState, Watched, ended_within, finish};

/// Time between two checks. An idle worker steps ten times a second.
const TICK: Duration = Duration::from_millis(250);
/// How long a failed job may take to end, beyond the heartbeat timeout, before the watchdog ends it.
const LEAVE: Duration = Duration::from_secs(5);

/// What the watchdog knows of a worker.
struct Observed {
    watched: Arc<Watched>,
    steps: u64,
    /// How long it has been in one step.
    still: Duration,
    warned: bool,
}

impl Observed {
    fn check(&mut self, passed: Duration) {
        let steps = self.watched.steps.load(Ordering::Relaxed);
        if steps == self.steps {
            self.still += passed;
        } else {
            (self.steps, self.still, self.warned) = (steps, Duration::ZERO, false);
        }
    }

    fn error(&self) -> Error {
        let (operator, batch) = self.watched.spot.read();
        Error::WorkerStuck { operator, worker: self.watched.worker, batch, seconds: self.still.as_secs() }
    }
}

/// Watches until the job has ended, or is abandoned.
pub(super) fn watch(shared: &JobState, end: &End, limits: &RuntimeArgs) {
    let mut all: Vec<Observed> = Vec::new();
    let mut failed = Duration::ZERO;
    let mut looked = Instant::now();
    while !ended_within(end, TICK) {
        let passed = looked.elapsed().min(2 * TICK);
        looked = Instant::now();
        let now = shared.watched();
        all.retain(|s| now.iter().any(|w| Arc::ptr_eq(w, &s.watched)));
        for watched in now.into_iter().filter(|w| !all.iter().any(|s| Arc::ptr_eq(w, &s.watched))).collect::<Vec<_>>() {
            all.push(Observed { watched, steps: 0, still: Duration::ZERO, warned: false });
        }
        for seen in &mut all {
            seen.check(passed);
            if seen.still >= limits.heartbeat_timeout && !std::mem::replace(&mut seen.warned, true) {
                tracing::warn!("{}", seen.error());
            }
            if limits.stuck_timeout.is_some_and(|limit| seen.still >= limit) {
                shared.fail(seen.error());
            }
        }
        if shared.failed() {
            failed += passed;
        }
        if failed >= LEAVE + limits.heartbeat_timeout {
            return abandon(shared, end, &all);
        }
    }
}

/// The job has failed and does not end: its handle gets the failure, and its threads are left behind.
fn abandon(shared: &JobState, end: &End, all: &[Observed]) {
    for stuck in all.iter().filter(|s| s.still >= LEAVE) {
        tracing::warn!("the job ends without waiting for this thread: {}", stuck.error());
    }
    // The failure is taken under the lock of the end, so a job that ends at this moment finds it.
    finish(end, || {
        let why = shared.take_failure().unwrap_or_else(|| Error::bug("the job has failed, and does not end"));
        shared.abandon();
        Err(why)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::lock::lock;
    use crate::job::shared::Summary;

    #[test]
    fn an_abandoned_job_ends_with_the_reason_of_its_failure() {
        let (shared, end) = (JobState::new(), End::default());
        shared.fail(Error::Cluster("a socket broke".into()));
        *lock(&end.0) = Some(Ok(Summary::default()));
        abandon(&shared, &end, &[]);
        assert!(shared.failed() && !shared.abandoned(), "the job has ended normally, and its failure is still there to read");
        *lock(&end.0) = None;
        abandon(&shared, &end, &[]);
        let error = lock(&end.0).take().unwrap().unwrap_err().to_string();
        assert!(error.contains("a socket broke") && shared.abandoned() && shared.take_failure().is_none(), "{error}");
    }
}
