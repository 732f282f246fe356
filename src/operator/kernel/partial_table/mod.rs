//! Partial and final aggregation by key: tables of partial results, and their dictionary-encoded way to the owners of the keys.
//!
//! A worker combines the rows of a batch in a [`PartialTable`]. If the same keys occur in batch after batch, the next batch reuses the
//! table. A key is cloned, assigned to its key group and sent once. After that only its index in the table is sent. The owner of
//! the keys reads messages in the order of sending, and forgets a table when its worker closes it. Indexes follow the order of iteration
//! over the table, so both sides access memory sequentially.

use std::borrow::{Borrow, Cow};
use std::hash::{BuildHasher, Hash};
use std::rc::Rc;

use hashbrown::HashTable;
use hashbrown::hash_table;
use serde::{Deserialize, Serialize};

use crate::core::data::{Exchange, FastMap, Key, PartitionId, Rows};
use crate::core::key_groups::{ByGroup, KeyGroups};
use crate::core::time::BatchTime;
use crate::engine::dictionary::{Code, Dict};
use crate::engine::flow::Emitter;

/// A table is closed when it has more than this many times the keys of its batch.
const STALE: usize = 4;
/// How many batches follow without a kept table after one that did not pay: the first time, and from then on.
const REST: [u32; 2] = [7, 31];
/// If one code in this many has a value, all codes are scanned: the number of values in a cache line.
const DENSE: usize = 4;
/// At most this many keys are sent in one message.
const BATCH_KEYS: usize = 512;

struct Entry<K, A> {
    key: K,
    sum: A,
    /// The number of keys of this table that its owner had received before. `NOT_SENT` before it is sent.
    index: u32,
    group: u16,
    /// Whether it is in the current batch.
    live: bool,
}

const NOT_SENT: u32 = u32::MAX;

/// The partial results of one batch by key, on one worker.
pub(crate) struct PartialTable<K, A> {
    number: u64,
    entries: HashTable<Entry<K, A>>,
    /// How many of its keys each owner has received.
    sent: Vec<u32>,
    /// Whether it is for late rows of a batch, and closed after it.
    once: bool,
    hasher: foldhash::fast::RandomState,
    zero: A,
}

impl<K: Key, A: Exchange> PartialTable<K, A> {
    /// The accumulator of a key. The key is cloned only if it is new.
    pub fn of<Q>(&mut self, key: &Q) -> &mut A
    where
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        let entry = self.entries.entry(hash, |l| l.key.borrow() == key, |l| self.hasher.hash_one(&l.key));
        live(entry, &self.zero, || key.to_owned())
    }

    /// As `of`, for an owned key.
    pub fn of_own(&mut self, key: K) -> &mut A {
        let hash = self.hasher.hash_one(&key);
        let entry = self.entries.entry(hash, |l| l.key == key, |l| self.hasher.hash_one(&l.key));
        live(entry, &self.zero, || key)
    }
}

/// The accumulator of an entry, which is in the batch from now on.
fn live<'a, K, A: Clone>(entry: hash_table::Entry<'a, Entry<K, A>>, zero: &A, own: impl FnOnce() -> K) -> &'a mut A {
    let entry = match entry {
        hash_table::Entry::Occupied(entry) => entry.into_mut(),
        hash_table::Entry::Vacant(new) => {
            let entry = Entry { key: own(), sum: zero.clone(), index: NOT_SENT, group: 0, live: true };
            new.insert(entry).into_mut()
        }
    };
    entry.live = true;
    &mut entry.sum
}

/// Rows by key group, one container each.
struct RowsByGroup<K, A> {
    rows: ByGroup<Vec<(K, A)>>,
    /// The expected number of rows in a group.
    each: usize,
}

impl<K, A> RowsByGroup<K, A> {
    fn new(keys: usize, peers: u32, groups: KeyGroups) -> Self {
        let each = (keys + keys / 4) * peers as usize / groups.count() as usize + 2;
        RowsByGroup { rows: ByGroup::default(), each }
    }

    fn push(&mut self, group: u64, row: (K, A)) {
        let rows = self.rows.of(group);
        if rows.is_empty() {
            rows.reserve(self.each);
        }
        rows.push(row);
    }

    fn emit(self, emit: &mut Emitter<'_, Rows<(K, A)>>) {
        self.rows.drain(|group, rows| emit(Rows::new(PartitionId { branch: 0, index: group as u32 }, rows)));
    }
}

/// A message: partial results of a batch, from a worker to the owner of their keys.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct PartialBatch<K, A> {
    pub to: u32,
    from: u32,
    table: u64,
    /// The table is not used after this message.
    closed: bool,
    /// Keys that the owner has not received yet. Each gets the next index.
    new_keys: Vec<(K, A)>,
    by_index: Vec<(u32, A)>,
}

#[cfg(test)]
impl<K, A> PartialBatch<K, A> {
    /// The number of keys that it sends in full.
    pub fn names(&self) -> usize {
        self.new_keys.len()
    }
}

