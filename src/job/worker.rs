//! One worker: builds the control dataflow, then the program, and then steps until the job ends or fails.
//!
//! *Invariant:* a panic on one worker fails all workers, because timely cannot restart a worker. The step loop catches the panic and
//! names its operator, and every worker drops its dataflows. Steps park with a time-out, to notice a failure without a message.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use timely::worker::Worker;

use crate::api::config::Config;
use crate::api::context::{Build, BuiltGraph, Graph, Outbox, Port, StreamingContext};
use crate::cluster::failure::FailureLatch;
use crate::connector::source::SharedPlaces;
use crate::core::error::{Error, Result, panic_text};
use crate::core::fault::{FaultPoint, point};
use crate::core::lock::lock;
use crate::core::time::BatchTime;
use crate::engine::flow::Flow;
use crate::engine::meter::Work;
use crate::engine::operator_id::CurrentOperator;
use crate::engine::output::{Delivery, OutputChannel};
use crate::job::added_dataflows::AddedDataflows;
use crate::job::control::{self, Control, Planning};
use crate::job::holdings::Holdings;
use crate::job::planner_inputs::PlannerInputs;
use crate::job::protocol::{Command, Event};
use crate::job::shared::{JobState, Watched};
use crate::job::snapshot_writer::ToWriter;
use crate::job::snapshotter::Snapshotter;
use crate::job::ticks::ticks;

/// The maximum time for which a worker parks before it checks whether another has failed.
const PARK: Duration = Duration::from_millis(100);

/// The arguments of each worker of a process.
pub(crate) struct WorkerArgs {
    pub config: Arc<Config>,
    pub build: Arc<Build>,
    pub shared: Arc<JobState>,
    pub outputs: OutputChannel,
    /// What the readers of the sources share.
    pub places: SharedPlaces,
    /// To the thread that writes snapshots; set if there is a checkpoint directory.
    pub snapshots: Option<Mutex<mpsc::Sender<ToWriter>>>,
    /// Taken by the first worker of the job.
    pub planning: Mutex<Option<(Planning, mpsc::Sender<PlannerInputs>)>>,
}

/// Builds the program on a scope. If `dry`, sources read nothing.
pub(crate) fn build<'s>(
    args: &WorkerArgs,
    scope: timely::dataflow::Scope<'s, BatchTime>,
    dry: bool,
    outbox: &Outbox,
) -> Result<(BuiltGraph, Rc<Graph<'s>>, Box<dyn Port>)> {
    let (ticks, port) = ticks(scope, args.config.interval);
    let shared = args.shared.clone();
    let graph = Graph::new(
        Flow::new(scope, ticks),
        args.config.clone(),
        dry,
        args.outputs.clone(),
        outbox.clone(),
        Rc::new(move |e| shared.fail(e)),
        args.shared.stopper(),
        args.places.clone(),
    );
    let ssc = StreamingContext { graph: graph.clone() };
    (args.build)(&ssc).map_err(Error::Build)?;
    Ok((graph.finish()?, graph, port))
}

/// Runs one worker from its start to the end of the job.
///
/// # Errors
/// The failure that ended the job.
pub(crate) fn run(worker: &mut Worker, args: &WorkerArgs, latch: &Arc<FailureLatch>) -> Result<()> {
    let shared = &args.shared;
    let index = worker.index();
    let watched = Watched::here(index);
    CurrentOperator::on_worker(index);
    shared.enlist(&watched);
    let done = catch_unwind(AssertUnwindSafe(|| live(worker, args, latch, &watched))).unwrap_or_else(|panic| {
        let (operator, batch) = CurrentOperator::last();
        Err(Error::WorkerPanicked { operator, worker: index, batch, message: panic_text(&*panic) })
    });
    shared.retire(&watched);
    done
}

