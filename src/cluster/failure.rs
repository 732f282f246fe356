//! The failure latch of a process: it keeps the first failure, of this process or of a peer. Every thread of the job checks it.
//!
//! It exists before the processes are connected, so that all failures are in one place from the start.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::cluster::link::{FailureReport, Link, LinkEvent};
use crate::core::error::Error;
use crate::core::lock::lock;

/// How long the peers have to end once this process has failed and its workers have returned.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// How long a closed data socket waits for the link, which may know the reason.
const VERDICT: Duration = Duration::from_secs(1);

/// The first failure of a job. The workers, the links, timely's network threads and the job's other threads share it.
pub(crate) struct FailureLatch {
    /// The address of each process, set when they are connected.
    addresses: OnceLock<Vec<SocketAddr>>,
    failed: AtomicBool,
    inner: Mutex<Inner>,
    changed: Condvar,
    link: OnceLock<Link>,
}

#[derive(Default)]
struct Inner {
    why: Option<Error>,
    /// Whether the peers know that the run has failed.
    told: bool,
    workers: Vec<Thread>,
    /// Which peers have sent their last message, or are lost.
    ended: Vec<bool>,
    /// Which peers are lost: they send nothing more.
    lost: Vec<bool>,
    /// When the last worker of this process returned.
    returned: Option<Instant>,
}

impl FailureLatch {
    /// A latch without a failure, before the processes are connected.
    pub(crate) fn new() -> Self {
        FailureLatch {
            addresses: OnceLock::new(),
            failed: AtomicBool::new(false),
            inner: Mutex::default(),
            changed: Condvar::new(),
            link: OnceLock::new(),
        }
    }

    /// The processes are connected: process i has the address `addresses[i]`.
    pub(super) fn meet(&self, addresses: Vec<SocketAddr>) {
        let none = vec![false; addresses.len()];
        let mut inner = self.lock();
        (inner.ended, inner.lost) = (none.clone(), none);
        drop(inner);
        let _ = self.addresses.set(addresses);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// Whether the run has failed: then a worker drops its dataflows and returns. Cheap enough for each step.
    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// This process has failed: all workers of all processes stop. Only the first failure is kept. Any thread may call this.
    pub(crate) fn fail(&self, error: Error) {
        if self.first(error) {
            self.tell_peers();
        }
    }

    /// Sends the first failure to the peers: once, as soon as there is a failure of this process and a link.
    fn tell_peers(&self) {
        let Some(link) = self.link.get() else { return };
        let mut inner = self.lock();
        if let Some(report) = inner.why.as_ref().map(FailureReport::from).filter(|_| !inner.told) {
            inner.told = true;
            drop(inner);
            link.fail(report);
        }
    }

    /// What a worker returns when it stops because of [`failed`](Self::failed): the first failure is kept instead.
    pub(crate) fn stopped(&self) -> Error {
        Error::Cluster("stopped, because the run has failed".into())
    }

    fn first(&self, error: Error) -> bool {
        let mut inner = self.lock();
        if self.failed() {
            return false;
        }
        let text = error.to_string();
        inner.why = Some(error);
        self.failed.store(true, Ordering::SeqCst);
        inner.workers.iter().for_each(Thread::unpark);
        drop(inner);
        self.changed.notify_all();
        // Without the lock, because a subscriber is user code.
        tracing::debug!(error = text, "the run has failed");
        true
    }

    /// The calling thread is a worker: it is woken when the run fails.
    pub(super) fn enlist(&self) {
        self.lock().workers.push(std::thread::current());
    }

    /// Sets the link to the peers. A failure that happened before is sent now.
    pub(super) fn connect(&self, link: Link) {
        let _ = self.link.set(link);
        self.tell_peers();
    }

    /// Takes an event of a link.
    pub(super) fn handle(&self, event: LinkEvent) {
        let lost = matches!(event, LinkEvent::Lost { .. });
        let (process, error) = match event {
            LinkEvent::Done { process } => (process, None),
            LinkEvent::Failed { process, report } => (process, Some(format!("{} failed: {report}", self.name(process)))),
            LinkEvent::Lost { process, why } => (process, Some(format!("{} was lost: {why}", self.name(process)))),
            LinkEvent::Stood { process, time, why } => {
                let peer = self.name(process);
                let cause = "because it was stopped, suspended or without CPU, for longer than --heartbeat-timeout allows";
                (process, Some(format!("this process was paused for {time:.1?}, {cause}; {peer} continues without it: {why}")))
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
            self.lock().told = true;
            link.stopped(&why);
        }
        self.lock().ended[process] = true;
        self.changed.notify_all();
    }

    fn name(&self, process: usize) -> String {
        match self.addresses.get().and_then(|all| all.get(process)) {
            Some(address) => format!("process {process} at {address}"),
            None => format!("process {process}"),
        }
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
            self.handle(LinkEvent::Lost { process, why });
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

    /// Takes the failure. For callers that do not wait for the end of the run.
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
        let latch = FailureLatch::new();
        latch.meet(vec!["127.0.0.1:1".parse().unwrap(); 3]);
        latch.handle(LinkEvent::Done { process: 2 });
        assert!(!latch.failed(), "an end in order is not a failure");
        latch.handle(LinkEvent::Stopped { process: 1, why: "process 2 at 127.0.0.1:3 was lost".into() });
        latch.fail(Error::Cluster("too late".into()));
        assert!(latch.failed());
        assert_eq!(latch.end().unwrap().to_string(), "cluster: process 2 at 127.0.0.1:3 was lost");
    }

    #[test]
    fn a_failure_before_the_processes_are_connected_is_the_first() {
        let latch = FailureLatch::new();
        latch.fail(Error::Config("no such topic".into()));
        latch.meet(vec!["127.0.0.1:1".parse().unwrap(); 2]);
        latch.fail(Error::Cluster("too late".into()));
        assert!(latch.failed());
        assert_eq!(latch.end().unwrap().to_string(), "no such topic");
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
