//! The shared state of the threads of a process: the first failure, their events, the progress of each worker, and the end of the job.

use std::process::{ExitCode, Termination};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::Thread;
use std::time::Duration;

use crate::api::stopper::Stopper;
use crate::cluster::failure::FailureLatch;
use crate::core::error::{Error, Result};
use crate::core::lock::lock;
use crate::core::signals::job_has_ended;
use crate::engine::operator_id::CurrentOperator;
use crate::job::additions::Adders;
use crate::job::corrections::Correctors;
use crate::job::protocol::Event;
use crate::job::questions::Askers;
use crate::logging::show_live;
use crate::metrics::Accumulators;
use crate::metrics::refused::Refusals;

/// What a job has done when it has ended without an error.
///
/// ```
/// use tidemill::prelude::*;
/// let queue = QueueSource::from_batches([vec![1, 2], vec![3]]);
/// let summary = StreamingContext::builder("summed-up", millis(5)).run(move |ssc| {
///     ssc.queue_stream(&queue).to_memory(&MemorySink::new());
///     Ok(())
/// })?;
/// assert_eq!((summary.batches, summary.records), (2, 3));
/// # Ok::<(), tidemill::Error>(())
/// ```
///
/// A `main` may return it:
///
/// ```
/// # use tidemill::prelude::*;
/// fn main() -> tidemill::Result<Summary> {
///     let numbers = QueueSource::from_batches([vec![1, 2, 3]]);
///     StreamingContext::builder("numbers", millis(5)).run(move |ssc| {
///         ssc.queue_stream(&numbers).print(10);
///         Ok(())
///     })
/// }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Batches that every output has written.
    pub batches: u64,
    /// Records in these batches, from all sources.
    pub records: u64,
    /// The program's accumulators after the last batch, as `summary.accumulators.get::<i64>("dropped")`. Empty without a batch.
    pub accumulators: Accumulators,
}

/// The program has ended well: exit code 0.
impl Termination for Summary {
    fn report(self) -> ExitCode {
        ExitCode::SUCCESS
    }
}

/// The state of a job in one process: for its workers, its other threads and its handle.
pub(crate) struct JobState {
    /// The first failure, of this process or of a peer.
    pub latch: Arc<FailureLatch>,
    workers: Mutex<Vec<Thread>>,
    watched: Mutex<Vec<Arc<Watched>>>,
    /// Whether the job has ended for its handle although threads of it are stuck.
    abandoned: AtomicBool,
    /// Events from threads that are not workers: the first worker of this process passes them on.
    mail: Mutex<Vec<Event>>,
    /// Whether somebody has asked the job to stop.
    pub asked: AtomicBool,
    /// Who waits for answers of views; in process 0.
    pub askers: Arc<Askers>,
    /// Who adds computations, and which there are; in process 0.
    pub adders: Arc<Adders>,
    /// Who waits for corrections; in process 0.
    pub correctors: Arc<Correctors>,
    /// Who was refused at the port of the cluster.
    pub refused: Refusals,
}

impl JobState {
    pub fn new() -> Arc<Self> {
        Arc::new(JobState {
            latch: Arc::new(FailureLatch::new()),
            workers: Mutex::default(),
            watched: Mutex::default(),
            abandoned: AtomicBool::new(false),
            mail: Mutex::default(),
            asked: AtomicBool::new(false),
            askers: Arc::default(),
            adders: Arc::default(),
            correctors: Arc::default(),
            refused: Refusals::default(),
        })
    }

    /// The job fails, in every process. The first failure is kept.
    pub fn fail(&self, error: Error) {
        self.latch.fail(error);
        self.wake();
    }

    /// Takes the failure. It is taken once; [`FailureLatch::failed`] stays true.
    pub fn take_failure(&self) -> Option<Error> {
        self.latch.why()
    }

    pub fn failed(&self) -> bool {
        self.latch.failed()
    }

