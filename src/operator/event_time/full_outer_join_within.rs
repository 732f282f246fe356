//! `full_outer_join_within`: a join by event time that keeps the rows of both streams.

use std::time::Duration;

use super::event_time::EventTimeStream;
use super::event_time_join::EventTimeJoin;
use super::intervals::{Intervals, bounds};
use crate::core::data::{Exchange, Key};

impl<'s, K: Key, V: Exchange> EventTimeStream<'s, (K, V)> {
    /// The rows of [`EventTimeStream::join_within`], and a row with `None` for each row of either stream that is in no pair. Such a row has its
    /// own time. It leaves in the batch in which the watermark passes the last row that it could be joined with.
    ///
    /// So the watermark of the result is the smaller one of both streams, less the longer one of `before` and `after`. Costs, state and late
    /// rows are those of [`EventTimeStream::join_within`]. A late row is in [`EventTimeJoin::late`] alone.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check2;
    /// let micros = std::time::Duration::from_micros;
    /// check2(
    ///     [vec![10], vec![20], vec![40]],
    ///     [vec![12], vec![31], vec![40]],
    ///     move |left, right| {
    ///         let [left, right] = [left, right].map(|s| s.event_time(|time| *time, micros(0)).map(|time| ('k', time)));
    ///         left.full_outer_join_within(&right, micros(0), micros(5)).timestamped().map(|row| row.row.1)
    ///     },
    ///     [vec![(Some(10), Some(12))], vec![], vec![(None, Some(31)), (Some(20), None), (Some(40), Some(40))]],
    /// );
    /// ```
    #[track_caller]
    pub fn full_outer_join_within<W: Exchange>(
        &self,
        other: &EventTimeStream<'s, (K, W)>,
        before: Duration,
        after: Duration,
    ) -> EventTimeJoin<'s, K, V, W, (Option<V>, Option<W>)> {
        let (before, after) = bounds(before, after);
        let operator = self.rows.operator::<(K, V, W)>("full_outer_join_within", format_args!("{before} {after}"));
        let state: Intervals<K, V, W, bool, bool> = Intervals::new(self.rows.node.graph.key_groups(), before, after);
        self.joined(other, operator, state, |row| row, before.max(after))
    }
}
