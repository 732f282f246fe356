//! `update_state_by_key`: a function updates the state of every key in every batch.

use std::cell::RefCell;
use std::rc::Rc;

use timely::dataflow::channels::pact::Pipeline;

use crate::api::dstream::DStream;
use crate::core::data::{Exchange, FastMap, KEY_GROUPS, Key, PartitionId, Rows, encoded, key_group};
use crate::core::error::BoxError;
use crate::core::time::BatchTime;
use crate::engine::flow::batched;
use crate::engine::state::{ALL, Changes, KeyedState};

impl<'s, K: 'static, V: 'static> DStream<'s, (K, V)> {
    /// A row `(key, state)` per batch for every key that has a state. `f` runs for every key in every batch, even for a key without
    /// values. It gets the batch's values in the order in which they were read, and the previous state (`None` for a new key). It returns
    /// the new state, or `None` to forget the key. Rows have no order; outputs sort them.
    ///
    /// A batch costs all keys, as in Spark. [`DStream::sum_by_key`] and [`DStream::fold_by_key`] cost only the keys in the batch.
    /// State: one per key that is not forgotten, saved in checkpoints.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 1i64), ('a', 1)], vec![('b', 5)]],
    ///     |s| s.update_state_by_key(|new: &[i64], sum: Option<i64>| Some(new.iter().sum::<i64>() + sum.unwrap_or(0))),
    ///     [vec![('a', 2)], vec![('a', 2), ('b', 5)]],
    /// );
    /// ```
    #[doc(alias = "updateStateByKey")]
    #[track_caller]
    pub fn update_state_by_key<S: Exchange>(
        &self,
        mut f: impl FnMut(&[V], Option<S>) -> Option<S> + 'static,
    ) -> DStream<'s, (K, S)>
    where
        K: Key,
        V: Exchange,
    {
        let graph = &self.node.graph;
        let operator = self.operator::<(K, S)>("update_state_by_key", "");
        let states: Rc<RefCell<States<K, S>>> = Rc::default();
        let (number, owner) = graph.register_state(&operator, states.clone());
        let grouped = self.grouped(&operator);
        let updated = move || {
            let owner = owner.build();
            batched(
                grouped.flow(),
                &operator,
                grouped.inner(),
                Pipeline,
                |pending, t, rows: Rows<(K, Vec<V>)>| {
                    let values: &mut FastMap<u32, FastMap<K, Vec<V>>> = pending.at(t);
                    values.entry(rows.partition.index).or_default().extend(rows.take());
                },
                move |tick, mut values, emit| {
                    owner.batch(tick, || {
                        if tick.restored {
                            return;
                        }
                        for (group, states) in states.borrow_mut().0.iter_mut().enumerate() {
                            let mut values = values.remove(&(group as u32)).unwrap_or_default();
                            let mut kept = Vec::with_capacity(states.len() + values.len());
                            for (k, s) in states.drain() {
                                let new = values.remove(&k).unwrap_or_default();
                                kept.extend(f(&new, Some(s)).map(|s| (k, s)));
                            }
                            for (k, new) in values {
                                kept.extend(f(&new, None).map(|s| (k, s)));
                            }
                            states.extend(kept.iter().cloned());
                            emit(Rows::new(PartitionId { branch: 0, index: group as u32 }, kept));
                        }
                    })
                },
            )
        };
        DStream::new_keyed(graph, updated, self.node.meta.with_state(number))
    }
}

/// Every key's state, by key group.
pub(super) struct States<K, S>(pub Vec<FastMap<K, S>>);

impl<K, S> Default for States<K, S> {
    fn default() -> Self {
        States((0..KEY_GROUPS).map(|_| FastMap::default()).collect())
    }
}

impl<K: Key, S: Exchange> KeyedState for States<K, S> {
    /// The function ran for all keys. Which states have changed shows when they are saved.
    fn snapshot(&mut self, _: BatchTime) -> Changes {
        Changes { groups: ALL, expired: None }
    }

    fn save(&mut self, group: u64, _: BatchTime) -> Vec<u8> {
        let mut of_group: Vec<(&K, &S)> = self.0[group as usize].iter().collect();
        of_group.sort_by(|a, b| a.0.cmp(b.0));
        if of_group.is_empty() { Vec::new() } else { encoded(&of_group) }
    }

    fn load(&mut self, bytes: &[u8], _: BatchTime) -> Result<(), BoxError> {
        for (k, s) in postcard::from_bytes::<Vec<(K, S)>>(bytes)? {
            self.0[key_group(&k) as usize].insert(k, s);
        }
        Ok(())
    }
}

/// See [`crate::engine::state::take_any`].
#[cfg(any(test, feature = "testing"))]
pub(crate) fn take_any(bytes: &[u8]) -> bool {
    crate::engine::state::take_any(States::<String, i64>::default(), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_saved_and_restored_by_key_group() {
        let mut all: States<String, i64> = States::default();
        for n in 0..100 {
            let k = format!("key {n}");
            all.0[key_group(&k) as usize].insert(k, n);
        }
        let mut again: States<String, i64> = States::default();
        for group in 0..crate::core::data::KEY_GROUPS {
            let piece = all.save(group, BatchTime::default());
            if !piece.is_empty() {
                again.load(&piece, BatchTime::default()).unwrap();
            }
        }
        assert_eq!(again.0, all.0);
        assert!(again.load(&[255], BatchTime::default()).is_err());
    }
}
