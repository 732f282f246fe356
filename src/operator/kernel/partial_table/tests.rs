//! Partial tables between workers, without timely. Batches overlap, and messages of workers are merged in any order. Each key of
//! a batch has one result, its sum. Keys that do not occur again are forgotten.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use crate::core::data::Rows;
use crate::core::key_groups::KeyGroups;
use crate::core::time::BatchTime;
use crate::operator::kernel::partial_table::{Combiner, MergedTable, Merger, PartialBatch, PartialTable};

type Sums = BTreeMap<String, i64>;
type Sent = (BatchTime, Vec<PartialBatch<String, i64>>);

/// One worker: its combiner, its open batches, and its messages that are not merged yet, by owner.
struct Worker {
    combiner: Combiner<String, i64>,
    open: VecDeque<(BatchTime, PartialTable<String, i64>)>,
    sent: Vec<VecDeque<Sent>>,
}

/// The keys of a batch on a worker: `many` of those from `from` on.
#[derive(Clone, Copy, Debug)]
struct Keys {
    from: u32,
    many: u32,
}

impl Keys {
    fn names(self) -> impl Iterator<Item = (String, i64)> {
        (self.from..self.from + self.many).map(|n| (format!("key {n}"), i64::from(n) + 1))
    }
}

fn at(batch: usize) -> BatchTime {
    BatchTime::from_millis(batch as u64 + 1)
}

/// Combines batches on several workers, with `open` batches open at once, and merges their messages in the order of `turns`.
/// Returns the sums of each batch, and the mergers.
fn combined(workers: usize, batches: &[Vec<Keys>], open: usize, turns: &[usize]) -> (Vec<Sums>, Vec<Merger<String, i64>>) {
    let worker = |w| Worker {
        combiner: Combiner::new(w, workers, KeyGroups::default(), 0),
        open: VecDeque::new(),
        sent: vec![VecDeque::new(); workers],
    };
    let mut all: Vec<Worker> = (0..workers).map(worker).collect();
    let close = |worker: &mut Worker| {
        let (t, table) = worker.open.pop_front().expect("an open batch");
        worker.combiner.partials(table, &mut |messages| {
            // Messages to another process are encoded.
            let bytes = crate::core::data::encoded(&messages);
            let messages: Vec<PartialBatch<String, i64>> = postcard::from_bytes(&bytes).expect("messages");
            messages.into_iter().for_each(|p| worker.sent[p.to as usize].push_back((t, vec![p])));
        });
    };
    for (batch, keys) in batches.iter().enumerate() {
        for (worker, keys) in all.iter_mut().zip(keys) {
            let mut table = worker.combiner.open(at(batch));
            for (key, n) in keys.names() {
                *table.of(key.as_str()) += n - 1;
                *table.of_own(key) += 1;
            }
            worker.open.push_back((at(batch), table));
            if worker.open.len() > open {
                close(worker);
            }
        }
    }
    all.iter_mut().for_each(|worker| (0..worker.open.len()).for_each(|_| close(worker)));
    let mut sums = vec![Sums::new(); batches.len()];
    let mut mergers = Vec::new();
    for owner in 0..workers {
        let mut merger = Merger::new(workers, KeyGroups::default());
        let mut open_batches: BTreeMap<BatchTime, MergedTable<i64>> =
            (0..batches.len()).map(|b| (at(b), MergedTable::default())).collect();
        let mut turns = turns.iter().cycle();
        for (batch, sums) in sums.iter_mut().enumerate() {
            // Other workers may be a few batches ahead. This batch is complete when no worker holds a part of it.
            let has = |w: &Worker, until| w.sent[owner].front().is_some_and(|(t, _)| *t <= at(until));
            while let Some(late) = all.iter().position(|w| has(w, batch)) {
                let turn = turns.next().expect("turns") % workers;
                let from = if has(&all[turn], batch + 3) { turn } else { late };
                let (t, messages) = all[from].sent[owner].pop_front().expect("something sent");
                let merged = open_batches.get_mut(&t).expect("a batch that is not complete");
                messages.into_iter().for_each(|p| merger.merge(t, p, merged, |a, b| *a += b));
            }
            let merged = open_batches.remove(&at(batch)).expect("a batch");
            merger.rows(at(batch), merged, &mut |rows: Rows<(String, i64)>| {
                for (key, n) in rows.take() {
                    assert_eq!(KeyGroups::default().of(&key) as usize % workers, owner, "{key} is with its owner");
                    assert_eq!(sums.insert(key, n), None, "a key has one row");
                }
            });
        }
        mergers.push(merger);
    }
    (sums, mergers)
}

