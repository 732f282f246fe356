//! The kernel `to_one`: combine a batch on each worker, send one partial result per worker to worker 0, and combine those.
//!
//! Under it: `count` and `reduce` of batches, `count` and `top_by` of views.

use std::sync::Arc;

use timely::Container;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;

use crate::api::context::Graph;
use crate::core::data::Exchange;
use crate::core::time::BatchTime;
use crate::engine::flow::{Emitter, PendingBatches, VecStream, batched, route};
use crate::engine::operator_id::OperatorId;
use crate::engine::tick::Tick;

/// The first half. `absorb` adds containers to the accumulator of a batch on their worker. `send` returns the records of an accumulator
/// for worker 0, usually only a few, and none of an empty one.
pub(crate) fn partial<'s, C, A, M>(
    graph: &Graph<'s>,
    operator: &OperatorId,
    input: Stream<'s, BatchTime, C>,
    absorb: impl FnMut(&mut PendingBatches<A>, BatchTime, C) + 'static,
    mut send: impl FnMut(A) -> Vec<M> + 'static,
) -> VecStream<'s, M>
where
    C: Container,
    A: Default + 'static,
    M: Exchange,
{
    batched(&graph.flow.silent_when_empty(), operator, input, Pipeline, absorb, move |_, acc, emit| emit(send(acc)))
}

/// The second half, on worker 0: `merge` takes the partial results of all workers, and `finish` runs once per batch, in order, also
/// for an empty batch.
pub(crate) fn to_one<'s, M, A, O>(
    graph: &Graph<'s>,
    operator: &OperatorId,
    partials: VecStream<'s, M>,
    mut merge: impl FnMut(&mut A, Vec<M>) + 'static,
    mut finish: impl FnMut(&Arc<Tick>, A, &mut Emitter<'_, O>) + 'static,
) -> Stream<'s, BatchTime, O>
where
    M: Exchange,
    A: Default + 'static,
    O: Container + Clone,
{
    let on_worker_0 = graph.on_worker_0();
    let flow = if on_worker_0 { graph.flow.clone() } else { graph.flow.silent_when_empty() };
    batched(
        &flow,
        operator,
        partials,
        route(|_: &M| 0),
        move |pending, t, partials| merge(pending.at(t), partials),
        move |tick, acc, emit| {
            if on_worker_0 {
                finish(tick, acc, emit);
            }
        },
    )
}
