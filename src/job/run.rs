//! Starts a job, and brings it to its end: one thread a worker, one for outputs, one for the planner in process 0.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::api::config::Config;
use crate::api::context::{Builder, Outbox, StreamingContext};
use crate::cluster::handshake::{self, Peers, Spec};
use crate::cluster::secret::Secret;
use crate::cluster::{self, hosts};
use crate::core::clock::{Clock, ManualClock, Time};
use crate::core::error::{BoxError, Error, Result, panic_text};
use crate::core::plan::{Order, Plan, Report};
use crate::core::time::BatchTime;
use crate::engine::output::{Delivery, OutputChannel};
use crate::job::checkpoint_coordinator::{self, Opened};
use crate::job::control::Planning;
use crate::job::output_thread::OutputThread;
use crate::job::planner::{Kit, Planner};
use crate::job::snapshot_writer::Piece;
use crate::job::watchdog::{self, End};
use crate::job::worker::{Crew, Shared, lock};
use crate::job::{plan_file, signals, worker};
use crate::metrics::{Metrics, Statistics, StreamingListener};
use crate::replay::verify::verify;

/// What a job has done, when it has ended well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Batches that every output is through.
    pub batches: u64,
    /// Records in them, over all sources.
    pub records: u64,
}

/// A running job. Dropping it stops the job at once and waits for its threads.
#[must_use = "dropping the handle stops the job"]
pub struct JobHandle {
    shared: Arc<Shared>,
    metrics: Metrics,
    end: End,
    thread: Option<JoinHandle<()>>,
}

impl Builder {
    /// Starts the job and waits for its end: until it is stopped by a signal, fails, or its given batches are done.
    ///
    /// `build` runs n x (w + 1) times: once on every worker, and once more in each process before anything starts, sources
    /// inert, to check the graph. Inside, clone then move; nothing in it may differ between workers (no iteration over a
    /// `HashMap`, no clock).
    ///
    /// # Errors
    /// A wrong setting or graph, before any data is touched; what ended the job, if that was no stop.
    pub fn run<F>(self, build: F) -> Result<Summary>
    where
        F: for<'s> Fn(&StreamingContext<'s>) -> Result<(), BoxError> + Send + Sync + 'static,
    {
        self.start(build)?.await_termination()
    }

    /// Starts the job and returns a handle to it. See [`Builder::run`] for what `build` must keep to.
    ///
    /// # Errors
    /// A wrong setting or graph, before any data is touched; processes that do not find one another.
    pub fn start<F>(self, build: F) -> Result<JobHandle>
    where
        F: for<'s> Fn(&StreamingContext<'s>) -> Result<(), BoxError> + Send + Sync + 'static,
    {
        self.start_at(Clock::System, build)
    }

    /// As `start`, on a clock that a test moves.
    ///
    /// # Errors
    /// As `start`.
    pub fn start_on_clock<F>(self, clock: ManualClock, build: F) -> Result<JobHandle>
    where
        F: for<'s> Fn(&StreamingContext<'s>) -> Result<(), BoxError> + Send + Sync + 'static,
    {
        self.start_at(Clock::Manual(clock), build)
    }

    fn start_at<F>(self, clock: Clock, build: F) -> Result<JobHandle>
    where
        F: for<'s> Fn(&StreamingContext<'s>) -> Result<(), BoxError> + Send + Sync + 'static,
    {
        let (config, build) = (Arc::new(self.config()?), Arc::new(build));
        match config.replay.as_ref().filter(|r| r.verify) {
            Some(replay) => verify(&config, replay, build),
            None => begin(config, clock, build, Ok),
        }
    }
}

