//! What `as_of_join` keeps of each key: the rows on the left that wait for the watermark, and the rows on the right that one of them, or a
//! later one, may need.

use super::cells::Cells;
use super::event_time_join::{JoinState, Joined, LateRow, Sides, valid};
use super::watermark::Watermark;
use crate::core::data::{Exchange, Key, Rows, encoded};
use crate::core::error::BoxError;
use crate::core::event_time::Timestamped;
use crate::core::key_groups::KeyGroups;
use crate::core::time::BatchTime;
use crate::engine::dictionary::Code;
use crate::engine::state::{Changes, KeyedState};
use crate::metrics::held::Held;

/// The rows of one key. Times ascend.
struct Kept<V, W> {
    left: Vec<(i64, V)>,
    /// At most one of each time.
    right: Vec<(i64, W)>,
}

impl<V, W> Default for Kept<V, W> {
    fn default() -> Self {
        Kept { left: Vec::new(), right: Vec::new() }
    }
}

/// The number of rows before a time.
fn before<X>(rows: &[(i64, X)], time: i64) -> usize {
    rows.partition_point(|(of_row, _)| *of_row < time)
}

impl<V: Exchange, W: Exchange> Kept<V, W> {
    fn add_left(&mut self, time: i64, v: V) {
        let at = self.left.partition_point(|(of_row, _)| *of_row <= time);
        self.left.insert(at, (time, v));
    }

    /// Of rows with the same time, the one with the largest encoded bytes counts, so that their order does not matter.
    fn add_right(&mut self, time: i64, w: W) {
        let at = before(&self.right, time);
        match self.right.get_mut(at).filter(|(of_row, _)| *of_row == time) {
            Some((_, old)) if encoded(old) < encoded(&w) => *old = w,
            Some(_) => {}
            None => self.right.insert(at, (time, w)),
        }
    }

    /// The newest row on the right at a time or before, but not before `oldest`.
    fn as_of(&self, time: i64, oldest: i64) -> Option<&W> {
        let (of_row, w) = self.right[..self.right.partition_point(|(of_row, _)| *of_row <= time)].last()?;
        (*of_row >= oldest).then_some(w)
    }
}

/// The rows of the keys of one worker.
pub(super) struct AsOf<K, V, W> {
    /// How much older the row on the right may be, in microseconds.
    tolerance: Option<i64>,
    cells: Cells<K, Kept<V, W>>,
}

impl<K: Key, V: Exchange, W: Exchange> AsOf<K, V, W> {
    pub fn new(groups: KeyGroups, tolerance: Option<i64>) -> Self {
        AsOf { tolerance, cells: Cells::new(groups) }
    }

    /// The time of the oldest row that a row of this time may be joined with.
    fn oldest(&self, time: i64) -> i64 {
        self.tolerance.map_or(i64::MIN, |tolerance| time.saturating_sub(tolerance))
    }

    /// The code waits until its first row can go.
    fn wait(&mut self, code: Code) {
        let Some(Kept { left, right }) = self.cells.get(code) else { return };
        // A row on the right goes when the next one is behind the watermark, or when it is too old.
        let replaced = right.get(1).map(|(time, _)| *time);
        let too_old = right.first().zip(self.tolerance).map(|((time, _), tolerance)| time + tolerance);
        let until = left.first().map(|(time, _)| *time).into_iter().chain(replaced).chain(too_old).min();
        until.into_iter().for_each(|until| self.cells.wait(code, until));
    }

    /// Joins the rows on the left that the watermark has passed, and drops those on the right that no other row needs.
    fn leave(&mut self, now: i64, t: BatchTime, joined: &mut Vec<Joined<K, (V, Option<W>)>>) {
        for code in self.cells.due(now.saturating_sub(1)) {
            let (group, key) = (self.cells.touch(code), self.cells.keys.key(code).clone());
            let oldest = self.oldest(now);
            let mut kept = std::mem::take(self.cells.of(code, t));
            for (time, v) in kept.left.drain(..before(&kept.left, now)).collect::<Vec<_>>() {
                let row = (key.clone(), (v, kept.as_of(time, self.oldest(time)).cloned()));
                joined.push((group, Timestamped { time, row }));
            }
            let newest = before(&kept.right, now).saturating_sub(1);
            kept.right.drain(..newest.max(before(&kept.right, oldest)));
            if kept.left.is_empty() && kept.right.is_empty() {
                self.cells.remove(code, t);
            } else {
                *self.cells.of(code, t) = kept;
                self.wait(code);
            }
        }
    }
}

impl<K: Key, V: Exchange, W: Exchange> JoinState<K, V, W> for AsOf<K, V, W> {
    type Row = (V, Option<W>);

