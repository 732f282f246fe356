//! `event_time`: the time of each row, and the watermark of the stream.

use std::rc::Rc;
use std::time::Duration;

use super::max_drift;
use super::watermark::{Watermarks, watermarks};
use crate::api::dstream::DStream;
use crate::core::data::{BadRecord, Data, Rows};
use crate::core::event_time::{EventTime, Timestamped, WatermarkStrategy};
use crate::core::origin::OriginsWanted;
use crate::engine::flow::Emitter;
use crate::engine::operator_id::OperatorId;
use crate::operator::decode::{Decoded, bad_record};
use crate::operator::kernel::bad_limit::{Bad, RowsRead};
use crate::operator::kernel::origins::Trail;

/// A stream whose rows have an event time, and its watermark: the result of [`DStream::event_time`].
///
/// ```
/// use tidemill::prelude::*;
/// use tidemill::testing::check;
/// // Requests with their time in seconds: how many succeed in each minute.
/// check(
///     [vec![(0, 200)], vec![(59, 404)], vec![(59, 200)], vec![(61, 200)], vec![(130, 200)]],
///     |s| {
///         let requests = s.event_time(|(second, _)| second * 1_000_000, secs(0));
///         let good = requests.filter(|(_, status)| *status == 200).map(|_| ());
///         good.tumbling(mins(1)).count().append().map(|w| (w.start / 1_000_000, w.row))
///     },
///     [vec![], vec![], vec![], vec![(0, 2)], vec![(60, 1)]],
/// );
/// ```
#[must_use = "nothing runs unless an output operation asks for it"]
pub struct EventTimeStream<'s, T: 'static> {
    pub(super) rows: DStream<'s, Timestamped<T>>,
    pub(super) errors: DStream<'s, BadRecord>,
    pub(super) watermarks: Watermarks<'s>,
    /// After how long without rows it does not hold another stream.
    pub(super) idle: Duration,
    /// What reports the watermark.
    pub(super) operator: OperatorId,
}

impl<T> Clone for EventTimeStream<'_, T> {
    fn clone(&self) -> Self {
        self.with_rows(self.rows.clone())
    }
}

impl<'s, T: Data> DStream<'s, T> {
    /// The rows with the time that `f` reads in each, and the watermark that `strategy` makes of these times. It is the input of windows
    /// by event time: [`EventTimeStream::tumbling`], [`EventTimeStream::sliding`].
    ///
    /// `f` returns microseconds since 1970, or another [`EventTime`]. A row without a valid time becomes a row of
    /// [`EventTimeStream::errors`]. `strategy` is a [`WatermarkStrategy`], or a duration: how much later a row may come than its
    /// neighbours. Call it before rows are exchanged by key, because the watermark follows each source partition.
    ///
    /// State: a time for each source partition, saved in checkpoints. The watermark moves to all workers once a batch.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// // Times in microseconds. A row may be late by five of them.
    /// check(
    ///     [vec![(7, 'a')], vec![(12, 'b')], vec![(9, 'a')], vec![(26, 'c')]],
    ///     |s| {
    ///         let windows = s.event_time(|(time, _)| *time, std::time::Duration::from_micros(5)).map(|(_, name)| name);
    ///         windows.tumbling(std::time::Duration::from_micros(10)).count_by_value().append().map(|w| (w.end, w.row))
    ///     },
    ///     [vec![], vec![], vec![], vec![(10, ('a', 2)), (20, ('b', 1))]],
    /// );
    /// ```
    #[doc(alias = "withWatermark")]
    #[track_caller]
    pub fn event_time<E: EventTime>(
        &self,
        f: impl FnMut(&T) -> E + 'static,
        strategy: impl Into<WatermarkStrategy>,
    ) -> EventTimeStream<'s, T> {
        let operator = self.operator::<T>("event_time", "");
        let strategy = strategy.into();
        if strategy.idle.as_millis() == 0 {
            self.node.graph.report(&operator, format!("idle_after of {:?} is too short; the shortest is 1 ms", strategy.idle));
        }
        max_drift::check(self, &operator, strategy);
        let (rows, errors) = timed(self, &operator, strategy, f);
        let watermarks = Rc::new(watermarks(&rows, &operator, strategy));
        EventTimeStream { rows, errors, watermarks, idle: strategy.idle, operator }
    }
}

/// The rows with the times that `f` reads in them, and the rows without a valid time.
pub(super) fn timed<'s, T: Data, E: EventTime>(
    stream: &DStream<'s, T>,
    operator: &OperatorId,
    strategy: WatermarkStrategy,
    mut f: impl FnMut(&T) -> E + 'static,
) -> (DStream<'s, Timestamped<T>>, DStream<'s, BadRecord>) {
    let verb = operator.clone();
    let each = move |wanted: Rc<OriginsWanted>, read: RowsRead| {
        move |t, rows: Rows<T>, ok: &mut Emitter<'_, _>, err: &mut Emitter<'_, _>| {
            let (partition, mut bad, mut trail) = (rows.partition, Bad::default(), Trail::new(&rows, &wanted));
            let all = rows.rows.len();
            let mut time_of = |(index, row)| {
                let time = f(row).micros().and_then(|time| strategy.check(time, t));
                trail.step(usize::from(time.is_ok()));
                time.map_err(|e| bad.push(index, bad_record(&rows, index, t, &verb, &*e))).ok()
            };
            let times: Vec<Option<i64>> = rows.rows.iter().enumerate().map(&mut time_of).collect();
            let timed = rows.take().into_iter().zip(times).filter_map(|(row, time)| Some(Timestamped { time: time?, row }));
            ok(Rows::new(partition, timed.collect()).with_origins(trail.origins()));
            err(read.container(t, partition, all, bad));
        }
    };
    Decoded::split_of(stream, operator, each).split()
}

