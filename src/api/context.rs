//! StreamingContext: the handle with which a program is built, once on every worker. It has the settings, and registers operators.
//!
//! Building is lazy: nothing runs or is written until the job starts. Sources register through `read` (job/source_operator.rs), output
//! operations through operator/kernel/deliver.rs. Errors in the program are collected and reported at once.

use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use timely::dataflow::ProbeHandle;
use timely::dataflow::operators::Probe;

use crate::api::alignment::Alignment;
pub use crate::api::builder::Builder;
pub(crate) use crate::api::built_graph::{BuiltAdded, BuiltGraph, Check};
use crate::api::config::Config;
use crate::api::dstream::DStream;
pub(crate) use crate::api::port::{CommandQueue, Outbox, Port, SourceHalf};
use crate::api::states::RegisteredStates;
use crate::api::stopper::Stopper;
use crate::connector::source::SharedPlaces;
use crate::core::data::{BadRecord, Key, type_name};
use crate::core::error::{BoxError, Error, Result};
use crate::core::key_groups::KeyGroups;
use crate::core::time::BatchTime;
use crate::engine::accumulators::{self, Accumulating};
use crate::engine::dense::Tap;
use crate::engine::dictionary::Dict;
use crate::engine::flow::{Flow, RowStream};
use crate::engine::operator_id::OperatorId;
use crate::engine::output::{Delivery, NewOutput, OutputChannel, OutputSpec, RowQueue};
use crate::engine::state::{KeyedState, StateHandle, UnbuiltState};
use crate::job::protocol::Event;

/// The handle on which the build closure makes its streams. Spark's `StreamingContext`, without a driver: the closure runs
/// once on every worker and must build the same graph everywhere. Cheap to clone.
#[derive(Clone)]
pub struct StreamingContext<'s> {
    pub(crate) graph: Rc<Graph<'s>>,
}

/// What builds a program on each worker. It has one type, so that the engine is compiled once, and not again for each program.
pub(crate) type Build = dyn for<'s> Fn(&StreamingContext<'s>) -> Result<(), BoxError> + Send + Sync;

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
        Builder::new(name.into(), interval)
    }

    /// Whether this is the first worker of the job: for what must happen once, such as creating a topic.
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

/// A place outside the job to which an output writes, such as a topic on these brokers.
#[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "only Kafka's outputs can be read by a source"))]
pub(crate) struct Place {
    pub at: String,
    pub name: String,
}

/// Why a source must not read a place to which the job writes; `None`: it does not read it, or may.
pub(crate) type ReadsOwn = Box<dyn Fn(&Place) -> Option<String>>;

/// The part of the program that has been built so far on this worker.
#[derive(Default)]
struct Registry<'s> {
    problems: Vec<String>,
    /// The operators, in build order.
    operators: Vec<OperatorId>,
    /// A line for each operator, in build order: the fingerprint.
    lines: Vec<String>,
    ordinals: BTreeMap<String, u32>,
    ports: Vec<Box<dyn Port>>,
    sources: Vec<SourceHalf>,
    outputs: Vec<OutputSpec>,
    spread: bool,
    /// What outputs write to, and which output it is.
    targets: BTreeMap<String, OperatorId>,
    states: RegisteredStates,
    checkpoint_every: Option<u64>,
    checks: Vec<Check>,
    queryable: Vec<String>,
    askable: Vec<String>,
    taps: Vec<(String, Tap)>,
    accumulators: Vec<Accumulating>,
    /// What outputs leave behind: nothing, when they have handed over a batch.
    done: Vec<RowStream<'s, ()>>,
    written: Vec<(OperatorId, Place)>,
    read: Vec<(OperatorId, ReadsOwn)>,
    on_built: Vec<Box<dyn FnOnce() + 's>>,
    /// The error streams that no output operation reads, if the program gathers them.
    errors: Option<Vec<DStream<'s, BadRecord>>>,
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
    /// The dictionaries of keys, by their type.
    keys: RefCell<HashMap<TypeId, Rc<dyn Any>>>,
    pub outbox: Outbox,
    /// Failures of operators that are not panics.
    pub fail: Rc<dyn Fn(Error)>,
    pub stopper: Stopper,
    /// What the readers of this process share.
    pub places: SharedPlaces,
    /// Which source partitions wait for others in event time.
    pub alignment: Rc<Alignment>,
}