    fn batch(
        &mut self,
        watermark: Watermark,
        t: BatchTime,
        rows: Vec<Rows<(K, Sides<V, W>)>>,
        joined: &mut Vec<Joined<K, Self::Row>>,
        late: &mut Vec<LateRow<K, V, W>>,
    ) {
        self.cells.keys.reclaim(|_| true);
        let oldest = self.oldest(watermark.before);
        for (key, mut sides) in rows.into_iter().flat_map(Rows::take) {
            // A late row on the right still counts for the rows on the left that come later.
            let mut still: Vec<(i64, W)> = sides.right.iter().filter(|(time, _)| *time >= oldest).cloned().collect();
            sides.take_late(self.cells.keys.groups(), &key, watermark.before, watermark.before, late);
            if sides.left.is_empty() && still.is_empty() {
                continue;
            }
            let code = self.cells.keys.code(key, t);
            self.cells.touch(code);
            let cell = self.cells.of(code, t);
            still.drain(..).for_each(|(time, w)| cell.add_right(time, w));
            sides.left.into_iter().for_each(|(time, v)| cell.add_left(time, v));
            self.wait(code);
        }
        self.leave(watermark.now, t, joined);
    }
}

impl<K: Key, V: Exchange, W: Exchange> KeyedState for AsOf<K, V, W> {
    fn snapshot(&mut self, _: BatchTime) -> Changes {
        self.cells.snapshot()
    }

    fn held(&self) -> Held {
        self.cells.held()
    }

    fn save(&mut self, group: u64, _: BatchTime) -> Vec<u8> {
        self.cells.save(group, |key, Kept { left, right }| (key, left, right))
    }

    #[allow(clippy::type_complexity, reason = "the format of a chunk")]
    fn load(&mut self, bytes: &[u8], cut: BatchTime) -> Result<(), BoxError> {
        for (key, left, right) in postcard::from_bytes::<Vec<(K, Vec<(i64, V)>, Vec<(i64, W)>)>>(bytes)? {
            valid(left.iter().map(|row| row.0).chain(right.iter().map(|row| row.0)))?;
            let code = self.cells.keys.code(key, cut);
            *self.cells.of(code, cut) = Kept { left, right };
            self.wait(code);
        }
        Ok(())
    }
}

/// See [`crate::engine::state::take_any`].
#[cfg(any(test, feature = "testing"))]
pub(super) fn take_any(bytes: &[u8]) -> bool {
    let state: AsOf<String, i64, i64> = AsOf::new(KeyGroups::default(), Some(5));
    crate::engine::state::take_any(state, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::data::PartitionId;

    /// How many bytes are saved after each of these batches of one key: a row on the left and one on the right, ten microseconds later
    /// each time, and a watermark that follows.
    fn saved(tolerance: Option<i64>, batches: i64) -> Vec<usize> {
        let mut state: AsOf<char, u8, u8> = AsOf::new(KeyGroups::default(), tolerance);
        let batch = |n: i64| {
            let t = BatchTime::from_millis(n as u64 + 1);
            let sides = Sides { left: vec![(10 * n, 1)], right: vec![(10 * n - 5, 2)] };
            let watermark = Watermark { before: 10 * (n - 1), now: 10 * n, largest: Some(10 * n) };
            let rows = vec![Rows::new(PartitionId { branch: 0, index: 0 }, vec![('k', sides)])];
            let (mut joined, mut late) = (Vec::new(), Vec::new());
            state.batch(watermark, t, rows, &mut joined, &mut late);
            assert_eq!((joined.len(), late.len()), (usize::from(n > 0), 0), "the row of the previous batch leaves");
            state.snapshot(t);
            (0..KeyGroups::default().count()).map(|group| state.save(group, t).len()).sum()
        };
        (0..batches).map(batch).collect()
    }

    #[test]
    fn a_key_keeps_what_a_later_row_may_need() {
        for tolerance in [None, Some(7), Some(100)] {
            let saved = saved(tolerance, 2_000);
            assert!(saved.iter().all(|bytes| (1..20).contains(bytes)), "{tolerance:?}: {saved:?}");
        }
    }

    #[test]
    fn a_key_leaves_when_its_rows_are_too_old() {
        let mut state: AsOf<char, u8, u8> = AsOf::new(KeyGroups::default(), Some(7));
        let (t, right) = (BatchTime::from_millis(1), vec![(5, 2)]);
        let rows = || {
            vec![Rows::new(PartitionId { branch: 0, index: 0 }, vec![('k', Sides { left: Vec::new(), right: right.clone() })])]
        };
        let mut kept = |now, rows| {
            state.batch(Watermark { before: i64::MIN, now, largest: Some(now) }, t, rows, &mut Vec::new(), &mut Vec::new());
            state.cells.iter().count()
        };
        assert_eq!([kept(0, rows()), kept(12, Vec::new()), kept(13, Vec::new())], [1, 1, 0]);
    }
}
