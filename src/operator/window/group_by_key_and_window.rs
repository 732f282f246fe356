//! `group_by_key_and_window`: all values of each key of the last batches.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::api::dstream::DStream;
use crate::core::data::{Exchange, FastMap, Key, PartitionId, Rows};
use crate::core::slide::Slide;
use crate::engine::flow::collect_batches;
use crate::engine::operator_id::OperatorId;

impl<'s, K: 'static, V: 'static> DStream<'s, (K, V)> {
    /// Every `slide`, a row `(key, values)` for each key of the batches in the last `length`; no batch at other times. The values of the
    /// oldest batch come first, those of each batch in the order of [`DStream::group_by_key`]. Rows are in no order; outputs sort them.
    ///
    /// The values move to the workers that own their keys once, in their own batch. But a slide costs all values of the window: to reduce
    /// them, [`DStream::reduce_by_key_and_window`] costs only the changes. State: all values of the window, saved in checkpoints.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 1), ('b', 5), ('a', 2)], vec![('a', 0)], vec![]],
    ///     |s| s.group_by_key_and_window(millis(2), Slide::every_batch()),
    ///     [vec![('a', vec![1, 2]), ('b', vec![5])], vec![('a', vec![1, 2, 0]), ('b', vec![5])], vec![('a', vec![0])]],
    /// );
    /// ```
    #[doc(alias = "groupByKeyAndWindow")]
    #[track_caller]
    pub fn group_by_key_and_window(&self, length: Duration, slide: impl Into<Slide>) -> DStream<'s, (K, Vec<V>)>
    where
        K: Key,
        V: Exchange,
    {
        let operator = OperatorId::of("group_by_key_and_window");
        let batches = self.grouped(&operator).windowed(&operator, length, &slide.into());
        let meta = batches.node.meta.clone();
        let joined = move || {
            collect_batches(batches.flow(), &operator, batches.inner(), |_, window: Vec<Rows<(K, Vec<V>)>>, emit| {
                let mut groups: BTreeMap<u32, FastMap<K, Vec<V>>> = BTreeMap::new();
                // The oldest batch comes first.
                for rows in window {
                    let group = groups.entry(rows.partition.index).or_default();
                    for (k, values) in rows.rows.iter() {
                        group.entry(k.clone()).or_default().extend_from_slice(values);
                    }
                }
                for (index, group) in groups {
                    emit(Rows::new(PartitionId { branch: 0, index }, group.into_iter().collect()));
                }
            })
        };
        DStream::new_keyed(&self.node.graph, joined, meta)
    }
}
