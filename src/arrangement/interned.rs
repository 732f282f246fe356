//! Dictionary encoding: rows become codes on the workers that own them, and codes become rows before they leave the worker.

use std::cell::RefCell;
use std::rc::Rc;

use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::{AsCollection, VecCollection};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Probe;

use crate::api::context::Graph;
use crate::api::dstream::DStream;
use crate::api::view::{Changes, Form, Interned, View};
use crate::core::data::{Key, Rows, encoded};
use crate::core::error::{BoxError, Error};
use crate::core::key_groups::{ByGroup, KeyGroups};
use crate::core::time::BatchTime;
use crate::engine::dense::{DenseTrace, arrange};
use crate::engine::dictionary::{Code, Dict};
use crate::engine::flow::{batched, by_batch, collect_batches, map_containers, route};
use crate::engine::operator_id::OperatorId;
use crate::engine::state::{Changes as Changed, Groups, KeyedState};
use crate::metrics::held::Held;

/// The forms of a view (api/view.rs): one is derived from another at first use.
impl<'s, T: Key> View<'s, T> {
    /// Rows and their changes.
    pub(crate) fn rows(&self) -> Changes<'s, T> {
        let graph = &self.node.graph;
        let make = || match &self.node.form {
            Form::Rows(rows) => (**rows).clone(),
            Form::Interned(interned) => resolved(interned, graph),
            Form::Counts(counts) => super::count::rows(counts, graph),
        };
        self.node.rows.get_or_init(make).clone()
    }

    /// Codes of rows and their changes, on the workers that own the rows.
    pub(crate) fn interned(&self) -> Interned<'s, T> {
        let make = || match &self.node.form {
            Form::Interned(interned) => (**interned).clone(),
            _ => intern(self.rows(), &self.node.graph),
        };
        self.node.interned.get_or_init(make).clone()
    }

    /// The arrangement of the view: how often each row is in it, by the row's dictionary code. All readers share it, also the verbs of
    /// this crate that remember rows, such as [`View::count_by_value`] and [`View::distinct`].
    ///
    /// Codes are numbers, valid on one worker only. A view and its [`View::distinct`] have the same codes, and so do the views of all
    /// windows over one stream. Other views have different codes. [`View::wrap_codes`] makes a view of codes. Each row is on the worker
    /// that owns it. Memory: 16 bytes for each code on its worker. If a reader does not advance the compaction of its trace, every later
    /// batch stays in memory, and codes of removed rows are not reused. This view's verbs then run even if no output operation follows.
    ///
    /// ```
    /// use tidemill::{prelude::*, testing::check};
    /// // The rows of the last two batches that were also in the last one: a join by hand.
    /// check(
    ///     [vec!['a', 'b'], vec!['b', 'c'], vec!['d']],
    ///     |s| {
    ///         let (two, one) = (s.over(millis(2), millis(1)), s.over(millis(1), millis(1)));
    ///         let both = two.arranged().join_core(one.distinct().arranged(), |code, (), ()| Some(*code));
    ///         two.wrap_codes(both).complete()
    ///     },
    ///     [vec!['a', 'b'], vec!['b', 'b', 'c'], vec!['d']],
    /// );
    /// ```
    pub fn arranged(&self) -> Arranged<'s, TraceAgent<DenseTrace>> {
        let make = || {
            let (codes, trace) = (self.interned(), DenseTrace::empty());
            codes.dict.borrow_mut().keep_since(trace.since());
            codes.dict.borrow_mut().arranged(trace.bytes());
            arrange(codes.changes, &OperatorId::step("arranged"), trace)
        };
        self.node.arranged.get_or_init(make).clone()
    }

    /// A view of rows from a differential collection of their codes. The collection must derive from this view's [`View::arranged`], or
    /// from that of a view with the same codes. The result has the schedule and the sources of this view, but not its presentation order.
    ///
    /// Constraints: changes must be at batch times at which this view changes, and codes must stay on their worker.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check(
    ///     [vec!['a', 'a'], vec!['b']],
    ///     |s| {
    ///         let view = s.accumulate();
    ///         view.wrap_codes(view.arranged().as_collection(|code, ()| *code)).complete()
    ///     },
    ///     [vec!['a', 'a'], vec!['a', 'a', 'b']],
    /// );
    /// ```
    #[track_caller]
    pub fn wrap_codes(&self, codes: VecCollection<'s, BatchTime, Code, i64>) -> View<'s, T> {
        let (view, order) = (self.clone(), self.node.order.lost(&OperatorId::of("wrap_codes")));
        let form = Form::interned(move || {
            let (dict, graph) = (view.interned().dict, &view.node.graph);
            let own = dict.clone();
            // Codes are retained while they are in this view: the rows of the other may leave earlier.
            let changes = batched(
                &graph.flow.silent_when_empty(),
                &OperatorId::step("codes"),
                codes.inner,
                Pipeline,
                by_batch,
                move |tick, codes, emit| {
                    let mut dict = own.borrow_mut();
                    codes.iter().for_each(|(code, n)| _ = dict.retain(*code, *n, tick.time));
                    emit(codes.into_iter().map(|(code, n)| (code, tick.time, n)).collect());
                },
            );
            Interned { changes: changes.probe_with(&graph.probe), dict }
        });
        self.derive(form, Some("wrap_codes")).ordered(order).view()
    }

    /// The differential collection underneath, for operators of differential's own; [`View::wrap`] makes a view of their result. The
    /// verbs of this view then run, also if no output operation follows.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![1], vec![2]], |s| { let v = s.accumulate(); v.wrap(v.as_collection().negate().negate()).complete() }, [vec![1], vec![1, 2]]);
    /// ```
    pub fn as_collection(&self) -> VecCollection<'s, BatchTime, T, i64> {
        self.rows().as_collection()
    }

    /// A view of a differential collection that derives from this view's [`View::as_collection`]. The result has the schedule and the
    /// sources of this view, but not its presentation order. Its rows move to the workers that own them.
    ///
    /// Constraint: changes must be at batch times at which this view changes.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![3], vec![4]], |s| { let v = s.accumulate(); v.wrap(v.as_collection().map(|n| n % 3)).complete() }, [vec![0], vec![0, 1]]);
    /// ```
    #[track_caller]
    pub fn wrap<U: Key>(&self, collection: VecCollection<'s, BatchTime, U, i64>) -> View<'s, U> {
        let (graph, order) = (self.node.graph.clone(), self.node.order.lost(&OperatorId::of("wrap")));
        // A row may leave on another worker than it entered, as after `negate` and `concat`: its owner combines both.
        self.derive(Form::interned(move || intern(collection.inner, &graph)), Some("wrap")).ordered(order).view()
    }
}

