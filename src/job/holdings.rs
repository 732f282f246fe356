//! What a worker tells the planner from time to time: what it holds in memory, and what its process uses. It is at most a message or two
//! in half a second, so it costs a batch nothing.

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::api::config::Config;
use crate::api::context::Outbox;
use crate::engine::dictionary;
use crate::engine::state::{State, StateHandle};
use crate::job::protocol::Event;
use crate::job::shared::JobState;
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
}

impl Holdings {
    pub fn new(config: &Config, worker: usize, states: &[State]) -> Holdings {
        let workers = usize::from(config.runtime.workers);
        let process = worker.is_multiple_of(workers).then_some(worker / workers);
        let states = states.iter().map(|state| state.handle.clone()).collect();
        Holdings { worker, process, states, last: WorkerHeld::default(), told: None, due: false }
    }

    /// A batch is computed on this worker.
    pub fn computed(&mut self) {
        self.due = true;
    }

    /// Tells what has changed since a batch was computed, unless it has told something just before.
    pub fn step(&mut self, job: &JobState, outbox: &Outbox) {
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
}
