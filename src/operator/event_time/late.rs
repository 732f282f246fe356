//! `late`: the rows behind the watermark of all their windows.

use super::panes::ByPane;
use super::watermark::{Watermark, report_late, with_watermark};
use super::windows::EventTimeWindows;
use crate::api::dstream::DStream;
use crate::core::data::{Data, Rows};
use crate::core::event_time::Timestamped;
use crate::engine::flow::Emitter;
use crate::engine::tick::Tick;

impl<'s, T: Data> EventTimeWindows<'s, T> {
    /// The rows of each batch that are in no window, because all of their windows had closed before the batch, with their times. They
    /// are in the same partitions and order.
    ///
    /// If no output operation reads late rows, they are counted and logged, as bad records are. If one does, a worker keeps the rows of a
    /// batch until it closes.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let micros = std::time::Duration::from_micros;
    /// check(
    ///     [vec![2], vec![15], vec![3], vec![16]],
    ///     move |s| s.event_time(|n| *n, micros(0)).tumbling(micros(10)).late().map(|late| late.row),
    ///     [vec![], vec![], vec![3], vec![]],
    /// );
    /// ```
    #[track_caller]
    pub fn late(&self) -> DStream<'s, Timestamped<T>> {
        let rows = &self.stream.rows;
        let operator = rows.operator::<T>("late", self.described());
        let windows = self.clone();
        rows.narrow(move |rows| {
            windows.readers.late.set(true);
            let (is_late, pane_of) = (windows.is_late(), windows.pane_of());
            let keep = |kept: &mut Vec<Rows<_>>, rows| kept.push(rows);
            with_watermark(rows, &windows.stream.watermarks, &operator, keep, move |_, watermark, kept, emit| {
                for rows in kept {
                    let late = rows.rows.iter().filter(|row| is_late(pane_of(row.time), watermark)).cloned();
                    emit(Rows::new(rows.partition, late.collect()));
                }
            })
        })
    }

    /// Whether a pane is behind the watermark of all its windows.
    fn is_late(&self) -> impl Fn(i64, Watermark) -> bool + use<T> {
        let (shape, clock, lateness) = (self.shape, self.clock.clone(), self.lateness);
        move |pane, watermark| shape.last_end(pane) <= clock.shows(watermark.earlier(lateness).before)
    }

    /// Reports late rows, unless an output operation reads them.
    pub(super) fn count_late(&self) {
        let windows = self.clone();
        let graph = self.stream.rows.node.graph.clone();
        let outbox = graph.outbox.clone();
        graph.on_built(move || {
            // Several verbs may read the windows: the first one counts.
            if !windows.readers.any.get() || windows.readers.late.replace(true) {
                return;
            }
            let (operator, is_late, pane_of) = (windows.operator.clone(), windows.is_late(), windows.pane_of());
            let tally = move |tally: &mut ByPane<u64>, rows: Rows<Timestamped<T>>| {
                rows.rows.iter().for_each(|row| tally.fold(pane_of(row.time), |n| n.unwrap_or(0) + 1));
            };
            let count = move |tick: &Tick, watermark: Watermark, tally: ByPane<u64>, _: &mut Emitter<'_, Rows<()>>| {
                let late = tally.iter().filter(|(pane, _)| is_late(*pane, watermark)).map(|(_, n)| n).sum();
                report_late(&outbox, &operator, tick.time, watermark, late);
            };
            let _ = with_watermark(&windows.stream.rows, &windows.stream.watermarks, &windows.operator, tally, count);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::api::context::StreamingContext;
    use crate::connector::memory::MemorySink;
    use crate::connector::queue::QueueSource;
    use crate::core::time::millis;

    #[test]
    fn late_rows_are_counted_once_unless_an_output_reads_them() {
        let counted = |read: bool| {
            let queue = QueueSource::from_batches([vec![50i64], vec![2, 3, 4, 50]]);
            let job = StreamingContext::builder("late", millis(1)).workers(2).start(move |ssc| {
                let rows = ssc.queue_stream(&queue).event_time(|time| *time, Duration::ZERO);
                let windows = rows.tumbling(Duration::from_micros(10));
                windows.count().append().to_memory(&MemorySink::new());
                windows.count_by_value().update().to_memory(&MemorySink::new());
                if read {
                    windows.late().to_memory(&MemorySink::new());
                }
                Ok(())
            });
            let job = job.unwrap();
            let metrics = job.metrics.clone();
            job.await_termination().unwrap();
            metrics.snapshot().bad
        };
        assert_eq!([false, true].map(counted), [3, 0]);
    }
}