/// Combines rows on one worker (partial aggregation). Each batch has its own table. A later batch reuses it if that saves work.
pub(crate) struct Combiner<K, A> {
    worker: u32,
    peers: u32,
    groups: KeyGroups,
    /// The owner of each key group.
    owners: Rc<[u16]>,
    zero: A,
    tables: u64,
    /// Tables that no batch uses. There are at most as many tables as there were batches open at once.
    spare: Vec<PartialTable<K, A>>,
    newest: BatchTime,
    /// The number of keys in the last batch.
    last: usize,
    /// For how many more batches no table is kept, and whether the last kept table did not pay.
    rest: u32,
    failed: bool,
}

impl<K: Key, A: Exchange> Combiner<K, A> {
    pub fn new(worker: usize, peers: usize, groups: KeyGroups, zero: A) -> Self {
        let owners = (0..groups.count()).map(|group| (group % peers as u64) as u16).collect();
        let (worker, peers) = (worker as u32, peers as u32);
        Combiner {
            worker,
            peers,
            groups,
            owners,
            zero,
            tables: 0,
            spare: Vec::new(),
            newest: BatchTime::default(),
            last: 0,
            rest: 0,
            failed: false,
        }
    }

    /// A table for the rows of a batch. Only few rows arrive after a later batch has begun. They get a table that is used once, and do
    /// not count in the decision to keep tables.
    pub fn open(&mut self, t: BatchTime) -> PartialTable<K, A> {
        let late = t < self.newest;
        self.newest = self.newest.max(t);
        let kept = if late { None } else { self.spare.pop() };
        kept.unwrap_or_else(|| {
            self.tables += 1;
            let entries = HashTable::with_capacity(if late { 0 } else { self.last });
            let sent = vec![0; self.peers as usize];
            PartialTable { number: self.tables, entries, sent, once: late, hasher: Default::default(), zero: self.zero.clone() }
        })
    }

    /// Takes the results of a batch out of its table. Calls `each` with the key group, the index if the owner has the key, the key and the
    /// result. Returns whether the table is closed.
    fn take(&mut self, table: &mut PartialTable<K, A>, mut each: impl FnMut(u16, Option<u32>, Cow<'_, K>, A)) -> bool {
        let groups = self.groups;
        if table.once || self.rest > 0 {
            let mut keys = 0;
            for entry in std::mem::take(&mut table.entries).into_iter().filter(|l| l.live) {
                match entry.index {
                    NOT_SENT => each(groups.of(&entry.key) as u16, None, Cow::Owned(entry.key), entry.sum),
                    n => each(entry.group, Some(n), Cow::Owned(entry.key), entry.sum),
                }
                keys += 1;
            }
            if !table.once {
                (self.last, self.rest) = (keys, self.rest - 1);
            }
            return true;
        }
        let (all, mut keys, mut known) = (table.entries.len(), 0, 0);
        for entry in table.entries.iter_mut().filter(|l| l.live) {
            let sum = std::mem::replace(&mut entry.sum, table.zero.clone());
            if entry.index == NOT_SENT {
                entry.group = groups.of(&entry.key) as u16;
                each(entry.group, None, Cow::Borrowed(&entry.key), sum);
                let sent = &mut table.sent[usize::from(self.owners[usize::from(entry.group)])];
                entry.index = *sent;
                *sent += 1;
            } else {
                each(entry.group, Some(entry.index), Cow::Borrowed(&entry.key), sum);
                known += 1;
            }
            keys += 1;
            entry.live = false;
        }
        self.last = keys;
        // In the first batch of a table all keys are new.
        if known > 0 || keys < all {
            let pays = 4 * known >= 3 * keys;
            self.rest = if pays { 0 } else { REST[usize::from(self.failed)] };
            self.failed = !pays;
        }
        self.rest > 0 || all > STALE * keys
    }

    /// The rows of a batch, if this worker owns all keys.
    pub fn rows(&mut self, mut table: PartialTable<K, A>, emit: &mut Emitter<'_, Rows<(K, A)>>) {
        let mut groups = RowsByGroup::new(self.last, self.peers, self.groups);
        let closed = self.take(&mut table, |group, _, key, sum| groups.push(group.into(), (key.into_owned(), sum)));
        groups.emit(emit);
        self.put_away(table, closed);
    }

    /// The messages of a batch to the owners of its keys.
    pub fn partials(&mut self, mut table: PartialTable<K, A>, emit: &mut Emitter<'_, Vec<PartialBatch<K, A>>>) {
        let (from, this, peers) = (self.worker, table.number, self.peers);
        let room = (self.last / peers as usize).min(BATCH_KEYS);
        let new = |to, table, closed, room| PartialBatch {
            to,
            from,
            table,
            closed,
            new_keys: Vec::new(),
            by_index: Vec::with_capacity(room),
        };
        let mut partials: Vec<PartialBatch<K, A>> = (0..peers).map(|to| new(to, this, false, room)).collect();
        let owners = self.owners.clone();
        let closed = self.take(&mut table, |group, number, key, sum| {
            let partial = &mut partials[usize::from(owners[usize::from(group)])];
            match number {
                Some(index) => partial.by_index.push((index, sum)),
                None => partial.new_keys.push((key.into_owned(), sum)),
            }
            if partial.by_index.len() + partial.new_keys.len() >= BATCH_KEYS {
                let next = new(partial.to, this, false, BATCH_KEYS);
                emit(vec![std::mem::replace(partial, next)]);
            }
        });
        for mut partial in partials {
            partial.closed = closed;
            if closed || !partial.new_keys.is_empty() || !partial.by_index.is_empty() {
                emit(vec![partial]);
            }
        }
        for table in self.put_away(table, closed) {
            (0..peers).for_each(|to| emit(vec![new(to, table, true, 0)]));
        }
    }

    /// Keeps the table of a batch, if it is not closed. Returns the tables that are closed because they have become too large.
    fn put_away(&mut self, table: PartialTable<K, A>, closed: bool) -> Vec<u64> {
        let most = STALE * self.last;
        let stale = self.spare.extract_if(.., |b| b.entries.len() > most).map(|b| b.number).collect();
        if !closed {
            self.spare.push(table);
        }
        stale
    }
}

/// The final results of a batch, by code, on the worker that owns the keys.
pub(crate) struct MergedTable<A> {
    at: Vec<Option<A>>,
    touched: Vec<Code>,
}

impl<A> Default for MergedTable<A> {
    fn default() -> Self {
        MergedTable { at: Vec::new(), touched: Vec::new() }
    }
}

impl<A> MergedTable<A> {
    /// Makes room for new codes. Takes the memory of an earlier batch from `spare` if there is some.
    fn make_room(&mut self, spare: &mut Vec<Vec<Option<A>>>, codes: usize) {
        if self.at.is_empty() {
            self.at = spare.pop().unwrap_or_default();
        }
        if self.at.len() < codes {
            self.at.resize_with(codes.max(self.at.capacity()), || None);
        }
    }

