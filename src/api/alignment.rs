//! Alignment: the source partitions of a stream with a `max_drift` stay near one another in event time. Flink's watermark alignment.
//!
//! Each worker knows how far every partition is, as `operator/event_time/max_drift.rs` tells. Readers pause partitions that are ahead.
//! Invariant: this decides only what a live batch reads. A batch that runs again has its ranges, so the result is the same.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use timely::scheduling::Activator;

use crate::job::protocol::{Command, SplitRead};

/// What a worker tells the others of one of its partitions: the split id, a number that grows, and the largest time. `None`: the others
/// need not wait for it.
pub(crate) type Told = (u32, u64, Option<i64>);

/// A partition.
struct Position {
    source: u32,
    /// The largest time, once it had a row.
    largest: Option<i64>,
    /// Whether the others wait for it.
    holds: bool,
    /// The number of what was told last.
    number: u64,
    /// Of a partition that this worker reads.
    own: Own,
}

#[derive(Default)]
struct Own {
    /// The largest time that the others know.
    told: Option<i64>,
    /// Whether it had rows with a time since the previous batch ended.
    rows: bool,
    /// What the source read of it since then.
    records: u64,
    /// Records that the source has left, if it knows.
    lag: Option<u64>,
    /// Whether this worker reads it.
    sealed: bool,
    /// Milliseconds of batches without rows.
    quiet: u64,
}

/// The partitions of one stream with a `max_drift`.
struct Group {
    lineage: Rc<[u32]>,
    /// In microseconds.
    drift: i64,
    /// After so many milliseconds of batches without rows nobody waits for a partition.
    idle: u64,
    splits: BTreeMap<u32, Position>,
}

impl Group {
    /// The largest time that a partition may pass. `None`: nobody holds the others.
    fn bound(&self) -> Option<i64> {
        let holding = self.splits.values().filter(|p| p.holds);
        // Until a partition has a time, or is known to have no rows, the others wait where they are.
        holding.map(|p| p.largest.map_or(i64::MIN, |largest| largest.saturating_add(self.drift))).min()
    }

    fn seen(&mut self, split_id: u32, largest: i64) -> Option<Told> {
        let position = self.splits.get_mut(&split_id)?;
        let held = std::mem::replace(&mut position.holds, true);
        let largest = position.largest.map_or(largest, |before| before.max(largest));
        position.largest = Some(largest);
        position.own.rows = true;
        let far = position.own.told.is_none_or(|told| largest.saturating_sub(told) > self.drift / 8);
        if held && !far {
            return None;
        }
        (position.own.told, position.number) = (Some(largest), position.number + 1);
        Some((split_id, position.number, Some(largest)))
    }

    fn told(&mut self, (split_id, number, largest): Told) {
        let Some(position) = self.splits.get_mut(&split_id).filter(|p| p.number < number) else { return };
        (position.number, position.holds) = (number, largest.is_some());
        position.largest = position.largest.max(largest);
    }

    /// The partitions of this worker for which nobody has to wait any more. A batch of `interval` milliseconds has ended.
    fn ended(&mut self, interval: u64) -> Vec<Told> {
        let mut released = Vec::new();
        for (split_id, position) in self.splits.iter_mut().filter(|(_, p)| p.own.sealed) {
            let own = &mut position.own;
            let (rows, records) = (std::mem::take(&mut own.rows), std::mem::take(&mut own.records));
            own.quiet = if rows { 0 } else { own.quiet.saturating_add(interval) };
            // Rows that do not get as far as `event_time` say nothing of its time.
            let timeless = position.largest.is_none() && records > 0;
            if position.holds && !rows && (own.lag == Some(0) || own.quiet >= self.idle || timeless) {
                (position.holds, position.number) = (false, position.number + 1);
                released.push((*split_id, position.number, None));
            }
        }
        released
    }
}

/// The groups of a worker, and the sources that it wakes when they may go on.
#[derive(Default)]
pub(crate) struct Alignment {
    groups: RefCell<Vec<Group>>,
    sources: RefCell<Vec<Rc<Activator>>>,
}

impl Alignment {
    /// Adds the group of the partitions of these sources. Returns its number.
    pub fn add(&self, lineage: Rc<[u32]>, drift: i64, idle: u64) -> usize {
        let mut groups = self.groups.borrow_mut();
        groups.push(Group { lineage, drift, idle, splits: BTreeMap::new() });
        groups.len() - 1
    }

    /// Changes a group, and wakes the sources if this lets a partition go on.
    fn with<R>(&self, group: usize, change: impl FnOnce(&mut Group) -> R) -> R {
        let mut groups = self.groups.borrow_mut();
        let group = &mut groups[group];
        let before = group.bound();
        let result = change(group);
        let now = group.bound();
        if before.is_some() && (now.is_none() || now > before) {
            self.sources.borrow().iter().for_each(|source| source.activate());
        }
        result
    }

    /// This source is woken when a partition may go on.
    pub fn wakes(&self, source: Rc<Activator>) {
        self.sources.borrow_mut().push(source);
    }

    /// Takes a command to a source.
    pub fn command(&self, source: u32, command: &Command) {
        if let Command::Assign { source: to, split_id, split, from: Some(_) } = command
            && *to == source
            && !split.read_at_once()
        {
            self.assigned(source, *split_id);
        }
    }

    /// A worker reads this split over many batches.
    fn assigned(&self, source: u32, split_id: u32) {
        for group in self.groups.borrow_mut().iter_mut().filter(|g| g.lineage.contains(&source)) {
            let new = || Position { source, largest: None, holds: true, number: 0, own: Own::default() };
            group.splits.entry(split_id).or_insert_with(new);
        }
    }

