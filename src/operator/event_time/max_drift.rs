//! `max_drift`: each worker tells all others how far its source partitions are in event time, also while a batch is open. Readers pause
//! those that are ahead: `api/alignment.rs`.

use timely::dataflow::channels::pact::Pipeline;

use crate::api::alignment::Told;
use crate::api::dstream::{DStream, RowOrder};
use crate::core::data::Rows;
use crate::core::event_time::{Timestamped, WatermarkStrategy, in_micros};
use crate::engine::flow::{Emitter, PendingBatches, VecStream, batched, concat, map_containers, route};
use crate::engine::operator_id::OperatorId;

/// The fault of a program whose rows cannot be aligned: they have left their source partitions.
pub(super) fn check<T>(rows: &DStream<'_, T>, operator: &OperatorId, strategy: WatermarkStrategy) {
    let Some(drift) = strategy.drift else { return };
    let (node, graph) = (&rows.node, &rows.node.graph);
    if drift.as_millis() == 0 {
        graph.report(operator, format!("max_drift of {drift:?} is too short; the shortest is 1 ms"));
    }
    if node.orders.iter().any(|order| *order != (RowOrder::ByPartition { lasting: true })) {
        graph
            .report(operator, "max_drift needs rows in their source partitions; call event_time before the verb that moves them");
    }
}

/// Keeps the source partitions of these rows near one another, if the strategy has a `max_drift`.
pub(super) fn align<T: 'static>(rows: &DStream<'_, Timestamped<T>>, operator: &OperatorId, strategy: WatermarkStrategy) {
    let Some(drift) = strategy.drift else { return };
    let (graph, flow) = (&rows.node.graph, rows.flow());
    let idle = u64::try_from(strategy.idle.as_millis()).unwrap_or(u64::MAX);
    let group = graph.alignment.add(rows.node.meta.lineage.clone(), in_micros(drift), idle);
    let (peers, interval) = (flow.scope.peers() as u64, graph.config.interval.millis());
    let to_all = move |told: Told| (0..peers).map(move |worker| (worker, told));

    let alignment = graph.alignment.clone();
    let seen: VecStream<'_, (u64, Told)> =
        map_containers(flow, operator, rows.inner(), move |_, rows: Rows<Timestamped<T>>, emit| {
            let largest = rows.rows.iter().map(|row| row.time).max();
            let told = largest.and_then(|largest| alignment.seen(group, rows.partition.index, largest));
            emit(told.into_iter().flat_map(to_all).collect());
        });
    let alignment = graph.alignment.clone();
    let nothing = |_: &mut PendingBatches<()>, _, _: Vec<(u64, Told)>| ();
    let ended = batched(flow, operator, seen.clone(), Pipeline, nothing, move |tick, (), emit| {
        let released = if tick.restored { Vec::new() } else { alignment.ended(group, interval) };
        emit(released.into_iter().flat_map(to_all).collect());
    });
    let alignment = graph.alignment.clone();
    let told = move |_: &mut PendingBatches<()>, _, all: Vec<(u64, Told)>| {
        all.into_iter().for_each(|(_, told)| alignment.told(group, told))
    };
    let all = concat(operator, seen, ended);
    let to = route(|(worker, _): &(u64, Told)| *worker);
    let _end: VecStream<'_, ()> = batched(&flow.silent_when_empty(), operator, all, to, told, |_, (), _: &mut Emitter<'_, _>| ());
}
