//! Makes the dataflow of an added computation on one worker.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::description::{Description, Verb};
use super::group::grouped;
use super::import::{Stop, import};
use super::json::{Column, Json, Step};
use super::window::window;
use crate::api::context::Graph;
use crate::api::meta::Meta;
use crate::api::view::{Form, View};
use crate::core::schedule::Schedule;
use crate::core::time::BatchTime;
use crate::engine::dense::Tap;

/// What the views of the job are read by, on one worker.
pub(crate) type Taps = BTreeMap<String, Tap>;

/// Builds a computation, complete from the batch of `base` on; its result is queryable by `name`. Returns what ends it.
///
/// # Errors
/// There is no view that it reads: the planner checks that before.
pub(crate) fn build<'s>(
    graph: &Rc<Graph<'s>>,
    name: &str,
    description: &Description,
    taps: &Taps,
    base: BatchTime,
) -> Result<Stop, String> {
    let stop = Stop::default();
    let read = |view: &str| {
        let tap = taps.get(view).ok_or_else(|| format!("no view {view:?}"))?;
        let changes = import(&graph.flow, tap, base, &stop);
        let schedule = Schedule::every(graph.config.interval.millis());
        let meta = Meta { lineage: [].into(), schedule, state: None };
        Ok::<_, String>(View::new(graph, meta, Form::rows(move || changes), Some(view.to_owned())))
    };
    let mut view = read(&description.view.name)?;
    for verb in &description.verbs {
        view = match verb.clone() {
            Verb::Filter(left, compare, right) => view.filter(move |row| compare.holds(left.of(row), right.of(row))),
            Verb::Map(columns) => view.map(move |row| Json::row(columns.iter().map(|c| row.column(c).clone()).collect())),
            Verb::Count(keys) => grouped(&view, keys, None),
            Verb::Sum(column, keys) => grouped(&view, keys, Some(column)),
            Verb::Top(n, by) => view.top_by(n, move |row| {
                let rank = by.as_ref().map_or_else(|| row.last_number(), |by| row.column(by).rank());
                (rank, Reverse(row.text()))
            }),
            Verb::Join { view: other, left, right } => joined(&view, &read(&other.name)?, left, right),
            Verb::Window { length, slide } => window(&view, length, slide, base),
        };
    }
    view.queryable(name);
    Ok(stop)
}

/// The rows of both views with the same value in these columns: the columns of the left row, and those of the right one without its key.
fn joined<'s>(left: &View<'s, Json>, right: &View<'s, Json>, by: Column, other: Column) -> View<'s, Json> {
    let keyed = |view: &View<'s, Json>, by: Column| {
        view.flat_map(move |row| {
            let key = row.column(&by).clone();
            // What is not there is equal to nothing.
            (key != Json::Null).then_some((key, row))
        })
    };
    let key = match other.as_slice() {
        [Step::Element(n)] => n.checked_sub(1),
        _ => None,
    };
    let both = keyed(left, by).join(&keyed(right, other));
    both.map(move |(_, (left, right))| {
        let rest = right.columns().into_iter().enumerate().filter(|(n, _)| Some(*n) != key).map(|(_, column)| column);
        Json::row(left.columns().into_iter().chain(rest).collect())
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Arc;

    use differential_dataflow::trace::TraceReader;
    use serde_json::json;
    use timely::dataflow::InputHandle;
    use timely::dataflow::operators::vec::ToStream;
    use timely::progress::Antichain;

    use super::*;
    use crate::api::context::{Outbox, StreamingContext};
    use crate::api::stopper::Stopper;
    use crate::core::error::Error;
    use crate::core::time::millis;
    use crate::engine::dense::{DenseTrace, arrange};
    use crate::engine::dictionary::Code;
    use crate::engine::flow::Flow;
    use crate::engine::operator_id::OperatorId;
    use crate::engine::output::OutputChannel;
    use crate::live::parse::parse;

    /// A computation reads a view of numbers batch by batch. What it has passed is compacted, and nothing of it is left when it has ended.
    #[test]
    fn an_added_dataflow_does_not_stop_compaction_and_ends_with_all_it_holds() {
        timely::execute_directly(|worker| {
            let mut input = InputHandle::new();
            let trace = DenseTrace::empty();
            let since = trace.since();
            let tap = worker.dataflow(|scope| {
                let changes = input.to_stream(scope);
                let arranged = arrange(changes, &OperatorId::step("numbers"), trace);
                let row = |code: Code, n: i64| (n > 0).then(|| (json!(code), n as u64));
                Tap { trace: Rc::new(RefCell::new(arranged.trace)), row: Rc::new(row) }
            });
            let compacted = || since.upgrade().map(|since| since.get().millis());
            let mut batch = |worker: &mut timely::worker::Worker, t: u64, release: u64| {
                let at = BatchTime::from_millis(t);
                input.advance_to(at);
                (0..50u32).for_each(|code| input.send((code, at, 1i64)));
                input.advance_to(at + millis(1));
                (0..50).for_each(|_| _ = worker.step());
                let release = Antichain::from_elem(BatchTime::from_millis(release));
                let mut trace = tap.trace.borrow_mut();
                trace.set_logical_compaction(release.borrow());
                trace.set_physical_compaction(release.borrow());
            };
            batch(worker, 10, 10);
            let (before, index) = (Rc::strong_count(&tap.row), worker.next_dataflow_index());
            let stop = worker.dataflow(|scope| {
                let flow = Flow::new(scope, Vec::new().to_stream(scope));
                let config = Arc::new(StreamingContext::builder("live", millis(10)).config().unwrap());
                let fail = Rc::new(|e: Error| panic!("{e}"));
                let (outputs, outbox, stopper) = (OutputChannel::new().0, Outbox::default(), Stopper::new(|_| ()));
                let graph = Graph::new(flow, config, false, outputs, outbox, fail, stopper, Default::default());
                let taps = Taps::from([("numbers".to_owned(), tap.clone())]);
                let text = "numbers | filter _1 < 40 | join numbers by _1 | window 20ms | sum _1 by _1 | top 3";
                let stop = build(&graph, "x", &parse(text).unwrap(), &taps, BatchTime::from_millis(10)).unwrap();
                graph.finish_added();
                stop
            });
            assert!(Rc::strong_count(&tap.row) > before && worker.installed_dataflows().contains(&index));
            for t in [20, 30, 40] {
                batch(worker, t, t);
                assert_eq!(compacted(), Some(t), "the computation holds nothing that it has passed");
            }
            stop.stop();
            (0..50).for_each(|_| _ = worker.step());
            assert!(!worker.installed_dataflows().contains(&index), "timely has dropped it");
            assert_eq!(Rc::strong_count(&tap.row), before);
            batch(worker, 50, 50);
            assert_eq!(compacted(), Some(50));
        });
    }
}
