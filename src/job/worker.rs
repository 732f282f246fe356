//! One worker: builds the control dataflow, then the program, then steps until the job ends, well or not.
//!
//! A panic on one worker is a failure of all: timely cannot take a worker back. The step loop catches it, says who it was, and
//! every worker drops its dataflows. Steps park with a time-out, so that a failed flag is seen even where no message comes.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, mpsc};
use std::thread::Thread;
use std::time::Duration;

use timely::worker::Worker;

use crate::api::config::Config;
use crate::api::context::{Built, Graph, Outbox, Port, StreamingContext};
use crate::checkpoint::StateId;
use crate::cluster::failure::FailureLatch;
use crate::core::error::{BoxError, Error, Result, panic_text};
use crate::core::plan::{Order, Report};
use crate::core::time::BatchTime;
use crate::engine::flow::Flow;
use crate::engine::operator_id::CurrentOperator;
use crate::engine::output::{Delivery, OutputChannel};
use crate::job::control::{self, Control, Planning};
use crate::job::snapshot_writer::Piece;
use crate::job::snapshotter::States;
use crate::job::watchdog::Watched;
use crate::job::{planner::Kit, source_operator};

/// How long a worker sleeps at most before it looks whether another has failed.
const LONGEST_NAP: Duration = Duration::from_millis(100);

/// What the workers of a process, its output thread and its handle share.
pub(crate) struct Shared {
    /// A failure before the workers run; after that their fate keeps it.
    failure: Mutex<Option<Error>>,
    fate: OnceLock<Arc<FailureLatch>>,
    workers: Mutex<Vec<Thread>>,
    watched: Mutex<Vec<Arc<Watched>>>,
    /// Whether the job has ended for those who wait, though threads of it are stuck.
    abandoned: AtomicBool,
    /// Reports from threads that are no workers, for the first worker of this process to pass on.
    mail: Mutex<Vec<Report>>,
    /// Whether anybody has asked the job to stop.
    pub asked: AtomicBool,
}

pub(crate) fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(|e| e.into_inner())
}

impl Shared {
    pub fn new() -> Arc<Self> {
        Arc::new(Shared {
            failure: Mutex::default(),
            fate: OnceLock::new(),
            workers: Mutex::default(),
            watched: Mutex::default(),
            abandoned: AtomicBool::new(false),
            mail: Mutex::default(),
            asked: AtomicBool::new(false),
        })
    }

    /// The job fails, on every process. The first reason is kept.
    pub fn fail(&self, error: Error) {
        match self.fate.get() {
            Some(fate) => fate.fail(error),
            None => drop(lock(&self.failure).get_or_insert(error)),
        }
        self.wake();
    }

    /// A failure from before the workers ran.
    pub fn take_failure(&self) -> Option<Error> {
        lock(&self.failure).take()
    }

    pub fn failed(&self) -> bool {
        self.fate.get().is_some_and(|fate| fate.failed()) || lock(&self.failure).is_some()
    }

    /// Takes the reason, for one who does not wait until the job has ended.
    pub fn why(&self) -> Option<Error> {
        self.fate.get().and_then(|fate| fate.why()).or_else(|| self.take_failure())
    }

    /// The workers that run.
    pub fn watched(&self) -> Vec<Arc<Watched>> {
        lock(&self.watched).clone()
    }

    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::SeqCst);
    }

    pub fn abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }

    /// Sends a report to the planner, wherever it is.
    pub fn post(&self, report: Report) {
        if matches!(report, Report::Stop { .. }) {
            self.asked.store(true, Ordering::SeqCst);
        }
        lock(&self.mail).push(report);
        self.wake();
    }

    fn wake(&self) {
        lock(&self.workers).iter().for_each(Thread::unpark);
    }
}

/// What each worker of a process is started with.
pub(crate) struct Crew<F> {
    pub config: Arc<Config>,
    pub build: Arc<F>,
    pub shared: Arc<Shared>,
    pub outputs: OutputChannel,
    /// To the thread that writes pieces of state, if there is a checkpoint directory.
    pub pieces: Option<Mutex<mpsc::Sender<Piece>>>,
    /// Taken by the first worker of the job.
    pub planning: Mutex<Option<(Planning, mpsc::Sender<Kit>)>>,
}

/// Builds the program on a scope. `dry`: sources stay inert.
pub(crate) fn build<'s, F>(
    crew: &Crew<F>,
    scope: timely::dataflow::Scope<'s, BatchTime>,
    dry: bool,
    outbox: &Outbox,
) -> Result<(Built, Rc<Graph<'s>>, Box<dyn Port>)>
where
    F: for<'a> Fn(&StreamingContext<'a>) -> Result<(), BoxError>,
{
    let (ticks, port) = source_operator::ticks(scope, crew.config.interval);
    let shared = crew.shared.clone();
    let graph = Graph::new(
        Flow { scope, ticks },
        crew.config.clone(),
        dry,
        crew.outputs.clone(),
        outbox.clone(),
        Rc::new(move |e| shared.fail(e)),
    );
    let ssc = StreamingContext { graph: graph.clone() };
    (crew.build)(&ssc).map_err(Error::Build)?;
    Ok((graph.finish()?, graph, port))
}