    /// A split of this worker has rows with times up to this one. Returns what the others must know.
    pub fn seen(&self, group: usize, split_id: u32, largest: i64) -> Option<Told> {
        self.with(group, |g| g.seen(split_id, largest))
    }

    /// Another worker tells of its split.
    pub fn told(&self, group: usize, told: Told) {
        self.with(group, |g| g.told(told));
    }

    /// What splits of this worker gave to a batch that is sealed, and have left.
    pub fn sealed<'a>(&self, splits: impl Iterator<Item = &'a u32>, read: &BTreeMap<u32, SplitRead>, lag: &BTreeMap<u32, u64>) {
        let mut groups = self.groups.borrow_mut();
        if groups.is_empty() {
            return;
        }
        for split_id in splits {
            let records = read.get(split_id).map_or(0, |split| split.records);
            for position in groups.iter_mut().filter_map(|g| g.splits.get_mut(split_id)) {
                let own = &mut position.own;
                (own.sealed, own.records, own.lag) = (true, own.records + records, lag.get(split_id).copied());
            }
        }
    }

    /// A batch has ended. Returns what the others must know.
    pub fn ended(&self, group: usize, interval: u64) -> Vec<Told> {
        self.with(group, |g| g.ended(interval))
    }

    /// The splits of a source that are ahead, if they are others than before. `known` is `None` if no stream of it has a `max_drift`.
    pub fn changed<'a>(&self, source: u32, known: &'a mut Option<BTreeSet<u32>>) -> Option<&'a BTreeSet<u32>> {
        let ahead = self.ahead(source);
        if ahead == *known {
            return None;
        }
        *known = ahead;
        known.as_ref()
    }

    /// The splits of a source that are ahead of others. `None`: no stream of it has a `max_drift`.
    fn ahead(&self, source: u32) -> Option<BTreeSet<u32>> {
        let groups = self.groups.borrow();
        let mut of_source = groups.iter().filter(|g| g.lineage.contains(&source)).peekable();
        of_source.peek()?;
        let ahead = of_source.flat_map(|g| {
            let bound = g.bound();
            g.splits.iter().filter(move |(_, p)| p.source == source && bound.is_some() && p.largest > bound).map(|(id, _)| *id)
        });
        Some(ahead.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two splits of source 0 and one of source 1, with a drift of 80.
    fn three() -> Alignment {
        let alignment = Alignment::default();
        assert_eq!(alignment.add([0, 1].into(), 80, 3), 0);
        [(0, 0), (0, 1), (1, 2), (7, 3)].into_iter().for_each(|(source, split_id)| alignment.assigned(source, split_id));
        alignment
    }

    fn ahead(alignment: &Alignment) -> Vec<u32> {
        [0, 1].into_iter().flat_map(|source| alignment.ahead(source).unwrap()).collect()
    }

    fn sealed(alignment: &Alignment, split_id: u32, records: u64, lag: Option<u64>) {
        let read = [(split_id, SplitRead { records, ..SplitRead::default() })].into();
        alignment.sealed([split_id].iter(), &read, &lag.map(|lag| (split_id, lag)).into_iter().collect());
    }

    #[test]
    fn a_split_waits_for_those_that_are_further_behind_than_the_drift() {
        let a = three();
        assert_eq!((ahead(&a), a.ahead(7)), (vec![], None));
        assert_eq!(a.seen(0, 0, 500), Some((0, 1, Some(500))));
        assert_eq!(ahead(&a), [0], "nothing is known of the others");
        a.told(0, (1, 1, Some(400)));
        a.told(0, (2, 1, Some(430)));
        assert_eq!(ahead(&a), [0]);
        a.told(0, (1, 2, Some(425)));
        assert_eq!(ahead(&a), [0u32; 0], "75 ahead of split 1");
        assert_eq!(
            [505, 510, 511].map(|time| a.seen(0, 0, time)),
            [None, None, Some((0, 2, Some(511)))],
            "an eighth of the drift"
        );
        assert_eq!(ahead(&a), [0], "86 ahead of split 1");
    }

    #[test]
    fn nobody_waits_for_a_split_without_rows() {
        let a = three();
        a.told(0, (1, 1, Some(400)));
        assert_eq!(ahead(&a), [1]);
        a.told(0, (0, 1, None));
        assert_eq!(ahead(&a), [1], "nothing is known of split 2");
        sealed(&a, 2, 0, Some(0));
        assert_eq!(a.ended(0, 1), [(2, 1, None)], "it has no records");
        assert_eq!(ahead(&a), [0u32; 0]);
        a.seen(0, 2, 100);
        assert_eq!(ahead(&a), [1], "it has rows again");
        sealed(&a, 2, 1, Some(5));
        assert_eq!([1, 1, 1, 1].map(|ms| a.ended(0, ms).len()), [0, 0, 0, 1], "records are left, and none came for 3 ms");
        a.told(0, (2, 2, Some(90)));
        assert_eq!(ahead(&a), [0u32; 0], "this was told before");
    }

    #[test]
    fn nobody_waits_for_a_split_whose_records_have_no_times() {
        let a = three();
        a.told(0, (0, 1, Some(1)));
        a.told(0, (2, 1, Some(1)));
        sealed(&a, 1, 0, None);
        assert_eq!(a.ended(0, 1), []);
        sealed(&a, 1, 10, None);
        assert_eq!(a.ended(0, 1), [(1, 1, None)]);
        assert_eq!(ahead(&a), [0u32; 0]);
    }
}