/// Rows of codes.
pub(crate) fn resolved<'s, T: Key>(interned: &Interned<'s, T>, graph: &Graph<'s>) -> Changes<'s, T> {
    resolve(interned.changes.clone(), &interned.dict, graph, |code: Code, dict| dict.key(code).clone())
}

/// Rows that `row` makes of changes with codes. The probe keeps codes from reuse until the rows have been emitted, also if no output
/// reads them.
pub(crate) fn resolve<'s, K: Key, D: Clone + 'static, T: Key>(
    changes: Changes<'s, D>,
    dict: &Rc<RefCell<Dict<K>>>,
    graph: &Graph<'s>,
    row: impl Fn(D, &Dict<K>) -> T + 'static,
) -> Changes<'s, T> {
    let dict = dict.clone();
    let rows =
        map_containers(&graph.flow, &OperatorId::step("names"), changes, move |_, changes: Vec<(D, BatchTime, i64)>, emit| {
            let dict = dict.borrow();
            emit(changes.into_iter().map(|(x, t, n)| (row(x, &dict), t, n)).collect());
        });
    rows.probe_with(&graph.probe)
}

/// Encodes keys and values: each pair moves to the worker that owns its key.
pub(crate) fn intern_pairs<'s, K: Key, V: Key>(
    pairs: Changes<'s, (K, V)>,
    keys: Rc<RefCell<Dict<K>>>,
    values: Rc<RefCell<Dict<V>>>,
    graph: &Graph<'s>,
) -> Changes<'s, (Code, Code)> {
    let (probe, groups) = (graph.probe.clone(), graph.key_groups());
    batched(
        &graph.flow.silent_when_empty(),
        &OperatorId::step("numbered"),
        pairs,
        route(move |((k, _), _, _): &((K, V), BatchTime, i64)| groups.of(k)),
        by_batch,
        move |plan, pairs, emit| {
            let (t, passed) = (plan.time, |t| !probe.less_equal(&t));
            let (mut keys, mut values) = (keys.borrow_mut(), values.borrow_mut());
            keys.reclaim(passed);
            values.reclaim(passed);
            let mut keyed = Vec::with_capacity(pairs.len());
            keys.codes_of(pairs.into_iter().map(|((k, v), n)| (k, (v, n))), t, |keys, key, (v, n)| {
                keys.retain(key, n, t);
                keyed.push((v, (key, n)));
            });
            let mut coded = Vec::with_capacity(keyed.len());
            values.codes_of(keyed, t, |values, value, (key, n)| {
                values.retain(value, n, t);
                coded.push(((key, value), t, n));
            });
            emit(coded);
        },
    )
}

