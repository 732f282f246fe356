//! The order of a view, from `sort_by` or `top_by` through `map`, `filter` and `flat_map` to an output mode.
//!
//! A view is a set of rows, so its collection has no order. An output mode takes the rows of the sorted view, sorts them on worker 0,
//! and only then applies the functions of later verbs. These functions may make different rows equal. Their changes are then added up,
//! at the first of their positions.

use std::rc::Rc;

use crate::api::dstream::DStream;
use crate::api::view::{Form, Order, OutputMode, Presentation, View};
use crate::core::data::{Change, FastMap, Key, Rows};
use crate::engine::flow::{collect_batches, map_containers};
use crate::engine::operator_id::OperatorId;

impl<'s, T: Key> View<'s, T> {
    /// The same rows, presented by ascending key.
    pub(super) fn presented<K: Ord + 'static>(&self, verb: OperatorId, key: impl Fn(&T) -> K + 'static) -> View<'s, T> {
        let (view, same) = (self.clone(), self.clone());
        let order = Order::By(Rc::new(Sorted { view, key: Rc::new(key), verb }));
        self.derive(Form::rows(move || same.rows()), None).co_located(self.node.co_located).ordered(order).view()
    }
}

/// The rows of a view by ascending key, rows with equal keys by encoding.
struct Sorted<'s, T: 'static, F> {
    view: View<'s, T>,
    key: Rc<F>,
    verb: OperatorId,
}

impl<'s, T: Key, K: Ord, F: Fn(&T) -> K + 'static> Presentation<'s, T> for Sorted<'s, T, F> {
    fn entries(&self, operator: &OperatorId, mode: OutputMode) -> DStream<'s, Change<T>> {
        let key = self.key.clone();
        let unordered = self.view.unordered(operator, mode, |row, diff| Change { row, diff });
        // They arrive by encoding, and those that left before those that entered. The sort is stable.
        unordered.gather_ordered(operator, move |_, mut rows: Vec<Change<T>>| {
            rows.sort_by_cached_key(|c| (c.diff > 0, key(&c.row)));
            rows
        })
    }

    fn merges(&self) -> bool {
        false
    }

    fn verb(&self) -> &OperatorId {
        &self.verb
    }
}

/// The rows that a function makes of the rows of a view in order. It passes each to its second argument.
struct Mapped<'s, T, F> {
    order: Rc<dyn Presentation<'s, T> + 's>,
    f: Rc<F>,
    merges: bool,
}

impl<'s, T: Key> Order<'s, T> {
    /// The order of the rows that `f` makes of each row; it passes them to its second argument. `merges`: it may make equal rows of
    /// different ones.
    pub(super) fn mapped<U: Key>(&self, merges: bool, f: Rc<impl Fn(T, &mut dyn FnMut(U)) + 'static>) -> Order<'s, U> {
        match self {
            Order::None => Order::None,
            Order::By(order) => Order::By(Rc::new(Mapped { order: order.clone(), f, merges })),
            Order::Lost(lost) => Order::Lost(lost.clone()),
        }
    }
}

impl<'s, T: Key, U: Key, F: Fn(T, &mut dyn FnMut(U)) + 'static> Presentation<'s, U> for Mapped<'s, T, F> {
    fn entries(&self, operator: &OperatorId, mode: OutputMode) -> DStream<'s, Change<U>> {
        let (rows, f) = (self.order.entries(operator, mode), self.f.clone());
        let operator = operator.clone();
        rows.narrow(move |s| {
            map_containers(s.flow(), &operator, s.inner(), move |_, rows: Rows<Change<T>>, emit| {
                let partition = rows.partition;
                let mut mapped = Vec::with_capacity(rows.rows.len());
                rows.take().into_iter().for_each(|c| f(c.row, &mut |row| mapped.push(Change { row, diff: c.diff })));
                emit(Rows::new(partition, mapped));
            })
        })
    }

    fn merges(&self) -> bool {
        self.merges || self.order.merges()
    }

    fn verb(&self) -> &OperatorId {
        self.order.verb()
    }
}

/// The changes of each batch in order: one for each row, at the place of the first entry that has its sign.
pub(super) fn changes<'s, T: Key>(order: &dyn Presentation<'s, T>, operator: &OperatorId) -> DStream<'s, Change<T>> {
    let entries = order.entries(operator, OutputMode::Changes);
    if !order.merges() {
        return entries;
    }
    let operator = operator.clone();
    entries.narrow(move |s| {
        collect_batches(&s.flow().silent_when_empty(), &operator, s.inner(), |_, rows: Vec<Rows<Change<T>>>, emit| {
            for rows in rows {
                emit(Rows::new(rows.partition, added_up(rows.take())));
            }
        })
    })
}

/// The rows of each batch in a mode, in order: each copy is a row, except in mode `Update`.
pub(super) fn rows<'s, T: Key>(order: &dyn Presentation<'s, T>, operator: &OperatorId, mode: OutputMode) -> DStream<'s, T> {
    let merged = mode == OutputMode::Update && order.merges();
    let entries = if merged { changes(order, operator) } else { order.entries(operator, mode) };
    let operator = operator.clone();
    entries.narrow(move |s| {
        map_containers(s.flow(), &operator, s.inner(), move |_, entries: Rows<Change<T>>, emit| {
            let (partition, entries) = (entries.partition, entries.take());
            let mut rows = Vec::with_capacity(entries.len());
            for Change { row, diff } in entries.into_iter().filter(|c| c.diff > 0) {
                let copies = if mode == OutputMode::Update { 1 } else { diff };
                (1..copies).for_each(|_| rows.push(row.clone()));
                rows.push(row);
            }
            emit(Rows::new(partition, rows));
        })
    })
}

/// The entries of a batch without those that cancel out.
fn added_up<T: Key>(entries: Vec<Change<T>>) -> Vec<Change<T>> {
    let mut sums: FastMap<T, i64> = FastMap::default();
    entries.iter().for_each(|c| *sums.entry(c.row.clone()).or_default() += c.diff);
    let first = |c: Change<T>| {
        let sum = sums.get_mut(&c.row)?;
        let diff = if sum.signum() == c.diff.signum() { std::mem::take(sum) } else { 0 };
        (diff != 0).then_some(Change { row: c.row, diff })
    };
    entries.into_iter().filter_map(first).collect()
}
