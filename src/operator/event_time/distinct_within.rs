//! `distinct_within`: rows without their duplicates that are near in event time.

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use super::cells::Cells;
use super::event_time::EventTimeStream;
use super::watermark::{Watermark, report_late, with_watermark};
use crate::api::context::Switch;
use crate::api::dstream::{BY_KEY_GROUP, DStream, lazy};
use crate::core::data::{Exchange, Key, Rows};
use crate::core::error::BoxError;
use crate::core::event_time::{Timestamped, in_micros};
use crate::core::key_groups::KeyGroups;
use crate::core::time::BatchTime;
use crate::engine::dictionary::Code;
use crate::engine::flow::split_map;
use crate::engine::state::{Changes, KeyedState};
use crate::metrics::held::Held;
use crate::operator::kernel::combine::by_group;

/// Rows without their duplicates: the result of [`EventTimeStream::distinct_within`].
///
/// It is used as the stream of the rows that stay: every verb of [`EventTimeStream`] is a method.
///
/// ```
/// use tidemill::prelude::*;
/// use tidemill::testing::check;
/// // The watermark is 35 when the row of 8 comes: whether it is a duplicate is not known any more.
/// let batches = || [vec![(10, 'a')], vec![(12, 'a')], vec![(40, 'a')], vec![(8, 'a')]];
/// fn once_each<'s>(s: &DStream<'s, (i64, char)>) -> DistinctWithin<'s, (i64, char)> {
///     let micros = std::time::Duration::from_micros;
///     s.event_time(|(time, _)| *time, micros(5)).distinct_within_by(micros(5), |(_, key)| *key)
/// }
/// check(batches(), |s| once_each(s).timestamped().map(|row| row.time), [vec![10], vec![], vec![40], vec![]]);
/// check(batches(), |s| once_each(s).duplicates().map(|row| row.time), [vec![], vec![12], vec![], vec![]]);
/// check(batches(), |s| once_each(s).late().map(|row| row.time), [vec![], vec![], vec![], vec![8]]);
/// ```
#[must_use = "nothing runs unless an output operation asks for it"]
pub struct DistinctWithin<'s, T: 'static> {
    rows: EventTimeStream<'s, T>,
    duplicates: DStream<'s, Timestamped<T>>,
    late: DStream<'s, Timestamped<T>>,
}

impl<T> Clone for DistinctWithin<'_, T> {
    fn clone(&self) -> Self {
        DistinctWithin { rows: self.rows.clone(), duplicates: self.duplicates.clone(), late: self.late.clone() }
    }
}

/// The rows that stay.
impl<'s, T> Deref for DistinctWithin<'s, T> {
    type Target = EventTimeStream<'s, T>;

    fn deref(&self) -> &EventTimeStream<'s, T> {
        &self.rows
    }
}

impl<'s, T> DistinctWithin<'s, T> {
    /// The rows that were dropped, because an earlier row of the stream is near them in event time.
    pub fn duplicates(&self) -> DStream<'s, Timestamped<T>> {
        self.duplicates.clone()
    }

    /// The rows behind the watermark: nobody knows any more whether they are duplicates. If no output operation reads them, they are counted and
    /// logged, as bad records are.
    pub fn late(&self) -> DStream<'s, Timestamped<T>> {
        self.late.clone()
    }
}

impl<'s, T: Exchange> EventTimeStream<'s, T> {
    /// The rows without duplicates: a row is dropped if an equal row, which stayed, has a time up to `d` before or after. The first row of the
    /// stream stays, so senders that send again after a failure are harmless. Rows have no order; outputs sort them.
    ///
    /// A row behind the watermark is late: see [`DistinctWithin::late`]. The result has the same watermark.
    ///
    /// All rows move to the workers that own their keys. A batch costs its rows. State: each distinct row, and the times at which it stayed,
    /// until the watermark has passed them by `d`; saved in checkpoints.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let micros = std::time::Duration::from_micros;
    /// check(
    ///     [vec![(10, 'a')], vec![(10, 'a'), (11, 'b')], vec![(40, 'a')]],
    ///     move |s| {
    ///         let letters = s.event_time(|(time, _)| *time, micros(20)).map(|(_, letter)| letter);
    ///         letters.distinct_within(micros(5)).timestamped().map(|timed| timed.row)
    ///     },
    ///     [vec!['a'], vec!['b'], vec!['a']],
    /// );
    /// ```
    #[doc(alias = "dropDuplicatesWithinWatermark")]
    #[track_caller]
    pub fn distinct_within(&self, d: Duration) -> DistinctWithin<'s, T>
    where
        T: Key,
    {
        self.distinct_within_by(d, T::clone)
    }