/// Encodes rows: each moves to the worker that owns it, where its code is retained as often as the row is in the view.
pub(crate) fn intern<'s, T: Key>(changes: Changes<'s, T>, graph: &Graph<'s>) -> Interned<'s, T> {
    let (groups, dict) = (graph.key_groups(), Dict::shared(graph.key_groups()));
    let (own, probe) = (dict.clone(), graph.probe.clone());
    let changes = batched(
        &graph.flow.silent_when_empty(),
        &OperatorId::step("numbered"),
        changes,
        route(move |(row, _, _): &(T, BatchTime, i64)| groups.of(row)),
        by_batch,
        move |plan, rows, emit| {
            let mut dict = own.borrow_mut();
            dict.reclaim(|t| !probe.less_equal(&t));
            let mut coded = Vec::with_capacity(rows.len());
            dict.codes_of(rows, plan.time, |dict, code, n| {
                dict.retain(code, n, plan.time);
                coded.push((code, plan.time, n));
            });
            emit(coded);
        },
    );
    Interned { changes, dict }
}

/// Sums by key of pairs that lie on the workers that own their keys: each number becomes a change of its key's code.
///
/// The sums are state: they are saved by key group, and restored sums enter with the first batch.
pub(crate) fn sums<'s, K: Key>(pairs: DStream<'s, (K, i64)>, operator: &OperatorId) -> (Form<'s, K>, usize) {
    let state = Rc::new(RefCell::new(Sums::new(pairs.node.graph.key_groups())));
    let dict = state.borrow().dict.clone();
    let (number, owner) = pairs.node.graph.register_state(operator, state.clone());
    let operator = operator.clone();
    let codes = Form::interned(move || {
        let graph = &pairs.node.graph;
        let (probe, fail, name) = (graph.probe.clone(), graph.fail.clone(), operator.to_string());
        let owner = owner.build();
        let changes = collect_batches(&pairs.flow().silent_when_empty(), &operator, pairs.inner(), move |tick, rows, emit| {
            let (probe, time) = (&probe, tick.time);
            let too_large = |key: &K| fail(Error::SumTooLarge { operator: name.clone(), key: format!("{key:?}"), time });
            emit(owner.batch(tick, || state.borrow_mut().batch(time, rows, |t| !probe.less_equal(&t), too_large)))
        });
        Interned { changes, dict }
    });
    (codes, number)
}

/// The sum of each key; the dictionary has it.
struct Sums<K> {
    dict: Rc<RefCell<Dict<K>>>,
    /// Restored sums that are not in the view yet.
    loaded: Vec<(Code, i64)>,
    /// Key groups with changes since the last snapshot.
    changed: Groups,
    /// The codes of each group that a snapshot saves; looked up for the first group.
    cut: Option<ByGroup<Vec<Code>>>,
}

