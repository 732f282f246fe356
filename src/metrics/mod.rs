//! What a running job reports: a `BatchInfo` for each batch, `Statistics` at any time, and listeners.
//!
//! The planner of process 0 writes them; any thread reads them.

mod accumulators;
mod batch;
#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only readers over HTTP ask for it"))]
pub(crate) mod clients;
#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only readers over HTTP ask for it"))]
pub(crate) mod held;
#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only readers over HTTP ask for it"))]
pub(crate) mod histogram;
#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only readers over HTTP ask for totals"))]
pub(crate) mod history;
mod listener;
pub(crate) mod operator;
#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only readers over HTTP ask for it"))]
pub(crate) mod process;
mod receiver;
#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only readers over HTTP ask for it"))]
pub(crate) mod refused;
#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only readers over HTTP ask for it"))]
pub(crate) mod state;
mod statistics;
#[cfg(feature = "http")]
pub(crate) mod verdict;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::core::lock::lock;
use crate::core::plan::Range;
use crate::core::time::BatchTime;

pub use accumulators::{AccumulatorInfo, Accumulators};
pub use batch::{BatchInfo, EventTimeInfo, InputInfo, OutputInfo};
use clients::Client;
use held::{Held, WorkerHeld};
use history::History;
pub use listener::StreamingListener;
pub use operator::{OperatorInfo, OperatorWork};
use process::Process;
pub use receiver::{ReceiverEvent, ReceiverInfo};
use refused::{Refusals, Refused};
use state::{LastBad, Saved};
pub use statistics::{Checkpoints, Statistics};

/// Written by the planner, read by any thread.
#[derive(Clone, Default)]
pub(crate) struct Metrics {
    now: Arc<Mutex<Now>>,
    listeners: Arc<Mutex<Vec<Arc<dyn StreamingListener>>>>,
    /// Who was refused at the cluster's port of this process, and at its port for readers.
    #[cfg_attr(not(feature = "http"), allow(dead_code, reason = "there are no readers"))]
    pub callers: Refusals,
    #[cfg_attr(not(feature = "http"), allow(dead_code, reason = "there are no readers"))]
    pub readers: Refusals,
}

/// All change together, so a reader sees a batch in all of them or in none.
#[derive(Clone, Default)]
#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only readers over HTTP ask for all of it"))]
pub(crate) struct Now {
    pub statistics: Statistics,
    pub history: History,
    /// The checkpoints, if there is a directory.
    pub saved: Arc<Saved>,
    pub last_bad: LastBad,
    /// Which operators give rows to which: their places, from and to.
    pub edges: Arc<[(usize, usize)]>,
    /// The states of the program: the name of each, and what it is.
    pub states: Arc<[(String, String)]>,
    /// What each worker holds, as it has told last.
    pub held: BTreeMap<usize, WorkerHeld>,
    /// What each process uses, and who was refused at its port of the cluster, as it has told last.
    pub processes: BTreeMap<usize, (Process, Refused)>,
    /// The clients of Kafka in each process except process 0, as it has told last.
    pub clients: BTreeMap<usize, Vec<Client>>,
    /// Whether the first batch is open.
    pub running: bool,
}

#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only readers over HTTP ask for it"))]
impl Now {
    /// What each worker holds of the state of this number, in the order of the workers.
    pub fn held_of(&self, state: usize) -> impl Iterator<Item = Held> {
        self.held.values().map(move |worker| worker.states.get(state).copied().unwrap_or_default())
    }

    /// The dictionaries of all workers.
    pub fn dictionaries(&self) -> Held {
        self.held.values().map(|worker| worker.dictionaries).sum()
    }

    /// The bytes of the arrangements of all workers.
    pub fn arrangements(&self) -> u64 {
        self.held.values().map(|worker| worker.arrangements).sum()
    }
}

impl Metrics {
    /// Metrics of a job in whose process these callers are refused at the port of the cluster.
    pub fn with_callers(callers: Refusals) -> Metrics {
        Metrics { callers, ..Metrics::default() }
    }

    pub fn listen(&self, listener: Arc<dyn StreamingListener>) {
        lock(&self.listeners).push(listener);
    }

    pub fn snapshot(&self) -> Statistics {
        let now = lock(&self.now);
        Statistics { last: now.history.last().cloned(), ..now.statistics.clone() }
    }

    /// From now on the last batches are kept, because somebody may ask for them.
    #[cfg(feature = "http")]
    pub fn keep_batches(&self) {
        lock(&self.now).history.keep_batches();
    }

