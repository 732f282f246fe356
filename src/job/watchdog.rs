//! The watchdog of a process: says when a worker is stuck, and does not let it hold up the end of a job that has failed.
//!
//! A long batch is no fault, so a worker that does not come back from a step is a warning, and an error only where
//! `--stuck-timeout` says so. Time counts only while this process itself runs: a pause of all of it is nobody's fault here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::api::config::RuntimeArgs;
use crate::core::error::{Error, Result};
use crate::engine::operator_id::CurrentOperator;
use crate::job::run::Summary;
use crate::job::worker::{Shared, lock};

/// How often the workers are looked at; they step ten times a second if there is nothing to do.
const TICK: Duration = Duration::from_millis(250);
/// How long a failed job has to end by itself, beyond the heartbeat timeout.
const LEAVE: Duration = Duration::from_secs(5);

/// The end of a job, and the bell that rings then.
pub(crate) type End = Arc<(Mutex<Option<Result<Summary>>>, Condvar)>;

/// One worker of this process, as others see it.
pub(crate) struct Watched {
    worker: usize,
    steps: AtomicU64,
    spot: Arc<CurrentOperator>,
}

impl Watched {
    /// The calling thread is a worker.
    pub fn here(worker: usize) -> Arc<Watched> {
        Arc::new(Watched { worker, steps: AtomicU64::new(0), spot: CurrentOperator::here() })
    }

    /// It has come back from a step.
    pub fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }
}

/// What is known of a worker.
struct Seen {
    watched: Arc<Watched>,
    steps: u64,
    /// How long it has been in one step.
    still: Duration,
    warned: bool,
}

impl Seen {
    fn look(&mut self, passed: Duration) {
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

/// Watches until the job has ended, or is left behind.
pub(super) fn watch(shared: &Shared, end: &End, limits: &RuntimeArgs) {
    let mut all: Vec<Seen> = Vec::new();
    let mut failed = Duration::ZERO;
    let mut looked = Instant::now();
    loop {
        let over = lock(&end.0);
        let over = end.1.wait_timeout_while(over, TICK, |end| end.is_none()).unwrap_or_else(|e| e.into_inner()).0;
        if over.is_some() {
            return;
        }
        drop(over);
        let passed = looked.elapsed().min(2 * TICK);
        looked = Instant::now();
        let now = shared.watched();
        all.retain(|s| now.iter().any(|w| Arc::ptr_eq(w, &s.watched)));
        for watched in now.into_iter().filter(|w| !all.iter().any(|s| Arc::ptr_eq(w, &s.watched))).collect::<Vec<_>>() {
            all.push(Seen { watched, steps: 0, still: Duration::ZERO, warned: false });
        }
        for seen in &mut all {
            seen.look(passed);
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
            return leave(shared, end, &all);
        }
    }
}

/// The job has failed and does not end: whoever waits for it is told, and its threads are left to themselves.
fn leave(shared: &Shared, end: &End, all: &[Seen]) {
    for stuck in all.iter().filter(|s| s.still >= LEAVE) {
        tracing::warn!("left behind: {}", stuck.error());
    }
    let mut over = lock(&end.0);
    // Only now the reason is taken: a job that has just ended by itself is to find it.
    if over.is_none() {
        let why = shared.why().unwrap_or_else(|| Error::bug("the job has failed without an error"));
        shared.abandon();
        *over = Some(Err(why));
        end.1.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_a_failure_goes_to_who_ends_the_job() {
        let (shared, end) = (Shared::new(), End::default());
        shared.fail(Error::Cluster("a socket broke".into()));
        *lock(&end.0) = Some(Ok(Summary::default()));
        leave(&shared, &end, &[]);
        assert!(shared.failed() && !shared.abandoned(), "it has ended by itself, and has not been told why yet");
        *lock(&end.0) = None;
        leave(&shared, &end, &[]);
        let told = lock(&end.0).take().unwrap().unwrap_err().to_string();
        assert!(told.contains("a socket broke") && shared.abandoned() && !shared.failed(), "{told}");
    }
}
