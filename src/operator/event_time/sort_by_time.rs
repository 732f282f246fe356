//! `sort_by_time`: rows in the order of their event time, behind the watermark.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::event_time::EventTimeStream;
use super::watermark::{Watermark, report_late, with_watermark};
use crate::api::context::Switch;
use crate::api::dstream::{DStream, RowOrder, lazy};
use crate::core::data::{Exchange, PartitionId, Rows, encoded};
use crate::core::error::BoxError;
use crate::core::event_time::Timestamped;
use crate::core::time::BatchTime;
use crate::engine::flow::split_map;
use crate::engine::state::{Changes, Groups, KeyedState};
use crate::metrics::held::Held;

/// Rows in the order of their event time: the result of [`EventTimeStream::sort_by_time`].
///
/// It is used as the stream of these rows: every verb of [`DStream`] is a method.
///
/// ```
/// use tidemill::prelude::*;
/// use tidemill::testing::check;
/// fn sorted<'s>(s: &DStream<'s, i64>) -> SortedByTime<'s, i64> {
///     s.event_time(|n| *n, std::time::Duration::from_micros(5)).sort_by_time()
/// }
/// let batches = || [vec![7], vec![3], vec![20], vec![4], vec![40]];
/// check(batches(), |s| sorted(s).map(|timed| timed.row), [vec![], vec![], vec![3, 7], vec![], vec![20]]);
/// check(batches(), |s| sorted(s).late().map(|timed| timed.row), [vec![], vec![], vec![], vec![4], vec![]]);
/// ```
#[must_use = "nothing runs unless an output operation asks for it"]
pub struct SortedByTime<'s, T: 'static> {
    rows: DStream<'s, Timestamped<T>>,
    late: DStream<'s, Timestamped<T>>,
}

impl<T> Clone for SortedByTime<'_, T> {
    fn clone(&self) -> Self {
        SortedByTime { rows: self.rows.clone(), late: self.late.clone() }
    }
}

/// The rows in order.
impl<'s, T> Deref for SortedByTime<'s, T> {
    type Target = DStream<'s, Timestamped<T>>;

    fn deref(&self) -> &DStream<'s, Timestamped<T>> {
        &self.rows
    }
}

impl<'s, T> SortedByTime<'s, T> {
    /// The rows behind the watermark: later rows have left before them. If no output operation reads them, they are counted and logged, as
    /// bad records are.
    pub fn late(&self) -> DStream<'s, Timestamped<T>> {
        self.late.clone()
    }
}

impl<'s, T: Exchange> EventTimeStream<'s, T> {
    /// The rows in the order of their event time. A row leaves in the batch after which the watermark has passed its time, so a later batch
    /// has no earlier row. Rows of the same time are in the order of the stream. The order does not depend on workers.
    ///
    /// A row behind the watermark is late: see [`SortedByTime::late`].
    ///
    /// All rows of a batch go to worker 0, at most [`gather_cap`](crate::api::context::Builder::gather_cap) bytes: a larger batch ends
    /// the job with [`crate::Error::GatherCap`]. State: the rows that wait for the watermark, on worker 0, saved in checkpoints.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// // Rows may be late by 5 seconds.
    /// check(
    ///     [vec![12], vec![10], vec![17], vec![30]],
    ///     |s| s.event_time(|second| second * 1_000_000, secs(5)).sort_by_time().map(|timed| timed.row),
    ///     [vec![], vec![], vec![10], vec![12, 17]],
    /// );
    /// ```
    #[track_caller]
    pub fn sort_by_time(&self) -> SortedByTime<'s, T> {
        let operator = self.rows.operator::<T>("sort_by_time", "");
        let gathered = self.rows.gather_ordered(&operator, |_, rows| rows);
        let graph = gathered.node.graph.clone();
        let state = Rc::new(RefCell::new(Waiting::new(graph.on_worker_0())));
        let (number, owner) = graph.register_state(&operator, state.clone());
        let (meta, asked) = (gathered.node.meta.with_state(number), Switch::default());
        let (watermarks, taken, outbox) = (self.watermarks.clone(), asked.clone(), graph.outbox.clone());
        let built = Rc::new(lazy(move || {
            let (owner, reports) = (owner.build(), operator.clone());
            let keep = |kept: &mut Vec<Timestamped<T>>, rows: Rows<_>| kept.extend(rows.take());
            let parts = with_watermark(&gathered, &watermarks, &operator, keep, move |tick, watermark, rows, emit| {
                let (sorted, late) = owner.batch(tick, || match tick.restored {
                    true => state.borrow_mut().restored(watermark),
                    false => state.borrow_mut().batch(watermark, tick.time, rows),
                });
                if !taken.get() {
                    report_late(&outbox, &reports, tick.time, watermark, late.len() as u64);
                }
                emit(vec![(false, sorted), (true, late)]);
            });
            split_map(gathered.flow(), &operator, parts, |_, parts: Vec<(bool, Vec<Timestamped<T>>)>, sorted, late| {
                for (is_late, rows) in parts.into_iter().filter(|(_, rows)| !rows.is_empty()) {
                    let rows = Rows::new(PartitionId::default(), rows);
                    if is_late { late(rows) } else { sorted(rows) }
                }
            })
        }));
        let (rows, late) = (built.clone(), built);
        let late = move || {
            asked.set(true);
            late.1.clone()
        };
        SortedByTime {
            rows: DStream::new(&graph, move || rows.0.clone(), &[RowOrder::Ordered], meta.clone()),
            late: DStream::new(&graph, late, &[RowOrder::Ordered], meta),
        }
    }
}