    /// The workers that run now.
    pub fn watched(&self) -> Vec<Arc<Watched>> {
        lock(&self.watched).clone()
    }

    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::SeqCst);
    }

    pub fn abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }

    /// Sends an event to the planner, in whichever process it runs.
    pub fn post(&self, event: Event) {
        if matches!(event, Event::Stop { .. }) {
            self.asked.store(true, Ordering::SeqCst);
        }
        lock(&self.mail).push(event);
        self.wake();
    }

    /// What asks this job to end, as long as it runs.
    pub fn stopper(self: &Arc<Self>) -> Stopper {
        let job = Arc::downgrade(self);
        Stopper::new(move |graceful| {
            if let Some(job) = job.upgrade() {
                job.post(Event::Stop { graceful });
            }
        })
    }

    /// Takes the events that were posted, in order.
    pub fn posted(&self) -> Vec<Event> {
        std::mem::take(&mut *lock(&self.mail))
    }

    /// The calling thread is a worker, which failures and events wake. The watchdog sees it until [`retire`](Self::retire).
    pub fn enlist(&self, watched: &Arc<Watched>) {
        lock(&self.workers).push(std::thread::current());
        lock(&self.watched).push(watched.clone());
    }

    /// The worker has ended.
    pub fn retire(&self, watched: &Arc<Watched>) {
        lock(&self.watched).retain(|w| !Arc::ptr_eq(w, watched));
    }

    fn wake(&self) {
        lock(&self.workers).iter().for_each(Thread::unpark);
    }
}

/// The jobs that this process has started, oldest first. Those that have ended leave when the next one starts.
static STARTED: Mutex<Vec<(Weak<JobState>, End)>> = Mutex::new(Vec::new());

/// The job runs.
pub(crate) fn started(job: &Arc<JobState>, end: &End) {
    let mut jobs = lock(&STARTED);
    jobs.retain(|(_, end)| lock(&end.0).is_none());
    jobs.push((Arc::downgrade(job), end.clone()));
}

/// The job that was started last, of those that run.
pub(crate) fn active() -> Option<Arc<JobState>> {
    let jobs = lock(&STARTED);
    jobs.iter().rev().filter(|(_, end)| lock(&end.0).is_none()).find_map(|(job, _)| job.upgrade())
}

/// Also if the job never started.
impl Drop for JobState {
    fn drop(&mut self) {
        job_has_ended();
    }
}

/// How a job ended, once it has; the condition variable is notified then.
pub(crate) type End = Arc<(Mutex<Option<Result<Summary>>>, Condvar)>;

/// The job has ended with this result, unless it had ended before. The live line is removed first: the program may exit at once.
pub(crate) fn finish(end: &End, result: impl FnOnce() -> Result<Summary>) {
    let mut over = lock(&end.0);
    if over.is_none() {
        show_live(String::new());
        job_has_ended();
        *over = Some(result());
        end.1.notify_all();
    }
}

/// Shows the live line, unless the job has ended.
pub(crate) fn show_status(end: &End, line: String) {
    let over = lock(&end.0);
    if over.is_none() {
        show_live(line);
    }
}

/// Waits for the end of the job, at most this time. Returns whether it has ended.
pub(crate) fn ended_within(end: &End, time: Duration) -> bool {
    let over = lock(&end.0);
    let over = end.1.wait_timeout_while(over, time, |end| end.is_none()).unwrap_or_else(PoisonError::into_inner).0;
    over.is_some()
}

/// One worker of this process, as the watchdog sees it.
pub(crate) struct Watched {
    pub worker: usize,
    /// How often it has returned from a step.
    pub steps: AtomicU64,
    pub spot: Arc<CurrentOperator>,
}

impl Watched {
    /// The calling thread is a worker.
    pub fn here(worker: usize) -> Arc<Watched> {
        Arc::new(Watched { worker, steps: AtomicU64::new(0), spot: CurrentOperator::here() })
    }

    /// The worker has returned from a step.
    pub fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }
}
