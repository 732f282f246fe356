//! `join_within`: pairs of rows of two streams whose times are near each other.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Concat;

use super::cells::Cells;
use super::event_time::EventTimeStream;
use super::watermark::{Watermark, report_late, with_watermark};
use crate::api::dstream::{BY_KEY_GROUP, DStream, lazy};
use crate::core::data::{Exchange, Key, Rows, encoded};
use crate::core::error::BoxError;
use crate::core::event_time::{Timestamped, in_micros};
use crate::core::key_groups::{ByGroup, KeyGroups};
use crate::core::time::BatchTime;
use crate::engine::dictionary::Code;
use crate::engine::flow::{Flow, PendingBatches, VecStream, batched};
use crate::engine::operator_id::OperatorId;
use crate::engine::state::{Changes, Groups, KeyedState};
use crate::operator::kernel::combine::by_group;

impl<'s, K: Key, V: Exchange> EventTimeStream<'s, (K, V)> {
    /// A row `(key, (left, right))` for each pair of rows with the same key, whose times are near: a row here of time t, and a row of the
    /// other stream from t - `before` to t + `after`. Flink calls it an interval join. The row has the later of both times, and
    /// leaves in the batch of the row that came later. Rows have no order; outputs sort them.
    ///
    /// The watermark of the result is the smaller one of both streams. A row is late if the watermark has passed all rows that it could be
    /// joined with. Late rows are counted and logged.
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
    ) -> EventTimeStream<'s, (K, (V, W))> {
        let (before, after) = (in_micros(before).min(i64::MAX >> 2), in_micros(after).min(i64::MAX >> 2));
        let operator = self.rows.operator::<(K, V, W)>("join_within", format_args!("{before} {after}"));
        let left = self.rows.mapped(&operator, false, |Timestamped { time, row: (k, v) }| (k, (time, v)));
        let right = other.rows.mapped(&operator, false, |Timestamped { time, row: (k, w) }| (k, (time, w)));
        let near = left.cogrouped(&right, &operator, |left, right| vec![Sides { left, right }]);
        let graph = near.node.graph.clone();
        let state = Rc::new(RefCell::new(Intervals::new(graph.key_groups(), before, after)));
        let (number, owner) = graph.register_state(&operator, state.clone());
        let (ours, theirs, verb) = (self.watermarks.clone(), other.watermarks.clone(), operator.clone());
        let watermarks = Rc::new(lazy(move || smaller(&ours, &theirs, &graph.flow, &verb)));
        let (graph, meta, joint) = (near.node.graph.clone(), near.node.meta.with_state(number), watermarks.clone());
        let rows = DStream::new(
            &graph,
            move || {
                let (owner, outbox, reports) = (owner.build(), near.node.graph.outbox.clone(), operator.clone());
                let keep = |kept: &mut Vec<Rows<_>>, rows| kept.push(rows);
                with_watermark(&near, &joint, &operator, keep, move |tick, watermark, rows, emit| {
                    let mut joined = Vec::new();
                    let late = owner.batch(tick, || state.borrow_mut().batch(watermark, tick.time, rows, &mut joined));
                    by_group(0, joined, emit);
                    report_late(&outbox, &reports, tick.time, watermark, late);
                })
            },
            &[BY_KEY_GROUP],
            meta,
        );
        self.joined(other, rows, watermarks)
    }
}

/// The smaller watermark of two streams.
fn smaller<'s>(
    left: &VecStream<'s, Watermark>,
    right: &VecStream<'s, Watermark>,
    flow: &Flow<'s>,
    operator: &OperatorId,
) -> VecStream<'s, Watermark> {
    let both = left.clone().concat(right.clone());
    let keep = |pending: &mut PendingBatches<Vec<Watermark>>, t, watermarks: Vec<_>| pending.at(t).extend(watermarks);
    batched(flow, operator, both, Pipeline, keep, |_, both, emit| {
        let least = both.into_iter().reduce(|a, b| Watermark { before: a.before.min(b.before), now: a.now.min(b.now) });
        emit(least.into_iter().collect());
    })
}

/// The rows of one key in both streams, with their times.
#[derive(Clone)]
struct Sides<V, W> {
    left: Vec<(i64, V)>,
    right: Vec<(i64, W)>,
}

impl<V, W> Default for Sides<V, W> {
    fn default() -> Self {
        Sides { left: Vec::new(), right: Vec::new() }
    }
}

/// The rows in these times. They ascend.
fn within<X>(rows: &[(i64, X)], times: RangeInclusive<i64>) -> &[(i64, X)] {
    let from = rows.partition_point(|(time, _)| time < times.start());
    let until = rows.partition_point(|(time, _)| time <= times.end());
    &rows[from..until.max(from)]
}

fn insert<X>(rows: &mut Vec<(i64, X)>, row: (i64, X)) {
    let at = rows.partition_point(|(time, _)| *time <= row.0);
    rows.insert(at, row);
}

/// A pair with its key group.
type Joined<K, V, W> = (u64, Timestamped<(K, (V, W))>);

