//! `update_state_by_key`: a function updates the state of every key in every batch.

use std::cell::RefCell;
use std::rc::Rc;

use timely::dataflow::channels::pact::Pipeline;

use super::states::States;
use crate::api::dstream::DStream;
use crate::core::data::{Exchange, FastMap, Key, PartitionId, Rows};
use crate::core::time::BatchTime;
use crate::engine::flow::batched;
use crate::engine::operator_id::OperatorId;

impl<'s, K: 'static, V: 'static> DStream<'s, (K, V)> {
    /// A row `(key, state)` per batch for every key that has a state. `f` runs for every key in every batch, even for a key without
    /// values. It gets the batch's values in the order in which they were read, and the previous state (`None` for a new key). It returns
    /// the new state, or `None` to forget the key. Rows have no order; outputs sort them.
    ///
    /// A batch costs all keys, as in Spark. [`DStream::map_with_state`], [`DStream::sum_by_key`] and [`DStream::fold_by_key`] cost only
    /// the keys in the batch. State: one per key that is not forgotten, saved in checkpoints.
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
        self.updated(&OperatorId::of("update_state_by_key"), [], move |_, _, values, state| f(values, state))
    }

    /// Like [`DStream::update_state_by_key`], with states to begin with, and with a function that also gets the batch time and the key.
    ///
    /// `initial` has the states of keys before the first batch; `[]` for none. The last pair of a key counts. It must be the same on
    /// every worker, and each worker keeps the pairs whose keys it owns. A job that continues from a checkpoint with this state does not
    /// use it. A checkpoint of `update_state_by_key` fits this verb too.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// let update = |_time, key: &char, new: &[i64], sum: Option<i64>| {
    ///     let sum = new.iter().sum::<i64>() + sum.unwrap_or(0);
    ///     (*key != 'x').then_some(sum)
    /// };
    /// check(
    ///     [vec![('a', 1), ('b', 5)], vec![('a', 1), ('x', 7)]],
    ///     move |s| s.update_state_by_key_with([('a', 100), ('x', 1)], update),
    ///     [vec![('a', 101), ('b', 5)], vec![('a', 102), ('b', 5)]],
    /// );
    /// ```
    #[doc(alias = "updateStateByKey")]
    #[track_caller]
    pub fn update_state_by_key_with<S: Exchange>(
        &self,
        initial: impl IntoIterator<Item = (K, S)>,
        f: impl FnMut(BatchTime, &K, &[V], Option<S>) -> Option<S> + 'static,
    ) -> DStream<'s, (K, S)>
    where
        K: Key,
        V: Exchange,
    {
        self.updated(&OperatorId::of("update_state_by_key"), initial, f)
    }

    fn updated<S: Exchange>(
        &self,
        operator: &OperatorId,
        initial: impl IntoIterator<Item = (K, S)>,
        mut f: impl FnMut(BatchTime, &K, &[V], Option<S>) -> Option<S> + 'static,
    ) -> DStream<'s, (K, S)>
    where
        K: Key,
        V: Exchange,
    {
        let graph = &self.node.graph;
        graph.register_operator::<(K, S)>(operator, "");
        let states: Rc<RefCell<States<K, S>>> = Rc::new(RefCell::new(States::new(graph.key_groups())));
        let (number, owner) = graph.register_state(operator, states.clone());
        let (grouped, operator) = (self.grouped(operator), operator.clone());
        let (mut initial, schedule) = (graph.own_pairs(initial), self.node.meta.schedule.clone());
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
                        let mut states = states.borrow_mut();
                        for (group, k, s) in std::mem::take(&mut initial).into_iter().filter(|_| !owner.is_restored()) {
                            states.of.of(group.into()).insert(k, s);
                        }
                        if !schedule.has(tick.time) {
                            return;
                        }
                        values.keys().for_each(|group| _ = states.of.of((*group).into()));
                        states.of.for_each_mut(|group, states| {
                            let mut values = values.remove(&(group as u32)).unwrap_or_default();
                            let mut kept = Vec::with_capacity(states.len() + values.len());
                            for (k, s) in states.drain() {
                                let new = values.remove(&k).unwrap_or_default();
                                kept.extend(f(tick.time, &k, &new, Some(s)).map(|s| (k, s)));
                            }
                            for (k, new) in values {
                                kept.extend(f(tick.time, &k, &new, None).map(|s| (k, s)));
                            }
                            states.extend(kept.iter().cloned());
                            emit(Rows::new(PartitionId { branch: 0, index: group as u32 }, kept));
                        });
                    })
                },
            )
        };
        DStream::new_keyed(graph, updated, self.node.meta.with_state(number))
    }
}
