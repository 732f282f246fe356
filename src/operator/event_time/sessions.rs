//! `session`: windows that end when a key has no row for a while.

use std::time::Duration;

use super::event_time::EventTimeStream;
use super::session_state::{BySession, Sessions};
use super::windowed_view::{Readers, WindowedView, windowed};
use crate::core::data::{Data, Exchange, Key, Rows};
use crate::core::event_time::{Timestamped, in_micros};
use crate::engine::operator_id::OperatorId;
use crate::operator::kernel::partial_table::PartialTable;

/// Sessions by event time: the result of [`EventTimeStream::session`].
///
/// ```
/// use tidemill::prelude::*;
/// use tidemill::testing::check;
/// // The times of a visitor, in seconds.
/// check(
///     [vec![10], vec![12], vec![30], vec![60]],
///     |s| {
///         let visits = s.event_time(|second| second * 1_000_000, secs(0)).map(|_| "visitor".to_owned());
///         let visits = visits.session(secs(5)).count_by_value();
///         visits.append().map(|w| (w.start / 1_000_000, w.end / 1_000_000, w.row.1))
///     },
///     [vec![], vec![], vec![(10, 17, 2)], vec![(30, 35, 1)]],
/// );
/// ```
#[must_use = "nothing runs unless an output operation asks for it"]
pub struct SessionWindows<'s, T: 'static> {
    stream: EventTimeStream<'s, T>,
    /// Microseconds.
    gap: i64,
}

impl<T> Clone for SessionWindows<'_, T> {
    fn clone(&self) -> Self {
        SessionWindows { stream: self.stream.clone(), gap: self.gap }
    }
}

impl<'s, T: Data> EventTimeStream<'s, T> {
    /// Windows of each key that begin with a row and end when the key has no row for `gap`. A row within `gap` of a session belongs to it,
    /// and joins two sessions if it is within `gap` of both. A session ends `gap` after its last row.
    ///
    /// The verb says what the key is: of `count_by_value` and `distinct` the row, of verbs `_by_key` the first half of the pair. All rows
    /// have one key in the other verbs.
    ///
    /// A row is late if its session ended before the watermark: see [`WindowedView::late`].
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let micros = std::time::Duration::from_micros;
    /// // The row at 13 joins the sessions of 10 and 16.
    /// check(
    ///     [vec![10], vec![16], vec![13], vec![40]],
    ///     move |s| {
    ///         let all = s.event_time(|time| *time, micros(9)).map(|time| ((), time));
    ///         all.session(micros(5)).reduce_by_key(i64::min).append().map(|w| (w.start, w.end, w.row.1))
    ///     },
    ///     [vec![], vec![], vec![], vec![(10, 21, 10)]],
    /// );
    /// ```
    #[doc(alias = "session_window")]
    #[track_caller]
    pub fn session(&self, gap: Duration) -> SessionWindows<'s, T> {
        if gap.as_micros() == 0 {
            let operator = OperatorId::of("session");
            self.rows.node.graph.report(&operator, format!("a gap of {gap:?} is too short; the shortest is 1 µs"));
        }
        SessionWindows { stream: self.clone(), gap: in_micros(gap).clamp(1, i64::MAX >> 2) }
    }
}

impl<'s, T: Data> SessionWindows<'s, T> {
    /// The number of rows of each session of all rows.
    ///
    /// Costs and state are those of [`SessionWindows::aggregate_by_key`].
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let micros = std::time::Duration::from_micros;
    /// check(
    ///     [vec![1], vec![5], vec![25]],
    ///     move |s| s.event_time(|n| *n, micros(0)).session(micros(10)).count().append(),
    ///     [vec![], vec![], vec![Windowed { start: 1, end: 15, row: 2 }]],
    /// );
    /// ```
    #[track_caller]
    pub fn count(&self) -> WindowedView<'s, i64> {
        self.merged(OperatorId::of("count"), |_, _| ((), 1), |a, b| a + b, |(), n| [n])
    }

    /// The rows of each session of all rows, reduced by `f`, which must be associative and commutative.
    ///
    /// Costs and state are those of [`SessionWindows::aggregate_by_key`].
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let micros = std::time::Duration::from_micros;
    /// check(
    ///     [vec![1], vec![5], vec![25]],
    ///     move |s| s.event_time(|n| *n, micros(0)).session(micros(10)).reduce(i64::max).append().map(|w| w.row),
    ///     [vec![], vec![], vec![5]],
    /// );
    /// ```
    #[track_caller]
    pub fn reduce(&self, f: impl Fn(T, T) -> T + Clone + 'static) -> WindowedView<'s, T>
    where
        T: Key,
    {
        self.merged(OperatorId::of("reduce"), |_, row| ((), row), f, |(), row| [row])
    }

    /// The rows of each session of all rows: `first` makes a result of one row, and `merge` joins two results. It must be associative and
    /// commutative.
    ///
    /// Costs and state are those of [`SessionWindows::aggregate_by_key`].
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let micros = std::time::Duration::from_micros;
    /// check(
    ///     [vec![1], vec![5], vec![25]],
    ///     move |s| {
    ///         let bursts = s.event_time(|n| *n, micros(0)).session(micros(10));
    ///         bursts.aggregate(|n| (n, 1), |a, b| (a.0 + b.0, a.1 + b.1)).append().map(|w| w.row)
    ///     },
    ///     [vec![], vec![], vec![(6, 2)]],
    /// );
    /// ```
    #[track_caller]
    pub fn aggregate<C: Key>(
        &self,
        first: impl Fn(T) -> C + 'static,
        merge: impl Fn(C, C) -> C + Clone + 'static,
    ) -> WindowedView<'s, C> {
        self.merged(OperatorId::of("aggregate"), move |_, row| ((), first(row)), merge, |(), c| [c])
    }
}