impl<'s, T: 'static> EventTimeStream<'s, T> {
    /// The rows without a valid time. They are counted and logged unless an output operation reads them.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec!["1970-01-01T00:00:00Z".to_owned(), "yesterday".to_owned()]],
    ///     |s| s.event_time(|text| text.parse::<jiff::Timestamp>(), secs(0)).errors().map(|bad| bad.raw),
    ///     [vec![b"yesterday".to_vec()]],
    /// );
    /// ```
    pub fn errors(&self) -> DStream<'s, BadRecord> {
        self.errors.clone()
    }

    /// The rows with their times, in the same partitions and order.
    ///
    /// ```
    /// use tidemill::{prelude::*, testing::check};
    /// check([vec![7]], |s| s.event_time(|n| *n, secs(0)).timestamped(), [vec![Timestamped { time: 7, row: 7 }]]);
    /// ```
    pub fn timestamped(&self) -> DStream<'s, Timestamped<T>> {
        self.rows.clone()
    }

    /// The place in the program of the verb that makes the watermark: [`EventTimeInfo::operator`](crate::metrics::EventTimeInfo::operator) of the
    /// batches. That is `event_time`, or a join of two streams with different watermarks.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use tidemill::prelude::*;
    /// let (times, place) = (QueueSource::from_batches([vec![7_i64]]), Arc::new(Mutex::new(0)));
    /// let told = place.clone();
    /// let job = StreamingContext::builder("places", millis(5)).without_checkpoint().start(move |ssc| {
    ///     let events = ssc.queue_stream(&times).event_time(|time| *time, secs(1));
    ///     *told.lock().unwrap() = events.watermark_operator();
    ///     events.tumbling(secs(1)).count().append().to_memory(&MemorySink::new());
    ///     Ok(())
    /// })?;
    /// assert!(job.await_termination_or_timeout(mins(5))?);
    /// let infos = job.statistics().last.unwrap().event_times;
    /// assert!(infos.iter().map(|info| info.operator).eq([*place.lock().unwrap()]));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn watermark_operator(&self) -> usize {
        self.operator.index().expect("a verb of a program is registered")
    }

    /// Rows of two streams, with a watermark of both.
    pub(super) fn with_other<U, R>(
        &self,
        other: &EventTimeStream<'s, U>,
        rows: DStream<'s, Timestamped<R>>,
        watermarks: Watermarks<'s>,
        operator: OperatorId,
    ) -> EventTimeStream<'s, R> {
        EventTimeStream { rows, errors: self.errors.union(&other.errors), watermarks, idle: self.idle.max(other.idle), operator }
    }

    /// The same watermark with other rows.
    pub(super) fn with_rows<U>(&self, rows: DStream<'s, Timestamped<U>>) -> EventTimeStream<'s, U> {
        let (errors, watermarks, operator) = (self.errors.clone(), self.watermarks.clone(), self.operator.clone());
        EventTimeStream { rows, errors, watermarks, idle: self.idle, operator }
    }
}

impl<'s, T: Data> EventTimeStream<'s, T> {
    /// The result of `f` for each row, at the same time. As [`DStream::map`].
    ///
    /// ```
    /// use tidemill::{prelude::*, testing::check};
    /// check(
    ///     [vec![7]],
    ///     |s| s.event_time(|n| *n, secs(0)).map(|n| n * 10).timestamped(),
    ///     [vec![Timestamped { time: 7, row: 70 }]],
    /// );
    /// ```
    #[track_caller]
    pub fn map<U: Data>(&self, mut f: impl FnMut(T) -> U + 'static) -> EventTimeStream<'s, U> {
        self.with_rows(self.rows.map(move |Timestamped { time, row }| Timestamped { time, row: f(row) }))
    }

    /// The rows for which `test` is true. As [`DStream::filter`]. The times of other rows still count for the watermark.
    ///
    /// ```
    /// use tidemill::{prelude::*, testing::check};
    /// check(
    ///     [vec![7, 8]],
    ///     |s| s.event_time(|n| *n, secs(0)).filter(|n| *n > 7).timestamped(),
    ///     [vec![Timestamped { time: 8, row: 8 }]],
    /// );
    /// ```
    #[track_caller]
    pub fn filter(&self, mut test: impl FnMut(&T) -> bool + 'static) -> EventTimeStream<'s, T> {
        self.with_rows(self.rows.filter(move |timed| test(&timed.row)))
    }
}
