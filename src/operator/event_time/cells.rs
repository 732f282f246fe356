//! What a worker keeps for each key that it owns, and when it looks at the key again.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::core::data::{Key, encoded};
use crate::core::key_groups::{ByGroup, KeyGroups};
use crate::core::time::BatchTime;
use crate::engine::dictionary::{Code, Dict};
use crate::engine::state::{Changes, Groups};
use crate::metrics::held::Held;

/// A cell for each key, by code. A batch touches only keys that have rows, or whose time has come.
pub(super) struct Cells<K, C> {
    /// A code is retained while it has a cell.
    pub keys: Dict<K>,
    cells: Vec<Option<Cell<C>>>,
    /// Each code at its earliest time; also at later ones that do not count any more.
    waiting: BTreeMap<i64, Vec<Code>>,
    /// Key groups with changes since the last snapshot.
    changed: Groups,
    /// The codes of each group that a snapshot saves; looked up for the first group.
    cut: Option<ByGroup<Vec<Code>>>,
}

struct Cell<C> {
    cell: C,
    /// When `waiting` has it; the largest number if it does not wait.
    waits: i64,
}

impl<K, C> Cells<K, C> {
    pub fn new(groups: KeyGroups) -> Self {
        let (cells, waiting) = (Vec::new(), BTreeMap::new());
        Cells { keys: Dict::new(groups), cells, waiting, changed: Groups::default(), cut: None }
    }
}

impl<K: Key, C: Default> Cells<K, C> {
    /// The cell of a code; a new one if it has none.
    pub fn of(&mut self, code: Code, t: BatchTime) -> &mut C {
        let at = code as usize;
        if self.cells.len() <= at {
            self.cells.resize_with(at + 1, || None);
        }
        let new = || {
            self.keys.retain(code, 1, t);
            Cell { cell: C::default(), waits: i64::MAX }
        };
        &mut self.cells[at].get_or_insert_with(new).cell
    }

    pub fn get(&self, code: Code) -> Option<&C> {
        self.cells.get(code as usize)?.as_ref().map(|cell| &cell.cell)
    }

    pub fn remove(&mut self, code: Code, t: BatchTime) {
        if self.cells[code as usize].take().is_some() {
            self.keys.release(code, 1, t);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (Code, &C)> {
        (0..).zip(&self.cells).filter_map(|(code, cell)| Some((code, &cell.as_ref()?.cell)))
    }

    /// The next snapshot saves the key group of this code. Returns the group.
    pub fn touch(&mut self, code: Code) -> u64 {
        let group = self.keys.group_and_key(code).0;
        self.changed.insert(group);
        group
    }

    /// What [`KeyedState::held`](crate::engine::state::KeyedState::held) returns: without the rows that cells point to.
    pub fn held(&self) -> Held {
        self.keys.size().and_bytes(self.cells.capacity() * size_of::<Option<Cell<C>>>())
    }

    /// What [`KeyedState::snapshot`](crate::engine::state::KeyedState::snapshot) returns: whole groups.
    pub fn snapshot(&mut self) -> Changes {
        self.cut = None;
        Changes { groups: std::mem::take(&mut self.changed), expired: None }
    }

    /// The chunk of a key group: what `row` makes of each key and its cell, by key. Empty if there is no key.
    pub fn save<'c, R: Serialize>(&'c mut self, group: u64, row: impl Fn(&'c K, &'c C) -> R) -> Vec<u8> {
        let codes = self.cut.get_or_insert_with(|| self.keys.held_by_group()).take(group);
        let cells = &*self;
        let cell = |code| cells.get(code).map(|cell| (cells.keys.key(code), cell));
        let mut of_group: Vec<_> = codes.into_iter().filter_map(cell).collect();
        of_group.sort_by(|a, b| a.0.cmp(b.0));
        if of_group.is_empty() {
            return Vec::new();
        }
        encoded(&of_group.into_iter().map(|(key, cell)| row(key, cell)).collect::<Vec<_>>())
    }

    /// The cell of this code is looked at again at a time, or before.
    pub fn wait(&mut self, code: Code, until: i64) {
        if let Some(cell) = self.cells[code as usize].as_mut().filter(|cell| until < cell.waits) {
            cell.waits = until;
            self.waiting.entry(until).or_default().push(code);
        }
    }

    /// The codes that waited until `now` or before. They do not wait any more.
    pub fn due(&mut self, now: i64) -> Vec<Code> {
        let mut due = Vec::new();
        while let Some(first) = self.waiting.first_entry().filter(|first| *first.key() <= now) {
            let (time, codes) = first.remove_entry();
            for code in codes {
                if let Some(cell) = self.cells[code as usize].as_mut().filter(|cell| cell.waits == time) {
                    cell.waits = i64::MAX;
                    due.push(code);
                }
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_waits_once_at_its_earliest_time() {
        let t = BatchTime::from_millis(1);
        let mut cells: Cells<char, i64> = Cells::new(KeyGroups::default());
        let [a, b] = ['a', 'b'].map(|key| cells.keys.code(key, t));
        *cells.of(a, t) += 5;
        cells.of(b, t);
        for (code, until) in [(a, 9), (a, 7), (a, 8), (b, 8)] {
            cells.wait(code, until);
        }
        assert_eq!([6, 8, 9].map(|now| cells.due(now)), [vec![], vec![a, b], vec![]]);
        cells.wait(a, 12);
        cells.remove(a, t);
        cells.keys.reclaim(|_| true);
        assert_eq!((cells.due(20), cells.get(a), cells.keys.len()), (vec![], None, 1));
        assert_eq!(cells.iter().collect::<Vec<_>>(), [(b, &0)]);
    }
}
