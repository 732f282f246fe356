//! `join_within`: pairs of rows of two streams whose times are near each other.

use std::time::Duration;

use super::event_time::EventTimeStream;
use super::event_time_join::EventTimeJoin;
use super::intervals::{Intervals, bounds, pair};
use crate::core::data::{Exchange, Key};

impl<'s, K: Key, V: Exchange> EventTimeStream<'s, (K, V)> {
    /// A row `(key, (left, right))` for each pair of rows with the same key, whose times are near: a row here of time t, and a row of the
    /// other stream from t - `before` to t + `after`. Flink calls it an interval join. The row has the later of both times, and
    /// leaves in the batch of the row that came later. Rows have no order; outputs sort them.
    ///
    /// The watermark of the result is the smaller one of both streams, without one that is
    /// [idle](crate::prelude::WatermarkStrategy::idle_after) because only the other one has rows. A row is late if the watermark has passed all rows that it could be
    /// joined with. [`EventTimeJoin::late`] has these rows.
    ///
    /// The rows of both streams move to the workers that own their keys. A batch costs its rows, and the pairs that they make. State: the
    /// rows that a later one may be joined with, saved in checkpoints.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check2;
    /// let micros = std::time::Duration::from_micros;
    /// // Clicks up to 5 µs after their view.
    /// check2(
    ///     [vec![10], vec![30]],
    ///     [vec![12], vec![29]],
    ///     move |views, clicks| {
    ///         let [views, clicks] = [views, clicks].map(|s| s.event_time(|time| *time, micros(9)).map(|time| ("ad".to_owned(), time)));
    ///         views.join_within(&clicks, micros(0), micros(5)).timestamped().map(|pair| pair.row.1)
    ///     },
    ///     [vec![(10, 12)], vec![]],
    /// );
    /// ```
    #[track_caller]
    pub fn join_within<W: Exchange>(
        &self,
        other: &EventTimeStream<'s, (K, W)>,
        before: Duration,
        after: Duration,
    ) -> EventTimeJoin<'s, K, V, W, (V, W)> {
        let (before, after) = bounds(before, after);
        let operator = self.rows.operator::<(K, V, W)>("join_within", format_args!("{before} {after}"));
        let state: Intervals<K, V, W, (), ()> = Intervals::new(self.rows.node.graph.key_groups(), before, after);
        self.joined(other, operator, state, pair, 0)
    }
}
