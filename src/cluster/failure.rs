//! The latch that keeps the first failure of a run, of this process or of a peer. All threads ask it whether to continue.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::cluster::link::{FailureReport, Link, LinkEvent};
use crate::core::error::Error;

/// How long the peers have to end once this process has failed and its workers have returned.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// How long a closed data socket waits for the reason from the link, which knows more.
const VERDICT: Duration = Duration::from_secs(1);

/// Keeps the first failure. Shared by the workers, the links, timely's network threads and all other threads of a process.
pub(crate) struct FailureLatch {
    addresses: Vec<SocketAddr>,
    failed: AtomicBool,
    inner: Mutex<Inner>,
    changed: Condvar,
    link: OnceLock<Link>,
}

#[derive(Default)]
struct Inner {
    why: Option<Error>,
    workers: Vec<Thread>,
    /// Which peers have sent their last message, or are lost.
    ended: Vec<bool>,
    /// Which peers are lost: they send nothing more.
    lost: Vec<bool>,
    /// When the last worker of this process returned.
    returned: Option<Instant>,
}

impl FailureLatch {
    /// Without a failure. `addresses[i]` is the address of process i.
    pub(super) fn new(addresses: Vec<SocketAddr>) -> Self {
        let none = vec![false; addresses.len()];
        let inner = Inner { ended: none.clone(), lost: none, ..Inner::default() };
        FailureLatch {
            addresses,
            failed: AtomicBool::new(false),
            inner: Mutex::new(inner),
            changed: Condvar::new(),
            link: OnceLock::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the run has failed: then drop the dataflows and return. Cheap enough to call at each step.
    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// This process failed: all workers of all processes stop. Only the first failure counts; any thread may call.
    pub(crate) fn fail(&self, error: Error) {
        let report = FailureReport::from(&error);
        if self.first(error)
            && let Some(link) = self.link.get()
        {
            link.fail(report);
        }
    }

    /// The error of a worker that stops because of [`failed`](Self::failed). The job reports the first failure instead.
    pub(crate) fn stopped(&self) -> Error {
        Error::Cluster("stopped, for the run has failed".into())
    }

    fn first(&self, error: Error) -> bool {
        let mut inner = self.lock();
        if self.failed() {
            return false;
        }
        let words = error.to_string();
        inner.why = Some(error);
        self.failed.store(true, Ordering::SeqCst);
        inner.workers.iter().for_each(Thread::unpark);
        drop(inner);
        self.changed.notify_all();
        // Last, and without the lock: a subscriber is the user's code.
        tracing::debug!(error = words, "the run has failed");
        true
    }

    /// The calling thread is a worker: it is woken when the run fails.
    pub(super) fn enlist(&self) {
        self.lock().workers.push(std::thread::current());
    }

    pub(super) fn connect(&self, link: Link) {
        let _ = self.link.set(link);
    }

    /// Takes an event of a link.
    pub(super) fn hear(&self, event: LinkEvent) {
        let lost = matches!(event, LinkEvent::Lost { .. });
        let (process, error) = match event {
            LinkEvent::Done { process } => (process, None),
            LinkEvent::Failed { process, report } => (process, Some(format!("{} failed: {report}", self.name(process)))),
            LinkEvent::Lost { process, why } => (process, Some(format!("{} was lost: {why}", self.name(process)))),
            LinkEvent::Stood { process, time, why } => {
                let others = self.name(process);
                let words = "stopped, suspended or without CPU, longer than the others wait (--heartbeat-timeout)";
                (process, Some(format!("this process stood still for {time:.1?}, {words}; {others} goes on without it: {why}")))
            }
            LinkEvent::Stopped { process, why } => {
                tracing::debug!(why, "{} stopped", self.name(process));
                (process, Some(why))
            }
        };
        self.lock().lost[process] |= lost;
        if let Some(why) = error
            && self.first(Error::Cluster(why.clone()))
            && let Some(link) = self.link.get()
        {
            link.stopped(&why);
        }
        self.lock().ended[process] = true;
        self.changed.notify_all();
    }

    fn name(&self, process: usize) -> String {
        format!("process {process} at {}", self.addresses[process])
    }

    /// The data socket of a peer closed without timely's end message. Waits for the link first, because it may know why.
    pub(super) fn broken(&self, process: usize, why: String) {
        let until = Instant::now() + VERDICT;
        let mut inner = self.lock();
        while !inner.ended[process] && !self.failed() && Instant::now() < until {
            inner = self.wait(inner, VERDICT / 10);
        }
        let known = inner.ended[process] || self.failed();
        drop(inner);
        if !known {
            self.hear(LinkEvent::Lost { process, why });
        }
    }

    fn wait<'a>(&self, inner: MutexGuard<'a, Inner>, time: Duration) -> MutexGuard<'a, Inner> {
        self.changed.wait_timeout(inner, time).unwrap_or_else(PoisonError::into_inner).0
    }

    /// All workers of this process have returned: timely's network threads can no longer reach one.
    pub(super) fn workers_returned(&self) {
        self.lock().returned.get_or_insert_with(Instant::now);
        self.changed.notify_all();
    }

    pub(super) fn await_workers(&self) {
        let mut inner = self.lock();
        while inner.returned.is_none() {
            inner = self.wait(inner, GRACE);
        }
    }

    /// The run has failed, the workers have returned, and the grace period of the peer is over. A lost peer has none.
    pub(super) fn overdue(&self, process: usize) -> bool {
        let inner = self.lock();
        let grace = if inner.lost[process] { Duration::ZERO } else { GRACE };
        self.failed() && inner.returned.is_some_and(|at| at.elapsed() >= grace)
    }

    /// Takes the failure, for a caller that does not wait for the end of the run.
    pub(crate) fn why(&self) -> Option<Error> {
        self.lock().why.take()
    }

    /// Sends the last message, waits for that of every peer unless the run has failed, closes the links, and returns the failure.
    pub(super) fn end(&self) -> Option<Error> {
        if let Some(link) = self.link.get() {
            link.done();
            let mut inner = self.lock();
            let all = |inner: &Inner| inner.ended.iter().filter(|ended| **ended).count() + 1 >= inner.ended.len();
            while !self.failed() && !all(&inner) {
                inner = self.wait(inner, GRACE);
            }
            drop(inner);
            link.close();
        }
        self.lock().why.take()
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn the_first_failure_counts() {
        let latch = FailureLatch::new(vec!["127.0.0.1:1".parse().unwrap(); 3]);
        latch.hear(LinkEvent::Done { process: 2 });
        assert!(!latch.failed(), "a goodbye is no failure");
        latch.hear(LinkEvent::Stopped { process: 1, why: "process 2 at 127.0.0.1:3 was lost".into() });
        latch.fail(Error::Cluster("too late".into()));
        assert!(latch.failed());
        assert_eq!(latch.end().unwrap().to_string(), "cluster: process 2 at 127.0.0.1:3 was lost");
    }

    #[test]
    fn a_report_keeps_what_the_error_knows() {
        let error = Error::WorkerPanicked {
            operator: "map".into(),
            worker: 3,
            batch: Some(crate::core::time::BatchTime::from_millis(500)),
            message: "boom".into(),
        };
        let report = FailureReport::from(&error);
        assert_eq!((report.operator.as_deref(), report.worker, report.batch), (Some("map"), Some(3), Some(500)));
        assert_eq!(report.to_string(), error.to_string());
    }
}
