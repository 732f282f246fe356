//! Arranges the changes of a view: the batches of a dense trace, one for each batch time that has changes.

use std::collections::BTreeMap;

use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::{Description, Span};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Operator;
use timely::progress::{Antichain, Stamp, Timestamp};

use super::batch::DenseBatch;
use super::builder::DenseBuilder;
use super::trace::DenseTrace;
use crate::core::time::BatchTime;
use crate::engine::dictionary::Code;
use crate::engine::flow::VecStream;
use crate::engine::meter::{MadeBy, Meter};
use crate::engine::operator_id::OperatorId;

/// The arrangement of a view.
pub(crate) type Dense<'s> = Arranged<'s, TraceAgent<DenseTrace>>;

/// Arranges changes, which lie on the workers that own their codes. All changes of a container have its time.
pub(crate) fn arrange<'s>(changes: VecStream<'s, (Code, BatchTime, i64)>, operator: &OperatorId, trace: DenseTrace) -> Dense<'s> {
    let mut agent = None;
    let put = &mut agent;
    let (scope, from) = (changes.scope(), [MadeBy::of(&changes)]);
    let stream = changes.unary_frontier(Pipeline, &operator.to_string(), move |capability, info| {
        drop(capability);
        let meter = Meter::new(operator, scope, info.local_id, &from);
        let (reader, mut writer) = TraceAgent::new(trace, info, None);
        *put = Some(reader);
        let mut open = BTreeMap::new();
        let mut builder = DenseBuilder::default();
        let mut lower = Antichain::from_elem(BatchTime::minimum());
        move |(input, frontier), output| {
            let mut turn = meter.turn();
            input.for_each(|capability, changes| {
                let capability = capability.retain_least(0).expect("an output");
                turn.enter(*capability.time());
                turn.took(changes.len());
                let (_, batch) = open.entry(*capability.time()).or_insert_with(|| (capability, Vec::new()));
                batch.push(std::mem::take(changes));
            });
            while let Some(first) = open.first_entry() {
                let t = *first.key();
                if frontier.less_equal(&t) {
                    break;
                }
                turn.enter(t);
                let (capability, changes) = first.remove();
                // Up to the next batch that is closed too, or to the frontier: readers cut at frontiers.
                let next = open.keys().next().filter(|t| !frontier.less_equal(t));
                let upper = next.map_or_else(|| frontier.frontier().to_owned(), |t| Antichain::from_elem(*t));
                let batch: Option<DenseBatch> = builder.build(&changes, t);
                let since = Antichain::from_elem(BatchTime::minimum());
                let span = Span::new(Description::new(std::mem::replace(&mut lower, upper.clone()), upper, since), batch);
                writer.insert(span.clone(), Stamp::from_elem(t));
                if span.has_updates() {
                    turn.gave(0, changes.iter().map(Vec::len).sum());
                    output.session(&capability).give(span);
                }
            }
            if lower.borrow() != frontier.frontier() {
                lower = frontier.frontier().to_owned();
                writer.seal(lower.clone());
            }
        }
    });
    Arranged { stream, trace: agent.expect("the operator was built") }
}
