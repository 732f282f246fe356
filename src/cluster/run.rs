//! Runs the workers of one process over the sockets of a handshake. It ends in an orderly way whichever process fails.

use std::any::Any;
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use timely::WorkerConfig;
use timely::communication::allocator::zero_copy::initialize::{CommsGuard, initialize_networking_from_sockets};
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};
use timely::communication::{Hooks, allocator::thread::ThreadBuilder};
use timely::worker::Worker;

use super::data_socket::DataSocket;
use super::failure::FailureLatch;
use super::handshake::Peers;
use super::link::{Link, LinkEvent, OnEvent};
use crate::core::error::{Error, Result, panic_text};

/// How long a worker that has returned sleeps between two steps of its last dataflows.
const PARK: Duration = Duration::from_millis(100);

type Builders = (Vec<AllocatorBuilder>, Box<dyn Any + Send>);

/// Runs `f` on every worker of this process, and waits for their end and that of the peers. The results are in the order of the
/// workers.
///
/// `f` builds its dataflows and steps them. After every step it checks [`FailureLatch::failed`], and returns if that is true: any
/// value or error, because the first failure is kept. It need not drop dataflows. An error or a panic of `f` ends the run on
/// all processes. Dataflows that exist when `f` returns `Ok` are stepped until they are complete.
///
/// # Errors
/// The failure that `latch` has kept: one of this process as it is, one of another process as `Error::Cluster`.
pub(crate) fn execute<T, F>(peers: Peers, config: WorkerConfig, latch: &Arc<FailureLatch>, f: F) -> Result<Vec<T>>
where
    T: Send + 'static,
    F: Fn(&mut Worker, &Arc<FailureLatch>) -> Result<T> + Send + Sync + 'static,
{
    let Peers { workers, addresses, data, link, process, listener, heartbeat } = peers;
    latch.meet(addresses);
    if data.len() > 1 {
        latch.connect(Link::start(link, heartbeat, &on_event(latch))?);
    }
    let run = catch_unwind(AssertUnwindSafe(|| workers_of(process, workers, data, config, latch, f)));
    let results = match run {
        Ok(Ok(results)) => results,
        Ok(Err(error)) => {
            latch.fail(error);
            Vec::new()
        }
        Err(panic) => {
            latch.fail(Error::panicked("the communication between workers", &*panic));
            Vec::new()
        }
    };
    latch.workers_returned();
    let failure = latch.end();
    drop(listener);
    match failure {
        Some(error) => Err(error),
        None => Ok(results.into_iter().flatten().collect()),
    }
}

/// The events of the links. The links hold no strong reference to the latch, because the latch holds the links.
fn on_event(latch: &Arc<FailureLatch>) -> OnEvent {
    let latch: Weak<FailureLatch> = Arc::downgrade(latch);
    Arc::new(move |event: LinkEvent| {
        if let Some(latch) = latch.upgrade() {
            latch.handle(event);
        }
    })
}

/// Starts the workers and waits for them, then for timely's network threads.
fn workers_of<T, F>(
    process: usize,
    workers: usize,
    data: Vec<Option<TcpStream>>,
    config: WorkerConfig,
    latch: &Arc<FailureLatch>,
    f: F,
) -> Result<Vec<Option<T>>>
where
    T: Send + 'static,
    F: Fn(&mut Worker, &Arc<FailureLatch>) -> Result<T> + Send + Sync + 'static,
{
    let (builders, others) = into_timely(process, workers, data, latch)?;
    let shared = latch.clone();
    let guards = timely::execute::execute_from(builders, others, config, move |worker| work(worker, &shared, &f))
        .map_err(|e| Error::bug(format!("the workers could not be started: {e}")))?;
    let results = guards.join();
    results.into_iter().map(|r| r.map_err(|e| Error::bug(format!("a worker could not end: {e}")))).collect()
}

/// The allocators for timely's `execute_from`.
fn into_timely(process: usize, workers: usize, data: Vec<Option<TcpStream>>, latch: &Arc<FailureLatch>) -> Result<Builders> {
    let hooks = Hooks::default();
    if data.len() < 2 && workers == 1 {
        return Ok((vec![AllocatorBuilder::Thread(ThreadBuilder)], Box::new(())));
    }
    let local = ProcessBuilder::new_typed_vector(workers, hooks.refill.clone(), hooks.spill.clone());
    if data.len() < 2 {
        return Ok((local.into_iter().map(AllocatorBuilder::Process).collect(), Box::new(())));
    }
    let failed = |e| Error::io("cannot hand the sockets of the peers to timely", e);
    let sockets = data
        .into_iter()
        .enumerate()
        .map(|(peer, stream)| stream.map(|stream| DataSocket::new(stream, process, peer, workers, latch.clone())).transpose());
    let sockets = sockets.collect::<std::io::Result<Vec<_>>>().map_err(failed)?;
    let (builders, comms) = initialize_networking_from_sockets(local, sockets, process, workers, hooks).map_err(failed)?;
    let others = Others { latch: latch.clone(), _comms: comms };
    Ok((builders.into_iter().map(AllocatorBuilder::Tcp).collect(), Box::new(others)))
}

/// Dropped when all workers have returned. Reports that first, because timely's network threads may wait for it; then joins them.
struct Others {
    latch: Arc<FailureLatch>,
    _comms: CommsGuard,
}

impl Drop for Others {
    fn drop(&mut self) {
        self.latch.workers_returned();
    }
}

/// One worker, from its start to its end. Never panics: a panic would poison the queues it shares with the network threads.
fn work<T, F>(worker: &mut Worker, latch: &Arc<FailureLatch>, f: &F) -> Option<T>
where
    F: Fn(&mut Worker, &Arc<FailureLatch>) -> Result<T>,
{
    latch.enlist();
    let index = worker.index();
    let result = catch_unwind(AssertUnwindSafe(|| {
        let value = f(worker, latch)?;
        while worker.has_dataflows() && !latch.failed() {
            worker.step_or_park(Some(PARK));
        }
        Ok(value)
    }));
    let value = match result {
        Ok(Ok(value)) => Some(value),
        Ok(Err(error)) => {
            latch.fail(error);
            None
        }
        Err(panic) => {
            latch.fail(panicked(index, &*panic));
            None
        }
    };
    for dataflow in worker.installed_dataflows() {
        // A destructor of user code may panic too.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| worker.drop_dataflow(dataflow))) {
            latch.fail(panicked(index, &*panic));
        }
    }
    value
}

fn panicked(worker: usize, panic: &(dyn Any + Send)) -> Error {
    Error::WorkerPanicked { operator: "an operator".into(), worker, batch: None, message: panic_text(panic) }
}