/// One worker of the job, from its start to its end.
///
/// # Errors
/// What ended the job, if that was no stop.
pub(crate) fn run<F>(worker: &mut Worker, crew: &Crew<F>, fate: &Arc<FailureLatch>) -> Result<()>
where
    F: for<'a> Fn(&StreamingContext<'a>) -> Result<(), BoxError>,
{
    let shared = &crew.shared;
    let _ = shared.fate.set(fate.clone());
    if let Some(early) = shared.take_failure() {
        return Err(early);
    }
    lock(&shared.workers).push(std::thread::current());
    let index = worker.index();
    let watched = Watched::here(index);
    lock(&shared.watched).push(watched.clone());
    let done = catch_unwind(AssertUnwindSafe(|| live(worker, crew, fate, &watched))).unwrap_or_else(|panic| {
        let (operator, batch) = CurrentOperator::last();
        Err(Error::WorkerPanicked { operator, worker: index, batch, message: panic_text(&*panic) })
    });
    lock(&shared.watched).retain(|w| !Arc::ptr_eq(w, &watched));
    done
}

fn live<F>(worker: &mut Worker, crew: &Crew<F>, fate: &Arc<FailureLatch>, watched: &Watched) -> Result<()>
where
    F: for<'a> Fn(&StreamingContext<'a>) -> Result<(), BoxError>,
{
    let outbox = Outbox::default();
    let (planning, kits) = match worker.index() {
        0 => lock(&crew.planning).take().unzip(),
        _ => (None, None),
    };
    let control = control::build(worker, &outbox, planning);
    let program = worker.next_dataflow_index();
    let built = worker.dataflow_named::<BatchTime, _, _>(&crew.config.name, |scope| {
        let (built, graph, ticks) = build(crew, scope, false, &outbox)?;
        Ok::<_, Error>((built, graph.probe.clone(), ticks))
    });
    let (built, probe, ticks) = built?;
    let Built { mut ports, sources, outputs, spread, states, checkpoint_every, checks, .. } = built;
    let names = states.iter().map(|s| StateId { name: s.name.clone(), fingerprint: s.fingerprint.clone() }).collect();
    let mut states = States::new(&crew.config, states, worker.index(), crew.pieces.as_ref().map(|p| lock(p).clone()));
    ports.push(ticks);
    let shards = outputs.iter().filter_map(|o| o.transactional.as_ref()).map(|t| (t.sink.clone(), t.shards)).collect();
    crew.outputs.send(Delivery::Built { outputs });
    if let Some(kits) = kits {
        let writers = if spread { crew.config.runtime.processes as usize } else { 1 };
        let wake = control.wake.clone();
        let _ = kits.send(Kit { sources, wake, writers, states: names, shards, checkpoint_every, checks });
    }
    let first_here = worker.index().is_multiple_of(crew.config.runtime.workers as usize);
    let begin = first_here.then_some(&crew.outputs);
    let reported = RefCell::new(BatchTime::default());
    let mut nap = LONGEST_NAP;
    while !fate.failed() && worker.step_or_park(Some(nap)) {
        watched.step();
        if first_here {
            std::mem::take(&mut *lock(&crew.shared.mail)).into_iter().for_each(|r| outbox.send(r));
        }
        if obey(&control, &ports, &mut states, begin)? {
            worker.installed_dataflows().into_iter().for_each(|d| worker.drop_dataflow(d));
            return Ok(());
        }
        nap = if states.step() { Duration::ZERO } else { LONGEST_NAP };
        if worker.index() == 0 {
            probe.with_frontier(|f| {
                let before = f.first().copied().unwrap_or(BatchTime::from_millis(u64::MAX));
                if before > reported.replace(before) {
                    crate::core::fault::point(crate::core::fault::FaultPoint::ComputeAfter);
                    outbox.send(Report::Computed { before });
                }
            });
        }
        if !worker.installed_dataflows().contains(&program) {
            control.done.set(true);
            outbox.wake();
        }
    }
    if fate.failed() {
        return Err(fate.stopped());
    }
    Ok(())
}

/// Passes orders on to the operators. `true`: the job is to end at once.
fn obey(control: &Control, ports: &[Box<dyn Port>], states: &mut States<'_>, begin: Option<&OutputChannel>) -> Result<bool> {
    let orders = std::mem::take(&mut *control.inbox.borrow_mut());
    for order in &orders {
        if matches!(order, Order::Stop) {
            return Ok(true);
        }
        states.order(order)?;
        if let (Order::Restore { run, .. }, Some(outputs)) = (order, begin) {
            outputs.send(Delivery::Begin(*run));
        }
        ports.iter().for_each(|p| p.order(order));
    }
    Ok(false)
}
