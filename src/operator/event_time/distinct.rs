//! `distinct` in windows by event time.

use super::pane_fold::Reduced;
use super::sessions::SessionWindows;
use super::windowed_view::WindowedView;
use super::windows::EventTimeWindows;
use crate::core::data::Key;
use crate::engine::operator_id::OperatorId;

impl<'s, T: Key> EventTimeWindows<'s, T> {
    /// Each distinct row of each window once. It leaves with [`WindowedView::append`] when the window closes, and is in the view from its
    /// first occurrence on.
    ///
    /// Each worker sends a distinct row of a batch once for each pane. State: a distinct row of each pane of an open window, saved in
    /// checkpoints.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let micros = std::time::Duration::from_micros;
    /// check(
    ///     [vec![(2, 'a')], vec![(3, 'b')], vec![(4, 'a')], vec![(25, 'a')]],
    ///     move |s| {
    ///         let names = s.event_time(|(time, _)| *time, micros(0)).map(|(_, name)| name);
    ///         names.tumbling(micros(10)).distinct().append().map(|w| w.row)
    ///     },
    ///     [vec![], vec![], vec![], vec!['a', 'b']],
    /// );
    /// ```
    #[doc(alias = "dropDuplicates")]
    #[track_caller]
    pub fn distinct(&self) -> WindowedView<'s, T> {
        let row = |row: &T, ()| [row.clone()];
        self.merged(OperatorId::of("distinct"), |_, row| (row, ()), Reduced::by(|(), ()| ()), row)
    }
}

impl<'s, T: Key> SessionWindows<'s, T> {
    /// Each distinct row once for each of its sessions.
    ///
    /// Costs and state are those of [`SessionWindows::aggregate_by_key`].
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let micros = std::time::Duration::from_micros;
    /// check(
    ///     [vec![(1, 'a')], vec![(5, 'a')], vec![(30, 'a')]],
    ///     move |s| {
    ///         let names = s.event_time(|(time, _)| *time, micros(0)).map(|(_, name)| name);
    ///         names.session(micros(10)).distinct().append()
    ///     },
    ///     [vec![], vec![], vec![Windowed { start: 1, end: 15, row: 'a' }]],
    /// );
    /// ```
    #[doc(alias = "dropDuplicates")]
    #[track_caller]
    pub fn distinct(&self) -> WindowedView<'s, T> {
        self.merged(OperatorId::of("distinct"), |_, row| (row, ()), |(), ()| (), |row: &T, ()| [row.clone()])
    }
}
