//! Bad records in a row: how many a verb has found one after another in each partition, over batches.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::core::data::{PartitionId, encoded};
use crate::core::error::BoxError;
use crate::core::plan::Plan;
use crate::core::time::BatchTime;
use crate::engine::state::{Changes, Groups, KeyedState};
use crate::metrics::held::Held;

/// The name of the state of a verb whose bad records in a row are limited.
pub(crate) const STATE: &str = "bad_in_a_row";

/// Rows without a lasting partition count as those of this one.
const SHARED: PartitionId = PartitionId { branch: u16::MAX, index: u32::MAX };

/// The bad rows among some rows that follow one another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BadRun {
    rows: u64,
    /// The bad ones before the first good one, and after the last good one. Without a good one both are all.
    begin: u64,
    end: u64,
    /// The most bad ones in a row.
    longest: u64,
    /// What the first bad one is.
    first: Option<String>,
}

impl BadRun {
    /// Of so many rows those at these places, ascending, are bad.
    pub fn of(rows: usize, bad: &[usize], first: impl FnOnce() -> String) -> Self {
        let chains = bad.chunk_by(|a, b| a + 1 == *b);
        let longest = chains.clone().map(<[usize]>::len).max().unwrap_or(0) as u64;
        let begin = chains.clone().next().filter(|chain| chain[0] == 0).map_or(0, <[usize]>::len) as u64;
        let end = chains.last().filter(|chain| chain[chain.len() - 1] + 1 == rows).map_or(0, <[usize]>::len) as u64;
        BadRun { rows: rows as u64, begin, end, longest, first: (!bad.is_empty()).then(first) }
    }

    /// More rows follow.
    pub fn add(&mut self, more: BadRun) {
        self.longest = self.longest.max(more.longest).max(self.end + more.begin);
        self.begin += if self.begin == self.rows { more.begin } else { 0 };
        self.end = more.end + if more.end == more.rows { self.end } else { 0 };
        self.rows += more.rows;
        self.first = self.first.take().or(more.first);
    }
}

/// The bad records at the end of each partition, on worker 0. Partitions that end with a good record are left out.
#[derive(Default)]
pub(crate) struct BadRuns {
    ends: BTreeMap<PartitionId, u64>,
    /// Whether it changed since the last snapshot.
    changed: bool,
}

impl BadRuns {
    /// A batch with these rows in partitions, in the order of the partitions. Returns the most bad ones in a row in a partition, with
    /// those of earlier batches before them, and what one of its bad records is. `lasts`: whether batches share the partitions of a branch.
    pub fn batch(
        &mut self,
        mut rows: Vec<(PartitionId, BadRun)>,
        plan: &Plan,
        lasts: impl Fn(u16) -> bool,
    ) -> Option<(u64, String)> {
        rows.sort_by_key(|(partition, _)| *partition);
        // A split id is used again when its split was read at once.
        let at_once: BTreeSet<u32> = plan.ranges.iter().filter(|r| r.split.read_at_once()).map(|r| r.split_id).collect();
        let mut partitions: BTreeMap<PartitionId, BadRun> = BTreeMap::new();
        for (id, run) in rows {
            let id = if lasts(id.branch) && !at_once.contains(&id.index) { id } else { SHARED };
            let end = || self.ends.get(&id).copied().unwrap_or(0);
            let before = || BadRun { rows: end(), begin: end(), end: end(), longest: end(), first: None };
            partitions.entry(id).or_insert_with(before).add(run);
        }
        let mut most: Option<(u64, String)> = None;
        for (id, run) in partitions {
            let before = match run.end {
                0 => self.ends.remove(&id),
                end => self.ends.insert(id, end),
            };
            self.changed |= before.unwrap_or(0) != run.end;
            if let Some(first) = run.first.filter(|_| most.as_ref().is_none_or(|(longest, _)| run.longest > *longest)) {
                most = Some((run.longest, first));
            }
        }
        most
    }
}

impl KeyedState for BadRuns {
    fn snapshot(&mut self, _: BatchTime) -> Changes {
        Changes { groups: Groups::first(std::mem::take(&mut self.changed)), expired: None }
    }

    fn held(&self) -> Held {
        Held::of_keys(self.ends.len(), self.ends.len() * size_of::<(PartitionId, u64)>())
    }

    fn save(&mut self, group: u64, _: BatchTime) -> Vec<u8> {
        if group == 0 && !self.ends.is_empty() { encoded(&self.ends) } else { Vec::new() }
    }

    fn load(&mut self, bytes: &[u8], _: BatchTime) -> Result<(), BoxError> {
        self.ends = if bytes.is_empty() { BTreeMap::new() } else { postcard::from_bytes(bytes)? };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How many bad rows come first.
    fn chain<'a>(rows: impl Iterator<Item = &'a bool>) -> u64 {
        rows.take_while(|bad| **bad).count() as u64
    }

    /// What is true of rows: `true` is a bad one.
    fn model(rows: &[bool]) -> BadRun {
        let longest = (0..rows.len()).map(|from| chain(rows[from..].iter())).max().unwrap_or(0);
        let first = rows.contains(&true).then(|| "x".to_owned());
        BadRun { rows: rows.len() as u64, begin: chain(rows.iter()), end: chain(rows.iter().rev()), longest, first }
    }

    fn run(rows: &[bool]) -> BadRun {
        let bad: Vec<usize> = rows.iter().enumerate().filter(|(_, bad)| **bad).map(|(place, _)| place).collect();
        BadRun::of(rows.len(), &bad, || "x".into())
    }

    proptest! {
        #[test]
        fn rows_in_any_containers_have_the_same_runs(containers in prop::collection::vec(prop::collection::vec(any::<bool>(), 0..6), 0..6)) {
            let mut added = BadRun::default();
            containers.iter().for_each(|rows| added.add(run(rows)));
            prop_assert_eq!(added, model(&containers.concat()));
        }

        #[test]
        fn batches_continue_the_runs_of_their_partitions(batches in prop::collection::vec((0u32..3, prop::collection::vec(any::<bool>(), 0..6)), 0..9)) {
            let mut runs = BadRuns::default();
            let mut all: BTreeMap<u32, Vec<bool>> = BTreeMap::new();
            for (index, rows) in batches {
                let most = runs.batch(vec![(PartitionId { branch: 0, index }, run(&rows))], &Plan::default(), |_| true);
                let all = all.entry(index).or_default();
                // The longest run that is not over before this batch.
                let open = all.len() - model(all).end as usize;
                all.extend(&rows);
                let expected = rows.contains(&true).then(|| (model(&all[open..]).longest, "x".to_owned()));
                prop_assert_eq!(most, expected);
                let bytes = runs.save(0, BatchTime::default());
                let mut again = BadRuns::default();
                again.load(&bytes, BatchTime::default()).unwrap();
                prop_assert_eq!(&again.ends, &runs.ends);
            }
        }
    }

    #[test]
    fn partitions_that_do_not_last_are_one() {
        let mut runs = BadRuns::default();
        let batch = |index| vec![(PartitionId { branch: 0, index }, run(&[true]))];
        let longest = [7, 3, 9].map(|index| runs.batch(batch(index), &Plan::default(), |_| false).unwrap().0);
        assert_eq!(longest, [1, 2, 3]);
    }
}
