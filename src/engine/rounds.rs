//! Time inside a loop, and the operators that know it: row by row, and the bound of rounds.
//!
//! A loop is a nested scope of timely. A batch is complete when it is complete in every round: the frontier passes its time when the
//! loop has nothing left to do for it.

use differential_dataflow::{AsCollection, VecCollection};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Operator;
use timely::order::Product;

use crate::core::data::Key;
use crate::core::time::BatchTime;
use crate::engine::meter::{MadeBy, Meter};
use crate::engine::operator_id::OperatorId;

/// A batch and a round, from 0.
pub(crate) type LoopTime = Product<BatchTime, u64>;

type Changes<'i, T> = VecCollection<'i, LoopTime, T, i64>;

/// The changes that `f` makes of each change. A panic of `f` names operator, round and batch.
pub(crate) fn each<'i, T: 'static, U: Clone + 'static, I: IntoIterator<Item = (U, i64)>>(
    rows: Changes<'i, T>,
    operator: OperatorId,
    mut f: impl FnMut(T, LoopTime, i64) -> I + 'static,
) -> Changes<'i, U> {
    let (scope, from) = (rows.inner.scope(), [MadeBy::of(&rows.inner)]);
    let made = rows.inner.unary(Pipeline, &operator.to_string(), move |_, info| {
        let meter = Meter::new(&operator, scope, info.local_id, &from);
        move |input, output| {
            let (mut turn, mut at) = (meter.turn(), None);
            input.for_each(|capability, changes| {
                let mut session = output.session(&capability);
                turn.took(changes.len());
                for (row, t, n) in changes.drain(..) {
                    if at.replace(t) != Some(t) {
                        turn.enter_round(t.outer, t.inner);
                    }
                    let made = f(row, t, n).into_iter().map(|(row, n)| (row, t, n));
                    session.give_iterator(made.inspect(|_| turn.gave(0, 1)));
                }
            });
        }
    });
    made.as_collection()
}

/// The changes of the rounds before `end`. `passed` gets the first change of a later round. If it returns `true`, the batch of that
/// change never completes.
pub(crate) fn before<'i, T: Key>(
    rows: Changes<'i, T>,
    operator: &OperatorId,
    end: u64,
    passed: impl Fn(&T, BatchTime) -> bool + 'static,
) -> Changes<'i, T> {
    let kept = rows.inner.unary(Pipeline, &operator.to_string(), move |_, _| {
        let mut held = None;
        move |input, output| {
            input.for_each(|capability, changes| {
                if let Some((row, t, _)) = changes.iter().find(|(_, t, _)| t.inner >= end) {
                    if held.is_none() && passed(row, t.outer) {
                        held = Some(capability.retain_stamp(0));
                    }
                    changes.retain(|(_, t, _)| t.inner < end);
                }
                output.session(&capability).give_container(changes);
            });
        }
    });
    kept.as_collection()
}
