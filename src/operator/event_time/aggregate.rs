//! The verbs on windows by event time: `count`, `count_by_value`, `reduce`, `aggregate`, `reduce_by_key`, `aggregate_by_key`. Also the
//! kernel of all verbs on them.

use super::event_time::EventTimeStream;
use super::pane_fold::{PaneFold, Reduced, Summed};
use super::panes::{ByPane, Panes};
use super::windowed_view::{WindowedView, windowed};
use super::windows::EventTimeWindows;
use crate::core::data::{Data, Exchange, Key, Rows};
use crate::core::event_time::Timestamped;
use crate::engine::operator_id::OperatorId;
use crate::operator::kernel::partial_table::PartialTable;

impl<'s, T: Data> EventTimeWindows<'s, T> {
    /// The number of rows of each window. A window without rows has no row.
    ///
    /// Each worker counts while the batch is open, and sends a number per pane. State: a number per pane of an open window, saved in
    /// checkpoints.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let micros = std::time::Duration::from_micros;
    /// check(
    ///     [vec![2], vec![3], vec![25]],
    ///     move |s| s.event_time(|n| *n, micros(0)).tumbling(micros(10)).count().append().map(|w| w.row),
    ///     [vec![], vec![], vec![2]],
    /// );
    /// ```
    #[track_caller]
    pub fn count(&self) -> WindowedView<'s, i64> {
        let pane_of = self.pane_of();
        let fold = move |table: &mut PartialTable<(), ByPane<i64>>, rows: Rows<Timestamped<T>>| {
            let counts = table.of(&());
            rows.rows.iter().for_each(|timed| counts.fold(pane_of(timed.time), |n| n.unwrap_or(0) + 1));
        };
        self.aggregated(OperatorId::of("count"), fold, Summed, |(), n| [n])
    }

    /// How often each row occurs in each window.
    ///
    /// Each worker counts while the batch is open, and sends a row per distinct row. State: a number per distinct row and pane of an open
    /// window, saved in checkpoints.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let micros = std::time::Duration::from_micros;
    /// check(
    ///     [vec![(2, 'a')], vec![(3, 'b')], vec![(4, 'a')], vec![(25, 'a')]],
    ///     move |s| {
    ///         let names = s.event_time(|(time, _)| *time, micros(0)).map(|(_, name)| name);
    ///         names.sliding(micros(10), micros(5)).count_by_value().append().map(|w| (w.start, w.row))
    ///     },
    ///     [vec![], vec![], vec![], vec![(0, ('a', 2)), (0, ('b', 1)), (-5, ('a', 2)), (-5, ('b', 1))]],
    /// );
    /// ```
    #[track_caller]
    pub fn count_by_value(&self) -> WindowedView<'s, (T, i64)>
    where
        T: Key,
    {
        let pane_of = self.pane_of();
        let fold = move |table: &mut PartialTable<T, ByPane<i64>>, rows: Rows<Timestamped<T>>| {
            for timed in &*rows.rows {
                table.of(&timed.row).fold(pane_of(timed.time), |n| n.unwrap_or(0) + 1);
            }
        };
        self.aggregated(OperatorId::of("count_by_value"), fold, Summed, |row: &T, n| [(row.clone(), n)])
    }
}

