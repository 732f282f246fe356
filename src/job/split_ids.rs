//! Split ids: each split has a number over all sources, in the order in which plans first name splits.
//!
//! A split that is read over many batches keeps its id. If a split is read at once (a file), later batches reuse its id, so a stream of
//! files needs a bounded number of ids. Ids depend only on the plans, so the same plans give the same ids.

use std::collections::BTreeMap;

use crate::core::plan::Split;

/// How many splits that are read at once get ids of their own before ids repeat. Workers take turns by split id, also when each
/// batch has one file.
const ROUND: usize = 1024;

type Named = BTreeMap<(u32, Split), u32>;

/// The split ids of a job.
#[derive(Default)]
pub(crate) struct SplitIds {
    kept: Named,
    /// The splits that the batch which is being planned reads at once.
    at_once: Named,
    /// The ids for them, ascending, so that the files of a batch are in its order; and the next in this round.
    reused: Vec<u32>,
    turn: usize,
    next: u32,
}

impl SplitIds {
    /// Ids below this one were given before the restart.
    pub fn go_on(&mut self, given: u32) {
        self.next = self.next.max(given);
    }

    /// A split has this id from an earlier run. `false`: that is known already.
    pub fn keep(&mut self, source: u32, split: &Split, split_id: u32) -> bool {
        self.next = self.next.max(split_id + 1);
        self.kept.insert((source, split.clone()), split_id).is_none()
    }

    /// How many ids were ever given.
    pub fn given(&self) -> u32 {
        self.next
    }

    /// Begins the plan of the next batch. The ids of splits that the previous one read at once are free.
    pub fn batch(&mut self) {
        self.at_once.clear();
        if self.turn >= ROUND {
            self.turn = 0;
        }
    }

    /// The id of a split, and whether it is new.
    pub fn of(&mut self, source: u32, split: &Split) -> (u32, bool) {
        let at_once = split.read_at_once();
        let known = if at_once { &self.at_once } else { &self.kept };
        let key = (source, split.clone());
        if let Some(split_id) = known.get(&key) {
            return (*split_id, false);
        }
        let split_id = if at_once { self.next_reused() } else { self.fresh() };
        let known = if at_once { &mut self.at_once } else { &mut self.kept };
        known.insert(key, split_id);
        (split_id, true)
    }

    /// The source that reads a split of this name over many batches.
    pub fn reader(&self, name: &str) -> Option<u32> {
        self.kept.keys().find(|(_, split)| **split.name() == *name).map(|(source, _)| *source)
    }

    fn next_reused(&mut self) -> u32 {
        if self.turn == self.reused.len() {
            let split_id = self.fresh();
            self.reused.push(split_id);
        }
        self.turn += 1;
        self.reused[self.turn - 1]
    }

    fn fresh(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(n: usize) -> Split {
        Split::File { path: format!("/in/{n}").into(), size: 1, modified_ms: n as i64 }
    }

    fn partition(n: i32) -> Split {
        Split::Kafka { topic: "t".into(), partition: n }
    }

    #[test]
    fn a_partition_keeps_its_id_and_no_file_has_it_in_any_batch() {
        let mut split_ids = SplitIds::default();
        assert_eq!(
            (split_ids.of(0, &partition(0)), split_ids.of(1, &partition(0))),
            ((0, true), (1, true)),
            "each source has its own"
        );
        assert_eq!(
            (split_ids.of(2, &file(0)), split_ids.of(2, &file(1)), split_ids.of(2, &file(0))),
            ((2, true), (3, true), (2, false))
        );
        assert_eq!((split_ids.of(0, &partition(1)), split_ids.of(2, &file(2))), ((4, true), (5, true)));
        for n in 3..10 * ROUND {
            split_ids.batch();
            let split_id = split_ids.of(2, &file(n)).0;
            assert!(![0, 1, 4].contains(&split_id), "{split_id} is a partition's");
        }
        assert_eq!((split_ids.of(0, &partition(0)), split_ids.of(0, &partition(1))), ((0, false), (4, false)));
    }

    #[test]
    fn files_that_come_and_go_leave_nothing_and_workers_take_turns() {
        let mut split_ids = SplitIds::default();
        let mut turns = [0; 4];
        for n in 0..100 * ROUND {
            split_ids.batch();
            turns[split_ids.of(0, &file(n)).0 as usize % 4] += 1;
        }
        assert_eq!((split_ids.at_once.len(), split_ids.kept.len(), split_ids.reused.len()), (1, 0, ROUND));
        assert_eq!(turns, [25 * ROUND; 4]);
    }

    #[test]
    fn files_of_a_batch_are_in_its_order_also_around_the_end_of_a_round() {
        let mut split_ids = SplitIds::default();
        let mut n = 0;
        for size in [ROUND - 1, 5, 3, 2 * ROUND, 7] {
            split_ids.batch();
            let of: Vec<u32> = (n..n + size).map(|n| split_ids.of(0, &file(n)).0).collect();
            assert!(of.windows(2).all(|w| w[0] < w[1]), "{of:?}");
            n += size;
        }
    }
}