impl<'s> Graph<'s> {
    #[allow(clippy::too_many_arguments, reason = "everything that a program's operators reach")]
    pub fn new(
        flow: Flow<'s>,
        config: Arc<Config>,
        dry: bool,
        outputs: OutputChannel,
        outbox: Outbox,
        fail: Rc<dyn Fn(Error)>,
        stopper: Stopper,
        places: SharedPlaces,
    ) -> Rc<Self> {
        let probe = ProbeHandle::new();
        let (registry, keys, alignment) = (RefCell::default(), RefCell::default(), Rc::default());
        Rc::new(Graph { flow, config, dry, probe, outputs, registry, keys, outbox, fail, stopper, places, alignment })
    }

    /// The dictionary of the keys of this type. All views of pairs share it, so that equal keys have equal codes.
    pub fn keys<K: Key>(&self) -> Rc<RefCell<Dict<K>>> {
        let new = || -> Rc<dyn Any> { Dict::<K>::shared(self.key_groups()) };
        let keys = self.keys.borrow_mut().entry(TypeId::of::<K>()).or_insert_with(new).clone();
        keys.downcast().expect("a dictionary of its type")
    }

    /// Reports an error in the program. The start fails with all of them at once.
    pub fn report(&self, operator: &OperatorId, what: impl std::fmt::Display) {
        self.registry.borrow_mut().problems.push(format!("{operator}: {what}"));
    }

    /// Makes and registers an operator of the verb that is being called.
    #[track_caller]
    pub fn operator<T: ?Sized>(&self, verb: &str, what: impl std::fmt::Display) -> OperatorId {
        let operator = OperatorId::of(verb);
        self.register_operator::<T>(&operator, what);
        operator
    }

    /// Registers an operator, in build order: it gets an index, and a name that is unique among the same verb. Its line, with its
    /// arguments `what` and the type of its rows, is part of the fingerprint.
    pub fn register_operator<T: ?Sized>(&self, operator: &OperatorId, what: impl std::fmt::Display) {
        self.register_operator_as::<T>(operator, operator.verb(), what);
    }

    /// Like `register_operator`, under a verb that is not the name of the method.
    pub fn register_operator_as<T: ?Sized>(&self, operator: &OperatorId, verb: &str, what: impl std::fmt::Display) {
        let name = format!("{verb}#{}", self.ordinals(verb));
        let mut r = self.registry.borrow_mut();
        r.lines.push(format!("{name} {what} {}", type_name::<T>()));
        operator.register(r.operators.len(), &name);
        r.operators.push(operator.clone());
    }

    /// The name of a sink that is known by where it writes: the place, numbered from the second one on.
    pub fn sink_name(&self, place: &str) -> String {
        self.numbered("sink", place)
    }

    /// The name of a thing of this kind, numbered from the second one with the same name on.
    pub fn numbered(&self, kind: &str, name: &str) -> String {
        match self.ordinals(&format!("{kind} {name}")) {
            1 => name.into(),
            n => format!("{name}#{n}"),
        }
    }

    /// Takes a target for one output of the program, such as the files under a prefix. Reports a second output that takes it.
    pub fn claim_target(&self, operator: &OperatorId, target: String) {
        let other = self.registry.borrow_mut().targets.insert(target.clone(), operator.clone());
        if let Some(other) = other {
            self.report(operator, format!("{other} writes to {target} too; give each output a place of its own"));
        }
    }

    /// Adds a line to the fingerprint.
    pub fn add_line(&self, line: String) {
        self.registry.borrow_mut().lines.push(line);
    }

    fn ordinals(&self, of: &str) -> u32 {
        *self.registry.borrow_mut().ordinals.entry(of.into()).and_modify(|n| *n += 1).or_insert(1)
    }

