//! The operators of differential return the same over a dense trace as over a spine of differential.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use differential_dataflow::VecCollection;
use differential_dataflow::operators::arrange::arrangement::arrange_core;
use differential_dataflow::operators::{CountTotal, ThresholdTotal};
use differential_dataflow::trace::implementations::{KeyBatcher, KeySpine, ValBatcher, ValBuilder, ValSpine};
use differential_dataflow::trace::{Cursor, Navigable, TraceReader};
use proptest::prelude::*;
use timely::dataflow::InputHandle;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::vec::Map;
use timely::progress::Antichain;
use timely::progress::frontier::AntichainRef;

use super::{DenseTrace, arrange};
use crate::core::time::BatchTime;
use crate::engine::dictionary::Code;
use crate::engine::operator_id::OperatorId;

/// One batch time: its changes, and the actions of the readers after them.
#[derive(Clone, Debug)]
struct Step {
    /// The distance from the previous batch time.
    gap: u64,
    changes: Vec<(Code, i64)>,
    /// A reader holds compaction from here on.
    hold: bool,
    /// The oldest reader is dropped.
    release: bool,
    /// A reader keeps the batches, so the trace cannot change them in place.
    keep: bool,
    /// A later dataflow imports the trace.
    import: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let change = (0u32..200, -2i64..4);
    let changes = prop::collection::vec(change, 0..12);
    let often = || prop::bool::weighted(0.3);
    (1u64..4, changes, often(), often(), often(), prop::bool::weighted(0.1))
        .prop_map(|(gap, changes, hold, release, keep, import)| Step { gap, changes, hold, release, keep, import })
}

