//! `top_by` in windows by event time: the largest rows of each window, or of each key in it, or the largest results.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::pane_fold::Reduced;
use super::sessions::SessionWindows;
use super::windowed_view::WindowedView;
use super::windows::EventTimeWindows;
use crate::api::dstream::DStream;
use crate::api::view::{Changes, Form};
use crate::core::data::{Exchange, Key, Rows};
use crate::core::event_time::Windowed;
use crate::engine::flow::{PendingBatches, batched, by_batch, map_containers, route};
use crate::engine::operator_id::OperatorId;
use crate::operator::kernel::partial_table::PartialTable;
use crate::operator::kernel::to_one::partial;
use crate::operator::top::keep_best;
use crate::operator::view::Ranks;

/// Joins rows of which the `n` largest are wanted. It keeps a few more, so that most calls need not sort.
fn join<T: Exchange, B: Ord>(n: usize, key: Rc<impl Fn(&T) -> B + 'static>) -> impl Fn(Vec<T>, Vec<T>) -> Vec<T> + Clone {
    move |mut a, b| {
        a.extend(b);
        if a.len() > n.saturating_mul(2).saturating_add(8) {
            keep_best(&mut a, n, &*key);
        }
        a
    }
}

/// The `n` largest of these rows.
fn best<T: Exchange, B: Ord>(mut rows: Vec<T>, n: usize, key: &impl Fn(&T) -> B) -> Vec<T> {
    keep_best(&mut rows, n, key);
    rows
}

impl<'s, T: Key> EventTimeWindows<'s, T> {
    /// The `n` rows of each window with the largest `key`. A row that occurs twice counts twice. Of rows with equal keys, the first ones in
    /// the order of their encoding stay.
    ///
    /// For the largest counts or sums of a window call it behind them: [`WindowedView::top_by`]. `key` must be pure. Each worker sends about
    /// `n` rows for each pane. State: about `n` rows for each pane of an open window, saved in checkpoints.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let micros = std::time::Duration::from_micros;
    /// check(
    ///     [vec![(2, 'a')], vec![(3, 'z')], vec![(4, 'k')], vec![(25, 'a')]],
    ///     move |s| {
    ///         let rows = s.event_time(|(time, _)| *time, micros(0));
    ///         rows.tumbling(micros(10)).top_by(2, |(_, letter)| *letter).append().map(|w| w.row)
    ///     },
    ///     [vec![], vec![], vec![], vec![(3, 'z'), (4, 'k')]],
    /// );
    /// ```
    #[track_caller]
    pub fn top_by<B: Ord + 'static>(&self, n: usize, key: impl Fn(&T) -> B + 'static) -> WindowedView<'s, T> {
        let key = Rc::new(key);
        let joined = Reduced::by(join(n, key.clone()));
        self.merged(OperatorId::of("top_by"), |_, row| ((), vec![row]), joined, move |(), rows| best(rows, n, &*key))
    }
}

impl<'s, K: Key, V: Key> EventTimeWindows<'s, (K, V)> {
    /// The `n` values of each key in each window with the largest `by`, as rows `(key, value)`.
    ///
    /// As [`EventTimeWindows::top_by`], for each key.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let micros = std::time::Duration::from_micros;
    /// check(
    ///     [vec![(2, 'a', 5)], vec![(3, 'b', 1)], vec![(4, 'a', 7)], vec![(25, 'a', 1)]],
    ///     move |s| {
    ///         let values = s.event_time(|(time, ..)| *time, micros(0)).map(|(_, key, n)| (key, n));
    ///         values.tumbling(micros(10)).top_by_key(1, |n| *n).append().map(|w| w.row)
    ///     },
    ///     [vec![], vec![], vec![], vec![('a', 7), ('b', 1)]],
    /// );
    /// ```
    #[doc(alias = "topByKey")]
    #[track_caller]
    pub fn top_by_key<B: Ord + 'static>(&self, n: usize, by: impl Fn(&V) -> B + 'static) -> WindowedView<'s, (K, V)> {
        let by = Rc::new(by);
        let joined = Reduced::by(join(n, by.clone()));
        let rows = move |key: &K, values| best(values, n, &*by).into_iter().map(|v| (key.clone(), v)).collect::<Vec<_>>();
        self.merged(OperatorId::of("top_by_key"), |_, (key, value)| (key, vec![value]), joined, rows)
    }
}