    /// As [`EventTimeStream::distinct_within`], for rows with an equal `key`, such as the number of an order.
    ///
    /// State: each key, instead of each row.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// // The number of an order, its time in seconds, and how often it was sent.
    /// check(
    ///     [vec![(7, 10, 1)], vec![(7, 12, 2), (8, 12, 1)]],
    ///     |s| s.event_time(|(_, second, _)| second * 1_000_000, mins(1)).distinct_within_by(mins(5), |order| order.0).timestamped().map(|o| o.row),
    ///     [vec![(7, 10, 1)], vec![(8, 12, 1)]],
    /// );
    /// ```
    #[doc(alias = "dropDuplicatesWithinWatermark")]
    #[track_caller]
    pub fn distinct_within_by<K: Key>(&self, d: Duration, key: impl Fn(&T) -> K + 'static) -> DistinctWithin<'s, T> {
        let within = in_micros(d).min(i64::MAX >> 2);
        let operator = self.rows.operator::<(K, T)>("distinct_within", within);
        let keyed = self.rows.mapped(&operator, false, move |timed: Timestamped<T>| (key(&timed.row), timed));
        let grouped = keyed.grouped(&operator);
        let graph = grouped.node.graph.clone();
        let state = Rc::new(RefCell::new(Kept::new(graph.key_groups(), within)));
        let (number, owner) = graph.register_state(&operator, state.clone());
        let (meta, asked) = (grouped.node.meta.with_state(number), Switch::default());
        let (watermarks, taken, outbox) = (self.watermarks.clone(), asked.clone(), graph.outbox.clone());
        let built = Rc::new(lazy(move || {
            let (owner, reports) = (owner.build(), operator.clone());
            let keep = |kept: &mut Vec<Rows<_>>, rows| kept.push(rows);
            let parts = with_watermark(&grouped, &watermarks, &operator, keep, move |tick, watermark, rows, emit| {
                let mut parts = Parts::default();
                owner.batch(tick, || state.borrow_mut().batch(watermark, tick.time, rows, &mut parts));
                let Parts { kept, duplicates, late } = parts;
                if !taken.get() {
                    report_late(&outbox, &reports, tick.time, watermark, late.len() as u64);
                }
                by_group(0, kept, &mut |rows| emit(vec![(Fate::Stays, rows)]));
                by_group(0, duplicates, &mut |rows| emit(vec![(Fate::Duplicate, rows)]));
                by_group(0, late, &mut |rows| emit(vec![(Fate::Late, rows)]));
            });
            let (kept, others) = split_map(grouped.flow(), &operator, parts, |_, parts: Vec<(Fate, Rows<_>)>, kept, others| {
                for (fate, rows) in parts {
                    match fate {
                        Fate::Stays => kept(rows),
                        _ => others(vec![(fate, rows)]),
                    }
                }
            });
            let (duplicates, late) =
                split_map(grouped.flow(), &operator, others, |_, parts: Vec<(Fate, Rows<_>)>, duplicates, late| {
                    for (fate, rows) in parts {
                        if fate == Fate::Duplicate { duplicates(rows) } else { late(rows) }
                    }
                });
            (kept, duplicates, late)
        }));
        let (kept, duplicates, late) = (built.clone(), built.clone(), built);
        let kept = DStream::new(&graph, move || kept.0.clone(), &[BY_KEY_GROUP], meta.clone());
        let duplicates = DStream::new(&graph, move || duplicates.1.clone(), &[BY_KEY_GROUP], meta.clone());
        let late = move || {
            asked.set(true);
            late.2.clone()
        };
        DistinctWithin { rows: self.with_rows(kept), duplicates, late: DStream::new(&graph, late, &[BY_KEY_GROUP], meta) }
    }
}

/// What becomes of a row.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Stays,
    Duplicate,
    Late,
}

/// The rows of a batch by what becomes of them, each with its key group.
struct Parts<T> {
    kept: Vec<(u64, T)>,
    duplicates: Vec<(u64, T)>,
    late: Vec<(u64, T)>,
}

impl<T> Default for Parts<T> {
    fn default() -> Self {
        Parts { kept: Vec::new(), duplicates: Vec::new(), late: Vec::new() }
    }
}

/// The keys of one worker, with the times of their rows that stayed, ascending.
struct Kept<K> {
    /// Microseconds.
    within: i64,
    cells: Cells<K, Vec<i64>>,
}

impl<K: Key> Kept<K> {
    fn new(groups: KeyGroups, within: i64) -> Self {
        Kept { within, cells: Cells::new(groups) }
    }

