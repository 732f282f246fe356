//! StreamingContext: the handle on which a program is built, once on every worker. Knows its config, registers what is built.
//!
//! Building is lazy: nothing runs or is written until the job starts. Sources attach through `read` (job/source_operator.rs), output
//! operations through `attach` (operator/kernel/deliver.rs); what is wrong with the graph is collected and reported at once.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use timely::dataflow::ProbeHandle;

use crate::api::config::{CatchUp, Config, RuntimeArgs};
use crate::connector::source::SplitEnumerator;
use crate::core::data::type_name;
use crate::core::error::{Error, Result};
use crate::core::plan::Order;
use crate::core::rate::Backpressure;
use crate::core::time::BatchTime;
use crate::engine::flow::{Flow, Site};
use crate::engine::output::{NewOutput, OutputChannel, OutputSpec, RowQueue};
use crate::engine::state::{KeyedState, Owner, State};

/// The handle on which the build closure makes its streams. Spark's `StreamingContext`, without a driver: the closure runs
/// once on every worker and must build the same graph everywhere.
pub struct StreamingContext<'s> {
    pub(crate) graph: Rc<Graph<'s>>,
}

impl StreamingContext<'_> {
    /// A job with this name and batch interval. The name is the consumer group, the client id, and the identity of a checkpoint.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let queue = QueueSource::from_batches(vec![vec![1, 2], vec![3]]);
    /// let seen = MemorySink::new();
    /// let out = seen.clone();
    /// StreamingContext::builder("sums", millis(5))
    ///     .run(move |ssc| {
    ///         ssc.queue_stream(&queue).reduce(|a, b| a + b).to_memory(&out);
    ///         Ok(())
    ///     })
    ///     .unwrap();
    /// assert_eq!(seen.rows(), [3, 3]);
    /// ```
    pub fn builder(name: impl Into<String>, interval: Duration) -> Builder {
        Builder { name: name.into(), interval, settings: Vec::new() }
    }

    /// Whether this is the first worker of the job: for what must happen once, as creating a topic.
    pub fn is_first(&self) -> bool {
        !self.graph.dry && self.graph.flow.scope.index() == 0
    }

    /// The batch interval.
    pub fn batch_interval(&self) -> Duration {
        self.graph.config.interval.duration()
    }

    /// The job's name.
    pub fn name(&self) -> &str {
        &self.graph.config.name
    }
}

type Setting = Box<dyn FnOnce(&mut Config) + Send>;

/// What a job runs by, before it starts. Every method says its default.
#[must_use = "nothing runs before `run` or `start`"]
pub struct Builder {
    name: String,
    interval: Duration,
    settings: Vec<Setting>,
}

impl Builder {
    fn set(mut self, setting: impl FnOnce(&mut Config) + Send + 'static) -> Self {
        self.settings.push(Box::new(setting));
        self
    }

    /// The command line's arguments.
    pub fn runtime(self, args: RuntimeArgs) -> Self {
        self.set(|c| c.runtime = args)
    }

    /// Worker threads; 1 unless said.
    pub fn workers(self, n: u16) -> Self {
        self.set(move |c| c.runtime.workers = n)
    }

    /// At most this many batches are closed and not yet computed; 2 unless said. Sources wait when it is reached.
    pub fn batches_in_flight(self, n: usize) -> Self {
        self.set(move |c| c.in_flight = n.max(1))
    }

    /// About so many bytes go into one batch on one worker: it reads no more once there are as many. 64 MiB unless said. While as
    /// many wait at the outputs of a process, the open batch stays open; the few batches before it are under way by then.
    pub fn batch_bytes(self, n: usize) -> Self {
        self.set(move |c| c.batch_bytes = n.max(1))
    }

    /// At most this many bytes are gathered for `transform`, `foreach_batch` and full sorts; 256 MiB unless said.
    pub fn gather_cap(self, n: usize) -> Self {
        self.set(move |c| c.gather_cap = n)
    }

    /// Sources are read no faster than the job has shown that it can; off unless said. `--backpressure` does so, too.
    #[doc(alias = "spark.streaming.backpressure.enabled")]
    pub fn backpressure(self, how: Backpressure) -> Self {
        self.set(move |c| c.backpressure = Some(how))
    }