/// Starts a job of this program; `then` has the last word on one that has ended well.
///
/// # Errors
/// As [`Builder::start`].
pub(crate) fn begin<F>(
    config: Arc<Config>,
    clock: Clock,
    build: Arc<F>,
    then: impl FnOnce(Summary) -> Result<Summary> + Send + 'static,
) -> Result<JobHandle>
where
    F: for<'s> Fn(&StreamingContext<'s>) -> Result<(), BoxError> + Send + Sync + 'static,
{
    let given = match &config.runtime.plans {
        Some(path) => Some(plan_file::read(path, config.interval)?),
        None => None,
    };
    let time = Time::new(clock);
    let lines = rehearse(&config, &build)?;
    let shared = Shared::new();
    let metrics = Metrics::default();
    let end: End = Arc::new((Mutex::new(None), Condvar::new()));
    signals::stop_on_signals(&shared);
    let opened = open_before_meeting(&config);
    let peers = meet(&config, lines, &shared, opened.as_ref())?;
    let limits = config.runtime.clone();
    let job = Job { config, time, given, shared: shared.clone(), metrics: metrics.clone(), opened };
    let ended = end.clone();
    let thread = std::thread::Builder::new()
        .name("tidemill job".into())
        .spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(|| job.run(build, peers).and_then(then)))
                .unwrap_or_else(|p| Err(Error::panicked("the thread of the job", &*p)));
            lock(&ended.0).get_or_insert(result);
            ended.1.notify_all();
        })
        .map_err(|e| Error::io("start of the job's thread", e))?;
    let (watched, end_seen) = (shared.clone(), end.clone());
    let watch = move || watchdog::watch(&watched, &end_seen, &limits);
    let handle = JobHandle { shared, metrics, end, thread: Some(thread) };
    std::thread::Builder::new()
        .name("tidemill watch".into())
        .spawn(watch)
        .map_err(|e| Error::io("start of the watchdog's thread", e))?;
    Ok(handle)
}

/// Builds the program once on a throw-away worker: every fault of the graph shows before anything starts.
pub(crate) fn rehearse<F>(config: &Arc<Config>, build: &Arc<F>) -> Result<Vec<String>>
where
    F: for<'s> Fn(&StreamingContext<'s>) -> Result<(), BoxError> + Send + Sync + 'static,
{
    let (outputs, _nobody) = OutputChannel::new();
    let crew = Crew {
        config: config.clone(),
        build: build.clone(),
        shared: Shared::new(),
        outputs,
        pieces: None,
        planning: Mutex::new(None),
    };
    let dry = move || {
        timely::execute_directly(move |worker| {
            let index = worker.next_dataflow_index();
            let lines = worker.dataflow::<BatchTime, _, _>(|scope| {
                worker::build(&crew, scope, true, &Outbox::default()).map(|(built, ..)| built.lines)
            });
            worker.drop_dataflow(index);
            lines
        })
    };
    let thread = std::thread::Builder::new().name("tidemill rehearsal".into()).spawn(dry);
    let thread = thread.map_err(|e| Error::io("start of a thread", e))?;
    thread.join().unwrap_or_else(|p| Err(Error::Build(panic_text(&*p).into())))
}

/// A job as its own thread runs it.
struct Job {
    config: Arc<Config>,
    time: Time,
    given: Option<Vec<Plan>>,
    shared: Arc<Shared>,
    metrics: Metrics,
    opened: Option<Result<Opened>>,
}

/// Process 0 of several says which generation begins when it meets the others. What is wrong with the directory is told when
/// they can hear it.
fn open_before_meeting(config: &Config) -> Option<Result<Opened>> {
    let r = &config.runtime;
    let dir = r.checkpoint.as_ref().filter(|_| r.process == 0 && r.processes > 1)?;
    Some(checkpoint_coordinator::open(dir, config))
}

/// Brings the processes of the job together; there is nobody to meet where there is one.
fn meet(config: &Config, lines: Vec<String>, shared: &Shared, opened: Option<&Result<Opened>>) -> Result<Peers> {
    let r = &config.runtime;
    let processes = r.processes as usize;
    if processes == 1 {
        return Ok(Peers::alone(r.workers as usize));
    }
    let secret = Secret::find(r.secret_file.as_deref())?;
    let spec = Spec {
        job: config.name.clone(),
        process: r.process as usize,
        processes,
        workers: r.workers as usize,
        addresses: match &r.hostfile {
            Some(file) => hosts::read(file, processes, secret.is_some())?,
            None => hosts::local(processes)?,
        },
        fingerprint: handshake::fingerprint(&lines),
        graph: lines,
        generation: opened.map_or(0, |o| o.as_ref().map_or(0, |(c, _)| c.lease().generation)),
        build: handshake::build(),
        secret,
        deadline: r.connect_timeout,
        limit: handshake::LIMIT,
        heartbeat: r.heartbeat_timeout,
    };
    let peers = handshake::connect(&spec, &shared.asked);
    crate::core::fault::point(crate::core::fault::FaultPoint::MeetAfter);
    peers
}

