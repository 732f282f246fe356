//! What a worker tells the planner from time to time: what it holds in memory, what its process uses, and how the clients of Kafka there
//! are. It is at most a message of each kind in half a second, so it costs a batch nothing.

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::api::config::Config;
use crate::api::context::Outbox;
use crate::engine::dictionary;
use crate::engine::state::{State, StateHandle};
use crate::job::protocol::Event;
use crate::job::shared::JobState;
use crate::metrics::clients;
use crate::metrics::held::WorkerHeld;
use crate::metrics::process::Process;

/// The shortest time between two reports.
const PAUSE: Duration = Duration::from_millis(500);

/// Reports of one worker.
pub(crate) struct Holdings {
    worker: usize,
    /// The process of which this worker is the first.
    process: Option<usize>,
    states: Vec<Rc<StateHandle>>,
    last: WorkerHeld,
    told: Option<Instant>,
    /// Whether a batch was computed since then.
    due: bool,
    clients: Clients,
}

/// What is told of the clients of Kafka.
#[derive(Default)]
struct Clients {
    told: Option<Instant>,
    /// [`clients::changes`] at that time.
    changes: u64,
}

impl Holdings {
    pub fn new(config: &Config, worker: usize, states: &[State]) -> Holdings {
        let workers = usize::from(config.runtime.workers);
        let process = worker.is_multiple_of(workers).then_some(worker / workers);
        let states = states.iter().map(|state| state.handle.clone()).collect();
        Holdings { worker, process, states, last: WorkerHeld::default(), told: None, due: false, clients: Clients::default() }
    }

    /// A batch is computed on this worker.
    pub fn computed(&mut self) {
        self.due = true;
    }

    /// Tells what has changed, unless it has told it just before.
    pub fn step(&mut self, job: &JobState, outbox: &Outbox) {
        self.tell_clients(outbox);
        if !self.due || self.told.is_some_and(|told| told.elapsed() < PAUSE) {
            return;
        }
        (self.told, self.due) = (Some(Instant::now()), false);
        if let Some(process) = self.process {
            outbox.send(Event::Process { process, used: Process::now(), refused: job.refused.now() });
        }
        let (dictionaries, arrangements) = dictionary::held_here();
        let held = WorkerHeld { states: self.states.iter().map(|state| state.held()).collect(), dictionaries, arrangements };
        if held != self.last {
            self.last = held.clone();
            outbox.send(Event::Held { worker: self.worker, held });
        }
    }

    /// Whether batches are computed or not: how the clients are says most when Kafka does not answer. Process 0 asks its own clients.
    fn tell_clients(&mut self, outbox: &Outbox) {
        let Some(process) = self.process.filter(|process| *process > 0) else { return };
        let changes = clients::changes();
        if changes == self.clients.changes || self.clients.told.is_some_and(|told| told.elapsed() < PAUSE) {
            return;
        }
        self.clients = Clients { told: Some(Instant::now()), changes };
        outbox.send(Event::Clients { process, clients: clients::by_sink() });
    }
}
