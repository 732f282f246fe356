//! The kernel under fallible verbs if bad records are limited: a batch with too many of them ends the job and completes nowhere.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Concat;

use crate::api::config::Config;
use crate::api::dstream::{DStream, RowOrder};
use crate::api::max_bad::MaxBad;
use crate::core::data::{BadRecord, PartitionId, Rows};
use crate::core::error::Error;
use crate::core::time::BatchTime;
use crate::engine::flow::{Emitter, PendingBatches, VecStream, batched, batched_until, map_containers, route};
use crate::engine::operator_id::OperatorId;
use crate::engine::state::UnbuiltState;
use crate::operator::kernel::bad_runs::{BadRun, BadRuns, STATE};

/// How many bad records of a verb are allowed.
#[derive(Clone, Copy)]
struct Limits {
    /// In a batch.
    batch: Option<MaxBad>,
    /// In a row, in a partition.
    in_a_row: Option<u64>,
}

/// The rows that a verb has read on this worker, by batch. Without a limit of bad records nobody asks, and nothing is counted.
#[derive(Clone)]
pub(crate) struct RowsRead {
    limits: Limits,
    batches: Rc<RefCell<BTreeMap<BatchTime, Read>>>,
}

/// What it has read of one batch.
#[derive(Default)]
struct Read {
    rows: u64,
    /// By partition, if bad records in a row are limited.
    runs: BTreeMap<PartitionId, BadRun>,
}

/// The bad records of a container, with the places of their rows.
#[derive(Default)]
pub(crate) struct Bad {
    records: Vec<BadRecord>,
    places: Vec<usize>,
}

impl Bad {
    /// The row at this place is bad. Places ascend.
    pub fn push(&mut self, place: usize, record: BadRecord) {
        self.records.push(record);
        self.places.push(place);
    }
}

impl RowsRead {
    pub fn new(config: &Config) -> Self {
        let runtime = &config.runtime;
        let limits = Limits { batch: runtime.max_bad, in_a_row: runtime.max_bad_in_a_row };
        RowsRead { limits, batches: Rc::default() }
    }

    /// Whether there is a limit.
    pub fn is_limited(&self) -> bool {
        self.limits.batch.is_some() || self.limits.in_a_row.is_some()
    }

    /// The verb has read a container of so many rows. Returns its bad records.
    pub fn container(&self, t: BatchTime, partition: PartitionId, rows: usize, bad: Bad) -> Rows<BadRecord> {
        if self.is_limited() {
            let mut batches = self.batches.borrow_mut();
            let read = batches.entry(t).or_default();
            read.rows += rows as u64;
            if self.limits.in_a_row.is_some() {
                let run = BadRun::of(rows, &bad.places, || bad.records[0].described());
                read.runs.entry(partition).or_default().add(run);
            }
        }
        Rows::new(partition, bad.records)
    }

    /// The rows of a batch that is complete.
    fn take(&self, t: BatchTime) -> Read {
        self.batches.borrow_mut().remove(&t).unwrap_or_default()
    }
}

/// What one worker says of a batch: the rows that the verb read, the bad ones, what the first of these is, and the bad ones in a row.
type Found = (u64, u64, Option<String>, Vec<(PartitionId, BadRun)>);

/// The limit of the bad records of a verb.
pub(crate) struct BadLimit<'s> {
    errors: DStream<'s, BadRecord>,
    operator: OperatorId,
    read: RowsRead,
    /// The bad records in a row, if they are limited. Taken when the gate is made.
    runs: RefCell<Option<(Rc<RefCell<BadRuns>>, UnbuiltState)>>,
    /// A stream without rows, in which a batch completes only within the limit. Made when an output asks for rows of the verb.
    gate: OnceCell<VecStream<'s, ()>>,
}

impl<'s> BadLimit<'s> {
    pub fn new(errors: &DStream<'s, BadRecord>, operator: &OperatorId, read: RowsRead) -> Rc<Self> {
        let graph = &errors.node.graph;
        let runs = read.limits.in_a_row.map(|_| {
            let (state, step) = (Rc::<RefCell<BadRuns>>::default(), OperatorId::step(STATE));
            graph.register_operator::<()>(&step, "");
            let (_, unbuilt) = graph.register_state(&step, state.clone());
            (state, unbuilt)
        });
        let runs = RefCell::new(runs);
        Rc::new(BadLimit { errors: errors.clone(), operator: operator.clone(), read, runs, gate: OnceCell::new() })
    }

    /// The same stream, whose batches complete only within the limit.
    pub fn of<T: 'static>(self: &Rc<Self>, stream: &DStream<'s, T>) -> DStream<'s, T> {
        let limit = self.clone();
        stream.traced(true, move |s, _| {
            let gate = limit.gate.get_or_init(|| limit.gate()).clone();
            let none = map_containers(s.flow(), &limit.operator, gate, |_, _: Vec<()>, _: &mut Emitter<'_, Rows<T>>| {});
            s.inner().concat(none)
        })
    }

    /// Each worker counts, and worker 0 decides.
    fn gate(&self) -> VecStream<'s, ()> {
        let graph = &self.errors.node.graph;
        let (read, fail, name, limits) = (self.read.clone(), graph.fail.clone(), self.operator.to_string(), self.read.limits);
        let found = batched(
            &graph.flow,
            &self.operator,
            self.errors.inner(),
            Pipeline,
            |pending: &mut PendingBatches<(u64, Option<String>)>, t, rows: Rows<BadRecord>| {
                let (bad, first) = pending.at(t);
                *bad += rows.rows.len() as u64;
                *first = first.take().or_else(|| rows.rows.first().map(BadRecord::described));
            },
            move |tick, (bad, first), emit| {
                let Read { rows, runs } = read.take(tick.time);
                emit(vec![(rows, bad, first, runs.into_iter().collect())]);
            },
        );
        let merge = |pending: &mut PendingBatches<Found>, t, found: Vec<Found>| {
            let (rows, bad, first, runs) = pending.at(t);
            for (more_rows, more_bad, other, more_runs) in found {
                (*rows, *bad) = (*rows + more_rows, *bad + more_bad);
                *first = first.take().or(other);
                runs.extend(more_runs);
            }
        };
        let runs = self.runs.take().map(|(state, unbuilt)| (state, unbuilt.build()));
        let orders = self.errors.node.orders.clone();
        let lasts = move |branch| matches!(orders.get(usize::from(branch)), Some(RowOrder::ByPartition { lasting: true }));
        batched_until(&graph.flow, &self.operator, found, route(|_: &Found| 0), merge, move |tick, found, _| {
            let (rows, bad, first, found) = found;
            let (operator, time) = (name.clone(), tick.time);
            let longest = runs
                .as_ref()
                .and_then(|(state, owner)| owner.batch(tick, || state.borrow_mut().batch(found, &tick.plan, &lasts)));
            let error = match (limits.batch, limits.in_a_row, longest) {
                (Some(most), ..) if most.is_exceeded(bad, rows) => {
                    let (most, first) = (most.to_string(), first.unwrap_or_default());
                    Error::TooManyBad { operator, time, bad, rows, most, first }
                }
                (_, Some(most), Some((bad, one))) if bad > most => Error::TooManyBadInARow { operator, time, bad, most, one },
                _ => return true,
            };
            fail(error);
            false
        })
    }
}