    /// Registers the state of an operator under its name. Returns its number, and the state for the operator that changes it.
    pub fn register_state(&self, operator: &OperatorId, keeps: Rc<RefCell<dyn KeyedState>>) -> (usize, UnbuiltState) {
        let mut r = self.registry.borrow_mut();
        let name = operator.name();
        // The operator's line without its ordinal: what the state is and of which types.
        let line = r.lines.iter().rev().find_map(|l| l.strip_prefix(&name)?.strip_prefix(' ')).unwrap_or_default().to_owned();
        let handle = StateHandle::new(keeps, self.key_groups());
        (r.states.register(operator, &line, handle.clone()), UnbuiltState::new(handle))
    }

    /// Gives a state, and the operator that keeps it, the name that the program chose.
    pub fn rename_state(&self, operator: &OperatorId, state: Option<usize>, name: &str) {
        let renamed = self.registry.borrow_mut().states.rename(state, name);
        renamed.unwrap_or_else(|reason| self.report(operator, reason));
    }

    /// Sets what the states are of that are registered from now on. Returns what was set before.
    pub fn set_states_of(&self, what: Option<Rc<str>>) -> Option<Rc<str>> {
        self.registry.borrow_mut().states.set_of(what)
    }

    /// Sets how often states are saved. The shortest interval of the program counts.
    pub fn checkpoint_every(&self, operator: &OperatorId, every: Duration) {
        match self.config.checkpoint_every(every) {
            Err(e) => self.report(operator, e),
            Ok(ms) => {
                let shortest = &mut self.registry.borrow_mut().checkpoint_every;
                *shortest = Some(shortest.map_or(ms, |other| other.min(ms)));
            }
        }
    }

    /// Adds a check that runs before the job touches any data, for example that an output's target exists.
    #[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "only sinks of Kafka ask"))]
    pub fn before_start(&self, check: impl FnOnce() -> Result<()> + Send + 'static) {
        if self.on_worker_0() {
            self.registry.borrow_mut().checks.push(Box::new(check));
        }
    }

    /// Says where an output writes, for the sources of the program that read there.
    #[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "only sinks of Kafka say it"))]
    pub fn writes_to(&self, operator: &OperatorId, place: Place) {
        self.registry.borrow_mut().written.push((operator.clone(), place));
    }

    /// Asks, when the program has been built, whether a source reads what the program writes.
    #[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "only sources of Kafka ask"))]
    pub fn refuses_own(&self, operator: &OperatorId, why: ReadsOwn) {
        self.registry.borrow_mut().read.push((operator.clone(), why));
    }

    /// From now on error streams that no output operation reads are gathered. `false`: they were before.
    pub fn gathers_errors(&self) -> bool {
        self.registry.borrow_mut().errors.replace(Vec::new()).is_none()
    }

    /// Gathers an error stream that no output operation reads, if the program gathers them.
    pub fn gather_errors(&self, errors: &DStream<'s, BadRecord>) -> bool {
        let mut registry = self.registry.borrow_mut();
        registry.errors.as_mut().map(|all| all.push(errors.clone())).is_some()
    }

