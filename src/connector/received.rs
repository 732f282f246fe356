//! The half of a reader that gives what another thread received, in order: how much of it belongs to the open batch and to given ranges.

use std::collections::BTreeSet;

use crate::connector::source::{Emit, Sealed};
use crate::core::plan::{Limits, SplitRange};
use crate::format::lines::LINES_A_CALL;

/// Rows that were taken from what is received.
pub(super) struct Taken<T> {
    pub rows: Vec<T>,
    /// Roughly the bytes they hold.
    pub bytes: usize,
    /// Whether more are ready.
    pub more: bool,
}

/// Where the only split of such a reader is.
#[derive(Default)]
pub(super) struct Received {
    split_id: Option<u32>,
    /// Whether rows go into the open batch on arrival. Otherwise they only go into given ranges.
    live: bool,
    /// The number of the next record to give, and of the first one that is in no sealed batch.
    pub given: i64,
    sealed: i64,
    /// Records of a given range that have not arrived yet.
    due: Option<i64>,
    /// Records that the open batch may still take.
    left: Option<u64>,
    /// Whether it is ahead of other sources in event time.
    paused: bool,
}

impl Received {
    /// The split is read from here on. Returns the number of the first record.
    pub fn assign(&mut self, split_id: u32, from: Option<i64>) -> i64 {
        (self.split_id, self.live) = (Some(split_id), from.is_some());
        (self.given, self.sealed) = (from.unwrap_or(0), from.unwrap_or(0));
        self.given
    }

    pub fn limit(&mut self, limits: &Limits) {
        self.left = limits.of(self.split_id.unwrap_or(0));
    }

    pub fn pause(&mut self, split_ids: &BTreeSet<u32>) {
        self.paused = self.split_id.is_some_and(|split_id| split_ids.contains(&split_id));
    }

    /// Whether a given range is only partly read.
    pub fn is_within_range(&self) -> bool {
        self.due.is_some()
    }

    /// Gives at most `n` rows, and returns how many it gave and whether more are ready.
    fn give<T>(&mut self, n: usize, take: impl FnOnce(usize) -> Taken<T>, emit: &mut Emit<'_, T>) -> (usize, bool) {
        let Some(split_id) = self.split_id else { return (0, false) };
        let Taken { rows, bytes, more } = take(n);
        let n = rows.len();
        self.given += n as i64;
        emit(split_id, rows, bytes);
        (n, more)
    }

    /// Gives rows to the open batch. Returns whether it may have more now.
    pub fn read<T>(&mut self, take: impl FnOnce(usize) -> Taken<T>, emit: &mut Emit<'_, T>) -> bool {
        if !self.live || self.paused {
            return false;
        }
        let room = self.left.map_or(LINES_A_CALL, |left| LINES_A_CALL.min(left as usize));
        let (n, more) = self.give(room, take, emit);
        self.left = self.left.map(|left| left - n as u64);
        more && self.left != Some(0)
    }

    /// Ends the open batch. `ready`: how many rows are received and not given.
    pub fn seal(&mut self, ready: usize) -> Sealed {
        let Some(split_id) = self.split_id else { return Sealed::default() };
        let from = std::mem::replace(&mut self.sealed, self.given);
        Sealed { ranges: [(split_id, from..self.given)].into(), lag: [(split_id, ready as u64)].into(), ..Sealed::default() }
    }

    /// Gives everything that is ready.
    pub fn drain<T>(&mut self, mut take: impl FnMut(usize) -> Taken<T>, emit: &mut Emit<'_, T>) {
        while self.give(LINES_A_CALL, &mut take, emit).1 {}
    }

    /// Gives rows of a given range. Returns whether it is complete. The end of the range is the position from which live rows follow.
    pub fn read_range<T>(&mut self, range: &SplitRange, take: impl FnOnce(usize) -> Taken<T>, emit: &mut Emit<'_, T>) -> bool {
        let due = self.due.unwrap_or(range.until - range.from);
        let (n, _) = self.give(LINES_A_CALL.min(due as usize), take, emit);
        let due = due - n as i64;
        self.due = (due > 0).then_some(due);
        if due == 0 {
            self.sealed = self.given;
        }
        due == 0
    }
}