/// An output: the operator, the row and the time, with its difference.
type Outputs = Vec<((&'static str, (i64, i64), BatchTime), i64)>;
type Seen = Rc<RefCell<Outputs>>;

fn record<'s>(seen: &Seen, name: &'static str, since: BatchTime, rows: VecCollection<'s, BatchTime, (i64, i64), i64>) {
    let own = seen.clone();
    rows.inspect_batch(move |_, rows| {
        own.borrow_mut().extend(rows.iter().map(|(row, t, n)| ((name, *row, *t.max(&since)), *n)));
    });
}

/// The view as of `t`, as a cursor reads it.
fn as_of<Tr>(trace: &mut Tr, t: BatchTime) -> BTreeMap<Code, i64>
where
    Tr: TraceReader<Time = BatchTime>,
    Tr::Batch: Navigable,
    for<'a> <Tr::Batch as Navigable>::Cursor:
        Cursor<Storage = Tr::Batch, Key<'a> = &'a Code, TimeGat<'a> = &'a BatchTime, DiffGat<'a> = &'a i64>,
{
    let mut rows = BTreeMap::new();
    for batch in trace.batches_through(AntichainRef::new(&[])).expect("all batches") {
        let mut cursor = batch.cursor();
        while let Some(key) = cursor.get_key(&batch) {
            let mut sum = 0;
            cursor.map_times(&batch, |u, n| sum += if *u <= t { *n } else { 0 });
            *rows.entry(*key).or_insert(0) += sum;
            cursor.step_key(&batch);
        }
    }
    rows.retain(|_, n| *n != 0);
    rows
}

/// Runs the operators and the readers over an arrangement that `$arrange` makes of the changes.
macro_rules! outputs {
    ($steps:expr, $arrange:expr) => {{
        let steps: Vec<Step> = $steps.to_vec();
        timely::execute_directly(move |worker| {
            let seen = Seen::default();
            let mut input = InputHandle::new();
            let (mut agent, probe) = worker.dataflow(|scope| {
                let changes = input.to_stream(scope);
                let arranged = $arrange(changes.clone());
                let pairs = arrange_core::<_, _, ValBatcher<Code, u8, BatchTime, i64>, ValSpine<Code, u8, BatchTime, i64>>(
                    changes.clone().map(|(code, t, n): (Code, BatchTime, i64)| ((code % 90, code as u8), t, n)),
                    Pipeline,
                    "pairs",
                    ValBatcher::new,
                );
                let now = BatchTime::default();
                record(&seen, "join", now, arranged.clone().join_core(pairs, |k, (), v| Some((i64::from(*k), i64::from(*v)))));
                record(&seen, "self", now, arranged.clone().join_core(arranged.clone(), |k, (), ()| Some((i64::from(*k), 0))));
                let reduced = arranged
                    .clone()
                    .reduce_abelian::<_, ValBuilder<Code, i64, BatchTime, i64>, ValSpine<Code, i64, BatchTime, i64>, _, _>(
                        "reduce",
                        |_, rows, out: &mut Vec<(i64, i64)>| out.push((rows[0].1 * 10, 1)),
                        |to, code, rows| {
                            to.clear();
                            to.extend(rows.drain(..).map(|(v, t, n)| ((*code, v), t, n)));
                        },
                    );
                record(&seen, "reduce", now, reduced.as_collection(|k, v| (i64::from(*k), *v)));
                let counts = arranged.clone().count_total_core::<i64>();
                record(&seen, "count", now, counts.map(|(k, n)| (i64::from(k), n)));
                let some = arranged.clone().threshold_semigroup(|_, new: &i64, old: Option<&i64>| {
                    let at_least_2 = |n: &i64| i64::from(*n >= 2);
                    Some(at_least_2(new) - old.map_or(0, at_least_2)).filter(|n| *n != 0)
                });
                record(&seen, "threshold", now, some.map(|k| (i64::from(k), 0)));
                let (probe, _) = arranged.clone().as_collection(|k, ()| *k).probe();
                (arranged.trace, probe)
            });
            let (mut t, mut readers, mut kept) = (BatchTime::default(), Vec::new(), Vec::new());
            for step in &steps {
                t = BatchTime::from_millis(t.millis() + step.gap);
                input.advance_to(t);
                step.changes.iter().for_each(|(code, n)| input.send((*code, t, *n)));
                let upper = BatchTime::from_millis(t.millis() + 1);
                input.advance_to(upper);
                while probe.less_than(&upper) {
                    worker.step();
                }
                let frontier = Antichain::from_elem(t);
                agent.set_logical_compaction(frontier.borrow());
                agent.set_physical_compaction(frontier.borrow());
                if step.keep {
                    kept = agent.batches_through(AntichainRef::new(&[])).expect("all batches");
                } else {
                    kept.clear();
                }
                if step.import {
                    worker.dataflow(|scope| {
                        record(&seen, "import", t, agent.import(scope).as_collection(|k, ()| (i64::from(*k), 0)));
                    });
                }
                if step.hold {
                    readers.push((t, agent.clone()));
                }
                if step.release && !readers.is_empty() {
                    readers.remove(0);
                }
            }
            let views: Vec<_> = readers.iter_mut().map(|(t, agent)| as_of(agent, *t)).collect();
            drop((readers, kept, agent));
            drop(input);
            while worker.step() {}
            let mut seen = seen.take();
            differential_dataflow::consolidation::consolidate(&mut seen);
            (seen, views)
        })
    }};
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn operators_and_readers_get_the_same_as_from_a_spine(steps in prop::collection::vec(step(), 1..90)) {
        let dense = outputs!(steps, |changes| arrange(changes, &OperatorId::step("test"), DenseTrace::empty()));
        let spine = outputs!(steps, |changes| {
            let keys = Map::map(changes, |(code, t, n): (Code, BatchTime, i64)| ((code, ()), t, n));
            arrange_core::<_, _, KeyBatcher<Code, BatchTime, i64>, KeySpine<Code, BatchTime, i64>>(
                keys,
                Pipeline,
                "spine",
                KeyBatcher::new,
            )
        });
        prop_assert_eq!(&dense.1, &spine.1);
        prop_assert_eq!(dense.0, spine.0);
        let mut model: BTreeMap<Code, i64> = BTreeMap::new();
        steps.iter().flat_map(|s| &s.changes).for_each(|(code, n)| *model.entry(*code).or_default() += n);
        model.retain(|_, n| *n != 0);
        if steps.last().is_some_and(|s| s.hold && !s.release) {
            prop_assert_eq!(dense.1.last(), Some(&model));
        }
    }
}