    /// A setting by Spark's name: `spark.streaming.backpressure.*`, `spark.streaming.kafka.maxRatePerPartition`,
    /// `spark.streaming.receiver.maxRate`. One that is not known is an error at the start; `--conf` wins over these.
    ///
    /// ```
    /// # use tidemill::prelude::*;
    /// let job = StreamingContext::builder("typo", secs(1)).conf("spark.streaming.backpresure.enabled", "true");
    /// assert!(job.run(|_| Ok(())).unwrap_err().to_string().contains("there are spark.streaming.backpressure.enabled"));
    /// ```
    pub fn conf(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let setting = (name.into(), value.into());
        self.set(|c| c.conf.push(setting))
    }

    /// How often a failing output operation is tried before the job stops; 3 unless said.
    pub fn output_tries(self, n: u32) -> Self {
        self.set(move |c| c.output_tries = n.max(1))
    }

    /// What outputs see of overdue batch times; every one unless said.
    pub fn catch_up(self, what: CatchUp) -> Self {
        self.set(move |c| c.runtime.catch_up = what)
    }

    /// A directory in which states and plans outlive the job. Where it holds an earlier run of this job, the job goes on there:
    /// with the current code, on any number of workers, and whatever a sink promises (docs/guarantees.md). The same directory
    /// for all processes. Without it, states are lost when the job ends, and a warning says so.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// # let dir = std::env::temp_dir().join(format!("tidemill-doc-checkpoint-{}", std::process::id()));
    /// let seen = MemorySink::new();
    /// for words in [["a", "b"], ["a", "c"]] {
    ///     let (out, dir) = (seen.clone(), dir.clone());
    ///     let queue = QueueSource::from_batches([words.to_vec()]);
    ///     StreamingContext::builder("counts", millis(5)).checkpoint(dir).run(move |ssc| {
    ///         let words = ssc.queue_stream(&queue).map(str::to_owned);
    ///         words.count_by_value().sum_by_key().complete().to_memory(&out);
    ///         Ok(())
    ///     }).unwrap();
    /// }
    /// assert_eq!(seen.rows()[2..], [("a".into(), 2), ("b".into(), 1), ("c".into(), 1)]);
    /// # std::fs::remove_dir_all(dir).unwrap();
    /// ```
    #[doc(alias = "get_or_create")]
    #[doc(alias = "getOrCreate")]
    pub fn checkpoint(self, dir: impl Into<std::path::PathBuf>) -> Self {
        let dir = dir.into();
        self.set(|c| c.runtime.checkpoint = Some(dir))
    }

    /// The time between two checkpoints, a multiple of the batch interval; ten seconds, or the first multiple after, unless said.
    pub fn checkpoint_interval(self, every: Duration) -> Self {
        self.set(move |c| c.runtime.checkpoint_interval = Some(every))
    }

    /// States are lost when this job ends, and that is meant: no warning.
    pub fn without_checkpoint(self) -> Self {
        self.set(|c| (c.runtime.checkpoint, c.warns) = (None, false))
    }

    /// States that go in before the first batch, and where they go at the end.
    #[cfg(any(test, doctest, feature = "testing"))]
    pub(crate) fn hand_over(self, load: Option<crate::api::config::Saved>, save: Option<crate::api::config::Saved>) -> Self {
        self.set(move |c| (c.load, c.save) = (load, save))
    }

    pub(crate) fn config(self) -> Result<Config> {
        let mut config = Config::new(self.name, self.interval)?;
        for setting in self.settings {
            setting(&mut config);
        }
        config.settle_rates()?;
        config.settle_replay()?;
        config.check()?;
        Ok(config)
    }
}

/// How orders reach a source operator.
pub(crate) trait Port {
    fn order(&self, order: &Order);
}

/// The planner's half of a registered source.
pub(crate) struct SourceHalf {
    pub name: String,
    /// Only on worker 0.
    pub enumerator: Option<Box<dyn SplitEnumerator>>,
}

/// Something to be asked before anything starts, by the planner: it may wait, within reason.
pub(crate) type Check = Box<dyn FnOnce() -> Result<()> + Send>;

/// What has been built so far on this worker.
#[derive(Default)]
struct Registry<'s> {
    problems: Vec<String>,
    /// One line an operator, in build order: the fingerprint.
    lines: Vec<String>,
    ordinals: BTreeMap<String, u32>,
    ports: Vec<Box<dyn Port>>,
    sources: Vec<SourceHalf>,
    outputs: Vec<OutputSpec>,
    spread: bool,
    states: Vec<State>,
    checkpoint_every: Option<u64>,
    checks: Vec<Check>,
    at_end: Vec<Box<dyn FnOnce() + 's>>,
}