impl<'s, T: Key> SessionWindows<'s, T> {
    /// The `n` rows of each session of all rows with the largest `key`. As [`EventTimeWindows::top_by`].
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let micros = std::time::Duration::from_micros;
    /// check(
    ///     [vec![1], vec![5], vec![25]],
    ///     move |s| s.event_time(|n| *n, micros(0)).session(micros(10)).top_by(1, |n| *n).append().map(|w| w.row),
    ///     [vec![], vec![], vec![5]],
    /// );
    /// ```
    #[track_caller]
    pub fn top_by<B: Ord + 'static>(&self, n: usize, key: impl Fn(&T) -> B + 'static) -> WindowedView<'s, T> {
        let key = Rc::new(key);
        let joined = join(n, key.clone());
        self.merged(OperatorId::of("top_by"), |_, row| ((), vec![row]), joined, move |(), rows| best(rows, n, &*key))
    }
}

impl<'s, K: Key, V: Key> SessionWindows<'s, (K, V)> {
    /// The `n` values of each session of each key with the largest `by`, as rows `(key, value)`. As [`EventTimeWindows::top_by_key`].
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let micros = std::time::Duration::from_micros;
    /// check(
    ///     [vec![(1, 7)], vec![(3, 9)], vec![(25, 1)]],
    ///     move |s| {
    ///         let values = s.event_time(|(time, _)| *time, micros(0)).map(|(_, n)| ('a', n));
    ///         values.session(micros(10)).top_by_key(1, |n| *n).append().map(|w| w.row)
    ///     },
    ///     [vec![], vec![], vec![('a', 9)]],
    /// );
    /// ```
    #[doc(alias = "topByKey")]
    #[track_caller]
    pub fn top_by_key<B: Ord + 'static>(&self, n: usize, by: impl Fn(&V) -> B + 'static) -> WindowedView<'s, (K, V)> {
        let by = Rc::new(by);
        let joined = join(n, by.clone());
        let rows = move |key: &K, values| best(values, n, &*by).into_iter().map(|v| (key.clone(), v)).collect::<Vec<_>>();
        self.merged(OperatorId::of("top_by_key"), |_, (key, value)| (key, vec![value]), joined, rows)
    }
}

/// The start and the end of a window.
type Borders = (i64, i64);

