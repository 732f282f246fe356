//! Arrangements of pairs by the code of their key: joins of views, and reductions of all values of a key.

use std::cell::RefCell;
use std::rc::Rc;

use differential_dataflow::operators::ThresholdTotal;
use differential_dataflow::operators::arrange::TraceAgent;
use differential_dataflow::operators::arrange::arrangement::{Arranged, arrange_core};
use differential_dataflow::trace::implementations::{KeyBatcher, KeySpine, ValBatcher, ValBuilder, ValSpine};
use differential_dataflow::{AsCollection, VecCollection};
use timely::dataflow::channels::pact::Pipeline;

use super::interned::{intern_keys, resolve};
use crate::api::context::Graph;
use crate::api::dstream::{Lazy, lazy};
use crate::api::view::{Changes, View};
use crate::core::data::Key;
use crate::core::time::BatchTime;
use crate::engine::dictionary::{Code, Dict};

type Pairs<'s, V> = Arranged<'s, TraceAgent<ValSpine<Code, V, BatchTime, i64>>>;
type Codes<'s> = Arranged<'s, TraceAgent<KeySpine<Code, BatchTime, i64>>>;
type Coded<'s, V> = VecCollection<'s, BatchTime, (Code, V), i64>;

// Codes lie on the workers that own their keys already: no second exchange.
fn arranged<'s, V: Key>(pairs: Coded<'s, V>, name: &str) -> Pairs<'s, V> {
    arrange_core(pairs.inner, Pipeline, name, ValBatcher::new)
}

fn arranged_codes<'s>(codes: VecCollection<'s, BatchTime, Code, i64>, name: &str) -> Codes<'s> {
    arrange_core(codes.map(|code| (code, ())).inner, Pipeline, name, KeyBatcher::new)
}

/// Two views of pairs for joins: with one dictionary of their keys, each side arranged once.
pub(crate) struct Sides<'s, K, V: Key, W: Key> {
    graph: Rc<Graph<'s>>,
    dict: Rc<RefCell<Dict<K>>>,
    left: Side<'s, V>,
    right: Side<'s, W>,
    /// Keys that only the left has, once, and keys that only the right has, -1 times.
    alone: Lazy<'s, Codes<'s>>,
}

impl<'s, K: Key, V: Key, W: Key> Sides<'s, K, V, W> {
    pub fn new(left: &View<'s, (K, V)>, right: &View<'s, (K, W)>) -> Self {
        let (graph, dict) = (left.node.graph.clone(), Rc::default());
        let left = Side::new(intern_keys(left.rows(), &dict, &graph), "join left");
        let right = Side::new(intern_keys(right.rows(), &dict, &graph), "join right");
        let (ours, theirs) = (left.pairs.clone(), right.pairs.clone());
        let alone = lazy(move || {
            let keys = keys(ours, "keys left").concat(keys(theirs, "keys right").negate());
            arranged_codes(keys, "keys alone")
        });
        Sides { graph, dict, left, right, alone }
    }

    /// Every value of a key on the left with every value of the key on the right.
    pub fn both<X: Key>(&self, row: impl Fn(V, W) -> X + 'static) -> Coded<'s, X> {
        let right = self.right.arranged.clone();
        self.left.arranged.clone().join_core(right, move |code, v: &V, w: &W| Some((*code, row(v.clone(), w.clone()))))
    }

    /// The pairs on the left whose keys are on the right.
    pub fn left_met(&self) -> Coded<'s, V> {
        self.left.of(arranged_codes(keys(self.right.pairs.clone(), "keys right"), "keys right"))
    }

    /// The pairs on the left whose keys are not on the right.
    pub fn left_alone(&self) -> Coded<'s, V> {
        // No pair on the left has a key that only the right has.
        self.left.of(self.alone.clone())
    }

    /// The pairs on the right whose keys are not on the left.
    pub fn right_alone(&self) -> Coded<'s, W> {
        self.right.of(self.alone.clone()).negate()
    }

    /// Rows with their keys.
    pub fn named<X: Key>(&self, rows: Coded<'s, X>) -> Changes<'s, (K, X)> {
        resolve(rows.inner, &self.dict, &self.graph, |(code, x), dict| (dict.key(code).clone(), x))
    }
}

/// Each key that has values, once. Differential counts them: a key with many values costs no more.
fn keys<'s, V: Key>(pairs: Coded<'s, V>, name: &str) -> VecCollection<'s, BatchTime, Code, i64> {
    arranged_codes(pairs.map(|(code, _)| code), name).distinct_total_core()
}

/// One side of a join.
struct Side<'s, V: Key> {
    pairs: Coded<'s, V>,
    arranged: Lazy<'s, Pairs<'s, V>>,
}

impl<'s, V: Key> Side<'s, V> {
    fn new(pairs: Changes<'s, (Code, V)>, name: &'static str) -> Self {
        let pairs = pairs.as_collection();
        let own = pairs.clone();
        Side { pairs, arranged: lazy(move || arranged(own, name)) }
    }

    /// Its pairs with these keys.
    fn of(&self, keys: Codes<'s>) -> Coded<'s, V> {
        self.arranged.clone().join_core(keys, |code, v: &V, ()| Some((*code, v.clone())))
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
    pairs: Changes<'s, (K, V)>,
    graph: &Graph<'s>,
    fold: impl Fn(&[(&V, i64)]) -> Option<U> + 'static,
) -> Changes<'s, (K, U)> {
    let dict: Rc<RefCell<Dict<K>>> = Rc::default();
    let arranged = arranged(intern_keys(pairs, &dict, graph).as_collection(), "reduce");
    let reduced = arranged.reduce_abelian::<_, ValBuilder<Code, U, BatchTime, i64>, ValSpine<Code, U, BatchTime, i64>, _, _>(
        "reduce",
        move |_, values, out: &mut Vec<(U, i64)>| out.extend(fold(values).map(|u| (u, 1))),
        |to, code, rows| {
            to.clear();
            to.extend(rows.drain(..).map(|(u, t, n)| ((*code, u), t, n)));
        },
    );
    let rows = reduced.as_collection(|code, u: &U| (*code, u.clone()));
    resolve(rows.inner, &dict, graph, |(code, u), dict| (dict.key(code).clone(), u))
}
