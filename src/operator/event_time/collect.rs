//! `collect` and `group_by_key` in windows by event time: all rows of a window.

use super::pane_fold::{Listed, Listing, merged};
use super::sessions::SessionWindows;
use super::windowed_view::WindowedView;
use super::windows::EventTimeWindows;
use crate::core::data::Key;
use crate::engine::operator_id::OperatorId;

/// The rows of a listing.
fn rows<V>(listing: Listing<V>) -> Vec<V> {
    listing.into_iter().map(|(_, row)| row).collect()
}

impl<'s, T: Key> EventTimeWindows<'s, T> {
    /// All rows of each window in one row: by their event time, and rows of the same time by their own order. So the order does not depend
    /// on workers or batches. A window without rows has no row.
    ///
    /// All rows move to one worker: [`EventTimeWindows::group_by_key`] has a row for each key. A batch costs its rows, and a window that
    /// closes costs its rows. State: the rows of open windows, each once, saved in checkpoints. The view costs all rows of each window that
    /// changes, but only if an output reads it.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let micros = std::time::Duration::from_micros;
    /// check(
    ///     [vec![7], vec![2], vec![3], vec![25]],
    ///     move |s| s.event_time(|n| *n, micros(5)).tumbling(micros(10)).collect().append().map(|w| w.row),
    ///     [vec![], vec![], vec![], vec![vec![2, 3, 7]]],
    /// );
    /// ```
    #[doc(alias = "collect_list")]
    #[track_caller]
    pub fn collect(&self) -> WindowedView<'s, Vec<T>> {
        let of_row = |time, row| ((), vec![(time, row)]);
        self.merged(OperatorId::of("collect"), of_row, Listed, |(), listing| [rows(listing)])
    }
}

impl<'s, K: Key, V: Key> EventTimeWindows<'s, (K, V)> {
    /// A row `(key, values)` for each key of each window: its values by their event time, and values of the same time by their own order.
    ///
    /// All values move to the workers that own their keys: to reduce them, [`EventTimeWindows::reduce_by_key`] costs less. Otherwise costs
    /// and state are those of [`EventTimeWindows::collect`].
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let micros = std::time::Duration::from_micros;
    /// check(
    ///     [vec![(2, 'a', 7)], vec![(3, 'a', 1)], vec![(25, 'a', 1)]],
    ///     move |s| {
    ///         let values = s.event_time(|(time, ..)| *time, micros(0)).map(|(_, key, n)| (key, n));
    ///         values.tumbling(micros(10)).group_by_key().append().map(|w| w.row)
    ///     },
    ///     [vec![], vec![], vec![('a', vec![7, 1])]],
    /// );
    /// ```
    #[doc(alias = "groupByKey")]
    #[track_caller]
    pub fn group_by_key(&self) -> WindowedView<'s, (K, Vec<V>)> {
        let of_row = |time, (key, value)| (key, vec![(time, value)]);
        self.merged(OperatorId::of("group_by_key"), of_row, Listed, |key: &K, listing| [(key.clone(), rows(listing))])
    }
}

impl<'s, T: Key> SessionWindows<'s, T> {
    /// All rows of each session of all rows: by their event time, and rows of the same time by their own order.
    ///
    /// All rows move to one worker. A batch costs its rows, and the sessions that close. State: the rows of open sessions, saved in
    /// checkpoints.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let micros = std::time::Duration::from_micros;
    /// check(
    ///     [vec![7], vec![2], vec![25]],
    ///     move |s| s.event_time(|n| *n, micros(5)).session(micros(10)).collect().append().map(|w| w.row),
    ///     [vec![], vec![], vec![vec![2, 7]]],
    /// );
    /// ```
    #[doc(alias = "collect_list")]
    #[track_caller]
    pub fn collect(&self) -> WindowedView<'s, Vec<T>> {
        let of_row = |time, row| ((), vec![(time, row)]);
        self.merged(OperatorId::of("collect"), of_row, merged, |(), listing| [rows(listing)])
    }
}

impl<'s, K: Key, V: Key> SessionWindows<'s, (K, V)> {
    /// A row `(key, values)` for each session of each key: its values by their event time, and values of the same time by their own order.
    ///
    /// All values move to the workers that own their keys. Otherwise costs and state are those of [`SessionWindows::collect`].
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// // The pages of a visit.
    /// check(
    ///     [vec![(0, "ann", "/")], vec![(40, "ann", "/shop")], vec![(900, "bob", "/")]],
    ///     |s| {
    ///         let requests = s.event_time(|(second, ..)| second * 1_000_000, secs(0));
    ///         let visits = requests.map(|(_, who, page)| (who.to_owned(), page.to_owned())).session(mins(5)).group_by_key();
    ///         visits.append().map(|w| w.row)
    ///     },
    ///     [vec![], vec![], vec![("ann".to_owned(), vec!["/".to_owned(), "/shop".to_owned()])]],
    /// );
    /// ```
    #[doc(alias = "groupByKey")]
    #[track_caller]
    pub fn group_by_key(&self) -> WindowedView<'s, (K, Vec<V>)> {
        let of_row = |time, (key, value)| (key, vec![(time, value)]);
        self.merged(OperatorId::of("group_by_key"), of_row, merged, |key: &K, listing| [(key.clone(), rows(listing))])
    }
}