impl<'s, T: Key> SessionWindows<'s, T> {
    /// How often each row occurs in each of its sessions.
    ///
    /// Costs and state are those of [`SessionWindows::aggregate_by_key`].
    #[track_caller]
    pub fn count_by_value(&self) -> WindowedView<'s, (T, i64)> {
        self.merged(OperatorId::of("count_by_value"), |_, row| (row, 1), |a, b| a + b, |row: &T, n| [(row.clone(), n)])
    }
}

impl<'s, K: Key, V: Data> SessionWindows<'s, (K, V)> {
    /// The values of each session, reduced by `f`, which must be associative and commutative.
    ///
    /// Costs and state are those of [`SessionWindows::aggregate_by_key`].
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let micros = std::time::Duration::from_micros;
    /// check(
    ///     [vec![(1, 7)], vec![(3, 9)], vec![(25, 1)]],
    ///     move |s| {
    ///         let values = s.event_time(|(time, _)| *time, micros(0)).map(|(_, n)| ('a', n));
    ///         values.session(micros(10)).reduce_by_key(i64::max).append().map(|w| w.row)
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
        self.merged(OperatorId::of("reduce_by_key"), |_, pair| pair, f, |k: &K, v| [(k.clone(), v)])
    }

    /// The values of each session: `first` makes a result of one value, and `merge` joins two results. It must be associative and
    /// commutative.
    ///
    /// Each worker joins sessions while the batch is open, and sends those of a batch. A batch costs its sessions, and those that close.
    /// State: a result for each open session, saved in checkpoints.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let micros = std::time::Duration::from_micros;
    /// check(
    ///     [vec![(1, 'a', 7)], vec![(3, 'a', 9)], vec![(25, 'a', 1)]],
    ///     move |s| {
    ///         let values = s.event_time(|(time, ..)| *time, micros(0)).map(|(_, key, n)| (key, n));
    ///         let sums = values.session(micros(10)).aggregate_by_key(|n| (n, 1), |a, b| (a.0 + b.0, a.1 + b.1));
    ///         sums.append().map(|w| w.row)
    ///     },
    ///     [vec![], vec![], vec![('a', (16, 2))]],
    /// );
    /// ```
    #[doc(alias = "aggregateByKey")]
    #[track_caller]
    pub fn aggregate_by_key<C: Key>(
        &self,
        first: impl Fn(V) -> C + 'static,
        merge: impl Fn(C, C) -> C + Clone + 'static,
    ) -> WindowedView<'s, (K, C)> {
        let of_row = move |_, (k, v)| (k, first(v));
        self.merged(OperatorId::of("aggregate_by_key"), of_row, merge, |k: &K, c| [(k.clone(), c)])
    }
}

impl<'s, T: Data> SessionWindows<'s, T> {
    /// `of_row` has the key of a row and its result alone, `merge` joins results of a key. `rows` makes the rows of a session.
    pub(super) fn merged<K: Key, A: Exchange + PartialEq, U: Key, I: IntoIterator<Item = U>>(
        &self,
        operator: OperatorId,
        of_row: impl Fn(i64, T) -> (K, A) + 'static,
        merge: impl Fn(A, A) -> A + Clone + 'static,
        rows_of: impl Fn(&K, A) -> I + 'static,
    ) -> WindowedView<'s, U> {
        let (rows, gap) = (&self.stream.rows, self.gap);
        rows.node.graph.register_operator_as::<U>(&operator, &format!("session {}", operator.verb()), gap);
        let joined = merge.clone();
        let fold = move |table: &mut PartialTable<K, BySession<A>>, rows: Rows<Timestamped<T>>| {
            for Timestamped { time, row } in rows.take() {
                let (key, a) = of_row(time, row);
                table.of_own(key).add_row(time, a, gap, &joined);
            }
        };
        let join = merge.clone();
        let combined = rows.combine(&operator, BySession::default(), fold, move |a, b| a.merge(b, gap, &join));
        let state = Sessions::new(self.stream.rows.node.graph.key_groups(), gap, merge);
        windowed(combined, self.stream.watermarks.clone(), operator, state, rows_of, Readers::default())
    }
}
