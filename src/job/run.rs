//! Runs one job in this process, from the start of its threads to its end.
//!
//! The threads: one for each worker, one for outputs, one that writes snapshots, a watchdog, and in process 0 the planner.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::api::config::Config;
use crate::api::context::{Build, Outbox, SourceHalf};
use crate::cluster::handshake::{self, Peers};
use crate::cluster::hello::{self, Spec};
use crate::cluster::parent_process::restarts;
use crate::cluster::secret::Secret;
use crate::cluster::{self, hosts};
use crate::connector::source::SharedPlaces;
use crate::core::clock::{Time, wall_ms};
use crate::core::error::{Error, Result, panic_text};
use crate::core::fault::{FaultPoint, point};
use crate::core::plan::Plan;
use crate::core::thread::spawn;
use crate::core::time::BatchTime;
use crate::engine::output::{Delivery, OutputChannel};
use crate::http;
use crate::http::otlp::endpoint::Endpoint;
use crate::job::checkpoint_coordinator::{self, Opened};
use crate::job::control::Planning;
use crate::job::handle::JobHandle;
use crate::job::output_thread::OutputThread;
use crate::job::planner::Planner;
use crate::job::planner_inputs::PlannerInputs;
use crate::job::protocol::{Command, Event};
use crate::job::shared::{End, JobState, Summary, finish, started};
use crate::job::snapshot_writer::{self, ToWriter};
use crate::job::worker::{self, WorkerArgs};
use crate::job::{adding, plan_file, reporter, signals, status_line, watchdog};
use crate::metrics::{Metrics, clients};

/// Starts a job of this program. If it ends without an error, `then` decides on the result.
///
/// # Errors
/// Like [`Builder::start`](crate::api::context::Builder::start).
pub(crate) fn launch(
    config: Arc<Config>,
    build: Arc<Build>,
    then: impl FnOnce(Summary) -> Result<Summary> + Send + 'static,
) -> Result<JobHandle> {
    let given = match &config.runtime.plans {
        Some(path) => Some(plan_file::read(path, config.interval)?),
        None => None,
    };
    let time = Time::new(config.clock.clone());
    let shared = JobState::new();
    let metrics = Metrics::with_callers(shared.refused.clone());
    config.listeners.0.iter().for_each(|listener| metrics.listen(listener.clone()));
    let (server, exporter) = serve(&config, &metrics, &shared)?;
    let address = server.as_ref().map(|server| server.address);
    let Rehearsed { lines, sources, queryable } = rehearse(&config, &build)?;
    adding::check_given(&config, &queryable)?;
    let end: End = Arc::new((Mutex::new(None), Condvar::new()));
    if config.signals {
        signals::stop_on_signals(&shared, &end);
    }
    let opened = open_before_meeting(&config);
    let peers = meet(&config, lines, &shared, opened.as_ref())?;
    let limits = config.runtime.clone();
    let job = Job { config, time, sources, given, shared: shared.clone(), metrics: metrics.clone(), opened };
    let ended = end.clone();
    let thread = spawn("tm-job", move || {
        let result = {
            // Readers hear of the end before the program, which may exit at once.
            let _told = (server, exporter);
            catch_unwind(AssertUnwindSafe(|| job.run(build, peers).and_then(then)))
                .unwrap_or_else(|p| Err(Error::panicked("the job's thread", &*p)))
        };
        finish(&ended, || result);
    })?;
    if status_line::is_shown(&limits) {
        let (metrics, end) = (metrics.clone(), end.clone());
        spawn("tm-status", move || status_line::show(&metrics, &end))?;
    }
    let (watched, end_seen) = (shared.clone(), end.clone());
    started(&shared, &end);
    let handle = JobHandle { state: shared, metrics, end, address, thread: Some(thread) };
    spawn("tm-watchdog", move || watchdog::watch(&watched, &end_seen, &limits))?;
    Ok(handle)
}

/// The result of a rehearsal.
pub(crate) struct Rehearsed {
    /// The lines that the processes of a cluster compare.
    pub lines: Vec<String>,
    /// The planner's halves of the sources. They exist since before `start` returns, so what appears later is new to them.
    pub sources: Vec<SourceHalf>,
    /// The names of the views that answer questions.
    pub queryable: Vec<String>,
}

/// Builds the program once on a throw-away worker, so that errors of the graph appear before the job starts.
pub(crate) fn rehearse(config: &Arc<Config>, build: &Arc<Build>) -> Result<Rehearsed> {
    let (outputs, _nobody) = OutputChannel::new();
    let args = WorkerArgs {
        config: config.clone(),
        build: build.clone(),
        shared: JobState::new(),
        outputs,
        places: SharedPlaces::default(),
        snapshots: None,
        planning: Mutex::new(None),
    };
    let dry = move || {
        timely::execute_directly(move |worker| {
            let index = worker.next_dataflow_index();
            let rehearsed = worker.dataflow::<BatchTime, _, _>(|scope| {
                let built = worker::build(&args, scope, true, &Outbox::default());
                built.map(|(built, ..)| Rehearsed { lines: built.lines, sources: built.sources, queryable: built.queryable })
            });
            worker.drop_dataflow(index);
            rehearsed
        })
    };
    spawn("tm-rehearsal", dry)?.join().unwrap_or_else(|p| Err(Error::Build(panic_text(&*p).into())))
}