fn expected(batches: &[Vec<Keys>]) -> Vec<Sums> {
    let sum = |keys: &Vec<Keys>| {
        let mut sums = Sums::new();
        keys.iter().flat_map(|k| k.names()).for_each(|(key, n)| *sums.entry(key).or_insert(0) += n);
        sums
    };
    batches.iter().map(sum).collect()
}

proptest! {
    #[test]
    fn each_key_of_a_batch_has_one_sum(
        workers in 1usize..4,
        // Keys that stay for some batches, then others.
        phases in prop::collection::vec((0u32..60, 1u32..40, 1usize..12, 0u32..8), 1..8),
        open in 0usize..3,
        turns in prop::collection::vec(0usize..4, 1..20),
    ) {
        let batches: Vec<Vec<Keys>> = phases
            .into_iter()
            .flat_map(|(from, many, batches, drift)| (0..batches as u32).map(move |b| (from + b * drift, many)))
            .map(|(from, many)| (0..workers as u32).map(|w| Keys { from: from + w, many }).collect())
            .collect();
        let (sums, _) = combined(workers, &batches, open, &turns);
        prop_assert_eq!(sums, expected(&batches));
    }
}

/// The number of keys that the messages of a table send in full.
fn keys_in_full(combiner: &mut Combiner<String, i64>, table: PartialTable<String, i64>) -> usize {
    let mut keys = 0;
    combiner.partials(table, &mut |messages| keys += messages.iter().map(PartialBatch::names).sum::<usize>());
    keys
}

fn write(table: &mut PartialTable<String, i64>, keys: Keys) {
    keys.names().for_each(|(key, n)| *table.of(key.as_str()) += n);
}

/// If batch after batch has the same keys, they are sent by code from the second batch on. Each open batch has its own table.
#[test]
fn a_key_that_occurs_again_is_sent_by_code() {
    let mut combiner: Combiner<String, i64> = Combiner::new(0, 2, KeyGroups::default(), 0);
    let mut names = Vec::new();
    for batch in 0..5 {
        let (mut one, mut two) = (combiner.open(at(2 * batch)), combiner.open(at(2 * batch + 1)));
        for table in [&mut one, &mut two] {
            write(table, Keys { from: 0, many: 50 });
        }
        names.extend([one, two].map(|table| keys_in_full(&mut combiner, table)));
    }
    assert_eq!(names, [50, 50, 0, 0, 0, 0, 0, 0, 0, 0]);
}

/// A few new keys that arrive late for their batch get a table that is closed immediately. The large table stays.
#[test]
fn late_rows_of_a_batch_close_no_table() {
    let mut combiner: Combiner<String, i64> = Combiner::new(0, 2, KeyGroups::default(), 0);
    let mut names = Vec::new();
    for batch in 0..5 {
        let mut table = combiner.open(at(batch));
        write(&mut table, Keys { from: 0, many: 50 });
        if batch > 0 {
            let mut late = combiner.open(at(batch - 1));
            write(&mut late, Keys { from: 100 * batch as u32, many: 3 });
            names.push(keys_in_full(&mut combiner, late));
        }
        names.push(keys_in_full(&mut combiner, table));
    }
    assert_eq!(names, [50, 3, 0, 3, 0, 3, 0, 3, 0]);
}

/// When the keys change, tables are closed, and the owners forget their keys.
#[test]
fn keys_that_do_not_occur_again_are_forgotten() {
    for drift in [10, 100] {
        let batches: Vec<Vec<Keys>> = (0..400).map(|b| vec![Keys { from: b * drift, many: 100 }; 2]).collect();
        let (sums, mergers) = combined(2, &batches, 1, &[0, 1, 1]);
        assert_eq!(sums, expected(&batches));
        for merger in mergers {
            let (known, ids) = merger.sizes();
            assert!(known < 1_000 && ids < 2_000, "of {} keys {known} are known, with {ids} ids in all", 400 * drift);
        }
    }
}

/// A small batch closes the tables of a large one, also those that it does not use.
#[test]
fn a_large_table_is_closed_by_a_small_batch() {
    let large = vec![Keys { from: 0, many: 10_000 }; 2];
    let mut batches = vec![large; 3];
    batches.extend(vec![vec![Keys { from: 0, many: 10 }; 2]; 3]);
    let (sums, mergers) = combined(2, &batches, 2, &[0, 1]);
    assert_eq!(sums, expected(&batches));
    assert!(mergers.iter().all(|r| r.sizes().0 < 30), "{:?}", mergers.iter().map(Merger::sizes).collect::<Vec<_>>());
}
