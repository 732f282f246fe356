//! `tumbling` and `sliding`: windows by event time.

use std::time::Duration;

use super::event_time::EventTimeStream;
use super::windowed_view::Readers;
use crate::core::data::Data;
use crate::core::event_time::in_micros;
use crate::core::local_clock::LocalClock;
use crate::core::slide::Slide;
use crate::core::window_shape::WindowShape;
use crate::engine::operator_id::OperatorId;

/// Windows by event time over a stream: the result of [`EventTimeStream::tumbling`] and [`EventTimeStream::sliding`]. Its verbs make a
/// result for each window, as a [`WindowedView`](super::WindowedView).
///
/// ```
/// use tidemill::prelude::*;
/// use tidemill::testing::check;
/// let micros = std::time::Duration::from_micros;
/// check(
///     [vec![2], vec![15], vec![3]],
///     move |s| s.event_time(|n| *n, micros(0)).tumbling(micros(10)).count().append().map(|w| w.row),
///     [vec![], vec![1], vec![]],
/// );
/// ```
#[must_use = "nothing runs unless an output operation asks for it"]
pub struct EventTimeWindows<'s, T: 'static> {
    pub(super) stream: EventTimeStream<'s, T>,
    pub(super) shape: WindowShape,
    /// By which the windows are counted: the times of rows, and of the watermark, become what it shows.
    pub(super) clock: LocalClock,
    /// Microseconds.
    pub(super) lateness: i64,
    /// `tumbling` or `sliding`.
    pub(super) operator: OperatorId,
    /// Of all results of these windows.
    pub(super) readers: Readers,
}

impl<T> Clone for EventTimeWindows<'_, T> {
    fn clone(&self) -> Self {
        EventTimeWindows {
            stream: self.stream.clone(),
            clock: self.clock.clone(),
            operator: self.operator.clone(),
            readers: self.readers.clone(),
            ..*self
        }
    }
}

impl<'s, T: Data> EventTimeStream<'s, T> {
    /// Windows of this length, one after the other: each row is in one. They begin at multiples of the length since 1970-01-01 00:00
    /// UTC. `length` is a duration, or a [`Slide`] with an offset, on the clock of a place. [`Slide::time_zone`] says what happens to windows
    /// when the clock is put forward or back.
    ///
    /// Days from midnight to midnight in Vienna. The one on which daylight saving begins has 23 hours:
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let hours_from = "2026-03-28T23:00:00Z".parse::<jiff::Timestamp>().unwrap().as_microsecond();
    /// check(
    ///     [(0..30).map(|hour| hours_from + hour * 3_600_000_000).collect::<Vec<_>>()],
    ///     |s| s.event_time(|time| *time, secs(0)).tumbling(Slide::every(days(1)).time_zone("Europe/Vienna")).count().update().map(|w| w.row),
    ///     [vec![7, 23]],
    /// );
    /// ```
    ///
    /// Days that begin at 06:00:
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let hour = 3_600_000_000;
    /// check(
    ///     [vec![5 * hour], vec![6 * hour], vec![40 * hour]],
    ///     move |s| {
    ///         let days = s.event_time(|n| *n, secs(0)).tumbling(Slide::every(days(1)).offset(hours(6)));
    ///         days.count().append().map(move |w| (w.start / hour, w.row))
    ///     },
    ///     [vec![], vec![(-18, 1)], vec![(6, 1)]],
    /// );
    /// ```
    #[track_caller]
    pub fn tumbling(&self, length: impl Into<Slide>) -> EventTimeWindows<'s, T> {
        let length = length.into();
        // A wrong slide is reported with the shape.
        let every = length.fixed().map_or(Duration::ZERO, |(every, _)| every);
        self.windows(OperatorId::of("tumbling"), every, length)
    }

    /// Windows of this length, of which one begins at each slide: a row is in `length / slide` of them. They begin at multiples of the
    /// slide since 1970-01-01 00:00 UTC. `slide` is a duration, or a [`Slide`] with an offset, on the clock of a place; it is at most the
    /// length.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let second = 1_000_000;
    /// check(
    ///     [vec![7 * second], vec![25 * second]],
    ///     move |s| {
    ///         let windows = s.event_time(|n| *n, secs(0)).sliding(secs(10), secs(5));
    ///         windows.count().append().map(move |w| (w.start / second, w.end / second, w.row))
    ///     },
    ///     [vec![], vec![(0, 10, 1), (5, 15, 1)]],
    /// );
    /// ```
    #[track_caller]
    pub fn sliding(&self, length: Duration, slide: impl Into<Slide>) -> EventTimeWindows<'s, T> {
        self.windows(OperatorId::of("sliding"), length, slide.into())
    }

    fn windows(&self, operator: OperatorId, length: Duration, slide: Slide) -> EventTimeWindows<'s, T> {
        let shape = WindowShape::new(length, &slide).and_then(|shape| Ok((shape, slide.clock()?)));
        let (shape, clock) = shape.unwrap_or_else(|e| {
            self.rows.node.graph.report(&operator, e);
            (WindowShape::SECOND, LocalClock::default())
        });
        EventTimeWindows { stream: self.clone(), shape, clock, lateness: 0, operator, readers: Readers::default() }
    }
}

impl<T> EventTimeWindows<'_, T> {
    /// The start of the pane that holds a time, as the clock of these windows shows it.
    pub(super) fn pane_of(&self) -> impl Fn(i64) -> i64 + 'static + use<T> {
        let (shape, clock) = (self.shape, self.clock.clone());
        move |time| shape.pane_of(clock.shows(time))
    }

    /// What the fingerprint of a job has.
    pub(super) fn described(&self) -> String {
        format!("{}{}", self.shape, self.clock)
    }
}

impl<T: Data> EventTimeWindows<'_, T> {
    /// A window closes this much later: when the watermark is this far behind its end. Rows that come until then correct it. Default: 0.
    /// Flink's word. It is for these windows alone, where `max_out_of_orderness` is for all verbs on the stream.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let micros = std::time::Duration::from_micros;
    /// check(
    ///     [vec![2], vec![15], vec![3], vec![16]],
    ///     move |s| {
    ///         let windows = s.event_time(|n| *n, micros(0)).tumbling(micros(10)).allowed_lateness(micros(6));
    ///         windows.count().append().map(|w| w.row)
    ///     },
    ///     [vec![], vec![], vec![], vec![2]],
    /// );
    /// ```
    pub fn allowed_lateness(self, lateness: Duration) -> Self {
        EventTimeWindows { lateness: in_micros(lateness), readers: Readers::default(), ..self }
    }
}
