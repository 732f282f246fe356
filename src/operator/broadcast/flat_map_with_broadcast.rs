//! `flat_map_with_broadcast`: any number of rows for one row and a broadcast value. Also the kernel of such verbs.

use std::rc::Rc;

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Concat;

use crate::api::dstream::DStream;
use crate::core::data::{Data, Rows};
use crate::core::error::Error;
use crate::core::origin::OriginsWanted;
use crate::engine::flow::{Emitter, RowStream, VecStream, batched, map_containers};
use crate::engine::operator_id::OperatorId;
use crate::operator::broadcast::{Broadcast, Patch};
use crate::operator::flat_map::flat;

/// Rows of the stream, or a patch of the broadcast.
enum Side<T, B> {
    Rows(Rows<T>),
    Patch(Patch<B>),
}

impl<T, B> Clone for Side<T, B> {
    fn clone(&self) -> Self {
        match self {
            Side::Rows(rows) => Side::Rows(rows.clone()),
            Side::Patch(patch) => Side::Patch(patch.clone()),
        }
    }
}

/// The patches of a batch, and its rows.
type Batch<T, B> = (Vec<Patch<B>>, Vec<Rows<T>>);

impl<'s, T: Data> DStream<'s, T> {
    /// All rows that `f` returns for each row and the value of a broadcast as of the batch, in the same partitions and order. `f` may return
    /// an `Option`, so it also maps and filters: `|row, allowed| allowed.contains(&row.host).then_some(row)`.
    ///
    /// The rows stay on their workers, where those of [`DStream::join_view`] are exchanged by key. `f` runs when the batch is closed, because
    /// the broadcast may change until then. Results are not corrected when it changes later. Keeps no state.
    ///
    /// ```
    /// use tidemill::testing::check2;
    /// check2(
    ///     [vec![3, 5], vec![3, 5]],
    ///     [vec![4], vec![]],
    ///     |numbers, limits| {
    ///         let limit = limits.map(|limit| ((), limit)).latest_by_key().broadcast();
    ///         numbers.flat_map_with_broadcast(&limit, |n, limit| limit.get(&()).filter(|limit| n < **limit).map(|_| n))
    ///     },
    ///     [vec![3], vec![3]],
    /// );
    /// ```
    #[track_caller]
    pub fn flat_map_with_broadcast<B: 'static, U: Data, I: IntoIterator<Item = U>>(
        &self,
        broadcast: &Broadcast<'s, B>,
        f: impl FnMut(T, &B) -> I + 'static,
    ) -> DStream<'s, U> {
        let operator = self.operator::<U>("flat_map_with_broadcast", "");
        self.with_broadcast(operator, false, broadcast, f)
    }

    /// A verb that makes rows of each row and a broadcast. `keyed`: rows keep their key.
    pub(super) fn with_broadcast<B: 'static, U: Data, I: IntoIterator<Item = U>>(
        &self,
        operator: OperatorId,
        keyed: bool,
        broadcast: &Broadcast<'s, B>,
        mut f: impl FnMut(T, &B) -> I + 'static,
    ) -> DStream<'s, U> {
        let wanted = OriginsWanted::below([self.node.wants_origins.clone()]);
        let asked = wanted.clone();
        self.with_patches(operator, keyed, wanted, broadcast, move |containers, value, emit: &mut Emitter<'_, _>| {
            for rows in containers {
                emit(flat(rows, &asked, |row| f(row, value)));
            }
        })
    }

    /// The kernel of the verbs that read a broadcast: `f` gets the rows of a batch on this worker, and the value as of the batch. `keyed`: rows
    /// keep their key.
    pub(super) fn with_patches<B: 'static, U: Data>(
        &self,
        operator: OperatorId,
        keyed: bool,
        wanted: Rc<OriginsWanted>,
        broadcast: &Broadcast<'s, B>,
        f: impl FnMut(Vec<Rows<T>>, &B, &mut Emitter<'_, Rows<U>>) + 'static,
    ) -> DStream<'s, U> {
        let (node, own, broadcast) = (&self.node, self.clone(), broadcast.clone());
        let meta = node.meta.join(&broadcast.meta).scheduled(node.meta.schedule.clone());
        let make = move || own.patched(&operator, &broadcast, f);
        DStream::build(&node.graph, make, node.orders.clone(), meta, keyed && node.keyed, wanted)
    }

    /// Builds the operators of `with_patches`.
    fn patched<B: 'static, U: Data>(
        &self,
        operator: &OperatorId,
        broadcast: &Broadcast<'s, B>,
        mut f: impl FnMut(Vec<Rows<T>>, &B, &mut Emitter<'_, Rows<U>>) + 'static,
    ) -> RowStream<'s, U> {
        let flow = self.flow();
        let rows: VecStream<'s, Side<T, B>> =
            map_containers(flow, operator, self.inner(), |_, rows, emit| emit(vec![Side::Rows(rows)]));
        let patches = map_containers(flow, operator, (**broadcast.patches).clone(), |_, patches: Vec<_>, emit| {
            emit(patches.into_iter().map(Side::Patch).collect());
        });
        let (fail, name) = (self.node.graph.fail.clone(), operator.to_string());
        let mut value: Option<Rc<B>> = None;
        batched(
            flow,
            operator,
            rows.concat(patches),
            Pipeline,
            |pending, t, sides: Vec<Side<T, B>>| {
                let (patches, rows): &mut Batch<T, B> = pending.at(t);
                for side in sides {
                    match side {
                        Side::Rows(of_partition) => rows.push(of_partition),
                        Side::Patch(patch) => patches.push(patch),
                    }
                }
            },
            move |tick, (patches, rows), emit| {
                patches.iter().for_each(|patch| patch(&mut value));
                match &value {
                    Some(value) => f(rows, value, emit),
                    None if rows.is_empty() => {}
                    None => {
                        let why = "the broadcast has no value in the batch of";
                        fail(Error::config(format!("{name}: {why} {}; a given plan must have its file", tick.time)));
                    }
                }
            },
        )
    }
}