impl<'s, T: Data> EventTimeWindows<'s, T> {
    /// The rows of each window, reduced by `f`, which must be associative and commutative. A window without rows has no row.
    ///
    /// Each worker reduces while the batch is open, and sends a row per pane. State: a row per pane of an open window, saved in
    /// checkpoints. A `+` in `f` may wrap round: [`DStream::reduce_by_key`](crate::prelude::DStream::reduce_by_key) says what helps.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let micros = std::time::Duration::from_micros;
    /// check(
    ///     [vec![2], vec![7], vec![25]],
    ///     move |s| s.event_time(|n| *n, micros(0)).sliding(micros(10), micros(5)).reduce(i64::max).append().map(|w| (w.end, w.row)),
    ///     [vec![], vec![(5, 2)], vec![(10, 7), (15, 7)]],
    /// );
    /// ```
    #[track_caller]
    pub fn reduce(&self, f: impl Fn(T, T) -> T + Clone + 'static) -> WindowedView<'s, T>
    where
        T: Key,
    {
        self.merged(OperatorId::of("reduce"), |_, row| ((), row), Reduced::by(f), |(), row| [row])
    }

    /// The rows of each window, added by `fold`, starting with `init`. `merge` joins the results of parts. `init` may enter a result once
    /// for each pane and worker: it must change nothing, as 0 in a sum. The order of rows must not matter.
    ///
    /// Costs and state are those of [`EventTimeWindows::reduce`].
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let micros = std::time::Duration::from_micros;
    /// check(
    ///     [vec![2], vec![3], vec![25]],
    ///     move |s| {
    ///         let tens = s.event_time(|n| *n, micros(0)).tumbling(micros(10));
    ///         let sums = tens.aggregate((0, 0), |(sum, n), row| (sum + row, n + 1), |a, b| (a.0 + b.0, a.1 + b.1));
    ///         sums.append().map(|w| w.row)
    ///     },
    ///     [vec![], vec![], vec![(5, 2)]],
    /// );
    /// ```
    #[track_caller]
    pub fn aggregate<C: Key>(
        &self,
        init: C,
        fold: impl Fn(C, T) -> C + 'static,
        merge: impl Fn(C, C) -> C + Clone + 'static,
    ) -> WindowedView<'s, C> {
        let pane_of = self.pane_of();
        let absorb = move |table: &mut PartialTable<(), ByPane<C>>, rows: Rows<Timestamped<T>>| {
            for Timestamped { time, row } in rows.take() {
                table.of(&()).fold(pane_of(time), |old| fold(old.unwrap_or_else(|| init.clone()), row));
            }
        };
        self.aggregated(OperatorId::of("aggregate"), absorb, Reduced::by(merge), |(), c| [c])
    }
}

impl<'s, K: Key, V: Data> EventTimeWindows<'s, (K, V)> {
    /// The values of each key in each window, reduced by `f`, which must be associative and commutative.
    ///
    /// Each worker reduces while the batch is open, and sends a value per key and pane. State: a value per key and pane of an open window,
    /// saved in checkpoints. A `+` in `f` may wrap round: [`DStream::reduce_by_key`](crate::prelude::DStream::reduce_by_key) says what helps.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let micros = std::time::Duration::from_micros;
    /// check(
    ///     [vec![(2, 'a', 7)], vec![(3, 'a', 9)], vec![(25, 'a', 1)]],
    ///     move |s| {
    ///         let values = s.event_time(|(time, ..)| *time, micros(0)).map(|(_, key, n)| (key, n));
    ///         values.tumbling(micros(10)).reduce_by_key(i32::max).append().map(|w| w.row)
    ///     },
    ///     [vec![], vec![], vec![('a', 9)]],
    /// );
    /// ```
    #[doc(alias = "reduceByKey")]
    #[track_caller]
    pub fn reduce_by_key(&self, f: impl Fn(V, V) -> V + Clone + 'static) -> WindowedView<'s, (K, V)>
    where
        V: Key,
    {
        let fold = f.clone();
        let of_key = move |old, v| match old {
            Some(old) => fold(old, v),
            None => v,
        };
        self.by_key(OperatorId::of("reduce_by_key"), of_key, f)
    }

    /// The values of each key in each window, added by `fold`, starting with `init`. `merge` joins the results of parts. `init` may enter a
    /// result once for each pane and worker: it must change nothing, as 0 in a sum. The order of values must not matter.
    ///
    /// Costs and state are those of [`EventTimeWindows::reduce_by_key`].
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let micros = std::time::Duration::from_micros;
    /// check(
    ///     [vec![(2, 'a', 7)], vec![(3, 'a', 9)], vec![(25, 'a', 1)]],
    ///     move |s| {
    ///         let values = s.event_time(|(time, ..)| *time, micros(0)).map(|(_, key, n)| (key, n));
    ///         let minutes = values.tumbling(micros(10));
    ///         let sums = minutes.aggregate_by_key((0, 0), |(sum, n), v| (sum + v, n + 1), |a, b| (a.0 + b.0, a.1 + b.1));
    ///         sums.append().map(|w| w.row)
    ///     },
    ///     [vec![], vec![], vec![('a', (16, 2))]],
    /// );
    /// ```
    #[doc(alias = "aggregateByKey")]
    #[track_caller]
    pub fn aggregate_by_key<C: Key>(
        &self,
        init: C,
        fold: impl Fn(C, V) -> C + 'static,
        merge: impl Fn(C, C) -> C + Clone + 'static,
    ) -> WindowedView<'s, (K, C)> {
        let of_key = move |old: Option<C>, v| fold(old.unwrap_or_else(|| init.clone()), v);
        self.by_key(OperatorId::of("aggregate_by_key"), of_key, merge)
    }

