//! The kernel under fallible verbs if bad records are limited: a batch with too many of them ends the job and completes nowhere.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Concat;

use crate::api::config::Config;
use crate::api::dstream::DStream;
use crate::api::max_bad::MaxBad;
use crate::core::data::{BadRecord, Rows};
use crate::core::error::Error;
use crate::core::time::BatchTime;
use crate::engine::flow::{Emitter, PendingBatches, VecStream, batched, batched_until, map_containers, route};
use crate::engine::operator_id::OperatorId;

/// How many rows a verb has read on this worker, by batch. Without a limit of bad records nobody asks, and nothing is counted.
#[derive(Clone)]
pub(crate) struct RowsRead(Option<Rc<RefCell<BTreeMap<BatchTime, u64>>>>);

impl RowsRead {
    pub fn new(config: &Config) -> Self {
        RowsRead(config.runtime.max_bad.map(|_| Rc::default()))
    }

    pub fn add(&self, t: BatchTime, rows: usize) {
        if let Some(read) = &self.0 {
            *read.borrow_mut().entry(t).or_default() += rows as u64;
        }
    }

    /// The rows of a batch that is complete.
    fn take(&self, t: BatchTime) -> u64 {
        self.0.as_ref().and_then(|read| read.borrow_mut().remove(&t)).unwrap_or(0)
    }
}

/// What one worker says of a batch: the rows that the verb read, the bad ones, and what the first of these is.
type Found = (u64, u64, Option<String>);

/// The limit of the bad records of a verb.
pub(crate) struct BadLimit<'s> {
    most: MaxBad,
    errors: DStream<'s, BadRecord>,
    operator: OperatorId,
    read: RowsRead,
    /// A stream without rows, in which a batch completes only within the limit. Made when an output asks for rows of the verb.
    gate: OnceCell<VecStream<'s, ()>>,
}

impl<'s> BadLimit<'s> {
    pub fn new(most: MaxBad, errors: &DStream<'s, BadRecord>, operator: &OperatorId, read: RowsRead) -> Rc<Self> {
        Rc::new(BadLimit { most, errors: errors.clone(), operator: operator.clone(), read, gate: OnceCell::new() })
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
        let (read, fail, name, most) = (self.read.clone(), graph.fail.clone(), self.operator.to_string(), self.most);
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
            move |tick, (bad, first), emit| emit(vec![(read.take(tick.time), bad, first)]),
        );
        let merge = |pending: &mut PendingBatches<Found>, t, found: Vec<Found>| {
            let (rows, bad, first) = pending.at(t);
            for (more_rows, more_bad, other) in found {
                (*rows, *bad) = (*rows + more_rows, *bad + more_bad);
                *first = first.take().or(other);
            }
        };
        batched_until(&graph.flow, &self.operator, found, route(|_: &Found| 0), merge, move |tick, (rows, bad, first), _| {
            let ends = most.is_exceeded(bad, rows);
            if ends {
                let (operator, time, most, first) = (name.clone(), tick.time, most.to_string(), first.unwrap_or_default());
                fail(Error::TooManyBad { operator, time, bad, rows, most, first });
            }
            !ends
        })
    }
}