/// The rows of the keys of one worker that a later row may be joined with.
struct Intervals<K, V, W> {
    /// Microseconds.
    before: i64,
    after: i64,
    cells: Cells<K, Sides<V, W>>,
    /// Key groups with changes since the last snapshot.
    changed: Groups,
    /// The codes of each group that a snapshot saves; looked up for the first group.
    cut: Option<ByGroup<Vec<Code>>>,
}

impl<K: Key, V: Exchange, W: Exchange> Intervals<K, V, W> {
    fn new(groups: KeyGroups, before: i64, after: i64) -> Self {
        Intervals { before, after, cells: Cells::new(groups), changed: Groups::default(), cut: None }
    }

    /// Adds the pairs of a batch to `joined`, by key group. Returns the number of late rows.
    fn batch(
        &mut self,
        watermark: Watermark,
        t: BatchTime,
        rows: Vec<Rows<(K, Sides<V, W>)>>,
        joined: &mut Vec<Joined<K, V, W>>,
    ) -> u64 {
        self.cells.keys.reclaim(|_| true);
        let (before, after, mut late) = (self.before, self.after, 0);
        for (key, Sides { mut left, mut right }) in rows.into_iter().flat_map(Rows::take) {
            let all = left.len() + right.len();
            left.retain(|(time, _)| time + after >= watermark.before);
            right.retain(|(time, _)| time + before >= watermark.before);
            late += (all - left.len() - right.len()) as u64;
            if left.is_empty() && right.is_empty() {
                continue;
            }
            let code = self.cells.keys.code(key.clone(), t);
            let group = self.cells.keys.group_and_key(code).0;
            self.changed.insert(group);
            let cell = self.cells.of(code, t);
            let mut pair = |(t, v): &(i64, V), (u, w): &(i64, W)| {
                let row = (key.clone(), (v.clone(), w.clone()));
                joined.push((group, Timestamped { time: *t.max(u), row }));
            };
            for row in left {
                within(&cell.right, row.0 - before..=row.0 + after).iter().for_each(|other| pair(&row, other));
                insert(&mut cell.left, row);
            }
            for row in right {
                within(&cell.left, row.0 - after..=row.0 + before).iter().for_each(|other| pair(other, &row));
                insert(&mut cell.right, row);
            }
            self.wait(code);
        }
        self.forget(watermark.now, t);
        late
    }

    /// The code waits until its first row can go.
    fn wait(&mut self, code: Code) {
        let Some(Sides { left, right }) = self.cells.get(code) else { return };
        let first = left.first().map(|(time, _)| time + self.after);
        let until = first.into_iter().chain(right.first().map(|(time, _)| time + self.before)).min();
        until.into_iter().for_each(|until| self.cells.wait(code, until));
    }

    /// Drops the rows whose partners are all behind the watermark.
    fn forget(&mut self, now: i64, t: BatchTime) {
        for code in self.cells.due(now.saturating_sub(1)) {
            self.changed.insert(self.cells.keys.group_and_key(code).0);
            let Sides { left, right } = self.cells.of(code, t);
            left.drain(..left.partition_point(|(time, _)| time + self.after < now));
            right.drain(..right.partition_point(|(time, _)| time + self.before < now));
            if left.is_empty() && right.is_empty() {
                self.cells.remove(code, t);
            }
            self.wait(code);
        }
    }
}

impl<K: Key, V: Exchange, W: Exchange> KeyedState for Intervals<K, V, W> {
    fn snapshot(&mut self, _: BatchTime) -> Changes {
        self.cut = None;
        Changes { groups: std::mem::take(&mut self.changed), expired: None }
    }

    fn save(&mut self, group: u64, _: BatchTime) -> Vec<u8> {
        let codes = self.cut.get_or_insert_with(|| self.cells.keys.held_by_group()).take(group);
        let cell = |code| self.cells.get(code).map(|Sides { left, right }| (self.cells.keys.key(code), left, right));
        let mut of_group: Vec<_> = codes.into_iter().filter_map(cell).collect();
        of_group.sort_by(|a, b| a.0.cmp(b.0));
        if of_group.is_empty() { Vec::new() } else { encoded(&of_group) }
    }

    #[allow(clippy::type_complexity, reason = "the format of a chunk")]
    fn load(&mut self, bytes: &[u8], cut: BatchTime) -> Result<(), BoxError> {
        const VALID: std::ops::Range<i64> = i64::MIN >> 2..i64::MAX >> 2;
        for (key, left, right) in postcard::from_bytes::<Vec<(K, Vec<(i64, V)>, Vec<(i64, W)>)>>(bytes)? {
            let times = left.iter().map(|(time, _)| time).chain(right.iter().map(|(time, _)| time));
            if !times.into_iter().all(|time| VALID.contains(time)) {
                return Err("a row has no valid time".into());
            }
            let code = self.cells.keys.code(key, cut);
            *self.cells.of(code, cut) = Sides { left, right };
            self.wait(code);
        }
        Ok(())
    }
}

/// See [`crate::engine::state::take_any`].
#[cfg(any(test, feature = "testing"))]
pub(super) fn take_any(bytes: &[u8]) -> bool {
    crate::engine::state::take_any(Intervals::<String, i64, i64>::new(KeyGroups::default(), 3, 5), bytes)
}