/// A job in one process, as its own thread runs it.
struct Job {
    config: Arc<Config>,
    time: Time,
    sources: Vec<SourceHalf>,
    given: Option<Vec<Plan>>,
    shared: Arc<JobState>,
    metrics: Metrics,
    opened: Option<Result<Opened>>,
}

/// Process 0 of a cluster opens the checkpoint directory before it meets the others, because it tells them the generation. Errors of
/// the directory are reported after the meeting, so that all processes hear of them.
fn open_before_meeting(config: &Config) -> Option<Result<Opened>> {
    let r = &config.runtime;
    let dir = r.checkpoint.as_ref().filter(|_| r.process == 0 && r.processes > 1)?;
    Some(checkpoint_coordinator::open(dir, config))
}

/// What readers are told of the job beside its metrics.
fn about(config: &Config) -> http::About {
    let r = &config.runtime;
    http::About {
        name: config.name.clone(),
        interval: config.interval.duration(),
        workers: r.workers,
        processes: r.processes,
        process: r.process,
        checkpoint: r.checkpoint.as_ref().map(|dir| dir.display().to_string()),
        started_ms: wall_ms(),
        restarts: restarts(),
    }
}

/// Starts to answer readers, if the job listens, and to tell a collector, if there is one.
fn serve(
    config: &Config,
    metrics: &Metrics,
    shared: &Arc<JobState>,
) -> Result<(Option<http::Server>, Option<http::otlp::Exporter>)> {
    let r = &config.runtime;
    let about = about(config);
    let exporter = match Endpoint::find(r.otlp.as_deref())? {
        Some(to) if config.replay.is_none() && (r.otlp.is_some() || cfg!(feature = "otlp")) => {
            Some(http::otlp::start(to, about.clone(), metrics.clone())?)
        }
        _ => None,
    };
    if r.listen.is_some() || exporter.is_some() {
        clients::want();
    }
    let Some(first) = r.listen else { return Ok((None, exporter)) };
    let listen = http::address::checked(first, r.process, r.secret_file.as_deref())?;
    let [named, asked, forgotten, given, listed, changed] = [(); 6].map(|()| shared.clone());
    let names = Box::new(move || named.askers.views());
    let ask = Box::new(move |questions| asked.ask(questions));
    let correct = Box::new(move |correction, reply| given.correct(correction, reply));
    let forget = Box::new(move |id| forgotten.forget(id));
    let added = Box::new(move || listed.adders.running());
    let change = Box::new(move |request, reply| changed.change_added(request, reply));
    let views = http::Views { names, ask, forget, correct, added, change };
    Ok((Some(http::start(listen, about, metrics.clone(), views)?), exporter))
}

/// Connects the processes of the job. With one process there is nothing to do.
fn meet(config: &Config, lines: Vec<String>, shared: &JobState, opened: Option<&Result<Opened>>) -> Result<Peers> {
    let r = &config.runtime;
    let processes = r.processes as usize;
    if processes == 1 {
        return Ok(Peers::alone(r.workers as usize));
    }
    let secret = Secret::find(r.secret_file.as_deref())?;
    let addresses = match &r.hostfile {
        Some(file) => hosts::read_within(file, processes, secret.is_some(), r.connect_timeout, &shared.asked)?,
        None => hosts::local(processes)?,
    };
    let spec = Spec {
        job: config.name.clone(),
        process: r.process as usize,
        processes,
        workers: r.workers as usize,
        max_parallelism: r.max_parallelism,
        addresses,
        fingerprint: hello::fingerprint(&lines),
        graph: lines,
        generation: opened.map_or(0, |o| o.as_ref().map_or(0, |(c, _)| c.lease().generation)),
        build: hello::build(),
        secret,
        deadline: r.connect_timeout,
        limit: handshake::LIMIT,
        heartbeat: r.heartbeat_timeout,
        refused: shared.refused.clone(),
    };
    let peers = handshake::connect(&spec, &shared.asked);
    point(FaultPoint::MeetAfter);
    peers
}