impl Job {
    fn run<F>(mut self, build: Arc<F>, peers: Peers) -> Result<Summary>
    where
        F: for<'s> Fn(&StreamingContext<'s>) -> Result<(), BoxError> + Send + Sync + 'static,
    {
        let (channel, delivered) = OutputChannel::new();
        let waiting = channel.waiting.clone();
        let (order_tx, orders) = mpsc::channel();
        let (report_tx, reports) = mpsc::channel();
        let (kit_tx, kits) = mpsc::channel::<Kit>();
        let first = self.config.runtime.process == 0;
        let (pieces, piece_thread) = self.piece_thread()?.unzip();
        let planning = first.then(|| (Planning { orders, reports: report_tx }, kit_tx));
        let crew = Arc::new(Crew {
            config: self.config.clone(),
            build,
            shared: self.shared.clone(),
            outputs: channel,
            pieces: pieces.map(Mutex::new),
            planning: Mutex::new(planning),
        });
        let over = Arc::new(AtomicBool::new(false));
        let outputs = self.output_thread(delivered, waiting, over.clone())?;
        let opened = self.opened.take();
        let planner = self.planner_thread(opened, kits, order_tx, reports)?;
        let worked = cluster::run::execute(peers, worker_config(), {
            let crew = crew.clone();
            move |worker, fate| worker::run(worker, &crew, fate)
        });
        drop(crew);
        // A job that ended in order has nothing left to write; any other gives it up.
        over.store(true, Ordering::SeqCst);
        let _ = (planner.join(), outputs.join(), piece_thread.map(JoinHandle::join));
        worked?;
        match self.shared.take_failure() {
            Some(e) => Err(e),
            None => {
                let s = self.metrics.snapshot();
                Ok(Summary { batches: s.batches, records: s.records })
            }
        }
    }

    /// Waits for the first worker's graph, then moves time until the job ends. In process 0 only: elsewhere no kit comes.
    fn planner_thread(
        &self,
        opened: Option<Result<Opened>>,
        kits: mpsc::Receiver<Kit>,
        orders: mpsc::Sender<Order>,
        reports: mpsc::Receiver<Report>,
    ) -> Result<JoinHandle<()>> {
        let (config, time, metrics) = (self.config.clone(), self.time.clone(), self.metrics.clone());
        let (given, shared) = (self.given.clone(), self.shared.clone());
        let work = move || {
            let Ok(kit) = kits.recv() else { return };
            let mut planner = Planner::new(config, kit, orders, reports, time, metrics);
            planner.opened = opened;
            let run = catch_unwind(AssertUnwindSafe(|| planner.run(given)));
            // Listeners are called on this thread: a panic of one must not leave workers without a planner.
            let panicked = |message| {
                let operator = "the planner, or a streaming listener".into();
                Err(Error::WorkerPanicked { operator, worker: 0, batch: None, message })
            };
            if let Err(e) = run.unwrap_or_else(|p| panicked(panic_text(&*p))) {
                shared.fail(e);
            }
        };
        std::thread::Builder::new().name("tidemill planner".into()).spawn(work).map_err(|e| Error::io("start of a thread", e))
    }

    /// Writes what workers save, if there is a checkpoint directory.
    fn piece_thread(&self) -> Result<Option<(mpsc::Sender<Piece>, JoinHandle<()>)>> {
        if self.config.runtime.checkpoint.is_none() {
            return Ok(None);
        }
        let (to, pieces) = mpsc::channel();
        let shared = self.shared.clone();
        let work = move || crate::job::snapshot_writer::write(pieces, |report| shared.post(report));
        let thread = std::thread::Builder::new().name("tidemill pieces".into()).spawn(work);
        Ok(Some((to, thread.map_err(|e| Error::io("start of a thread", e))?)))
    }

    fn output_thread(
        &self,
        delivered: mpsc::Receiver<Delivery>,
        waiting: Arc<AtomicUsize>,
        over: Arc<AtomicBool>,
    ) -> Result<JoinHandle<()>> {
        let shared = self.shared.clone();
        let outputs = OutputThread::new(&self.config, waiting, over);
        let work = move || {
            let post = |report| shared.post(report);
            // More than the output itself is the user's: what its error says in words, who listens to log lines. A job whose
            // outputs are gone without a word would wait for them for ever.
            let panicked = |message| {
                let operator = "the output thread".into();
                Err(Error::WorkerPanicked { operator, worker: 0, batch: None, message })
            };
            let run = catch_unwind(AssertUnwindSafe(|| outputs.run(delivered, post)));
            if let Err(e) = run.unwrap_or_else(|p| panicked(panic_text(&*p))) {
                shared.fail(e);
            }
        };
        std::thread::Builder::new().name("tm-output".into()).spawn(work).map_err(|e| Error::io("start of a thread", e))
    }
}

