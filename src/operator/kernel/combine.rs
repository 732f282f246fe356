//! The kernel under everything that is reduced by key: combine on each worker while the batch is open, then exchange one row a
//! key to the worker that owns it, and combine again.

use std::cell::RefCell;
use std::rc::Rc;

use crate::api::context::Graph;
use crate::api::dstream::{Case, DStream};
use crate::core::data::{Data, Exchange, KEY_GROUPS, Key, PartitionId, Rows};
use crate::core::time::BatchTime;
use crate::engine::flow::{Give, RowStream, Site, VecStream, batched, batched_fork, route};
use crate::operator::kernel::partial_table::{Book, Parcel, Reader, Whole, Writer};

impl<'s, T: 'static> DStream<'s, T> {
    /// Folds each container into the sums of its batch, and merges those of all workers by key. The result lies with the owner of
    /// its key.
    pub(crate) fn combine<K: Key, A: Exchange>(
        &self,
        site: &Site,
        zero: A,
        mut fold: impl FnMut(&mut Book<K, A>, Rows<T>) + 'static,
        merge: impl Fn(&mut A, A) + 'static,
    ) -> DStream<'s, (K, A)> {
        self.try_combine(site, zero, move |book, _, rows, _: &mut Give<'_, Rows<()>>| fold(book, rows), merge).0
    }

    /// As `combine`; what cannot be folded goes into a stream of its own.
    pub(crate) fn try_combine<K: Key, A: Exchange, E: Data>(
        &self,
        site: &Site,
        zero: A,
        mut fold: impl FnMut(&mut Book<K, A>, BatchTime, Rows<T>, &mut Give<'_, Rows<E>>) + 'static,
        merge: impl Fn(&mut A, A) + 'static,
    ) -> (DStream<'s, (K, A)>, DStream<'s, E>) {
        let graph = &self.node.graph;
        let (flow, peers) = (&graph.flow, graph.flow.scope.peers());
        let writer = Rc::new(RefCell::new(Writer::new(flow.scope.index(), peers, zero)));
        let own = writer.clone();
        let absorb = move |book: &mut Option<Book<K, A>>, t: BatchTime, rows, errors: &mut Give<'_, _>| {
            fold(book.get_or_insert_with(|| own.borrow_mut().open(t)), t, rows, errors);
        };
        let (rows, errors) = if peers == 1 {
            batched_fork(flow, site, self.inner(), false, absorb, move |book: Option<_>, give| {
                book.into_iter().for_each(|b| writer.borrow_mut().rows(b, give));
            })
        } else {
            // Eager: the next batch is written in the same book while that is at hand.
            let (parcels, errors) = batched_fork(flow, site, self.inner(), true, absorb, move |book: Option<_>, give| {
                book.into_iter().for_each(|b| writer.borrow_mut().parcels(b, give));
            });
            (owned(graph, site, parcels, merge), errors)
        };
        (self.wide(rows, Case::Bag { grouped: true }).placed(true), self.narrow(errors))
    }
}

/// Sends partial results to their keys' owners and merges them there, once a batch.
fn owned<'s, K: Key, A: Exchange>(
    graph: &Graph<'s>,
    site: &Site,
    parcels: VecStream<'s, Parcel<K, A>>,
    merge: impl Fn(&mut A, A) + 'static,
) -> RowStream<'s, (K, A)> {
    let reader = Rc::new(RefCell::new(Reader::new(graph.flow.scope.peers())));
    let own = reader.clone();
    batched(
        &graph.flow,
        site,
        parcels,
        route(|p: &Parcel<K, A>| p.to.into()),
        move |slots, t, parcels: Vec<Parcel<K, A>>| {
            let whole: &mut Whole<A> = slots.at(t);
            parcels.into_iter().for_each(|p| reader.borrow_mut().read(t, p, whole, &merge));
        },
        move |tick, whole, give| own.borrow_mut().rows(tick.time, whole, give),
    )
}

/// Gives the rows of each key group as one container.
pub(crate) fn by_group<R>(side: u16, rows: Vec<(u64, R)>, give: &mut Give<'_, Rows<R>>) {
    let mut sizes = [0usize; KEY_GROUPS as usize];
    rows.iter().for_each(|(g, _)| sizes[*g as usize] += 1);
    let mut groups: Vec<Vec<R>> = sizes.iter().map(|n| Vec::with_capacity(*n)).collect();
    rows.into_iter().for_each(|(g, row)| groups[g as usize].push(row));
    for (group, rows) in groups.into_iter().enumerate().filter(|(_, r)| !r.is_empty()) {
        give(Rows::new(PartitionId { branch: side, index: group as u32 }, rows));
    }
}