    /// Whether the first batch is open.
    #[cfg(feature = "http")]
    pub fn is_running(&self) -> bool {
        lock(&self.now).running
    }

    /// The statistics and the history together.
    #[cfg(any(test, feature = "http"))]
    pub fn now(&self) -> Now {
        lock(&self.now).clone()
    }

    /// Which operators give rows to which.
    pub fn connect(&self, edges: &[(usize, usize)]) {
        lock(&self.now).edges = edges.into();
    }

    /// The states of the program: the name of each, and what it is.
    pub fn keeps(&self, states: impl Iterator<Item = (String, String)>) {
        lock(&self.now).states = states.collect();
    }

    /// What a worker holds.
    pub fn held(&self, worker: usize, held: WorkerHeld) {
        lock(&self.now).held.insert(worker, held);
    }

    /// What a process uses, and who was refused at its port of the cluster.
    pub fn process(&self, process: usize, used: Process, refused: Refused) {
        lock(&self.now).processes.insert(process, (used, refused));
    }

    /// The clients of Kafka in a process.
    pub fn clients(&self, process: usize, clients: Vec<Client>) {
        lock(&self.now).clients.insert(process, clients);
    }

    /// What the job has saved so far.
    pub fn save(&self, checkpoints: Checkpoints, saved: Arc<Saved>) {
        let mut now = lock(&self.now);
        (now.statistics.checkpoints, now.saved) = (checkpoints, saved);
    }

    /// The job runs from this batch on, with these sources, outputs and operators. `saved`: what [`Metrics::totals`] returned for a checkpoint.
    pub fn begin(
        &self,
        first: BatchTime,
        sources: Vec<String>,
        outputs: &[Arc<str>],
        operators: &[Arc<str>],
        saved: Option<&[u8]>,
    ) {
        {
            let mut now = lock(&self.now);
            now.history.begin(sources, outputs, operators, saved);
            now.running = true;
        }
        self.tell(|l| l.on_streaming_started(first));
    }

    /// Something has happened to a receiver.
    pub fn receiver(&self, info: &ReceiverInfo) {
        self.tell(|l| match info.event {
            ReceiverEvent::Started => l.on_receiver_started(info),
            ReceiverEvent::Error(_) => l.on_receiver_error(info),
            ReceiverEvent::Stopped(_) => l.on_receiver_stopped(info),
        });
    }

    /// From now on batches have one more operator.
    pub fn operator_added(&self, name: &str) {
        lock(&self.now).history.operator_added(name);
    }

    /// The totals up to the last batch, for a checkpoint.
    pub fn totals(&self) -> Vec<u8> {
        lock(&self.now).history.totals.saved()
    }

    pub fn update(&self, f: impl FnOnce(&mut Statistics)) {
        f(&mut lock(&self.now).statistics);
    }

    /// One worker has read bad records of a batch; `first` is one of them. `taken`: whether an output operation reads them.
    pub fn add_bad(&self, stream: String, time: BatchTime, records: u64, first: &str, taken: bool) {
        let mut now = lock(&self.now);
        now.statistics.bad += records;
        now.last_bad.add(time, &stream, first);
        now.history.add_bad(stream, time, records, taken);
    }

    /// The first rows of a batch that came out of outputs, by the places of these.
    pub fn came_out(&self, time: BatchTime, first_rows: BTreeMap<usize, Vec<String>>) {
        let rows = first_rows.into_iter().map(|(output, rows)| (output, (time, rows.into())));
        lock(&self.now).history.came_out.extend(rows);
    }

    /// Every output has processed the batch. `ranges`: those of its inputs, in the same order.
    pub fn complete(&self, batch: &BatchInfo, ranges: &[Range]) {
        {
            let mut now = lock(&self.now);
            let s = &mut now.statistics;
            s.batches += 1 + u64::from(batch.overdue);
            s.records += batch.records;
            s.accumulators = batch.accumulators.clone();
            s.lost += batch.lost_positions();
            now.history.complete(batch.clone(), ranges);
        }
        for output in &batch.outputs {
            self.tell(|l| l.on_output_operation_completed(batch, output));
        }
        self.tell(|l| l.on_batch_completed(batch));
    }

    pub fn tell(&self, f: impl Fn(&dyn StreamingListener)) {
        let listeners = lock(&self.listeners).clone();
        for l in &listeners {
            f(&**l);
        }
    }
}