/// Merges arrangements while there is nothing else to do: batch times of 13 ms instead of 33 (docs/architecture.md).
fn worker_config() -> timely::WorkerConfig {
    let mut config = timely::WorkerConfig::default();
    let options = differential_dataflow::Config::default().idle_merge_effort(Some(10_000));
    differential_dataflow::configure(&mut config, &options);
    config
}

impl JobHandle {
    /// Waits for the end of the job.
    ///
    /// # Errors
    /// What ended it, if that was no stop.
    pub fn await_termination(self) -> Result<Summary> {
        self.wait(None).unwrap_or_else(|| Ok(Summary::default()))
    }

    /// Waits for the end of the job, or until the time is up. `true`: it has ended. `false`: it goes on.
    ///
    /// # Errors
    /// What ended the job, if that was no stop.
    pub fn await_termination_or_timeout(&self, timeout: Duration) -> Result<bool> {
        match self.wait(Some(timeout)) {
            None => Ok(false),
            Some(end) => end.map(|_| true),
        }
    }

    /// Stops the job in order: what was received goes into a last batch, every output gets it, and the job ends. Files that
    /// are there are received; they may need some more batches, and those that are young a batch interval.
    ///
    /// # Errors
    /// What ended the job, if that was no stop.
    pub fn stop_gracefully(self) -> Result<Summary> {
        self.shared.post(Report::Stop { graceful: true });
        self.await_termination()
    }

    /// Stops the job at once: batches that are not out are given up.
    ///
    /// # Errors
    /// What ended the job, if that was no stop.
    pub fn stop_now(self) -> Result<Summary> {
        self.shared.post(Report::Stop { graceful: false });
        self.await_termination()
    }

    /// The job as it stands. In processes other than the first, nothing.
    pub fn statistics(&self) -> Statistics {
        self.metrics.snapshot()
    }

    /// Tells a listener of every batch from now on.
    pub fn add_streaming_listener(&self, listener: Arc<dyn StreamingListener>) {
        self.metrics.listen(listener);
    }

    /// The end of the job. Whoever asks again hears it again, an error as text.
    fn wait(&self, timeout: Option<Duration>) -> Option<Result<Summary>> {
        let due = timeout.map(|t| Instant::now() + t);
        let mut end = lock(&self.end.0);
        loop {
            if let Some(result) = end.take() {
                *end = Some(match &result {
                    Ok(summary) => Ok(summary.clone()),
                    Err(Error::Ended(told)) => Err(Error::Ended(told.clone())),
                    Err(e) => Err(Error::Ended(e.to_string())),
                });
                return Some(result);
            }
            end = match due {
                None => self.end.1.wait(end).unwrap_or_else(|e| e.into_inner()),
                Some(due) => {
                    let left = due.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    self.end.1.wait_timeout(end, left).unwrap_or_else(|e| e.into_inner()).0
                }
            };
        }
    }
}

impl Drop for JobHandle {
    fn drop(&mut self) {
        self.shared.post(Report::Stop { graceful: false });
        let _ = self.wait(None);
        // A thread that is stuck in user code is left behind: nobody can end it, and nobody is to wait for it.
        if let Some(thread) = self.thread.take().filter(|_| !self.shared.abandoned()) {
            let _ = thread.join();
        }
    }
}