    /// The error streams that were gathered.
    pub fn take_errors(&self) -> Vec<DStream<'s, BadRecord>> {
        self.registry.borrow_mut().errors.take().unwrap_or_default()
    }

    /// Adds an accumulator.
    pub fn accumulates(&self, accumulator: Accumulating) {
        self.registry.borrow_mut().accumulators.push(accumulator);
    }

    /// An output hands over the rows of the batches that have passed this stream.
    pub fn delivered(&self, done: RowStream<'s, ()>) {
        let done = done.probe_with(&self.probe);
        self.registry.borrow_mut().done.push(done);
    }

    /// Builds what adds up the accumulators, if there are any. Returns whether there are.
    fn add_up(&self) -> bool {
        let (all, done) = {
            let mut r = self.registry.borrow_mut();
            (std::mem::take(&mut r.accumulators), std::mem::take(&mut r.done))
        };
        if all.is_empty() {
            return false;
        }
        let (outbox, outputs) = (self.outbox.clone(), self.outputs.clone());
        let publish = move |time, accumulators| outbox.send(Event::Accumulated { time, accumulators });
        let deliver = move |time, accumulators| outputs.send(Delivery::Accumulated { time, accumulators });
        accumulators::totals(&self.flow, done, all, self.local_workers(), publish, deliver).probe_with(&self.probe);
        true
    }

    /// Runs `f` when the program has been built, after those that were asked for earlier.
    pub fn on_built(&self, f: impl FnOnce() + 's) {
        self.registry.borrow_mut().on_built.push(Box::new(f));
    }

    pub fn source(&self, half: SourceHalf) -> u32 {
        let mut r = self.registry.borrow_mut();
        r.sources.push(half);
        (r.sources.len() - 1) as u32
    }

    /// An output operation reads this source.
    pub fn reads(&self, source: u32) {
        self.registry.borrow_mut().sources[source as usize].read = true;
    }

    /// The first of these sources that is not replayable. Only the rehearsal knows, and there is one in every process.
    pub fn first_non_replayable(&self, lineage: &[u32]) -> Option<String> {
        let r = self.registry.borrow();
        lineage
            .iter()
            .filter_map(|s| r.sources.get(*s as usize))
            .find(|s| s.enumerator.as_ref().is_some_and(|e| !e.replayable()))
            .map(|s| s.name.clone())
    }

    /// A view answers questions by this name. Returns `false` if another one has it.
    pub fn queryable(&self, name: &str) -> bool {
        let names = &mut self.registry.borrow_mut().queryable;
        let free = !names.iter().any(|other| other == name);
        names.extend(free.then(|| name.into()));
        free
    }

    /// A view would answer questions by this name with `--queryable`.
    pub fn askable(&self, name: &str) {
        self.registry.borrow_mut().askable.push(name.into());
    }

    /// Added computations read a view by this name.
    pub fn tap(&self, name: &str, tap: Tap) {
        self.registry.borrow_mut().taps.push((name.into(), tap));
    }

    pub fn port(&self, port: Box<dyn Port>) {
        self.registry.borrow_mut().ports.push(port);
    }

    /// Registers an output operation; returns its number, in program order, and its queue. `senders`: how many workers of this
    /// process put rows into it.
    pub fn output<R: Send + 'static>(
        &self,
        operator: &OperatorId,
        senders: usize,
        all_processes: bool,
        new: impl FnOnce(RowQueue<R>) -> NewOutput,
    ) -> (usize, RowQueue<R>) {
        let output = self.registry.borrow().outputs.len();
        let queue = self.outputs.queue(output).unwrap_or_else(|| {
            self.report(operator, "another worker of this process writes other rows here: the program must be the same on all");
            RowQueue::default()
        });
        let NewOutput { task, transactional } = new(queue.clone());
        let mut r = self.registry.borrow_mut();
        r.spread |= all_processes;
        r.outputs.push(OutputSpec { name: operator.to_string(), senders, task, transactional });
        (output, queue)
    }

    /// How many output operations are registered.
    pub fn output_count(&self) -> usize {
        self.registry.borrow().outputs.len()
    }

    /// Whether this is worker 0, on which gathered batches are whole.
    pub fn on_worker_0(&self) -> bool {
        self.flow.scope.index() == 0
    }

    /// The pairs whose keys this worker owns, with their key groups.
    pub fn own_pairs<K: Key, V>(&self, pairs: impl IntoIterator<Item = (K, V)>) -> Vec<(u32, K, V)> {
        let (worker, peers) = (self.flow.scope.index(), self.flow.scope.peers());
        let groups = self.key_groups();
        let grouped = pairs.into_iter().map(|(k, v)| (groups.of(&k) as u32, k, v));
        grouped.filter(|(group, ..)| *group as usize % peers == worker).collect()
    }

    /// The key groups of the job.
    pub fn key_groups(&self) -> KeyGroups {
        self.config.key_groups()
    }

    /// Whether worker 0 is in this process.
    pub fn has_worker_0(&self) -> bool {
        self.config.runtime.process == 0
    }

    /// Workers of this process.
    pub fn local_workers(&self) -> usize {
        self.config.runtime.workers as usize
    }

    /// Builds what waited for the rest of the program.
    fn build_rest(&self) {
        loop {
            let todo = std::mem::take(&mut self.registry.borrow_mut().on_built);
            if todo.is_empty() {
                break;
            }
            todo.into_iter().for_each(|f| f());
        }
    }

    /// Completes the build of an added computation, which has no output.
    pub fn finish_added(&self) -> BuiltAdded {
        self.build_rest();
        let r = self.registry.take();
        BuiltAdded { ports: r.ports, taps: r.taps }
    }

    /// Completes the build.
    ///
    /// # Errors
    /// [`Error::Graph`] with every error that was reported.
    pub fn finish(&self) -> Result<BuiltGraph> {
        self.build_rest();
        let accumulates = self.add_up();
        let mut r = self.registry.take();
        // An output that was refused is not registered: its own problem says why.
        if r.outputs.is_empty() && r.problems.is_empty() {
            r.problems.push(
                "the program has no output operation: nothing would run; add print(10), to_kafka, foreach_batch or another"
                    .into(),
            );
        }
        for (reader, why) in &r.read {
            let found = r.written.iter().filter_map(|(writer, place)| Some((writer, why(place)?)));
            r.problems.extend(found.map(|(writer, why)| format!("{reader}: {why}; {writer} writes it")));
        }
        if !r.problems.is_empty() {
            // A verb in a loop reports the same error in each round.
            let mut seen = BTreeSet::new();
            r.problems.retain(|problem| seen.insert(problem.clone()));
            return Err(Error::Graph(r.problems));
        }
        // Branches that no output reads have not been built.
        let states = r.states.built();
        r.askable.retain(|name| !states.iter().any(|state| state.name == *name));
        r.sources.iter_mut().filter(|source| !source.read).for_each(|source| source.enumerator = None);
        let checkpoint_every = r.checkpoint_every.unwrap_or_else(|| self.config.default_checkpoint_every());
        let Registry { operators, lines, ports, sources, outputs, spread, checks, queryable, askable, taps, .. } = r;
        Ok(BuiltGraph {
            operators,
            lines,
            ports,
            sources,
            outputs,
            accumulates,
            spread,
            states,
            checkpoint_every,
            checks,
            queryable,
            unread: askable,
            taps,
        })
    }
}