/// The graph under construction: what every stream of a program shares.
pub(crate) struct Graph<'s> {
    pub flow: Flow<'s>,
    pub config: Arc<Config>,
    /// A throw-away build, for the fingerprint: sources are inert.
    pub dry: bool,
    /// Passes t when every output's rows of t have left the dataflow.
    pub probe: ProbeHandle<BatchTime>,
    /// To the output thread of this process.
    pub outputs: OutputChannel,
    registry: RefCell<Registry<'s>>,
    pub outbox: Outbox,
    /// Failures of operators that are not panics.
    pub fail: Rc<dyn Fn(Error)>,
}

/// Where workers put reports; the control dataflow takes them to the planner.
#[derive(Clone, Default)]
pub(crate) struct Outbox {
    reports: Rc<RefCell<Vec<crate::core::plan::Report>>>,
    activator: Rc<RefCell<Option<timely::scheduling::Activator>>>,
}

impl Outbox {
    pub fn send(&self, report: crate::core::plan::Report) {
        self.reports.borrow_mut().push(report);
        self.wake();
    }

    pub fn wake(&self) {
        if let Some(a) = &*self.activator.borrow() {
            a.activate();
        }
    }

    pub fn take(&self) -> Vec<crate::core::plan::Report> {
        std::mem::take(&mut self.reports.borrow_mut())
    }

    pub fn wake_with(&self, activator: timely::scheduling::Activator) {
        *self.activator.borrow_mut() = Some(activator);
    }
}

/// What is left of a build: what the worker and the planner go on with.
pub(crate) struct Built {
    pub lines: Vec<String>,
    pub ports: Vec<Box<dyn Port>>,
    pub sources: Vec<SourceHalf>,
    pub outputs: Vec<OutputSpec>,
    /// Whether any output is written by every process.
    pub spread: bool,
    pub states: Vec<State>,
    /// Milliseconds from checkpoint to checkpoint.
    pub checkpoint_every: u64,
    pub checks: Vec<Check>,
}

impl<'s> Graph<'s> {
    pub fn new(
        flow: Flow<'s>,
        config: Arc<Config>,
        dry: bool,
        outputs: OutputChannel,
        outbox: Outbox,
        fail: Rc<dyn Fn(Error)>,
    ) -> Rc<Self> {
        let probe = ProbeHandle::new();
        Rc::new(Graph { flow, config, dry, probe, outputs, registry: RefCell::default(), outbox, fail })
    }

    /// Something is wrong with the program: said at start, with everything else that is.
    pub fn problem(&self, site: &Site, what: impl std::fmt::Display) {
        self.registry.borrow_mut().problems.push(format!("{}: {what}", site.name()));
    }

    /// Notes an operator: part of the fingerprint. Returns its name, unique among the same verb: `count_by_value#2`.
    pub fn note<T: ?Sized>(&self, verb: &str, what: impl std::fmt::Display) -> String {
        let name = format!("{verb}#{}", self.ordinals(verb));
        let line = format!("{name} {what} {}", type_name::<T>());
        self.registry.borrow_mut().lines.push(line);
        name
    }

    /// The name of a sink that is known by where it writes: the place, numbered from the second one on.
    #[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "only exactly-once sinks of Kafka ask"))]
    pub fn sink_name(&self, place: &str) -> String {
        match self.ordinals(&format!("sink {place}")) {
            1 => place.into(),
            n => format!("{place}#{n}"),
        }
    }

    fn ordinals(&self, of: &str) -> u32 {
        *self.registry.borrow_mut().ordinals.entry(of.into()).and_modify(|n| *n += 1).or_insert(1)
    }

    /// Registers state under the name of its operator; returns its number, and what its batches go through.
    pub fn remember(&self, name: String, keeps: Rc<RefCell<dyn KeyedState>>) -> (usize, Rc<Owner>) {
        let mut r = self.registry.borrow_mut();
        // The line that was noted for it, without its ordinal: what it is and of which types.
        let line = r.lines.iter().rev().find_map(|l| l.strip_prefix(&name)?.strip_prefix(' ')).unwrap_or_default();
        let verb = name.split('#').next().unwrap_or_default();
        let fingerprint = format!("{verb} {line}");
        let owner = Owner::new(keeps);
        r.states.push(State { name, fingerprint, owner: owner.clone() });
        (r.states.len() - 1, owner)
    }

