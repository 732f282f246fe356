//! `fold_by_key`: the values of each key since the job began, folded by a function, as a view.

use std::cell::RefCell;
use std::rc::Rc;

use hashbrown::hash_map::Entry;

use super::states::States;
use crate::api::dstream::DStream;
use crate::api::view::{Form, View, ViewNode};
use crate::core::data::{Exchange, Key, Rows};
use crate::core::error::BoxError;
use crate::core::key_groups::{ByGroup, KeyGroups};
use crate::core::time::BatchTime;
use crate::engine::flow::collect_batches;
use crate::engine::operator_id::OperatorId;
use crate::engine::state::{Changes as Changed, Groups, KeyedState};
use crate::metrics::held::Held;

impl<'s, K: 'static, V: 'static> DStream<'s, (K, V)> {
    /// A view with a row `(key, state)` for each key: all its values since the job began, folded by `f`, starting with `init`.
    ///
    /// `f` sees values in the order in which they were read, so it need be neither associative nor commutative. A key has a row from
    /// its first value on, for ever: [`DStream::update_state_by_key`] can forget keys. The state must be a `Key`; for floats use
    /// [`crate::core::data::F64`].
    ///
    /// A batch costs the keys in it; their values move to the workers that own them. State: one per key, saved in checkpoints.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 1), ('b', 7), ('a', 2)], vec![], vec![('a', 3)]],
    ///     |s| s.fold_by_key(0, |digits, n| digits * 10 + n).update(),
    ///     [vec![('a', 12), ('b', 7)], vec![], vec![('a', 123)]],
    /// );
    /// ```
    #[track_caller]
    pub fn fold_by_key<S: Key>(&self, init: S, f: impl FnMut(S, V) -> S + 'static) -> View<'s, (K, S)>
    where
        K: Key,
        V: Exchange,
    {
        let operator = self.operator::<(K, S)>("fold_by_key", "");
        self.folded(&operator, init, f)
    }

    pub(crate) fn folded<S: Key>(
        &self,
        operator: &OperatorId,
        init: S,
        mut f: impl FnMut(S, V) -> S + 'static,
    ) -> View<'s, (K, S)>
    where
        K: Key,
        V: Exchange,
    {
        self.stepped(operator, move |old, values| {
            let old = old.cloned().unwrap_or_else(|| init.clone());
            values.into_iter().fold(old, &mut f)
        })
    }

    /// The kernel: the state of each key, on the worker that owns the key. `step` makes it of the previous state and the values of a
    /// batch, at least one.
    pub(super) fn stepped<S: Key>(
        &self,
        operator: &OperatorId,
        mut step: impl FnMut(Option<&S>, Vec<V>) -> S + 'static,
    ) -> View<'s, (K, S)>
    where
        K: Key,
        V: Exchange,
    {
        let graph = &self.node.graph;
        let state: Rc<RefCell<Folds<K, S>>> = Rc::new(RefCell::new(Folds::new(graph.key_groups())));
        let (number, owner) = graph.register_state(operator, state.clone());
        let (grouped, verb, operator) = (self.grouped(operator), operator.to_string(), operator.clone());
        let changes = Form::rows(move || {
            let owner = owner.build();
            let flow = grouped.flow().silent_when_empty();
            collect_batches(&flow, &operator, grouped.inner(), move |tick, batch: Vec<Rows<(K, Vec<V>)>>, emit| {
                emit(owner.batch(tick, || {
                    let mut state = state.borrow_mut();
                    let mut changes = state.restored_rows(tick.time);
                    for rows in batch {
                        let group = rows.partition.index;
                        for (k, values) in rows.take() {
                            state.step(group, k, |old| step(old, values), tick.time, &mut changes);
                        }
                    }
                    changes
                }))
            })
        });
        let meta = self.node.meta.every(graph.config.interval.millis()).with_state(number);
        ViewNode::new(graph, meta, changes, Some(verb)).co_located(true).view()
    }
}

/// Every key's state.
struct Folds<K, S> {
    states: States<K, S>,
    /// Whether states were restored and are not in the view yet.
    loaded: bool,
    /// Key groups with changes since the last snapshot.
    changed: Groups,
}

type Changes<K, S> = Vec<((K, S), BatchTime, i64)>;

impl<K: Key, S: Key> Folds<K, S> {
    fn new(groups: KeyGroups) -> Self {
        Folds { states: States::new(groups), loaded: false, changed: Groups::default() }
    }

    /// Restored rows enter the view with the first batch.
    fn restored_rows(&mut self, t: BatchTime) -> Changes<K, S> {
        let loaded = std::mem::take(&mut self.loaded).then_some(&self.states.of);
        loaded
            .into_iter()
            .flat_map(ByGroup::iter)
            .flat_map(|(_, states)| states)
            .map(|(k, s)| ((k.clone(), s.clone()), t, 1))
            .collect()
    }

    fn step(&mut self, group: u32, k: K, step: impl FnOnce(Option<&S>) -> S, t: BatchTime, changes: &mut Changes<K, S>) {
        self.changed.insert(group);
        match self.states.of.of(group.into()).entry(k) {
            Entry::Occupied(mut e) => {
                let new = step(Some(e.get()));
                if new != *e.get() {
                    let old = e.insert(new.clone());
                    changes.push(((e.key().clone(), old), t, -1));
                    changes.push(((e.key().clone(), new), t, 1));
                }
            }
            Entry::Vacant(e) => {
                let new = step(None);
                changes.push(((e.key().clone(), new.clone()), t, 1));
                e.insert(new);
            }
        }
    }
}

impl<K: Key, S: Key> KeyedState for Folds<K, S> {
    fn snapshot(&mut self, _: BatchTime) -> Changed {
        Changed { groups: std::mem::take(&mut self.changed), expired: None }
    }

    fn held(&self) -> Held {
        self.states.held()
    }

    fn save(&mut self, group: u64, since: BatchTime) -> Vec<u8> {
        self.states.save(group, since)
    }

    fn load(&mut self, bytes: &[u8], cut: BatchTime) -> Result<(), BoxError> {
        self.loaded = true;
        self.states.load(bytes, cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_are_saved_and_restored_by_key_group() {
        let t = BatchTime::from_millis(1);
        let fold = |folds: &mut Folds<String, i64>, k: String, n: i64| {
            let mut changes = Vec::new();
            let group = KeyGroups::default().of(&k) as u32;
            folds.step(group, k, |old| old.unwrap_or(&100) + n + 1, t, &mut changes);
            changes
        };
        let mut all: Folds<String, i64> = Folds::new(KeyGroups::default());
        (0..100).for_each(|n| drop(fold(&mut all, format!("k{n}"), n)));
        let mut again: Folds<String, i64> = Folds::new(KeyGroups::default());
        for piece in (0..KeyGroups::default().count()).map(|g| all.save(g, t)).filter(|p| !p.is_empty()) {
            again.load(&piece, t).unwrap();
        }
        let mut restored_rows = again.restored_rows(t);
        restored_rows.sort();
        assert_eq!((restored_rows.len(), &restored_rows[0]), (100, &(("k0".to_string(), 101), t, 1)));
        assert!(again.restored_rows(t).is_empty(), "once");
        assert_eq!(fold(&mut again, "k7".into(), 3), [(("k7".into(), 108), t, -1), (("k7".into(), 112), t, 1)]);
        assert_eq!(fold(&mut again, "new".into(), 3), [(("new".into(), 104), t, 1)]);
    }
}
