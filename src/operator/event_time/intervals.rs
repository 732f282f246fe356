//! What `join_within` and its outer forms keep: the rows of each key that a later row may be joined with.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::cells::Cells;
use super::event_time_join::{JoinState, Joined, LateRow, Sides};
use super::watermark::Watermark;
use crate::core::data::{Exchange, Key, Rows};
use crate::core::error::BoxError;
use crate::core::event_time::{Timestamped, in_micros};
use crate::core::key_groups::KeyGroups;
use crate::core::time::BatchTime;
use crate::engine::dictionary::Code;
use crate::engine::state::{Changes, KeyedState};
use crate::metrics::held::Held;

/// How far the times of a pair may be apart, in microseconds: sums with a time fit into 64 bits.
pub(super) fn bounds(before: Duration, after: Duration) -> (i64, i64) {
    (in_micros(before).min(i64::MAX >> 2), in_micros(after).min(i64::MAX >> 2))
}

/// A row with a value of both sides.
pub(super) fn pair<V, W>((left, right): (Option<V>, Option<W>)) -> (V, W) {
    left.zip(right).expect("only an outer join has rows without a partner")
}

/// Whether a row has been in a pair. It is saved with the row.
pub(super) trait Paired: Copy + Default + Serialize + DeserializeOwned + 'static {
    /// Notes that the row is in a pair.
    fn pair(&mut self);

    /// Whether the row leaves without a partner when nothing can match it any more.
    fn is_alone(self) -> bool;
}

/// Rows of this stream never leave without a partner, so nothing is noted or saved.
impl Paired for () {
    fn pair(&mut self) {}

    fn is_alone(self) -> bool {
        false
    }
}

impl Paired for bool {
    fn pair(&mut self) {
        *self = true;
    }

    fn is_alone(self) -> bool {
        !self
    }
}

/// The waiting rows of one key in one stream: time, row, and whether it was in a pair. Times ascend.
type Waiting<V, P> = Vec<(i64, V, P)>;

/// The waiting rows of one key.
struct Both<V, W, L, R> {
    left: Waiting<V, L>,
    right: Waiting<W, R>,
}

impl<V, W, L, R> Default for Both<V, W, L, R> {
    fn default() -> Self {
        Both { left: Vec::new(), right: Vec::new() }
    }
}

/// A row that leaves without a partner, with its key group.
type Alone<K, V, W> = Joined<K, (Option<V>, Option<W>)>;

/// The rows in these times.
fn within<X, P>(rows: &mut [(i64, X, P)], times: RangeInclusive<i64>) -> &mut [(i64, X, P)] {
    let from = rows.partition_point(|(time, ..)| time < times.start());
    let until = rows.partition_point(|(time, ..)| time <= times.end());
    &mut rows[from..until.max(from)]
}

fn insert<X, P>(rows: &mut Waiting<X, P>, row: (i64, X, P)) {
    let at = rows.partition_point(|(time, ..)| *time <= row.0);
    rows.insert(at, row);
}

/// The rows of the keys of one worker that a later row may be joined with.
pub(super) struct Intervals<K, V, W, L, R> {
    /// Microseconds.
    before: i64,
    after: i64,
    cells: Cells<K, Both<V, W, L, R>>,
}

impl<K: Key, V: Exchange, W: Exchange, L: Paired, R: Paired> Intervals<K, V, W, L, R> {
    pub fn new(groups: KeyGroups, before: i64, after: i64) -> Self {
        Intervals { before, after, cells: Cells::new(groups) }
    }

    /// The code waits until its first row can go.
    fn wait(&mut self, code: Code) {
        let Some(Both { left, right }) = self.cells.get(code) else { return };
        let first = left.first().map(|(time, ..)| time + self.after);
        let until = first.into_iter().chain(right.first().map(|(time, ..)| time + self.before)).min();
        until.into_iter().for_each(|until| self.cells.wait(code, until));
    }