    /// Sorts the rows of a batch by what becomes of them.
    fn batch<T: Exchange>(
        &mut self,
        watermark: Watermark,
        t: BatchTime,
        rows: Vec<Rows<(K, Vec<Timestamped<T>>)>>,
        parts: &mut Parts<Timestamped<T>>,
    ) {
        self.cells.keys.reclaim(|_| true);
        for rows in rows {
            let group = u64::from(rows.partition.index);
            for (key, rows) in rows.take() {
                let code = self.cells.keys.code(key, t);
                // Held until all rows are seen, and released with it if none stays.
                self.cells.keys.retain(code, 1, t);
                for row in rows {
                    if row.time < watermark.before {
                        parts.late.push((group, row));
                    } else if self.is_duplicate(code, row.time) {
                        parts.duplicates.push((group, row));
                    } else {
                        self.keep(code, row.time, t);
                        parts.kept.push((group, row));
                    }
                }
                self.cells.keys.release(code, 1, t);
            }
        }
        self.forget(watermark.now, t);
    }

    fn is_duplicate(&self, code: Code, time: i64) -> bool {
        let Some(times) = self.cells.get(code) else { return false };
        let next = times.partition_point(|kept| *kept < time - self.within);
        times.get(next).is_some_and(|kept| *kept <= time + self.within)
    }

    fn keep(&mut self, code: Code, time: i64, t: BatchTime) {
        self.cells.touch(code);
        let times = self.cells.of(code, t);
        times.insert(times.partition_point(|kept| *kept <= time), time);
        self.wait(code);
    }

    /// The code waits until its first time can go.
    fn wait(&mut self, code: Code) {
        if let Some(first) = self.cells.get(code).and_then(|times| times.first()).copied() {
            self.cells.wait(code, first + self.within);
        }
    }

    /// Drops the times that no later row on time can be near.
    fn forget(&mut self, now: i64, t: BatchTime) {
        for code in self.cells.due(now.saturating_sub(1)) {
            self.cells.touch(code);
            let times = self.cells.of(code, t);
            times.drain(..times.partition_point(|kept| kept + self.within < now));
            if times.is_empty() {
                self.cells.remove(code, t);
            }
            self.wait(code);
        }
    }
}

impl<K: Key> KeyedState for Kept<K> {
    fn snapshot(&mut self, _: BatchTime) -> Changes {
        self.cells.snapshot()
    }

    fn held(&self) -> Held {
        self.cells.held()
    }

    fn save(&mut self, group: u64, _: BatchTime) -> Vec<u8> {
        self.cells.save(group, |key, times| (key, times))
    }

    fn load(&mut self, bytes: &[u8], cut: BatchTime) -> Result<(), BoxError> {
        const VALID: std::ops::Range<i64> = i64::MIN >> 2..i64::MAX >> 2;
        for (key, times) in postcard::from_bytes::<Vec<(K, Vec<i64>)>>(bytes)? {
            if times.is_empty() || !times.is_sorted() || !times.iter().all(|time| VALID.contains(time)) {
                return Err("the times of a key are not valid".into());
            }
            let code = self.cells.keys.code(key, cut);
            *self.cells.of(code, cut) = times;
            self.wait(code);
        }
        Ok(())
    }
}

/// See [`crate::engine::state::take_any`].
#[cfg(any(test, feature = "testing"))]
pub(super) fn take_any(bytes: &[u8]) -> bool {
    let empty: Kept<String> = Kept::new(KeyGroups::default(), 3);
    crate::engine::state::take_any(empty, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::data::PartitionId;

    #[test]
    fn keys_behind_the_watermark_are_forgotten() {
        let mut kept: Kept<i64> = Kept::new(KeyGroups::default(), 20);
        for n in 0..20_000i64 {
            let (t, now) = (BatchTime::from_millis(n as u64 + 1), n * 10);
            let row = |time| vec![Timestamped { time, row: () }];
            // A new key, its duplicate, one that always comes, and a late one.
            let rows = vec![(n, [row(now), row(now + 20)].concat()), (-1, row(now)), (-2 - n, row(now - 30))];
            let mut parts = Parts::default();
            kept.batch(
                Watermark { before: now - 20, now: now - 10, largest: Some(now) },
                t,
                vec![Rows::new(PartitionId::default(), rows)],
                &mut parts,
            );
            let fates = [parts.kept, parts.duplicates, parts.late].map(|rows| rows.len());
            assert_eq!(fates, if n % 3 == 0 { [2, 1, 1] } else { [1, 2, 1] }, "at {n}");
            let times: usize = kept.cells.iter().map(|(_, times)| times.len()).sum();
            assert!(times <= 8 && kept.cells.keys.codes() <= 12, "{times} times at {n}");
        }
    }
}
