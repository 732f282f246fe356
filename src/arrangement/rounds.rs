//! Arrangements inside a loop, by batch and round: joins, reductions and thresholds. They are differential's spines over the rows
//! themselves, which move to other workers in each round. Codes of a dictionary are valid on one worker only.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use differential_dataflow::AsCollection;
use differential_dataflow::trace::implementations::{KeyBatcher, KeyBuilder, KeySpine, ValBuilder, ValSpine};
use timely::dataflow::operators::Inspect;

use crate::api::loop_view::LoopChanges;
use crate::core::data::Key;
use crate::engine::operator_id::OperatorId;
use crate::engine::rounds::LoopTime;

/// Every value of a key on the left with every value of the key on the right.
pub(crate) fn joined<'i, K: Key, V: Key, W: Key>(
    left: LoopChanges<'i, (K, V)>,
    right: LoopChanges<'i, (K, W)>,
    operator: &OperatorId,
) -> LoopChanges<'i, (K, (V, W))> {
    let name = operator.to_string();
    let (left, right) = (left.arrange_by_key_named(&name), right.arrange_by_key_named(&name));
    left.join_core(right, |k, v, w| Some((k.clone(), (v.clone(), w.clone()))))
}

/// The pairs whose key is a row of `keys`.
pub(crate) fn joined_keys<'i, K: Key, V: Key>(
    pairs: LoopChanges<'i, (K, V)>,
    keys: LoopChanges<'i, K>,
    operator: &OperatorId,
) -> LoopChanges<'i, (K, V)> {
    let name = operator.to_string();
    let (pairs, keys) = (pairs.arrange_by_key_named(&name), keys.arrange_by_self_named(&name));
    pairs.join_core(keys, |k, v, ()| Some((k.clone(), v.clone())))
}

/// What `fold` makes of the values of each key, which are ascending, each with its count.
pub(crate) fn reduced<'i, K: Key, V: Key, W: Key>(
    pairs: LoopChanges<'i, (K, V)>,
    operator: &OperatorId,
    fold: impl Fn(&[(&V, i64)]) -> Option<W> + 'static,
) -> LoopChanges<'i, (K, W)> {
    let name = operator.to_string();
    let reduced =
        pairs.arrange_by_key_named(&name).reduce_abelian::<_, ValBuilder<K, W, LoopTime, i64>, ValSpine<_, _, _, _>, _, _>(
            &name,
            move |_, values, out: &mut Vec<(W, i64)>| out.extend(fold(values).map(|w| (w, 1))),
            push,
        );
    reduced.as_collection(|k, w: &W| (k.clone(), w.clone()))
}

/// Each row as often as `count` says of it and of how often it is there. Rows that are not there have no count.
pub(crate) fn counted<'i, T: Key>(
    rows: LoopChanges<'i, T>,
    operator: &OperatorId,
    count: impl Fn(&T, i64) -> i64 + 'static,
) -> LoopChanges<'i, T> {
    let (name, panics) = (operator.to_string(), Panics::default());
    let caught = panics.clone();
    let counted = rows.arrange_by_self_named(&name).reduce_abelian::<_, KeyBuilder<T, LoopTime, i64>, KeySpine<_, _, _>, _, _>(
        &name,
        move |row, counts, out: &mut Vec<((), i64)>| {
            let n = caught.of(|| count(row, counts[0].1)).unwrap_or(PANICKED);
            out.extend((n != 0).then_some(((), n)));
        },
        push,
    );
    let operator = operator.clone();
    let made = counted.as_collection(|row, ()| row.clone()).inner.inspect_core(move |event| {
        // The change is this count less the previous one.
        let panicked = |(_, _, n): &&(T, LoopTime, i64)| *n < PANICKED / 2;
        if let Ok((_, changes)) = event
            && panics.any()
            && let Some((_, t, _)) = changes.iter().find(panicked)
        {
            operator.enter_round(t.outer, t.inner);
            panics.raise();
        }
    });
    made.as_collection()
}

/// Each row of a round as one change, on one worker.
pub(crate) fn consolidated<'i, T: Key>(rows: LoopChanges<'i, T>, operator: &OperatorId) -> LoopChanges<'i, T> {
    rows.consolidate_named::<_, KeySpine<_, _, _>, _>(&operator.to_string(), KeyBatcher::new, |row, ()| row.clone())
}

/// Gives the changes of a key to the builder of a batch.
fn push<K: Clone, W>(to: &mut Vec<((K, W), LoopTime, i64)>, key: &K, rows: &mut Vec<(W, LoopTime, i64)>) {
    to.clear();
    to.extend(rows.drain(..).map(|(w, t, n)| ((key.clone(), w), t, n)));
}

/// The count of a row for which the function panicked. It is far below all counts, and its difference from a count fits into 64 bits.
const PANICKED: i64 = i64::MIN / 2;

/// The panic of a function inside a reduction, which does not know the time of its input. Its result has the time. So the reduction
/// emits that there was a panic, and the operator that reads this raises it.
///
/// A reduction to rows has no value that tells a panic from a row: there a count of [`PANICKED`] does.
#[derive(Clone, Default)]
pub(crate) struct Panics(Rc<Cell<Option<Box<dyn Any + Send>>>>);

impl Panics {
    /// What `f` returns; `None`: it panicked.
    pub fn of<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        let panic = catch_unwind(AssertUnwindSafe(f)).map_err(|panic| self.0.set(Some(panic)));
        panic.ok()
    }

    /// Whether there was a panic.
    pub fn any(&self) -> bool {
        let panic = self.0.take();
        let any = panic.is_some();
        self.0.set(panic);
        any
    }

    /// Resumes the panic.
    pub fn raise(&self) -> ! {
        resume_unwind(self.0.take().expect("a panic was kept"))
    }
}
