//! Rows by number, on the worker that owns them, and back to names before they leave it.

use std::cell::RefCell;
use std::rc::Rc;

use differential_dataflow::{AsCollection, VecCollection};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Probe;

use crate::api::context::Graph;
use crate::api::dstream::DStream;
use crate::api::view::{Changes, Form, Keyed, View};
use crate::core::data::{Key, Rows, encoded, key_group};
use crate::core::error::BoxError;
use crate::core::time::BatchTime;
use crate::engine::dictionary::{Dict, Id};
use crate::engine::flow::{Site, VecStream, batched, by_batch, expand, route};
use crate::engine::state::{Changes as Changed, Groups, KeyedState};

/// The two forms of a view, each made from the other when it is asked for.
impl<'s, T: Key> View<'s, T> {
    /// Rows and their changes.
    pub(crate) fn plain(&self) -> Changes<'s, T> {
        let make = || match &self.node.rendered {
            Some(counts) => super::count::rows(counts, &self.node.graph),
            None => names(self.node.keyed.get().expect("a view has a form"), &self.node.graph),
        };
        self.node.plain.get_or_init(make).clone()
    }

    /// Ids of rows and their changes, on the workers that own the rows.
    pub(crate) fn keyed(&self) -> Keyed<'s, T> {
        let make = || numbered(self.plain(), &self.node.graph);
        self.node.keyed.get_or_init(make).clone()
    }

    /// The differential collection underneath, to go on in differential's own words; [`View::wrap`] brings one back.
    pub fn as_collection(&self) -> VecCollection<'s, BatchTime, T, i64> {
        self.plain().as_collection()
    }

    /// Wraps a differential collection, on the grid and with the lineage of this view.
    pub fn wrap<U: Key>(&self, collection: VecCollection<'s, BatchTime, U, i64>) -> View<'s, U> {
        let node = &self.node;
        // A row may leave elsewhere than it came, as after `negate` and `concat`: what owns it puts both together.
        let form = Form::Keyed(numbered(collection.inner, &node.graph));
        let why = node.retracts.clone().or(Some("wrap".into()));
        let view = View::new(&node.graph, &node.lineage, node.grid.clone(), form, why);
        view.node.state.set(node.state.get());
        view
    }
}

/// Names for ids: what leaves an arrangement becomes rows again.
pub(crate) fn names<'s, T: Key>(keyed: &Keyed<'s, T>, graph: &Graph<'s>) -> Changes<'s, T> {
    named(keyed.changes.clone(), &keyed.dict, graph, |id: Id, dict| dict.name(id).clone())
}

/// Rows whose ids have become names. Ids are not used again before these are through, whether an output wants them or not.
pub(crate) fn named<'s, K: Key, D: Clone + 'static, T: Key>(
    changes: Changes<'s, D>,
    dict: &Rc<RefCell<Dict<K>>>,
    graph: &Graph<'s>,
    name: impl Fn(D, &Dict<K>) -> T + 'static,
) -> Changes<'s, T> {
    let dict = dict.clone();
    let named = expand(&graph.flow, &Site::engine("names"), changes, move |_, changes: Vec<(D, BatchTime, i64)>, give| {
        let dict = dict.borrow();
        give(changes.into_iter().map(|(row, t, n)| (name(row, &dict), t, n)).collect());
    });
    named.probe_with(&graph.probe)
}

/// Ids for keys: each pair goes to the worker that owns its key. Sides of a join share the dictionary.
pub(crate) fn numbered_keys<'s, K: Key, V: Key>(
    pairs: Changes<'s, (K, V)>,
    dict: &Rc<RefCell<Dict<K>>>,
    graph: &Graph<'s>,
) -> Changes<'s, (Id, V)> {
    let (own, probe) = (dict.clone(), graph.probe.clone());
    batched(
        &graph.flow,
        &Site::engine("numbered"),
        pairs,
        route(|((k, _), _, _): &((K, V), BatchTime, i64)| key_group(k)),
        by_batch,
        move |plan, pairs, give| {
            let mut dict = own.borrow_mut();
            dict.tidy(|t| !probe.less_equal(&t));
            let held = |((k, v), n)| {
                let id = dict.id(k, plan.time);
                dict.hold(id, n, plan.time);
                ((id, v), plan.time, n)
            };
            give(pairs.into_iter().map(held).collect());
        },
    )
}

/// Ids for rows: each goes to the worker that owns it, and is held there as often as it is in the view.
pub(crate) fn numbered<'s, T: Key>(changes: Changes<'s, T>, graph: &Graph<'s>) -> Keyed<'s, T> {
    let dict: Rc<RefCell<Dict<T>>> = Rc::default();
    let (own, probe) = (dict.clone(), graph.probe.clone());
    let changes = batched(
        &graph.flow,
        &Site::engine("numbered"),
        changes,
        route(|(row, _, _): &(T, BatchTime, i64)| key_group(row)),
        by_batch,
        move |plan, rows, give| {
            let mut dict = own.borrow_mut();
            dict.tidy(|t| !probe.less_equal(&t));
            let held = |(row, n)| {
                let id = dict.id(row, plan.time);
                dict.hold(id, n, plan.time);
                (id, plan.time, n)
            };
            give(rows.into_iter().map(held).collect());
        },
    );
    Keyed { changes, dict }
}