/// A flag that is set while a program is built, such as whether a stream of errors was taken.
pub(crate) type Switch = Rc<Cell<bool>>;

#[cfg(test)]
mod tests {
    use timely::dataflow::operators::vec::ToStream;

    use super::*;
    use crate::connector::queue::QueueSource;
    use crate::core::time::millis;

    /// The operators of a program with two equal verbs, one of which it names.
    #[test]
    fn a_built_graph_lists_its_operators_in_build_order() {
        let operators = timely::execute_directly(|worker| {
            worker.dataflow(|scope| {
                let flow = Flow::new(scope, Vec::new().to_stream(scope));
                let config = Arc::new(StreamingContext::builder("ids", millis(1)).config().unwrap());
                let fail = Rc::new(|e: Error| panic!("{e}"));
                let graph = Graph::new(
                    flow,
                    config,
                    true,
                    OutputChannel::new().0,
                    Outbox::default(),
                    fail,
                    Stopper::new(|_| ()),
                    SharedPlaces::default(),
                );
                let ssc = StreamingContext { graph: graph.clone() };
                let pairs = ssc.queue_stream(&QueueSource::from_batches([vec![('a', 1)]])).map(|p| p);
                let (one, two) = (pairs.sum_by_key(), pairs.sum_by_key().named("totals"));
                one.union(&two).complete().print(1);
                graph.finish().unwrap().operators
            })
        });
        assert!(operators.iter().map(OperatorId::index).eq((0..operators.len()).map(Some)));
        let names: Vec<String> = operators.iter().map(OperatorId::name).collect();
        let expected = ["queue_stream#1", "map#1", "sum_by_key#1", "totals", "view union#1", "complete#1", "print#1"];
        assert_eq!(names, expected);
        let verbs: Vec<&str> = operators.iter().map(OperatorId::verb).collect();
        assert_eq!(verbs, ["queue_stream", "map", "sum_by_key", "sum_by_key", "union", "complete", "print"]);
        // The place is the line of this program that called the verb.
        assert!(operators.iter().all(|o| o.place().unwrap().starts_with("context.rs:")), "{operators:?}");
        assert_eq!(operators[2].to_string(), format!("sum_by_key ({})", operators[3].place().unwrap()), "one line");
    }
}