impl<'s, T: Key> WindowedView<'s, T> {
    /// The `n` results of each window with the largest `key`, over all keys. Of results with equal keys, the first ones in the order of their
    /// encoding stay. Windows are one if they begin and end at the same times. [`WindowedView::late`] is that of this result.
    ///
    /// `key` must be pure. Each worker sends its `n` largest results of a window to one that owns the window. Keeps no state for
    /// [`WindowedView::append`]. The view keeps all results of open windows in order, but only if an output reads it.
    ///
    /// The most frequent word of each ten seconds:
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![(1, "tide"), (2, "mill"), (3, "tide")], vec![(4, "ebb")], vec![(31, "mill"); 4]],
    ///     |s| {
    ///         let words = s.event_time(|(second, _)| second * 1_000_000, secs(0)).map(|(_, word)| word.to_owned());
    ///         words.tumbling(secs(10)).count_by_value().top_by(1, |(_, n)| *n).append().map(|w| w.row)
    ///     },
    ///     [vec![], vec![], vec![("tide".to_owned(), 2)]],
    /// );
    /// ```
    #[track_caller]
    pub fn top_by<B: Ord + Clone + 'static>(&self, n: usize, key: impl Fn(&T) -> B + 'static) -> WindowedView<'s, T> {
        let operator = self.view.operator::<T>("top_by", n);
        let key = Rc::new(key);
        let (open, verb, by) = (self.clone(), operator.clone(), key.clone());
        let best = Form::rows(move || open.best_of_open(&verb, n, by));
        let view = self.view.derive(best, Some(&operator.to_string())).co_located(true).view();
        WindowedView { view, closed: self.best_of_closed(&operator, n, key), late: self.late.clone() }
    }

    /// All results of a window leave in one batch.
    fn best_of_closed<B: Ord + 'static>(
        &self,
        operator: &OperatorId,
        n: usize,
        key: Rc<impl Fn(&T) -> B + 'static>,
    ) -> DStream<'s, Windowed<T>> {
        let (joined, merge) = (join(n, key.clone()), join(n, key.clone()));
        let fold = move |table: &mut PartialTable<Borders, Vec<T>>, rows: Rows<Windowed<T>>| {
            for window in rows.take() {
                let rows = table.of_own((window.start, window.end));
                *rows = joined(std::mem::take(rows), vec![window.row]);
            }
        };
        let windows = self.closed.combine(operator, Vec::new(), fold, move |a, b| *a = merge(std::mem::take(a), b));
        let verb = operator.clone();
        windows.narrow(move |windows| {
            map_containers(windows.flow(), &verb, windows.inner(), move |_, rows: Rows<(Borders, Vec<T>)>, emit| {
                let partition = rows.partition;
                let of_window =
                    |((start, end), rows)| best(rows, n, &*key).into_iter().map(move |row| Windowed { start, end, row });
                emit(Rows::new(partition, rows.take().into_iter().flat_map(of_window).collect()));
            })
        })
    }

    /// The changes among the largest results of open windows.
    fn best_of_open<B: Ord + Clone + 'static>(
        &self,
        operator: &OperatorId,
        n: usize,
        key: Rc<impl Fn(&T) -> B + 'static>,
    ) -> Changes<'s, Windowed<T>> {
        let graph = &self.view.node.graph;
        // A row leaves on the worker on which it entered, so each worker knows its own rows.
        let (mut own, mut all) = (ByWindow::default(), ByWindow::default());
        let (own_key, all_key) = (key.clone(), key);
        let partials = partial(graph, operator, self.view.rows(), by_batch, move |changes| own.best(changes, n, &*own_key));
        let groups = graph.key_groups();
        let owner = route(move |(window, _): &(Windowed<T>, i64)| groups.of(&(window.start, window.end)));
        let absorb = |pending: &mut PendingBatches<Vec<_>>, t, changes: Vec<_>| pending.at(t).extend(changes);
        batched(&graph.flow.silent_when_empty(), operator, partials, owner, absorb, move |tick, changes, emit| {
            let best = all.best(changes, n, &*all_key);
            emit(best.into_iter().map(|(row, diff)| (row, tick.time, diff)).collect());
        })
    }
}

/// The results of open windows, in order.
struct ByWindow<B, T>(BTreeMap<Borders, Ranks<B, T>>);

impl<B, T> Default for ByWindow<B, T> {
    fn default() -> Self {
        ByWindow(BTreeMap::new())
    }
}

impl<B: Ord, T: Key> ByWindow<B, T> {
    /// The changes among the `n` largest of each window.
    fn best(&mut self, changes: Vec<(Windowed<T>, i64)>, n: usize, key: &impl Fn(&T) -> B) -> Vec<(Windowed<T>, i64)> {
        let mut by_window: BTreeMap<Borders, Vec<(T, i64)>> = BTreeMap::new();
        for (Windowed { start, end, row }, diff) in changes {
            by_window.entry((start, end)).or_default().push((row, diff));
        }
        let mut best = Vec::new();
        for ((start, end), changes) in by_window {
            let ranks = self.0.entry((start, end)).or_default();
            best.extend(ranks.best(changes, n, key).into_iter().map(|(row, diff)| (Windowed { start, end, row }, diff)));
            if ranks.is_empty() {
                self.0.remove(&(start, end));
            }
        }
        best
    }
}