/// The key group whose chunks have all of the state. Worker 0 owns it, on any number of workers.
const GROUP: u64 = 0;

/// The place of a row: its time, its batch, and its place in the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Place {
    time: i64,
    batch: BatchTime,
    index: u32,
}

/// The rows that wait for the watermark, on worker 0. A snapshot saves those that came since the previous one. Which have left since is
/// what the watermark says.
struct Waiting<T> {
    rows: BTreeMap<Place, T>,
    /// How many rows of each batch wait.
    batches: BTreeMap<BatchTime, usize>,
    /// Only this worker has rows, so only it knows which chunks have expired.
    on_worker_0: bool,
}

impl<T> Waiting<T> {
    fn new(on_worker_0: bool) -> Self {
        Waiting { rows: BTreeMap::new(), batches: BTreeMap::new(), on_worker_0 }
    }

    fn insert(&mut self, place: Place, row: T) {
        if self.rows.insert(place, row).is_none() {
            *self.batches.entry(place.batch).or_default() += 1;
        }
    }

    /// The rows that leave with a batch, in order, and those that are late.
    fn batch(
        &mut self,
        watermark: Watermark,
        batch: BatchTime,
        rows: Vec<Timestamped<T>>,
    ) -> (Vec<Timestamped<T>>, Vec<Timestamped<T>>) {
        let mut late = Vec::new();
        for (index, timed) in (0..).zip(rows) {
            match timed.time < watermark.before {
                true => late.push(timed),
                false => self.insert(Place { time: timed.time, batch, index }, timed.row),
            }
        }
        (self.leave(watermark.now), late)
    }

    /// Loaded chunks also have rows that had left before the last one was made.
    fn restored(&mut self, watermark: Watermark) -> (Vec<Timestamped<T>>, Vec<Timestamped<T>>) {
        self.leave(watermark.now);
        (Vec::new(), Vec::new())
    }

    fn leave(&mut self, now: i64) -> Vec<Timestamped<T>> {
        let mut left = Vec::new();
        while let Some(first) = self.rows.first_entry().filter(|first| first.key().time < now) {
            let (Place { time, batch, .. }, row) = first.remove_entry();
            left.push(Timestamped { time, row });
            if let Some(n) = self.batches.get_mut(&batch) {
                *n -= 1;
                if *n == 0 {
                    self.batches.remove(&batch);
                }
            }
        }
        left
    }
}

impl<T: Exchange> KeyedState for Waiting<T> {
    fn snapshot(&mut self, t: BatchTime) -> Changes {
        let left = self.batches.keys().next().map_or(t, |first| BatchTime::from_millis(first.millis().saturating_sub(1)));
        Changes { groups: Groups::first(true), expired: Some(if self.on_worker_0 { left } else { BatchTime::default() }) }
    }

    fn held(&self) -> Held {
        Held::of_keys(0, self.rows.len() * size_of::<(Place, T)>()).with_panes(self.batches.len())
    }

    fn save(&mut self, group: u64, since: BatchTime) -> Vec<u8> {
        let new: Vec<(&Place, &T)> = self.rows.iter().filter(|(place, _)| group == GROUP && place.batch > since).collect();
        if new.is_empty() { Vec::new() } else { encoded(&new) }
    }

    fn load(&mut self, bytes: &[u8], _: BatchTime) -> Result<(), BoxError> {
        for (place, row) in postcard::from_bytes::<Vec<(Place, T)>>(bytes)? {
            self.insert(place, row);
        }
        Ok(())
    }
}

/// See [`crate::engine::state::take_any`].
#[cfg(any(test, feature = "testing"))]
pub(super) fn take_any(bytes: &[u8]) -> bool {
    crate::engine::state::take_any(Waiting::<i64>::new(true), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chunks since each row that waits have them all, and older ones expire.
    #[test]
    fn chunks_are_rows_since_the_last_snapshot() {
        let mut waiting: Waiting<i64> = Waiting::new(true);
        let mut chunks: Vec<(BatchTime, Vec<u8>)> = Vec::new();
        let mut before = i64::MIN;
        for n in 1..2_000i64 {
            let (t, now) = (BatchTime::from_millis(n as u64), n * 10 - 40);
            let rows = [n * 10, n * 10 + n % 7, n * 10 - n % 40].map(|time| Timestamped { time, row: n });
            let watermark = Watermark { before, now, largest: Some(now) };
            waiting.batch(watermark, t, rows.to_vec());
            before = now;
            assert!(waiting.rows.len() <= 30 && waiting.batches.len() <= 12, "{} rows at {n}", waiting.rows.len());
            if n % 3 == 0 {
                let expired = waiting.snapshot(t).expired.unwrap();
                chunks.retain(|(time, _)| *time > expired);
                let since = BatchTime::from_millis(n as u64 - 3);
                chunks.push((t, waiting.save(GROUP, since)));
                assert!(chunks.len() <= 6, "{} chunks at {n}", chunks.len());
                let mut again: Waiting<i64> = Waiting::new(true);
                chunks.iter().for_each(|(time, bytes)| again.load(bytes, *time).unwrap());
                again.restored(watermark);
                assert_eq!((again.rows, again.batches), (waiting.rows.clone(), waiting.batches.clone()));
            }
        }
        let other: &mut Waiting<i64> = &mut Waiting::new(false);
        assert_eq!(
            other.snapshot(BatchTime::from_millis(9)).expired,
            Some(BatchTime::default()),
            "worker 0 knows what has expired"
        );
    }
}
