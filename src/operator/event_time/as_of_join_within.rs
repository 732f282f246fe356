//! `as_of_join_within`: `as_of_join` with rows that are not too old.

use std::time::Duration;

use super::as_of::AsOf;
use super::event_time::EventTimeStream;
use super::event_time_join::EventTimeJoin;
use crate::core::data::{Exchange, Key};
use crate::core::event_time::in_micros;

impl<'s, K: Key, V: Exchange> EventTimeStream<'s, (K, V)> {
    /// [`EventTimeStream::as_of_join`] with rows on the right that are at most `tolerance` older than the left row. If the newest one is
    /// older, the result has `None`.
    ///
    /// A key whose rows on the right are too old for the watermark leaves the state.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check2;
    /// let micros = std::time::Duration::from_micros;
    /// check2(
    ///     [vec![12], vec![26], vec![40]],
    ///     [vec![10], vec![20], vec![50]],
    ///     move |left, right| {
    ///         let [left, right] = [left, right].map(|s| s.event_time(|time| *time, micros(0)).map(|time| ('k', time)));
    ///         left.as_of_join_within(&right, micros(5)).timestamped().map(|row| row.row.1)
    ///     },
    ///     [vec![], vec![(12, Some(10))], vec![(26, None)]],
    /// );
    /// ```
    #[track_caller]
    pub fn as_of_join_within<W: Exchange>(
        &self,
        other: &EventTimeStream<'s, (K, W)>,
        tolerance: Duration,
    ) -> EventTimeJoin<'s, K, V, W, (V, Option<W>)> {
        let tolerance = in_micros(tolerance).min(i64::MAX >> 2);
        let operator = self.rows.operator::<(K, V, W)>("as_of_join_within", tolerance);
        self.joined(other, operator, AsOf::new(self.rows.node.graph.key_groups(), Some(tolerance)), |row| row, 0)
    }
}