    /// Gives state another name.
    pub fn rename_state(&self, site: &Site, state: Option<usize>, name: &str) {
        let Some(state) = state else {
            return self.problem(site, format!(
                "\"{name}\" names nothing: no verb of this chain keeps state, or two that do meet in it: name each before they meet"
            ));
        };
        let mut r = self.registry.borrow_mut();
        if r.states.iter().any(|s| s.name == name) {
            drop(r);
            return self.problem(site, format!("\"{name}\" is taken by another verb that keeps state; names must differ"));
        }
        r.states[state].name = name.into();
    }

    /// So often states are saved; the shortest that was said.
    pub fn checkpoint_every(&self, site: &Site, every: Duration) {
        match self.config.checkpoint_every(every) {
            Err(e) => self.problem(site, e),
            Ok(ms) => {
                let shortest = &mut self.registry.borrow_mut().checkpoint_every;
                *shortest = Some(shortest.map_or(ms, |other| other.min(ms)));
            }
        }
    }

    /// To be asked before the job touches any data: a place that an output writes to and that is not there.
    #[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "only sinks of Kafka ask"))]
    pub fn before_start(&self, check: impl FnOnce() -> Result<()> + Send + 'static) {
        if self.home() {
            self.registry.borrow_mut().checks.push(Box::new(check));
        }
    }

    /// To be done when the program is built.
    pub fn at_end(&self, f: impl FnOnce() + 's) {
        self.registry.borrow_mut().at_end.push(Box::new(f));
    }

    pub fn source(&self, half: SourceHalf) -> u32 {
        let mut r = self.registry.borrow_mut();
        r.sources.push(half);
        (r.sources.len() - 1) as u32
    }

    /// The first of these sources that is not replayable. Only worker 0 knows, and the rehearsal is a worker 0 in every process.
    #[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "only exactly-once sinks of Kafka ask"))]
    pub fn unrepeatable(&self, lineage: &[u32]) -> Option<String> {
        let r = self.registry.borrow();
        lineage
            .iter()
            .filter_map(|s| r.sources.get(*s as usize))
            .find(|s| s.enumerator.as_ref().is_some_and(|e| !e.replayable()))
            .map(|s| s.name.clone())
    }

    pub fn port(&self, port: Box<dyn Port>) {
        self.registry.borrow_mut().ports.push(port);
    }

    /// Registers an output operation; returns its number, in program order, and its queue. `senders`: how many workers of this
    /// process put rows into it.
    pub fn output<R: Send + 'static>(
        &self,
        site: &Site,
        senders: usize,
        all_processes: bool,
        new: impl FnOnce(RowQueue<R>) -> NewOutput,
    ) -> (usize, RowQueue<R>) {
        let output = self.registry.borrow().outputs.len();
        let queue = self.outputs.queue(output).unwrap_or_else(|| {
            self.problem(site, "another worker of this process writes other rows here: the program must be the same on all");
            RowQueue::default()
        });
        let NewOutput { task, transactional } = new(queue.clone());
        let mut r = self.registry.borrow_mut();
        r.spread |= all_processes;
        r.outputs.push(OutputSpec { name: site.name(), senders, task, transactional });
        (output, queue)
    }

    /// Whether this worker is the one on which gathered batches are whole.
    pub fn home(&self) -> bool {
        self.flow.scope.index() == 0
    }

    /// Whether the home worker is in this process.
    pub fn home_process(&self) -> bool {
        self.config.runtime.process == 0
    }

    /// Workers of this process.
    pub fn local_workers(&self) -> usize {
        self.config.runtime.workers as usize
    }

    /// What was built, or everything that is wrong with it.
    pub fn finish(&self) -> Result<Built> {
        let todo = std::mem::take(&mut self.registry.borrow_mut().at_end);
        for f in todo {
            f();
        }
        let mut r = self.registry.take();
        if r.outputs.is_empty() {
            r.problems.push(
                "the program has no output operation: nothing would run; add print(10), to_kafka, foreach_batch or another"
                    .into(),
            );
        }
        if !r.problems.is_empty() {
            // A verb in a loop is wrong each time round.
            let mut told = BTreeSet::new();
            r.problems.retain(|problem| told.insert(problem.clone()));
            return Err(Error::Graph(r.problems));
        }
        let checkpoint_every = r.checkpoint_every.unwrap_or_else(|| self.config.usual_checkpoint_every());
        let Registry { lines, ports, sources, outputs, spread, states, checks, .. } = r;
        Ok(Built { lines, ports, sources, outputs, spread, states, checkpoint_every, checks })
    }
}

/// A switch that is thrown while a program is built: whether a stream of errors was taken, for one.
pub(crate) type Switch = Rc<Cell<bool>>;