    /// Drops the rows whose partners are all behind the watermark. Those that leave without a partner are added to `alone`.
    fn forget(&mut self, now: i64, t: BatchTime, alone: &mut Vec<Alone<K, V, W>>) {
        for code in self.cells.due(now.saturating_sub(1)) {
            let (group, key) = (self.cells.touch(code), self.cells.keys.key(code).clone());
            let (before, after) = (self.before, self.after);
            let Both { left, right } = self.cells.of(code, t);
            let mut leave = |time, row| alone.push((group, Timestamped { time, row: (key.clone(), row) }));
            for (time, v, paired) in left.drain(..left.partition_point(|(time, ..)| time + after < now)) {
                if paired.is_alone() {
                    leave(time, (Some(v), None));
                }
            }
            for (time, w, paired) in right.drain(..right.partition_point(|(time, ..)| time + before < now)) {
                if paired.is_alone() {
                    leave(time, (None, Some(w)));
                }
            }
            if left.is_empty() && right.is_empty() {
                self.cells.remove(code, t);
            }
            self.wait(code);
        }
    }
}

impl<K: Key, V: Exchange, W: Exchange, L: Paired, R: Paired> JoinState<K, V, W> for Intervals<K, V, W, L, R> {
    type Row = (Option<V>, Option<W>);

    fn batch(
        &mut self,
        watermark: Watermark,
        t: BatchTime,
        rows: Vec<Rows<(K, Sides<V, W>)>>,
        joined: &mut Vec<Joined<K, Self::Row>>,
        late: &mut Vec<LateRow<K, V, W>>,
    ) {
        self.cells.keys.reclaim(|_| true);
        let (before, after) = (self.before, self.after);
        for (key, mut sides) in rows.into_iter().flat_map(Rows::take) {
            sides.take_late(
                self.cells.keys.groups(),
                &key,
                watermark.before.saturating_sub(after),
                watermark.before.saturating_sub(before),
                late,
            );
            if sides.is_empty() {
                continue;
            }
            let code = self.cells.keys.code(key.clone(), t);
            let group = self.cells.touch(code);
            let cell = self.cells.of(code, t);
            let mut pair = |(t, v, left): &mut (i64, V, L), (u, w, right): &mut (i64, W, R)| {
                left.pair();
                right.pair();
                let row = (key.clone(), (Some(v.clone()), Some(w.clone())));
                joined.push((group, Timestamped { time: *t.max(u), row }));
            };
            for (time, v) in sides.left {
                let mut row = (time, v, L::default());
                within(&mut cell.right, time - before..=time + after).iter_mut().for_each(|other| pair(&mut row, other));
                insert(&mut cell.left, row);
            }
            for (time, w) in sides.right {
                let mut row = (time, w, R::default());
                within(&mut cell.left, time - after..=time + before).iter_mut().for_each(|other| pair(other, &mut row));
                insert(&mut cell.right, row);
            }
            self.wait(code);
        }
        self.forget(watermark.now, t, joined);
    }
}

impl<K: Key, V: Exchange, W: Exchange, L: Paired, R: Paired> KeyedState for Intervals<K, V, W, L, R> {
    fn snapshot(&mut self, _: BatchTime) -> Changes {
        self.cells.snapshot()
    }

    fn held(&self) -> Held {
        self.cells.held()
    }

    fn save(&mut self, group: u64, _: BatchTime) -> Vec<u8> {
        self.cells.save(group, |key, Both { left, right }| (key, left, right))
    }

    fn load(&mut self, bytes: &[u8], cut: BatchTime) -> Result<(), BoxError> {
        for (key, left, right) in postcard::from_bytes::<Vec<(K, Waiting<V, L>, Waiting<W, R>)>>(bytes)? {
            super::event_time_join::valid(left.iter().map(|row| row.0).chain(right.iter().map(|row| row.0)))?;
            let code = self.cells.keys.code(key, cut);
            *self.cells.of(code, cut) = Both { left, right };
            self.wait(code);
        }
        Ok(())
    }
}

/// See [`crate::engine::state::take_any`].
#[cfg(any(test, feature = "testing"))]
pub(super) fn take_any(bytes: &[u8]) -> bool {
    let inner: Intervals<String, i64, i64, (), ()> = Intervals::new(KeyGroups::default(), 3, 5);
    let outer: Intervals<String, i64, i64, bool, bool> = Intervals::new(KeyGroups::default(), 3, 5);
    crate::engine::state::take_any(inner, bytes) | crate::engine::state::take_any(outer, bytes)
}
