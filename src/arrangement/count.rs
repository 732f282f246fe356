//! What is known of each row from how often it is there: one arrangement of ids with the count in the difference.
//!
//! `count_total` over such an arrangement does with one trace what `count` does with two: 1.8 to 2.6 times as fast.

use std::rc::Rc;

use differential_dataflow::operators::arrange::TraceAgent;
use differential_dataflow::operators::arrange::arrangement::{Arranged, arrange_core};
use differential_dataflow::operators::{CountTotal, ThresholdTotal};
use differential_dataflow::trace::implementations::{ContainerChunker, KeyBatcher, KeyBuilder, KeySpine};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Probe;

use crate::context::Graph;
use crate::data::Key;
use crate::dict::Id;
use crate::flow::{Site, expand};
use crate::time::BatchTime;
use crate::view::{Changes, Keyed, Rendered};

type Ids<'s> = Arranged<'s, TraceAgent<KeySpine<Id, BatchTime, i64>>>;

fn arranged<'s, T: Key>(keyed: &Keyed<'s, T>, graph: &Graph<'s>) -> Ids<'s> {
    let ids = expand(&graph.flow, &Site::engine("ids"), keyed.changes.clone(), |_, changes: Vec<(Id, BatchTime, i64)>, give| {
        give(changes.into_iter().map(|(id, t, n)| ((id, ()), t, n)).collect::<Vec<_>>());
    });
    // Ids lie with their owners already: no second exchange.
    arrange_core::<
        _,
        _,
        ContainerChunker<Vec<((Id, ()), BatchTime, i64)>>,
        KeyBatcher<Id, BatchTime, i64>,
        KeyBuilder<Id, BatchTime, i64>,
        KeySpine<Id, BatchTime, i64>,
    >(ids, Pipeline, "count")
}

/// Each row of a view with how often it is there.
pub(crate) fn counted<'s, T: Key>(keyed: &Keyed<'s, T>, graph: &Graph<'s>) -> Rendered<'s, (T, i64)> {
    let changes = arranged(keyed, graph).count_total_core::<i64>().inner;
    let dict = keyed.dict.clone();
    Rendered { changes, render: Rc::new(move |id, n| (dict.borrow().name(id).clone(), n)) }
}

/// The rows of counts by id. Ids are not used again before these are through, whether an output wants them or not.
pub(crate) fn rows<'s, T: 'static + Clone>(counts: &Rendered<'s, T>, graph: &Graph<'s>) -> Changes<'s, T> {
    let render = counts.render.clone();
    let named = move |((id, n), t, diff)| (render(id, n), t, diff);
    let changes = counts.changes.clone();
    let rows = expand(&graph.flow, &Site::engine("names"), changes, move |_, changes: Vec<((Id, i64), BatchTime, i64)>, give| {
        give(changes.into_iter().map(&named).collect::<Vec<_>>());
    });
    rows.probe_with(&graph.probe)
}

/// The rows that are there at all, once each.
pub(crate) fn distinct<'s, T: Key>(keyed: &Keyed<'s, T>, graph: &Graph<'s>) -> Keyed<'s, T> {
    let changes = arranged(keyed, graph).threshold_total(|_, n| i64::from(*n > 0)).inner;
    Keyed { changes, dict: keyed.dict.clone() }
}