    fn by_key<C: Key>(
        &self,
        operator: OperatorId,
        fold: impl Fn(Option<C>, V) -> C + 'static,
        merge: impl Fn(C, C) -> C + Clone + 'static,
    ) -> WindowedView<'s, (K, C)> {
        let pane_of = self.pane_of();
        let fold = move |table: &mut PartialTable<K, ByPane<C>>, rows: Rows<Timestamped<(K, V)>>| {
            for Timestamped { time, row: (k, v) } in rows.take() {
                table.of_own(k).fold(pane_of(time), |old| fold(old, v));
            }
        };
        self.aggregated(operator, fold, Reduced::by(merge), |k: &K, c| [(k.clone(), c)])
    }
}

impl<'s, T: Data> EventTimeWindows<'s, T> {
    /// `of_row` has the key of a row and its result alone, `merge` joins results of a key. `row` makes the rows of a key in a window.
    pub(super) fn merged<K: Key, A: Exchange + PartialEq, U: Key, I: IntoIterator<Item = U>>(
        &self,
        operator: OperatorId,
        of_row: impl Fn(i64, T) -> (K, A) + 'static,
        fold: impl PaneFold<A> + Clone,
        row: impl Fn(&K, A) -> I + 'static,
    ) -> WindowedView<'s, U> {
        let (pane_of, merge) = (self.pane_of(), fold.clone());
        let absorb = move |table: &mut PartialTable<K, ByPane<A>>, rows: Rows<Timestamped<T>>| {
            for Timestamped { time, row } in rows.take() {
                let (key, a) = of_row(time, row);
                table.of_own(key).add(pane_of(time), a, &merge);
            }
        };
        self.aggregated(operator, absorb, fold, row)
    }

    /// `absorb` adds rows to the panes of their keys while the batch is open, and `fold` joins results of a key. `row` makes the rows of a
    /// key in a window.
    pub(super) fn aggregated<K: Key, A: Exchange + PartialEq, U: Key, I: IntoIterator<Item = U>>(
        &self,
        operator: OperatorId,
        absorb: impl FnMut(&mut PartialTable<K, ByPane<A>>, Rows<Timestamped<T>>) + 'static,
        fold: impl PaneFold<A> + Clone,
        row: impl Fn(&K, A) -> I + 'static,
    ) -> WindowedView<'s, U> {
        let EventTimeStream { rows, watermarks, .. } = &self.stream;
        rows.node.graph.register_operator_as::<U>(&operator, &format!("event_time {}", operator.verb()), self.described());
        let panes =
            Panes::new(self.stream.rows.node.graph.key_groups(), self.shape, self.clock.clone(), self.lateness, fold.clone());
        let combined = rows.combine(&operator, ByPane::default(), absorb, move |a, b| a.merge(b, &fold));
        self.count_late();
        windowed(combined, watermarks.clone(), operator, panes, row, self.readers.clone())
    }
}
