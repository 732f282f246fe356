//! `event_time_of`: rows that were made of a stream with event time keep its watermark.

use std::rc::Rc;
use std::time::Duration;

use super::event_time::{EventTimeStream, timed};
use super::watermark::earlier;
use crate::api::dstream::{DStream, lazy};
use crate::core::data::Data;
use crate::core::event_time::{EventTime, WatermarkStrategy, in_micros};

impl<'s, T: Data> DStream<'s, T> {
    /// The rows with the time that `f` reads in each, and the watermark of another stream, less `behind`. It is for rows that narrow verbs have
    /// made of [`EventTimeStream::timestamped`] of that stream, such as the pairs of a join. Their partitions no longer say how far the
    /// sources are, so [`DStream::event_time`] would not know.
    ///
    /// `behind` is how much earlier the new time of a row may be than its time in `events`. A row that is earlier still is late. A row without
    /// a valid time becomes a row of [`EventTimeStream::errors`]. Keeps no state.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check2;
    /// let micros = std::time::Duration::from_micros;
    /// // Views with the clicks up to 5 µs later, by the time of the view. A pair has the time of its click.
    /// check2(
    ///     [vec![9], vec![21], vec![]],
    ///     [vec![12], vec![22], vec![40]],
    ///     move |views, clicks| {
    ///         let [views, clicks] = [views, clicks].map(|s| s.event_time(|time| *time, micros(0)).map(|time| ('a', time)));
    ///         let pairs = views.join_within(&clicks, micros(0), micros(5));
    ///         let by_view = pairs.timestamped().map(|pair| pair.row.1.0).event_time_of(|view| *view, &pairs, micros(5));
    ///         by_view.tumbling(micros(10)).count().append().map(|w| (w.end, w.row))
    ///     },
    ///     [vec![], vec![(10, 1)], vec![]],
    /// );
    /// ```
    #[track_caller]
    pub fn event_time_of<E: EventTime, X>(
        &self,
        f: impl FnMut(&T) -> E + 'static,
        events: &EventTimeStream<'s, X>,
        behind: Duration,
    ) -> EventTimeStream<'s, T> {
        let by = in_micros(behind);
        let operator = self.operator::<T>("event_time_of", by);
        let (rows, errors) = timed(self, &operator, WatermarkStrategy::from(Duration::ZERO), f);
        let (before, graph) = (events.watermarks.clone(), self.node.graph.clone());
        let watermarks = match by {
            0 => before,
            _ => Rc::new(lazy(move || earlier(&before, by, &operator, &graph.flow))),
        };
        EventTimeStream { rows, errors, watermarks, idle: events.idle, operator: events.operator.clone() }
    }
}