fn live(worker: &mut Worker, args: &WorkerArgs, latch: &Arc<FailureLatch>, watched: &Watched) -> Result<()> {
    let outbox = Outbox::default();
    let (planning, inputs) = match worker.index() {
        0 => lock(&args.planning).take().unzip(),
        _ => (None, None),
    };
    let control = control::build(worker, &outbox, planning);
    let program = worker.next_dataflow_index();
    let built = worker.dataflow_named::<BatchTime, _, _>(&args.config.name, |scope| {
        let (built, graph, ticks) = build(args, scope, false, &outbox)?;
        Ok::<_, Error>((built, graph.probe.clone(), ticks))
    });
    let (mut built, probe, ticks) = built?;
    let work = Work::here();
    if let Some(inputs) = inputs {
        let writers = if built.spread { args.config.runtime.processes as usize } else { 1 };
        let (wake, operators) = (control.wake.clone(), (work.names(), work.edges()));
        let _ = inputs.send(PlannerInputs::new(&mut built, &args.shared, wake, operators, worker.peers(), writers));
    }
    work.freeze();
    let BuiltGraph { mut ports, outputs, accumulates, states, taps, .. } = built;
    let mut added = AddedDataflows::new(taps);
    let mut holdings = Holdings::new(&args.config, worker.index(), &states);
    let mut snapshotter =
        Snapshotter::new(&args.config, states, worker.index(), args.snapshots.as_ref().map(|p| lock(p).clone()));
    ports.push(ticks);
    args.outputs.send(Delivery::Built { outputs, accumulates });
    let first_here = worker.index().is_multiple_of(args.config.runtime.workers as usize);
    let begin = first_here.then_some(&args.outputs);
    let reported = RefCell::new(BatchTime::default());
    let mut park = PARK;
    while !latch.failed() && worker.step_or_park(Some(park)) {
        watched.step();
        if first_here {
            args.shared.posted().into_iter().for_each(|r| outbox.send(r));
        }
        if obey(worker, &control, &ports, &mut snapshotter, begin, &work, |worker, command| {
            added.obey(worker, args, &outbox, command)
        })? {
            worker.installed_dataflows().into_iter().for_each(|d| worker.drop_dataflow(d));
            return Ok(());
        }
        park = if snapshotter.step() { Duration::ZERO } else { PARK };
        probe.with_frontier(|f| {
            let before = f.first().copied().unwrap_or(BatchTime::from_millis(u64::MAX));
            if before > reported.replace(before) {
                if worker.index() == 0 {
                    point(FaultPoint::ComputeAfter);
                }
                outbox.send(Event::Computed { worker: worker.index(), before, work: work.take(before) });
                holdings.computed();
            }
        });
        holdings.step(&args.shared, &outbox);
        if !worker.installed_dataflows().contains(&program) {
            control.done.set(true);
            outbox.wake();
        }
    }
    if latch.failed() {
        return Err(latch.stopped());
    }
    Ok(())
}

/// Passes commands to the operators; `beside` passes them to added computations. Returns `true` if the job must end immediately.
fn obey(
    worker: &mut Worker,
    control: &Control,
    ports: &[Box<dyn Port>],
    snapshotter: &mut Snapshotter<'_>,
    begin: Option<&OutputChannel>,
    work: &Work,
    mut beside: impl FnMut(&mut Worker, &Command) -> Result<()>,
) -> Result<bool> {
    let commands = std::mem::take(&mut *control.inbox.borrow_mut());
    for command in &commands {
        if matches!(command, Command::Stop) {
            return Ok(true);
        }
        snapshotter.obey(command)?;
        if let (Command::Restore { run, .. }, Some(outputs)) = (command, begin) {
            outputs.send(Delivery::Begin(*run));
        }
        if let Command::Seal { span, .. } = command {
            work.sealed(span.first);
        }
        if !matches!(command, Command::Add { .. } | Command::Remove { .. }) {
            ports.iter().for_each(|p| p.command(command));
        }
        beside(worker, command)?;
    }
    Ok(false)
}
