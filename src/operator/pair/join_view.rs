//! `join_view`: each batch looks up its keys in a view.

use serde::{Deserialize, Serialize};

use crate::api::dstream::DStream;
use crate::api::view::View;
use crate::core::data::{Exchange, Key, Rows};
use crate::core::time::BatchTime;
use crate::engine::flow::{Emitter, RowStream, VecStream, batched, concat, map_containers, route};
use crate::engine::operator_id::OperatorId;
use crate::operator::broadcast::Table;
use crate::operator::kernel::combine::by_group;

/// A row of the batch, or a change of the view.
#[derive(Clone, Serialize, Deserialize)]
enum Side<V, W> {
    Row(V),
    Change(W, i64),
}

type Sides<'s, K, V, W> = VecStream<'s, (BatchTime, K, Side<V, W>)>;

/// The rows of a batch, and the changes of the view.
type Batch<K, V, W> = (Vec<(K, V)>, Vec<(K, W, i64)>);

impl<'s, K: 'static, V: 'static> DStream<'s, (K, V)> {
    /// A lookup in a table, Flink's temporal join. The result has a row `(key, (value, looked up))` for each row of the batch and each
    /// value that its key has in the view at the batch time. A row whose key is not in the view has no result. Rows have no order.
    ///
    /// Results are not corrected when the view changes later. Those of [`View::join`] are. Between two times of the view's schedule
    /// the lookup sees the view as of the earlier one. A batch costs its rows and the changes of the view. Each worker keeps the part
    /// of the view whose keys it owns.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 1)], vec![('a', 2), ('b', 3)]],
    ///     |s| s.join_view(&s.sum_by_key()),
    ///     [vec![('a', (1, 1))], vec![('a', (2, 3)), ('b', (3, 3))]],
    /// );
    /// ```
    #[track_caller]
    pub fn join_view<W: Key>(&self, view: &View<'s, (K, W)>) -> DStream<'s, (K, (V, W))>
    where
        K: Key,
        V: Exchange,
    {
        let operator = self.operator::<(K, V, W)>("join_view", "");
        let meta = self.node.meta.join(&view.node.meta).scheduled(self.node.meta.schedule.clone());
        let (stream, view) = (self.clone(), view.clone());
        DStream::new_keyed(&self.node.graph, move || stream.looked_up(&view, &operator), meta)
    }

    /// Builds the operators of `join_view`.
    fn looked_up<W: Key>(&self, view: &View<'s, (K, W)>, operator: &OperatorId) -> RowStream<'s, (K, (V, W))>
    where
        K: Key,
        V: Exchange,
    {
        let (flow, groups) = (self.flow(), self.node.graph.key_groups());
        let rows: Sides<'s, K, V, W> = map_containers(flow, operator, self.inner(), |t, rows: Rows<(K, V)>, emit| {
            emit(rows.take().into_iter().map(|(k, v)| (t, k, Side::Row(v))).collect());
        });
        let changes: Sides<'s, K, V, W> = map_containers(flow, operator, view.rows(), |_, changes: Vec<((K, W), _, _)>, emit| {
            emit(changes.into_iter().map(|((k, w), t, n)| (t, k, Side::Change(w, n))).collect());
        });
        let mut table: Table<K, W> = Table::default();
        batched(
            &flow.silent_when_empty(),
            operator,
            concat(operator, rows, changes),
            route(move |(_, k, _): &(BatchTime, K, Side<V, W>)| groups.of(k)),
            |pending, _, sides: Vec<(BatchTime, K, Side<V, W>)>| {
                for (t, k, side) in sides {
                    let (rows, changes): &mut Batch<K, V, W> = pending.at(t);
                    match side {
                        Side::Row(v) => rows.push((k, v)),
                        Side::Change(w, n) => changes.push((k, w, n)),
                    }
                }
            },
            move |_, (rows, changes), emit: &mut Emitter<'_, _>| {
                changes.into_iter().for_each(|(k, w, n)| table.apply(k, w, n));
                let mut joined = Vec::new();
                for (k, v) in rows {
                    joined.extend(table.values(&k).map(|w| (groups.of(&k), (k.clone(), (v.clone(), w.clone())))));
                }
                by_group(0, joined, emit);
            },
        )
    }
}
