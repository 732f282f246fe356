//! Counts of rows, and verbs that follow from them: readers of the arrangement of a view.
//!
//! Differential's `count_total` reads a trace through cursors. Codes are dense and batches arrive in order, so these read the sum of a
//! code at its index (engine/dense).

use std::rc::Rc;

use differential_dataflow::operators::arrange::Arranged;
use differential_dataflow::trace::TraceReader;
use timely::dataflow::operators::Probe;
use timely::progress::Antichain;

use crate::api::context::Graph;
use crate::api::view::{Changes, Counts, Interned, View};
use crate::core::data::Key;
use crate::core::time::{BatchTime, millis};
use crate::engine::dense::{Dense, SumsBefore};
use crate::engine::dictionary::Code;
use crate::engine::flow::{collect_batches, map_containers};
use crate::engine::operator_id::OperatorId;

/// The changes that `each` makes for every code whose count changed in a batch, of the count before and the count now.
fn tallied<'s, X: 'static + Clone>(
    arranged: Dense<'s>,
    graph: &Graph<'s>,
    mut each: impl FnMut(Code, i64, i64, &mut dyn FnMut(X, i64)) + 'static,
) -> Changes<'s, X> {
    let Arranged { stream, mut trace } = arranged;
    // Codes lie on the workers that own them already.
    collect_batches(&graph.flow.silent_when_empty(), &OperatorId::step("count"), stream, move |tick, spans: Vec<Vec<_>>, emit| {
        let t = tick.time;
        let mut out = Vec::new();
        for span in spans.iter().flatten() {
            let Some(batch) = &span.inner else { continue };
            let mut before = SumsBefore::new(&mut trace, span.lower().borrow());
            out.reserve(2 * batch.len());
            for (code, n) in batch.changes() {
                let count = before.of(code);
                each(code, count, count.wrapping_add(n), &mut |x, n| out.push((x, t, n)));
            }
        }
        let passed = Antichain::from_elem(t + millis(1));
        trace.set_logical_compaction(passed.borrow());
        trace.set_physical_compaction(passed.borrow());
        emit(out);
    })
}

/// Each row of a view with its count.
pub(crate) fn counted<'s, T: Key>(view: &View<'s, T>) -> Counts<'s, (T, i64)> {
    let changes = tallied(view.arranged(), &view.node.graph, |code, before, now, emit| {
        if before != 0 {
            emit((code, before), -1);
        }
        if now != 0 {
            emit((code, now), 1);
        }
    });
    let dict = view.interned().dict;
    let keys = dict.clone();
    let render = move |code, n| {
        let dict = dict.borrow();
        let (group, key) = dict.group_and_key(code);
        (group, (key.clone(), n))
    };
    let find = move |json: &str| keys.borrow().find(&serde_json::from_str(json).ok()?);
    Counts { changes, render: Rc::new(render), arranged: view.arranged(), find: Rc::new(find) }
}

/// The rows of counts by code. The probe keeps codes from reuse until the rows have been emitted, also if no output reads them.
pub(crate) fn rows<'s, T: 'static + Clone>(counts: &Counts<'s, T>, graph: &Graph<'s>) -> Changes<'s, T> {
    let render = counts.render.clone();
    let row = move |((code, n), t, diff)| (render(code, n).1, t, diff);
    let changes = counts.changes.clone();
    let rows = map_containers(
        &graph.flow,
        &OperatorId::step("names"),
        changes,
        move |_, changes: Vec<((Code, i64), BatchTime, i64)>, emit| {
            emit(changes.into_iter().map(&row).collect::<Vec<_>>());
        },
    );
    rows.probe_with(&graph.probe)
}

/// The rows whose count is not 0, once each.
pub(crate) fn distinct<'s, T: Key>(view: &View<'s, T>) -> Interned<'s, T> {
    let changes = tallied(view.arranged(), &view.node.graph, |code, before, now, emit| {
        let change = i64::from(now > 0) - i64::from(before > 0);
        if change != 0 {
            emit(code, change);
        }
    });
    Interned { changes, dict: view.interned().dict }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use timely::dataflow::operators::vec::ToStream;

    use super::*;
    use crate::api::context::{Outbox, StreamingContext};
    use crate::api::stopper::Stopper;
    use crate::connector::queue::QueueSource;
    use crate::core::error::Error;
    use crate::core::time::millis;
    use crate::engine::flow::Flow;
    use crate::engine::output::OutputChannel;

    /// The graph of a job that does not run.
    fn graph<'s>(scope: timely::dataflow::Scope<'s, BatchTime>) -> Rc<Graph<'s>> {
        let flow = Flow::new(scope, Vec::new().to_stream(scope));
        let config = Arc::new(StreamingContext::builder("readers", millis(1)).config().unwrap());
        let fail = Rc::new(|e: Error| panic!("{e}"));
        Graph::new(flow, config, true, OutputChannel::new().0, Outbox::default(), fail, Stopper::new(|_| ()), Default::default())
    }

    #[test]
    fn all_readers_of_a_view_share_one_arrangement() {
        timely::execute_directly(|worker| {
            worker.dataflow(|scope| {
                let ssc = StreamingContext { graph: graph(scope) };
                let rows = ssc.queue_stream(&QueueSource::from_batches([vec!['a']]));
                let view = rows.over(millis(2), millis(1));
                let arrangements = || view.interned().dict.borrow().arrangements();
                assert_eq!(arrangements(), 0, "made when the first reader asks");
                let (counts, distinct) = (view.count_by_value(), view.distinct());
                view.count_by_value().union(&counts).top_by(3, |(_, n)| *n).complete().print(1);
                counts.join(&distinct.map(|c| (c, c))).complete().print(1);
                let by_hand = view.wrap_codes(view.arranged().as_collection(|code, ()| *code));
                by_hand.complete().print(1);
                assert_eq!(arrangements(), 1);
                // Other windows are other views; they have the same codes.
                for length in [3, 4] {
                    rows.over(millis(length), millis(1)).count_by_value().complete().print(1);
                }
                assert_eq!(arrangements(), 3);
            })
        })
    }

    #[test]
    fn joins_and_reductions_of_a_view_share_one_arrangement_by_key() {
        timely::execute_directly(|worker| {
            worker.dataflow(|scope| {
                let ssc = StreamingContext { graph: graph(scope) };
                let rows = ssc.queue_stream(&QueueSource::from_batches([vec![('a', 1i64)]]));
                let (view, other) = (rows.accumulate(), rows.over(millis(2), millis(1)));
                let arranged =
                    |view: &View<'_, (char, i64)>| view.node.by_key.get().map(|by_key| Rc::as_ptr(by_key).cast::<()>());
                assert_eq!(arranged(&view), None, "made when the first reader asks");
                view.join(&other).complete().print(1);
                let first = arranged(&view);
                other.left_outer_join(&view).complete().print(1);
                view.semi_join(&other).complete().print(1);
                view.max_by_key().complete().print(1);
                assert_eq!((arranged(&view), first.is_some()), (first, true));
                // Both views have the codes of one dictionary; their values have a dictionary each.
                assert!(Rc::ptr_eq(&view.node.graph.keys::<char>(), &other.node.graph.keys::<char>()));
                assert!(!Rc::ptr_eq(&view.node.by_key.get().unwrap().values, &other.node.by_key.get().unwrap().values));
            })
        })
    }
}
