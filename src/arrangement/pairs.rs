//! Arrangements of pairs by the code of their key: joins of views, and reductions of all values of a key.

use std::cell::RefCell;
use std::rc::Rc;

use differential_dataflow::operators::arrange::TraceAgent;
use differential_dataflow::operators::arrange::arrangement::{Arranged, arrange_core};
use differential_dataflow::trace::implementations::{ValBatcher, ValBuilder, ValSpine};
use timely::dataflow::channels::pact::Pipeline;

use super::interned::{intern_keys, resolve};
use crate::api::context::Graph;
use crate::api::view::Changes;
use crate::core::data::Key;
use crate::core::time::BatchTime;
use crate::engine::dictionary::{Code, Dict};

type Pairs<'s, V> = Arranged<'s, TraceAgent<ValSpine<Code, V, BatchTime, i64>>>;

fn arranged<'s, V: Key>(pairs: Changes<'s, (Code, V)>, name: &str) -> Pairs<'s, V> {
    // Pairs lie on the workers that own their keys already: no second exchange.
    arrange_core(pairs, Pipeline, name, ValBatcher::new)
}

/// Every value of a key on the left with every value of the key on the right.
pub(crate) fn joined<'s, K: Key, V: Key, W: Key>(
    left: Changes<'s, (K, V)>,
    right: Changes<'s, (K, W)>,
    graph: &Graph<'s>,
) -> Changes<'s, (K, (V, W))> {
    let dict: Rc<RefCell<Dict<K>>> = Rc::default();
    let left = arranged(intern_keys(left, &dict, graph), "join left");
    let right = arranged(intern_keys(right, &dict, graph), "join right");
    let both = left.join_core(right, |code, v: &V, w: &W| Some((*code, v.clone(), w.clone())));
    resolve(both.inner, &dict, graph, |(code, v, w), dict| (dict.key(code).clone(), (v, w)))
}

/// All copies of the values of a key reduced by `f`, in ascending order.
pub(crate) fn reduced_copies<V: Clone>(values: &[(&V, i64)], f: impl Fn(V, V) -> V) -> Option<V> {
    let copies = values.iter().flat_map(|(v, n)| std::iter::repeat_n((*v).clone(), (*n).max(0) as usize));
    copies.reduce(f)
}

/// The result of `fold` for the values of each key, which are ascending, each with its count.
pub(crate) fn reduced<'s, K: Key, V: Key>(
    pairs: Changes<'s, (K, V)>,
    graph: &Graph<'s>,
    fold: impl Fn(&[(&V, i64)]) -> Option<V> + 'static,
) -> Changes<'s, (K, V)> {
    let dict: Rc<RefCell<Dict<K>>> = Rc::default();
    let arranged = arranged(intern_keys(pairs, &dict, graph), "reduce");
    let reduced = arranged.reduce_abelian::<_, ValBuilder<Code, V, BatchTime, i64>, ValSpine<Code, V, BatchTime, i64>, _, _>(
        "reduce",
        move |_, values, out: &mut Vec<(V, i64)>| out.extend(fold(values).map(|v| (v, 1))),
        |to, code, rows| {
            to.clear();
            to.extend(rows.drain(..).map(|(v, t, n)| ((*code, v), t, n)));
        },
    );
    let rows = reduced.as_collection(|code, v: &V| (*code, v.clone()));
    resolve(rows.inner, &dict, graph, |(code, v), dict| (dict.key(code).clone(), v))
}
