//! The kernel under everything that is reduced by key: combine on each worker while the batch is open, then exchange one row a
//! key to the worker that owns it, and combine again.

use std::cell::Cell;
use std::hash::Hash;
use std::rc::Rc;

use hashbrown::hash_map::EntryRef;
use timely::dataflow::channels::pact::Pipeline;

use crate::context::Graph;
use crate::data::{Exchange, FastMap, KEY_GROUPS, Key, Lane, Rows, key_group};
use crate::dstream::{Case, DStream};
use crate::flow::{RowStream, Site, VecStream, batched, expand, route};

/// The rows of a batch by key, as far as they have come.
pub(crate) type Partial<K, A> = FastMap<K, A>;

impl<'s, T: 'static> DStream<'s, T> {
    /// Folds each container into the map of its batch, and merges the maps by key. The result lies with the owner of its key.
    pub(crate) fn combine<K: Key, A: Exchange>(
        &self,
        site: &Site,
        mut fold: impl FnMut(&mut Partial<K, A>, Rows<T>) + 'static,
        merge: impl Fn(&mut A, A) + 'static,
    ) -> DStream<'s, (K, A)> {
        let graph = &self.node.graph;
        // A batch is most often like the one before it: its map begins at that size.
        let last = Rc::new(Cell::new(0));
        let seen = last.clone();
        let partial = batched(
            &graph.flow,
            site,
            self.inner(),
            Pipeline,
            move |slots, t, rows| {
                let map: &mut Partial<K, A> = slots.at(t);
                if map.capacity() == 0 {
                    map.reserve(last.get());
                }
                fold(map, rows)
            },
            move |_, map: Partial<K, A>, give: &mut crate::flow::Give<'_, Vec<(u64, (K, A))>>| {
                seen.set(map.len());
                give(map.into_iter().map(|(k, a)| (key_group(&k), (k, a))).collect())
            },
        );
        self.wide(combined(graph, site, partial, merge), Case::Bag { grouped: true }).placed(true)
    }
}

/// Sends partial results to their keys' owners and merges them there, once a batch.
pub(crate) fn combined<'s, K: Key, A: Exchange>(
    graph: &Graph<'s>,
    site: &Site,
    partial: VecStream<'s, (u64, (K, A))>,
    merge: impl Fn(&mut A, A) + 'static,
) -> RowStream<'s, (K, A)> {
    // One worker has merged already.
    if graph.flow.scope.peers() == 1 {
        return expand(&graph.flow, site, partial, |_, rows: Vec<(u64, (K, A))>, give| by_group(0, rows, give));
    }
    batched(
        &graph.flow,
        site,
        partial,
        route(|(group, _): &(u64, (K, A))| *group),
        move |slots, t, rows: Vec<(u64, (K, A))>| {
            let map: &mut FastMap<K, (u64, A)> = slots.at(t);
            for (group, (k, a)) in rows {
                match map.entry(k) {
                    hashbrown::hash_map::Entry::Occupied(mut e) => merge(&mut e.get_mut().1, a),
                    hashbrown::hash_map::Entry::Vacant(e) => drop(e.insert((group, a))),
                }
            }
        },
        |_, map, give| by_group(0, map.into_iter().map(|(k, (g, a))| (g, (k, a))).collect(), give),
    )
}

/// Gives the rows of each key group as one container.
pub(crate) fn by_group<R>(side: u16, rows: Vec<(u64, R)>, give: &mut crate::flow::Give<'_, Rows<R>>) {
    let mut sizes = [0usize; KEY_GROUPS as usize];
    rows.iter().for_each(|(g, _)| sizes[*g as usize] += 1);
    let mut groups: Vec<Vec<R>> = sizes.iter().map(|n| Vec::with_capacity(*n)).collect();
    rows.into_iter().for_each(|(g, row)| groups[g as usize].push(row));
    for (group, rows) in groups.into_iter().enumerate().filter(|(_, r)| !r.is_empty()) {
        give(Rows::new(Lane { side, lane: group as u32 }, rows));
    }
}

/// Adds one occurrence of a borrowed key, owning it only if it is new.
pub(crate) fn add_one<Q: ?Sized + Hash + Eq + ToOwned>(map: &mut FastMap<Q::Owned, i64>, key: &Q)
where
    Q::Owned: Hash + Eq + std::borrow::Borrow<Q>,
{
    match map.entry_ref(key) {
        EntryRef::Occupied(mut e) => *e.get_mut() += 1,
        EntryRef::Vacant(e) => _ = e.insert_with_key(key.to_owned(), 1),
    }
}