impl<K: Key> Sums<K> {
    fn new(groups: KeyGroups) -> Self {
        Sums { dict: Dict::shared(groups), loaded: Vec::new(), changed: Groups::default(), cut: None }
    }

    /// The changes of a batch. Restored sums enter with the first one. Calls `too_large` with each key whose sum does not fit.
    fn batch(
        &mut self,
        t: BatchTime,
        rows: Vec<Rows<(K, i64)>>,
        passed: impl Fn(BatchTime) -> bool,
        too_large: impl Fn(&K),
    ) -> Vec<(Code, BatchTime, i64)> {
        let mut changes: Vec<_> = self.loaded.drain(..).map(|(code, n)| (code, t, n)).collect();
        changes.reserve(rows.iter().map(|r| r.rows.len()).sum());
        let mut dict = self.dict.borrow_mut();
        dict.reclaim(passed);
        let changed = &mut self.changed;
        dict.codes_of(rows.into_iter().flat_map(Rows::take), t, |dict, code, n| match dict.try_retain(code, n, t) {
            Some(group) => {
                changed.insert(group);
                changes.push((code, t, n));
            }
            None => too_large(dict.key(code)),
        });
        changes
    }
}

impl<K: Key> KeyedState for Sums<K> {
    fn snapshot(&mut self, _: BatchTime) -> Changed {
        self.cut = None;
        Changed { groups: std::mem::take(&mut self.changed), expired: None }
    }

    fn save(&mut self, group: u64, _: BatchTime) -> Vec<u8> {
        let dict = self.dict.borrow();
        let codes = self.cut.get_or_insert_with(|| dict.held_by_group()).take(group);
        let sums: Vec<(&K, i64)> = codes.into_iter().map(|code| dict.held(code)).collect();
        if sums.is_empty() { Vec::new() } else { encoded(&sums) }
    }

    fn held(&self) -> Held {
        self.dict.borrow().size()
    }

    fn load(&mut self, bytes: &[u8], _: BatchTime) -> Result<(), BoxError> {
        let mut dict = self.dict.borrow_mut();
        for (key, n) in postcard::from_bytes::<Vec<(K, i64)>>(bytes)? {
            let code = dict.code(key, BatchTime::default());
            if dict.held(code).1 != 0 {
                return Err(format!("the key {:?} occurs twice", dict.key(code)).into());
            }
            if dict.try_retain(code, n, BatchTime::default()).is_none() {
                return Err(format!("the sum of {:?} does not fit into 64 bits", dict.key(code)).into());
            }
            self.loaded.push((code, n));
        }
        Ok(())
    }
}

/// See [`crate::engine::state::take_any`].
#[cfg(any(test, feature = "testing"))]
pub(crate) fn take_any(bytes: &[u8]) -> bool {
    crate::engine::state::take_any(Sums::<String>::new(KeyGroups::default()), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn sums_are_saved_and_restored_by_key_group() {
        let mut all: Sums<String> = Sums::new(KeyGroups::default());
        for n in 1..100i64 {
            let code = all.dict.borrow_mut().code(format!("k{n}"), BatchTime::default());
            all.dict.borrow_mut().retain(code, n, BatchTime::default());
        }
        let t = BatchTime::from_millis(1);
        all.snapshot(t);
        let mut again: Sums<String> = Sums::new(KeyGroups::default());
        for piece in (0..KeyGroups::default().count()).map(|g| all.save(g, t)).filter(|p| !p.is_empty()) {
            again.load(&piece, t).unwrap();
        }
        let total = |s: &Sums<String>| {
            let dict = s.dict.borrow();
            let held = dict.held_by_group();
            held.iter()
                .flat_map(|(_, codes)| codes)
                .map(|code| dict.held(*code))
                .map(|(k, n)| (k.clone(), n))
                .collect::<BTreeMap<_, _>>()
        };
        assert_eq!(total(&again), total(&all));
        assert_eq!(again.loaded.iter().map(|(_, n)| n).sum::<i64>(), 4950);
        all.dict.borrow_mut().reclaim(|_| true);
        assert_eq!(all.dict.borrow().len(), 99);
    }
}