impl Job {
    fn run(mut self, build: Arc<Build>, peers: Peers) -> Result<Summary> {
        let began = Instant::now();
        let (channel, delivered) = OutputChannel::new();
        let waiting = channel.waiting.clone();
        let (command_tx, commands) = mpsc::channel();
        let (event_tx, events) = mpsc::channel();
        let (inputs_tx, inputs) = mpsc::channel::<PlannerInputs>();
        let first = self.config.runtime.process == 0;
        let (snapshots, snapshot_thread) = self.snapshot_thread()?.unzip();
        let places = SharedPlaces::default();
        let unplanned = places.unplanned.clone();
        let planning = first.then(|| (Planning { commands, events: event_tx }, inputs_tx));
        let args = Arc::new(WorkerArgs {
            config: self.config.clone(),
            build,
            shared: self.shared.clone(),
            outputs: channel,
            places,
            snapshots: snapshots.map(Mutex::new),
            planning: Mutex::new(planning),
        });
        let stop = Arc::new(AtomicBool::new(false));
        let outputs = self.output_thread(delivered, waiting, stop.clone())?;
        let opened = self.opened.take();
        let planner = self.planner_thread(opened, inputs, command_tx, events)?;
        let worked = cluster::run::execute(peers, worker_config(), &self.shared.latch, {
            let args = args.clone();
            move |worker, latch| worker::run(worker, &args, latch)
        });
        drop(args);
        // After a success, all rows are written. After a failure, the rest is dropped.
        stop.store(true, Ordering::SeqCst);
        let _ = (planner.join(), outputs.join(), snapshot_thread.map(JoinHandle::join));
        self.shared.askers.close();
        self.shared.adders.close();
        self.shared.correctors.close();
        if let Err(why) = &worked {
            reporter::unplanned(&self.config, &unplanned.plans(), why);
        }
        worked?;
        match self.shared.take_failure() {
            Some(e) => Err(e),
            None => {
                let s = self.metrics.snapshot();
                if first {
                    reporter::ended(&self.config.name, &s, began.elapsed());
                }
                Ok(Summary { batches: s.batches, records: s.records, accumulators: s.accumulators })
            }
        }
    }

    /// Starts the planner, which waits for the graph of worker 0. In other processes than 0 no inputs arrive, and the thread ends.
    fn planner_thread(
        &mut self,
        opened: Option<Result<Opened>>,
        inputs: mpsc::Receiver<PlannerInputs>,
        commands: mpsc::Sender<Command>,
        events: mpsc::Receiver<Event>,
    ) -> Result<JoinHandle<()>> {
        let (config, time, metrics) = (self.config.clone(), self.time.clone(), self.metrics.clone());
        let (given, shared, sources) = (self.given.clone(), self.shared.clone(), std::mem::take(&mut self.sources));
        spawn("tm-planner", move || {
            let Ok(inputs) = inputs.recv() else { return };
            metrics.keeps(inputs.states.run.iter().map(|state| (state.name.clone(), state.fingerprint.clone())));
            let planner = Planner::new(config, inputs, sources, (commands, events), time, metrics, opened);
            // Listeners are called on this thread: their panic must end the job, or the workers would wait for a planner.
            end_if_failed(&shared, "the planner, or a streaming listener", || planner.run(given));
        })
    }

    /// Starts the thread that writes snapshots, if there is a checkpoint directory.
    fn snapshot_thread(&self) -> Result<Option<(mpsc::Sender<ToWriter>, JoinHandle<()>)>> {
        if self.config.runtime.checkpoint.is_none() {
            return Ok(None);
        }
        let (to, snapshots) = mpsc::channel();
        let shared = self.shared.clone();
        let thread = spawn("tm-snapshots", move || snapshot_writer::write(snapshots, |event| shared.post(event)))?;
        Ok(Some((to, thread)))
    }

    fn output_thread(
        &self,
        delivered: mpsc::Receiver<Delivery>,
        waiting: Arc<AtomicUsize>,
        stop: Arc<AtomicBool>,
    ) -> Result<JoinHandle<()>> {
        let shared = self.shared.clone();
        let outputs = OutputThread::new(&self.config, waiting, stop);
        // User code runs on this thread too: outputs, the text of their errors, subscribers of log lines. A panic must end the job, or
        // the planner would wait for the outputs forever.
        let work = move || end_if_failed(&shared, "the output thread", || outputs.run(delivered, |event| shared.post(event)));
        spawn("tm-output", work)
    }
}

/// Does the work of a thread. Its error, or its panic as one of `what`, ends the job.
fn end_if_failed(shared: &JobState, what: &str, work: impl FnOnce() -> Result<()>) {
    let panicked = |message| Err(Error::WorkerPanicked { operator: what.into(), worker: 0, batch: None, message });
    let done = catch_unwind(AssertUnwindSafe(work));
    if let Err(e) = done.unwrap_or_else(|p| panicked(panic_text(&*p))) {
        shared.fail(e);
    }
}

/// Merges arrangements while there is nothing else to do: batch times of 13 ms instead of 33 (docs/architecture.md).
fn worker_config() -> timely::WorkerConfig {
    let mut config = timely::WorkerConfig::default();
    let options = differential_dataflow::Config::default().idle_merge_effort(Some(10_000));
    differential_dataflow::configure(&mut config, &options);
    config
}
