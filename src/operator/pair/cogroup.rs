//! `cogroup`, and the kernel `cogrouped` under it and the joins: the values of a key in two streams, batch by batch.

use std::collections::BTreeMap;

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Concat;

use crate::api::dstream::DStream;
use crate::core::data::{Exchange, FastMap, Key, PartitionId, Rows};
use crate::engine::flow::batched;
use crate::engine::operator_id::OperatorId;

/// The values of a key on the left and on the right.
type Sides<V, W> = (Vec<V>, Vec<W>);

/// The keys of both batches, by key group.
type Batch<K, V, W> = BTreeMap<PartitionId, FastMap<K, Sides<V, W>>>;

impl<'s, K: 'static, V: 'static> DStream<'s, (K, V)> {
    /// A row `(key, (left, right))` per batch for each key of either stream: all its values here, and all its values there. A key that
    /// only one stream has comes with an empty vector for the other. Values are in the order of their stream, as for
    /// [`DStream::group_by_key`]. Rows are in no order; outputs sort them.
    ///
    /// The values of both streams move to the workers that own their keys. Keeps no state.
    ///
    /// ```
    /// use tidemill::testing::check2;
    /// check2(
    ///     [vec![('a', 1), ('b', 2), ('a', 3)]],
    ///     [vec![('a', true), ('c', false)]],
    ///     |s, other| s.cogroup(other),
    ///     [vec![('a', (vec![1, 3], vec![true])), ('b', (vec![2], vec![])), ('c', (vec![], vec![false]))]],
    /// );
    /// ```
    #[doc(alias = "groupWith")]
    #[track_caller]
    #[allow(clippy::type_complexity, reason = "the row, as a program sees it")]
    pub fn cogroup<W: Exchange>(&self, other: &DStream<'s, (K, W)>) -> DStream<'s, (K, (Vec<V>, Vec<W>))>
    where
        K: Key,
        V: Exchange,
    {
        let operator = self.operator::<(K, V, W)>("cogroup", "");
        self.cogrouped(other, &operator, |left, right| vec![(left, right)])
    }

    /// The kernel: `of_key` makes the rows of a key from its values in both streams. They lie on the worker that owns the key.
    pub(crate) fn cogrouped<W: Exchange, R: Clone + 'static>(
        &self,
        other: &DStream<'s, (K, W)>,
        operator: &OperatorId,
        of_key: impl Fn(Vec<V>, Vec<W>) -> Vec<R> + 'static,
    ) -> DStream<'s, (K, R)>
    where
        K: Key,
        V: Exchange,
    {
        let left = self.grouped(operator).mapped(operator, true, |(k, vs)| (k, (vs, Vec::<W>::new())));
        let right = other.grouped(operator).mapped(operator, true, |(k, ws)| (k, (Vec::<V>::new(), ws)));
        let (meta, operator) = (left.node.meta.join(&right.node.meta), operator.clone());
        let both = move || {
            batched(
                &left.flow().silent_when_empty(),
                &operator,
                left.inner().concat(right.inner()),
                Pipeline,
                |pending, t, rows: Rows<(K, Sides<V, W>)>| {
                    let groups: &mut Batch<K, V, W> = pending.at(t);
                    let keys = groups.entry(rows.partition).or_default();
                    for (k, (vs, ws)) in rows.take() {
                        let (left, right) = keys.entry(k).or_default();
                        left.extend(vs);
                        right.extend(ws);
                    }
                },
                move |_, groups, emit| {
                    for (group, keys) in groups {
                        let rows = keys
                            .into_iter()
                            .flat_map(|(k, (left, right))| of_key(left, right).into_iter().map(move |row| (k.clone(), row)));
                        emit(Rows::new(group, rows.collect()));
                    }
                },
            )
        };
        DStream::new_keyed(&self.node.graph, both, meta)
    }
}

/// Every value on the left with every value on the right.
pub(super) fn every_pair<V: Clone, W: Clone>(left: Vec<V>, right: Vec<W>) -> Vec<(V, W)> {
    left.iter().flat_map(|v| right.iter().map(|w| (v.clone(), w.clone()))).collect()
}

/// The values of an outer join: one `None` where there are no values.
pub(super) fn or_none<V>(values: Vec<V>) -> Vec<Option<V>> {
    if values.is_empty() { vec![None] } else { values.into_iter().map(Some).collect() }
}
