//! `join_view`: a batch meets a view as it is then.

use serde::{Deserialize, Serialize};
use timely::dataflow::operators::Concat;

use crate::api::dstream::{Case, DStream, merged, only};
use crate::api::view::View;
use crate::core::data::{Exchange, FastMap, Key, Rows, key_group};
use crate::core::time::BatchTime;
use crate::engine::flow::{Give, Site, VecStream, batched, expand, route};
use crate::operator::kernel::combine::by_group;

/// A row of the batch, or a change of the view.
#[derive(Clone, Serialize, Deserialize)]
enum Side<V, W> {
    Row(V),
    Change(W, i64),
}

type Sides<'s, K, V, W> = VecStream<'s, (BatchTime, K, Side<V, W>)>;

/// What comes of a key in one batch.
type Batch<K, V, W> = (Vec<(K, V)>, Vec<(K, W, i64)>);

impl<'s, K: Key, V: Exchange> DStream<'s, (K, V)> {
    /// Each row of the batch with every value that its key has in the view at that time, as often as it is there: the lookup
    /// in a table. What was joined is not corrected when the view changes later; [`View::join`] is. Off its grid the view
    /// stands as at its last time on it. A row whose key is not in the view gives nothing.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 1)], vec![('a', 2), ('b', 3)]],
    ///     |s| s.join_view(&s.sum_by_key()),
    ///     [vec![('a', (1, 1))], vec![('a', (2, 3)), ('b', (3, 3))]],
    /// );
    /// ```
    #[doc(alias = "transformWith")]
    #[track_caller]
    pub fn join_view<W: Key>(&self, view: &View<'s, (K, W)>) -> DStream<'s, (K, (V, W))> {
        let site = Site::of("join_view");
        let graph = &self.node.graph;
        graph.note::<(K, V, W)>("join_view", "");
        let rows: Sides<'s, K, V, W> = expand(&graph.flow, &site, self.inner(), |t, rows: Rows<(K, V)>, give| {
            give(rows.take().into_iter().map(|(k, v)| (t, k, Side::Row(v))).collect());
        });
        let changes: Sides<'s, K, V, W> = expand(&graph.flow, &site, view.plain(), |_, changes: Vec<((K, W), _, _)>, give| {
            give(changes.into_iter().map(|((k, w), t, n)| (t, k, Side::Change(w, n))).collect());
        });
        let mut table: FastMap<K, Vec<(W, i64)>> = FastMap::default();
        let joined = batched(
            &graph.flow,
            &site,
            rows.concat(changes),
            route(|(_, k, _): &(BatchTime, K, Side<V, W>)| key_group(k)),
            |slots, _, sides: Vec<(BatchTime, K, Side<V, W>)>| {
                for (t, k, side) in sides {
                    let (rows, changes): &mut Batch<K, V, W> = slots.at(t);
                    match side {
                        Side::Row(v) => rows.push((k, v)),
                        Side::Change(w, n) => changes.push((k, w, n)),
                    }
                }
            },
            move |_, (rows, changes), give: &mut Give<'_, _>| {
                changes.into_iter().for_each(|(k, w, n)| apply(&mut table, k, w, n));
                let mut joined = Vec::new();
                for (k, v) in rows {
                    let Some(values) = table.get(&k) else { continue };
                    let copies = values.iter().flat_map(|(w, n)| std::iter::repeat_n(w, (*n).max(0) as usize));
                    joined.extend(copies.map(|w| (key_group(&k), (k.clone(), (v.clone(), w.clone())))));
                }
                by_group(0, joined, give);
            },
        );
        let lineage = merged(&self.node.lineage, &view.node.lineage);
        DStream::new(graph, joined, &[Case::Bag { grouped: true }], &lineage)
            .on_grid(self.node.grid.clone())
            .with_state(only(self.node.state.get(), view.node.state.get()))
            .placed(true)
    }
}

/// One value more or less under a key; keys have few.
fn apply<K: Key, W: Key>(table: &mut FastMap<K, Vec<(W, i64)>>, k: K, w: W, n: i64) {
    let values = table.entry(k.clone()).or_default();
    match values.binary_search_by(|(old, _)| old.cmp(&w)) {
        Ok(at) => {
            values[at].1 += n;
            if values[at].1 == 0 {
                values.remove(at);
            }
        }
        Err(at) => values.insert(at, (w, n)),
    }
    if values.is_empty() {
        table.remove(&k);
    }
}
