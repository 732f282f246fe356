//! Books between workers, without timely: whatever batches overlap and in whatever order workers are heard, each key of each
//! batch comes out once, with its own sum, and nothing is kept of keys that do not come back.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use crate::core::data::{Rows, key_group};
use crate::core::time::BatchTime;
use crate::operator::kernel::partial_table::{Combiner, MergedTable, Merger, PartialBatch, PartialTable};

type Sums = BTreeMap<String, i64>;
type Told = (BatchTime, Vec<PartialBatch<String, i64>>);

/// One worker: its writer, the batches that it has open, and what it has sent and is not read yet, by owner.
struct Worker {
    writer: Combiner<String, i64>,
    open: VecDeque<(BatchTime, PartialTable<String, i64>)>,
    sent: Vec<VecDeque<Told>>,
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

/// Lets workers combine batches, as many open at once as `open` says, and hears them in the order of `turns`. Returns what comes
/// out of each batch, and the owners.
fn told(workers: usize, batches: &[Vec<Keys>], open: usize, turns: &[usize]) -> (Vec<Sums>, Vec<Merger<String, i64>>) {
    let worker = |w| Worker { writer: Combiner::new(w, workers, 0), open: VecDeque::new(), sent: vec![VecDeque::new(); workers] };
    let mut all: Vec<Worker> = (0..workers).map(worker).collect();
    let close = |worker: &mut Worker| {
        let (t, book) = worker.open.pop_front().expect("an open batch");
        worker.writer.partials(book, &mut |parcels| {
            // A parcel is what goes over the wire.
            let bytes = crate::core::data::encoded(&parcels);
            let parcels: Vec<PartialBatch<String, i64>> = postcard::from_bytes(&bytes).expect("parcels");
            parcels.into_iter().for_each(|p| worker.sent[p.to as usize].push_back((t, vec![p])));
        });
    };
    for (batch, keys) in batches.iter().enumerate() {
        for (worker, keys) in all.iter_mut().zip(keys) {
            let mut book = worker.writer.open(at(batch));
            for (key, n) in keys.names() {
                *book.of(key.as_str()) += n - 1;
                *book.of_own(key) += 1;
            }
            worker.open.push_back((at(batch), book));
            if worker.open.len() > open {
                close(worker);
            }
        }
    }
    all.iter_mut().for_each(|worker| (0..worker.open.len()).for_each(|_| close(worker)));
    let mut sums = vec![Sums::new(); batches.len()];
    let mut readers = Vec::new();
    for owner in 0..workers {
        let mut reader = Merger::new(workers);
        let mut wholes: BTreeMap<BatchTime, MergedTable<i64>> =
            (0..batches.len()).map(|b| (at(b), MergedTable::default())).collect();
        let mut turns = turns.iter().cycle();
        for (batch, sums) in sums.iter_mut().enumerate() {
            // Other workers may be a few batches ahead. This batch is complete when no worker holds a part of it.
            let has = |w: &Worker, until| w.sent[owner].front().is_some_and(|(t, _)| *t <= at(until));
            while let Some(late) = all.iter().position(|w| has(w, batch)) {
                let turn = turns.next().expect("turns") % workers;
                let from = if has(&all[turn], batch + 3) { turn } else { late };
                let (t, parcels) = all[from].sent[owner].pop_front().expect("something sent");
                let whole = wholes.get_mut(&t).expect("a batch that is not whole");
                parcels.into_iter().for_each(|p| reader.merge(t, p, whole, |a, b| *a += b));
            }
            let whole = wholes.remove(&at(batch)).expect("a batch");
            reader.rows(at(batch), whole, &mut |rows: Rows<(String, i64)>| {
                for (key, n) in rows.take() {
                    assert_eq!(key_group(&key) as usize % workers, owner, "{key} lies with its owner");
                    assert_eq!(sums.insert(key, n), None, "a key is there once");
                }
            });
        }
        readers.push(reader);
    }
    (sums, readers)
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
    fn each_key_of_a_batch_comes_out_once(
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
        let (sums, _) = told(workers, &batches, open, &turns);
        prop_assert_eq!(sums, expected(&batches));
    }
}

/// How many keys the parcels of a book name.
fn named(writer: &mut Combiner<String, i64>, book: PartialTable<String, i64>) -> usize {
    let mut named = 0;
    writer.partials(book, &mut |parcels| named += parcels.iter().map(PartialBatch::names).sum::<usize>());
    named
}

fn write(book: &mut PartialTable<String, i64>, keys: Keys) {
    keys.names().for_each(|(key, n)| *book.of(key.as_str()) += n);
}

/// The same keys in every batch go by number from the second on, one book for each batch that is open at once.
#[test]
fn a_key_that_comes_again_goes_by_number() {
    let mut writer: Combiner<String, i64> = Combiner::new(0, 2, 0);
    let mut names = Vec::new();
    for batch in 0..5 {
        let (mut one, mut two) = (writer.open(at(2 * batch)), writer.open(at(2 * batch + 1)));
        for book in [&mut one, &mut two] {
            write(book, Keys { from: 0, many: 50 });
        }
        names.extend([one, two].map(|book| named(&mut writer, book)));
    }
    assert_eq!(names, [50, 50, 0, 0, 0, 0, 0, 0, 0, 0]);
}

/// A few new keys of a batch that come late have a book that is closed at once, and the large one goes on.
#[test]
fn what_is_late_of_a_batch_closes_no_book() {
    let mut writer: Combiner<String, i64> = Combiner::new(0, 2, 0);
    let mut names = Vec::new();
    for batch in 0..5 {
        let mut book = writer.open(at(batch));
        write(&mut book, Keys { from: 0, many: 50 });
        if batch > 0 {
            let mut late = writer.open(at(batch - 1));
            write(&mut late, Keys { from: 100 * batch as u32, many: 3 });
            names.push(named(&mut writer, late));
        }
        names.push(named(&mut writer, book));
    }
    assert_eq!(names, [50, 3, 0, 3, 0, 3, 0, 3, 0]);
}

/// Keys that come and go: books are closed, and their owners forget them.
#[test]
fn keys_that_do_not_come_back_are_forgotten() {
    for drift in [10, 100] {
        let batches: Vec<Vec<Keys>> = (0..400).map(|b| vec![Keys { from: b * drift, many: 100 }; 2]).collect();
        let (sums, readers) = told(2, &batches, 1, &[0, 1, 1]);
        assert_eq!(sums, expected(&batches));
        for reader in readers {
            let (known, ids) = reader.sizes();
            assert!(known < 1_000 && ids < 2_000, "of {} keys {known} are known, and {ids} ids there were", 400 * drift);
        }
    }
}

/// A burst is not kept for ever: the next small batch closes the books of the large one, those that it does not use too.
#[test]
fn a_large_book_is_closed_by_a_small_batch() {
    let large = vec![Keys { from: 0, many: 10_000 }; 2];
    let mut batches = vec![large; 3];
    batches.extend(vec![vec![Keys { from: 0, many: 10 }; 2]; 3]);
    let (sums, readers) = told(2, &batches, 2, &[0, 1]);
    assert_eq!(sums, expected(&batches));
    assert!(readers.iter().all(|r| r.sizes().0 < 30), "{:?}", readers.iter().map(Merger::sizes).collect::<Vec<_>>());
}
