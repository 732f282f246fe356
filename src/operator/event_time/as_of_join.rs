//! `as_of_join`: each row with the row of another stream that was the newest at its time.

use super::as_of::AsOf;
use super::event_time::EventTimeStream;
use super::event_time_join::EventTimeJoin;
use crate::core::data::{Exchange, Key};

impl<'s, K: Key, V: Exchange> EventTimeStream<'s, (K, V)> {
    /// A row `(key, (left, right))` for each row of this stream: `right` is the newest row of the other stream with the same key at the
    /// time of the left row or earlier, or `None` if there is none. The row has the time of the left one. It leaves in the batch in which the
    /// watermark of both streams passes this time. Rows have no order; outputs sort them.
    ///
    /// Of rows on the right with the same time, the one with the largest encoded bytes counts. A row is late if it is behind the watermark.
    /// [`EventTimeJoin::late`] has late rows. A late row on the left has no result. A late row on the right counts only for rows on the
    /// left that come after it.
    ///
    /// The watermark is the smaller one of both streams. A stream without rows holds it until it is
    /// [idle](crate::prelude::WatermarkStrategy::idle_after): the other one had rows in batches of this duration in total. If rows on the right
    /// are rare and must not be late, call `event_time` on the [`union`](crate::prelude::DStream::union) of both streams, and part them by
    /// [`filter`](EventTimeStream::filter) afterwards.
    ///
    /// The rows of both streams move to the workers that own their keys. State: the rows on the left that wait. Of those on the right, the
    /// newest of each key that is behind the watermark, and all later ones. [`EventTimeStream::as_of_join_within`] forgets keys. It is
    /// saved in checkpoints.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check2;
    /// let micros = std::time::Duration::from_micros;
    /// // Orders and prices: a time, and a number.
    /// check2(
    ///     [vec![(5, 'a')], vec![(20, 'b')], vec![(40, 'c')]],
    ///     [vec![(10, 99)], vec![(20, 98)], vec![(50, 97)]],
    ///     move |orders, prices| {
    ///         let orders = orders.event_time(|(time, _)| *time, micros(0)).map(|(_, order)| ("tea".to_owned(), order));
    ///         let prices = prices.event_time(|(time, _)| *time, micros(0)).map(|(_, price)| ("tea".to_owned(), price));
    ///         orders.as_of_join(&prices).timestamped().map(|row| row.row.1)
    ///     },
    ///     [vec![], vec![('a', None)], vec![('b', Some(98))]],
    /// );
    /// ```
    #[doc(alias = "merge_asof")]
    #[track_caller]
    pub fn as_of_join<W: Exchange>(&self, other: &EventTimeStream<'s, (K, W)>) -> EventTimeJoin<'s, K, V, W, (V, Option<W>)> {
        let operator = self.rows.operator::<(K, V, W)>("as_of_join", "");
        self.joined(other, operator, AsOf::new(self.rows.node.graph.key_groups(), None), |row| row, 0)
    }
}
