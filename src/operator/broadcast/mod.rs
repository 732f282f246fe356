//! Values that every worker has, and that change between batches: `Broadcast`. Streams read them without an exchange.
//!
//! A broadcast is a stream of patches on each worker. Each verb that reads it has a copy, and applies the patches of a batch before it
//! takes the rows. So all workers see the same version in a batch, and a batch that runs again sees it, too.

mod flat_map_with_broadcast;
mod join_broadcast;
mod map_partitions_with_broadcast;
mod table;

use std::rc::Rc;

use crate::api::dstream::{Lazy, lazy};
use crate::api::meta::Meta;
use crate::api::view::View;
use crate::core::data::Key;
use crate::core::time::BatchTime;
use crate::engine::flow::{VecStream, batched, map_containers, route};
use crate::engine::operator_id::OperatorId;

pub use table::Table;

/// A value that every worker has: Spark's broadcast variable, which may change between batches. Flink's broadcast state.
///
/// [`View::broadcast`] and [`StreamingContext::broadcast_file`](crate::api::context::StreamingContext::broadcast_file) make one.
/// [`DStream::flat_map_with_broadcast`](crate::prelude::DStream::flat_map_with_broadcast) and
/// [`DStream::join_broadcast`](crate::prelude::DStream::join_broadcast) read it. Handles are cheap to clone.
///
/// A value that never changes needs no broadcast: a closure captures an `Arc` of it (docs/guide/captured-values.md).
///
/// ```
/// use tidemill::prelude::*;
/// use tidemill::testing::check2;
/// check2(
///     [vec!["a", "b"], vec!["a", "b"]],
///     [vec![("a", 1)], vec![("b", 2)]],
///     |words, prices| {
///         let prices: Broadcast<Table<String, i64>> = prices.map(|(k, n)| (k.to_owned(), n)).latest_by_key().broadcast();
///         words.flat_map_with_broadcast(&prices, |word, prices| prices.get(word).copied())
///     },
///     [vec![1], vec![1, 2]],
/// );
/// ```
pub struct Broadcast<'s, B: 'static> {
    meta: Meta,
    patches: Rc<Lazy<'s, VecStream<'s, Patch<B>>>>,
}

impl<B> Clone for Broadcast<'_, B> {
    fn clone(&self) -> Self {
        Broadcast { meta: self.meta.clone(), patches: self.patches.clone() }
    }
}

/// What changes the copy of a verb. There is no value before the first patch.
pub(crate) type Patch<B> = Rc<dyn Fn(&mut Option<Rc<B>>)>;

impl<'s, T: Key> View<'s, T> {
    /// Every worker gets all rows of this view: what `patch` makes of the changes of each batch, if there are any, and of the first one.
    pub(crate) fn broadcast_as<B>(
        &self,
        operator: OperatorId,
        mut patch: impl FnMut(Vec<(T, i64)>) -> Patch<B> + 'static,
    ) -> Broadcast<'s, B> {
        let (view, meta) = (self.clone(), self.node.meta.clone());
        let patches = lazy(move || {
            let flow = &view.node.graph.flow;
            let peers = flow.scope.peers() as u64;
            let copies = map_containers(flow, &operator, view.rows(), move |_, changes: Vec<(T, BatchTime, i64)>, emit| {
                let to_all = changes.into_iter().flat_map(|(row, t, n)| (0..peers).map(move |to| (to, row.clone(), t, n)));
                emit(to_all.collect::<Vec<(u64, T, BatchTime, i64)>>());
            });
            let mut first = true;
            batched(
                flow,
                &operator,
                copies,
                route(|(to, ..): &(u64, T, BatchTime, i64)| *to),
                |pending, _, copies: Vec<(u64, T, BatchTime, i64)>| {
                    for (_, row, t, n) in copies {
                        let changes: &mut Vec<(T, i64)> = pending.at(t);
                        changes.push((row, n));
                    }
                },
                move |_, changes, emit| {
                    if std::mem::take(&mut first) || !changes.is_empty() {
                        emit(vec![patch(changes)]);
                    }
                },
            )
        });
        Broadcast { meta, patches: Rc::new(patches) }
    }
}