/// Pairs that lie with their keys' owners: each number becomes a change of its key's id, held for ever.
///
/// This is the owner of what is added up: it is saved by key group, and what is loaded enters with the first batch.
pub(crate) fn sums<'s, K: Key>(pairs: &DStream<'s, (K, i64)>, site: &Site, name: String) -> (Keyed<'s, K>, usize) {
    let graph = &pairs.node.graph;
    let state: Rc<RefCell<Sums<K>>> = Rc::default();
    let dict = state.borrow().dict.clone();
    let (number, owner) = graph.remember(name, state.clone());
    let probe = graph.probe.clone();
    let changes: VecStream<'s, (Id, BatchTime, i64)> = batched(
        &graph.flow,
        site,
        pairs.inner(),
        Pipeline,
        |slots, t, rows: Rows<(K, i64)>| {
            let at: &mut Vec<Rows<(K, i64)>> = slots.at(t);
            at.push(rows);
        },
        move |tick, rows, give| {
            let probe = &probe;
            give(owner.batch(tick, || state.borrow_mut().batch(tick.time, rows, |t| !probe.less_equal(&t))))
        },
    );
    (Keyed { changes, dict }, number)
}

/// What each key adds up to: the dictionary knows.
struct Sums<K> {
    dict: Rc<RefCell<Dict<K>>>,
    /// What was loaded and is not in the view yet.
    loaded: Vec<(Id, i64)>,
    /// Groups with changes since the last cut.
    changed: Groups,
    /// What a cut is to save: the ids of each group, looked up when the first is asked for.
    cut: Vec<Vec<Id>>,
}

impl<K> Default for Sums<K> {
    fn default() -> Self {
        Sums { dict: Rc::default(), loaded: Vec::new(), changed: 0, cut: Vec::new() }
    }
}

impl<K: Key> Sums<K> {
    /// What a batch changes; in the first one, what was loaded enters.
    fn batch(
        &mut self,
        t: BatchTime,
        rows: Vec<Rows<(K, i64)>>,
        passed: impl Fn(BatchTime) -> bool,
    ) -> Vec<(Id, BatchTime, i64)> {
        let mut changes: Vec<_> = self.loaded.drain(..).map(|(id, n)| (id, t, n)).collect();
        changes.reserve(rows.iter().map(|r| r.rows.len()).sum());
        let mut dict = self.dict.borrow_mut();
        dict.tidy(passed);
        for (k, n) in rows.into_iter().flat_map(Rows::take) {
            let id = dict.id(k, t);
            self.changed |= 1 << dict.hold(id, n, t);
            changes.push((id, t, n));
        }
        changes
    }
}

impl<K: Key> KeyedState for Sums<K> {
    fn cut(&mut self, _: BatchTime) -> Changed {
        self.cut.clear();
        Changed { groups: std::mem::take(&mut self.changed), gone: None }
    }

    fn save(&mut self, group: u64, _: BatchTime) -> Vec<u8> {
        let dict = self.dict.borrow();
        if self.cut.is_empty() {
            self.cut = dict.held_by_group();
        }
        let ids = std::mem::take(&mut self.cut[group as usize]);
        let sums: Vec<(&K, i64)> = ids.into_iter().map(|id| dict.held(id)).collect();
        if sums.is_empty() { Vec::new() } else { encoded(&sums) }
    }

    fn load(&mut self, bytes: &[u8], _: BatchTime) -> Result<(), BoxError> {
        let mut dict = self.dict.borrow_mut();
        for (key, n) in postcard::from_bytes::<Vec<(K, i64)>>(bytes)? {
            let id = dict.id(key, BatchTime::default());
            if dict.held(id).1 != 0 {
                return Err(format!("{:?} is there twice", dict.name(id)).into());
            }
            dict.hold(id, n, BatchTime::default());
            self.loaded.push((id, n));
        }
        Ok(())
    }
}

/// See [`crate::engine::state::take_any`].
#[cfg(any(test, feature = "testing"))]
pub(crate) fn take_any(bytes: &[u8]) -> bool {
    crate::engine::state::take_any(Sums::<String>::default(), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn sums_go_out_and_come_in_by_key_group() {
        let mut all: Sums<String> = Sums::default();
        for n in 1..100i64 {
            let id = all.dict.borrow_mut().id(format!("k{n}"), BatchTime::default());
            all.dict.borrow_mut().hold(id, n, BatchTime::default());
        }
        let t = BatchTime::from_millis(1);
        all.cut(t);
        let mut again: Sums<String> = Sums::default();
        for piece in (0..crate::core::data::KEY_GROUPS).map(|g| all.save(g, t)).filter(|p| !p.is_empty()) {
            again.load(&piece, t).unwrap();
        }
        let total = |s: &Sums<String>| {
            let dict = s.dict.borrow();
            dict.held_by_group()
                .concat()
                .into_iter()
                .map(|id| dict.held(id))
                .map(|(k, n)| (k.clone(), n))
                .collect::<BTreeMap<_, _>>()
        };
        assert_eq!(total(&again), total(&all));
        assert_eq!(again.loaded.iter().map(|(_, n)| n).sum::<i64>(), 4950);
        all.dict.borrow_mut().tidy(|_| true);
        assert_eq!(all.dict.borrow().len(), 99);
    }
}