    fn add(&mut self, code: Code, a: A, merge: impl Fn(&mut A, A)) {
        match &mut self.at[code as usize] {
            Some(at) => merge(at, a),
            at => {
                *at = Some(a);
                self.touched.push(code);
            }
        }
    }

    /// Takes all results; in the order of codes, which is the order of keys in memory, if most codes have one.
    fn drain(&mut self, mut each: impl FnMut(Code, A)) {
        if self.touched.len() * DENSE >= self.at.len() {
            self.touched.clear();
            let all = self.at.iter_mut().enumerate();
            all.for_each(|(code, at)| at.take().into_iter().for_each(|a| each(code as Code, a)));
        } else {
            self.touched.drain(..).for_each(|code| each(code, self.at[code as usize].take().expect("a result that was added")));
        }
    }
}

/// Merges the partial results of all workers on the owner of the keys (final aggregation). Knows the keys of all tables.
pub(crate) struct Merger<K, A> {
    peers: u32,
    dict: Dict<K>,
    /// Empty memory of earlier batches, for reuse. As many as there were batches open at once.
    spare: Vec<Vec<Option<A>>>,
    /// The codes of the keys of each table, by index.
    tables: FastMap<(u32, u64), Vec<Code>>,
}

impl<K: Key, A: Exchange> Merger<K, A> {
    pub fn new(peers: usize, groups: KeyGroups) -> Self {
        Merger { peers: peers as u32, dict: Dict::new(groups), spare: Vec::new(), tables: FastMap::default() }
    }

    /// Adds a message to the results of its batch.
    pub fn merge(&mut self, t: BatchTime, partial: PartialBatch<K, A>, merged: &mut MergedTable<A>, merge: impl Fn(&mut A, A)) {
        let codes = self.tables.entry((partial.from, partial.table)).or_default();
        let spare = &mut self.spare;
        self.dict.codes_of(partial.new_keys, t, |dict, code, a| {
            dict.retain(code, 1, t);
            codes.push(code);
            merged.make_room(spare, dict.codes());
            merged.add(code, a, &merge);
        });
        merged.make_room(&mut self.spare, self.dict.codes());
        partial.by_index.into_iter().for_each(|(n, a)| merged.add(codes[n as usize], a, &merge));
        if partial.closed {
            let codes = self.tables.remove(&(partial.from, partial.table)).unwrap_or_default();
            codes.into_iter().for_each(|code| self.dict.release(code, 1, t));
        }
    }

    /// The rows of a batch of which all messages have arrived.
    pub fn rows(&mut self, t: BatchTime, mut merged: MergedTable<A>, emit: &mut Emitter<'_, Rows<(K, A)>>) {
        let mut groups = RowsByGroup::new(merged.touched.len(), self.peers, self.dict.groups());
        merged.drain(|code, sum| {
            let (group, key) = self.dict.group_and_key(code);
            groups.push(group, (key.clone(), sum));
        });
        groups.emit(emit);
        self.spare.push(merged.at);
        self.dict.reclaim(|u| u <= t);
    }

    /// The number of keys that have a code, and the number of codes that were ever assigned.
    #[cfg(test)]
    pub fn sizes(&self) -> (usize, usize) {
        (self.dict.len(), self.dict.codes())
    }
}

#[cfg(test)]
mod tests;
