//! Views of pairs by key: joins, and reductions of all values of a key. All of them share one arrangement of a view.
//!
//! It has the codes of keys and of values, so one spine serves pairs of all types, and a value is in memory once. All views with keys of
//! one type share the dictionary of those keys.

use std::cell::RefCell;
use std::rc::Rc;

use differential_dataflow::operators::ThresholdTotal;
use differential_dataflow::operators::arrange::arrangement::arrange_core;
use differential_dataflow::trace::implementations::{KeyBatcher, ValBatcher, ValBuilder, ValSpine};
use differential_dataflow::{AsCollection, VecCollection};
use timely::dataflow::channels::pact::Pipeline;

use super::interned::{intern_pairs, resolve};
use crate::api::context::Graph;
use crate::api::dstream::{Lazy, lazy};
use crate::api::view::{ByKey, Changes, CodeTrace, View};
use crate::core::data::Key;
use crate::core::time::BatchTime;
use crate::engine::dictionary::{Code, Dict};

/// Changes of values, each with the code of its key.
type Keyed<'s, V> = VecCollection<'s, BatchTime, (Code, V), i64>;

// Codes lie on the workers that own their keys already: no second exchange.
fn arranged_codes<'s>(codes: VecCollection<'s, BatchTime, Code, i64>, name: &str) -> CodeTrace<'s> {
    arrange_core(codes.map(|code| (code, ())).inner, Pipeline, name, KeyBatcher::new)
}

/// Each key that has values, once. Differential counts them: a key with many values costs no more.
fn keys<'s>(pairs: Keyed<'s, Code>) -> VecCollection<'s, BatchTime, Code, i64> {
    arranged_codes(pairs.map(|(code, _)| code), "values of keys").distinct_total_core()
}

impl<'s, K: Key, V: Key> View<'s, (K, V)> {
    /// Its pairs by key, made at first use.
    fn by_key(&self) -> Side<'s, V> {
        let make = || {
            let (graph, values) = (&self.node.graph, Dict::<V>::shared(self.node.graph.key_groups()));
            let pairs = intern_pairs(self.rows(), graph.keys(), values.clone(), graph).as_collection();
            let inner = pairs.inner.clone();
            let arranged = lazy(move || arrange_core(inner, Pipeline, "by key", ValBatcher::new));
            let keys = lazy(move || arranged_codes(keys(pairs), "keys"));
            Rc::new(ByKey { values, arranged, keys })
        };
        let by_key = self.node.by_key.get_or_init(make).clone();
        let values = by_key.values.clone().downcast().expect("the dictionary of the view's values");
        Side { by_key, values }
    }
}

/// One side of a join.
struct Side<'s, V> {
    by_key: Rc<ByKey<'s>>,
    values: Rc<RefCell<Dict<V>>>,
}

impl<'s, V: Key> Side<'s, V> {
    /// Its pairs with these keys.
    fn of(&self, keys: CodeTrace<'s>) -> Keyed<'s, V> {
        let values = self.values.clone();
        self.by_key.arranged.clone().join_core(keys, move |key, v, ()| Some((*key, values.borrow().key(*v).clone())))
    }
}

/// Two views of pairs for joins.
pub(crate) struct Sides<'s, K, V, W> {
    graph: Rc<Graph<'s>>,
    keys: Rc<RefCell<Dict<K>>>,
    left: Side<'s, V>,
    right: Side<'s, W>,
    /// Keys that only the left has, once, and keys that only the right has, -1 times.
    alone: Lazy<'s, CodeTrace<'s>>,
}

impl<'s, K: Key, V: Key, W: Key> Sides<'s, K, V, W> {
    pub fn new(left: &View<'s, (K, V)>, right: &View<'s, (K, W)>) -> Self {
        let (graph, left, right) = (left.node.graph.clone(), left.by_key(), right.by_key());
        let (ours, theirs) = (left.by_key.clone(), right.by_key.clone());
        let alone = lazy(move || {
            let keys = |side: &ByKey<'s>| (*side.keys).clone().as_collection(|code, ()| *code);
            arranged_codes(keys(&ours).concat(keys(&theirs).negate()), "keys alone")
        });
        Sides { keys: graph.keys(), graph, left, right, alone }
    }

