//! The kernel of counts and reductions by key. It combines rows on each worker while the batch is open. Then it sends one row per key to
//! the worker that owns the key, and combines again.

use std::cell::RefCell;
use std::rc::Rc;

use crate::api::context::Graph;
use crate::api::dstream::{DStream, lazy};
use crate::core::data::{Data, Exchange, Key, PartitionId, Rows};
use crate::core::key_groups::ByGroup;
use crate::core::time::BatchTime;
use crate::engine::flow::{Emitter, RowStream, VecStream, batched, batched_split, route};
use crate::engine::operator_id::OperatorId;
use crate::operator::kernel::partial_table::{Combiner, MergedTable, Merger, PartialBatch, PartialTable};

impl<'s, T: 'static> DStream<'s, T> {
    /// Folds each container into the worker's table of its batch, and merges the tables of all workers by key. A result lies on the
    /// worker that owns its key.
    pub(crate) fn combine<K: Key, A: Exchange>(
        &self,
        operator: &OperatorId,
        zero: A,
        mut fold: impl FnMut(&mut PartialTable<K, A>, Rows<T>) + 'static,
        merge: impl Fn(&mut A, A) + 'static,
    ) -> DStream<'s, (K, A)> {
        self.try_combine(operator, zero, move |table, _, rows, _: &mut Emitter<'_, Rows<()>>| fold(table, rows), merge).0
    }

    /// As `combine`; rows that cannot be folded go into an error stream.
    pub(crate) fn try_combine<K: Key, A: Exchange, E: Data>(
        &self,
        operator: &OperatorId,
        zero: A,
        fold: impl FnMut(&mut PartialTable<K, A>, BatchTime, Rows<T>, &mut Emitter<'_, Rows<E>>) + 'static,
        merge: impl Fn(&mut A, A) + 'static,
    ) -> (DStream<'s, (K, A)>, DStream<'s, E>) {
        let (stream, operator) = (self.clone(), operator.clone());
        let built = Rc::new(lazy(move || stream.combined(&operator, zero, fold, merge)));
        let (rows, errors) = (built.clone(), built);
        let keyed = DStream::new_keyed(&self.node.graph, move || rows.0.clone(), self.node.meta.clone());
        (keyed, self.narrow(move |_| errors.1.clone()))
    }

    /// Builds the operators of `try_combine`.
    fn combined<K: Key, A: Exchange, E: Data>(
        &self,
        operator: &OperatorId,
        zero: A,
        mut fold: impl FnMut(&mut PartialTable<K, A>, BatchTime, Rows<T>, &mut Emitter<'_, Rows<E>>) + 'static,
        merge: impl Fn(&mut A, A) + 'static,
    ) -> (RowStream<'s, (K, A)>, RowStream<'s, E>) {
        let graph = &self.node.graph;
        let (flow, peers) = (&graph.flow, graph.flow.scope.peers());
        let combiner = Rc::new(RefCell::new(Combiner::new(flow.scope.index(), peers, graph.key_groups(), zero)));
        let own = combiner.clone();
        let absorb = move |table: &mut Option<PartialTable<K, A>>, t: BatchTime, rows, errors: &mut Emitter<'_, _>| {
            fold(table.get_or_insert_with(|| own.borrow_mut().open(t)), t, rows, errors);
        };
        if peers == 1 {
            batched_split(flow, operator, self.inner(), false, absorb, move |table: Option<_>, emit| {
                table.into_iter().for_each(|table| combiner.borrow_mut().rows(table, emit));
            })
        } else {
            // Eager: the next batch uses the same table while it is in the cache.
            let (partials, errors) = batched_split(flow, operator, self.inner(), true, absorb, move |table: Option<_>, emit| {
                table.into_iter().for_each(|table| combiner.borrow_mut().partials(table, emit));
            });
            (merged(graph, operator, partials, merge), errors)
        }
    }
}

/// Sends partial results to the workers that own their keys, and merges them there, once per batch.
fn merged<'s, K: Key, A: Exchange>(
    graph: &Graph<'s>,
    operator: &OperatorId,
    partials: VecStream<'s, PartialBatch<K, A>>,
    merge: impl Fn(&mut A, A) + 'static,
) -> RowStream<'s, (K, A)> {
    let merger = Rc::new(RefCell::new(Merger::new(graph.flow.scope.peers(), graph.key_groups())));
    let own = merger.clone();
    batched(
        &graph.flow.silent_when_empty(),
        operator,
        partials,
        route(|p: &PartialBatch<K, A>| p.to.into()),
        move |pending, t, partials: Vec<PartialBatch<K, A>>| {
            let table: &mut MergedTable<A> = pending.at(t);
            partials.into_iter().for_each(|p| merger.borrow_mut().merge(t, p, table, &merge));
        },
        move |tick, table, emit| own.borrow_mut().rows(tick.time, table, emit),
    )
}

/// Emits the rows of each key group as one container.
pub(crate) fn by_group<R>(branch: u16, rows: Vec<(u64, R)>, emit: &mut Emitter<'_, Rows<R>>) {
    let sizes = sizes(rows.iter().map(|(group, _)| *group));
    by_sized_group(branch, sizes, rows, emit);
}

/// How many rows each key group has.
pub(crate) fn sizes(groups: impl Iterator<Item = u64>) -> ByGroup<usize> {
    let mut sizes: ByGroup<usize> = ByGroup::default();
    groups.for_each(|group| *sizes.of(group) += 1);
    sizes
}

/// [`by_group`] for rows that nobody has collected. A group may have more rows than its size says.
pub(crate) fn by_sized_group<R>(
    branch: u16,
    sizes: ByGroup<usize>,
    rows: impl IntoIterator<Item = (u64, R)>,
    emit: &mut Emitter<'_, Rows<R>>,
) {
    let mut groups = sizes.map(Vec::with_capacity);
    rows.into_iter().for_each(|(group, row)| groups.of(group).push(row));
    groups.drain(|group, rows| emit(Rows::new(PartitionId { branch, index: group as u32 }, rows)));
}