    /// Every value of a key on the left with every value of the key on the right.
    pub fn both<X: Key>(&self, row: impl Fn(V, W) -> X + 'static) -> Keyed<'s, X> {
        let (left, right) = (self.left.by_key.arranged.clone(), self.right.by_key.arranged.clone());
        let (lefts, rights) = (self.left.values.clone(), self.right.values.clone());
        left.join_core(right, move |key, v, w| {
            let (v, w) = (lefts.borrow().key(*v).clone(), rights.borrow().key(*w).clone());
            Some((*key, row(v, w)))
        })
    }

    /// The pairs on the left whose keys are on the right.
    pub fn left_met(&self) -> Keyed<'s, V> {
        self.left.of(self.right.by_key.keys.clone())
    }

    /// The pairs on the left whose keys are not on the right.
    pub fn left_alone(&self) -> Keyed<'s, V> {
        // No pair on the left has a key that only the right has.
        self.left.of(self.alone.clone())
    }

    /// The pairs on the right whose keys are not on the left.
    pub fn right_alone(&self) -> Keyed<'s, W> {
        self.right.of(self.alone.clone()).negate()
    }

    /// Rows with their keys.
    pub fn named<X: Key>(&self, rows: Keyed<'s, X>) -> Changes<'s, (K, X)> {
        resolve(rows.inner, &self.keys, &self.graph, |(code, x), dict| (dict.key(code).clone(), x))
    }
}

/// All copies of the values of a key reduced by `f`, in ascending order.
pub(crate) fn reduced_copies<V: Clone>(values: &[(&V, i64)], f: impl Fn(V, V) -> V) -> Option<V> {
    let copies = values.iter().flat_map(|(v, n)| std::iter::repeat_n((*v).clone(), (*n).max(0) as usize));
    copies.reduce(f)
}

/// The least of the values of a key.
pub(crate) fn least<V: Clone>(values: &[(&V, i64)]) -> Option<V> {
    values.iter().find(|(_, n)| *n > 0).map(|(v, _)| (*v).clone())
}

/// The largest of the values of a key.
pub(crate) fn largest<V: Clone>(values: &[(&V, i64)]) -> Option<V> {
    values.iter().rfind(|(_, n)| *n > 0).map(|(v, _)| (*v).clone())
}

/// The result of `fold` for the values of each key, which are ascending, each with its count.
pub(crate) fn reduced<'s, K: Key, V: Key, U: Key>(
    view: &View<'s, (K, V)>,
    fold: impl Fn(&[(&V, i64)]) -> Option<U> + 'static,
) -> Changes<'s, (K, U)> {
    let (graph, Side { by_key, values: dict }) = (&view.node.graph, view.by_key());
    let arranged = by_key.arranged.clone();
    let reduced = arranged.reduce_abelian::<_, ValBuilder<Code, U, BatchTime, i64>, ValSpine<Code, U, BatchTime, i64>, _, _>(
        "reduce",
        move |_, values, out: &mut Vec<(U, i64)>| {
            let dict = dict.borrow();
            let mut values: Vec<(&V, i64)> = values.iter().map(|(code, n)| (dict.key(**code), *n)).collect();
            values.sort_unstable_by(|a, b| a.0.cmp(b.0));
            out.extend(fold(&values).map(|u| (u, 1)));
        },
        |to, code, rows| {
            to.clear();
            to.extend(rows.drain(..).map(|(u, t, n)| ((*code, u), t, n)));
        },
    );
    let rows = reduced.as_collection(|code, u: &U| (*code, u.clone()));
    resolve(rows.inner, &graph.keys(), graph, |(code, u), keys: &Dict<K>| (keys.key(code).clone(), u))
}
