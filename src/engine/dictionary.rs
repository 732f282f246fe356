//! Dictionary encoding of keys: a dictionary assigns dense codes, and arrangements contain codes. A worker looks up the key before it
//! sends a row away. An arrangement of string keys costs three times as much as one of codes (docs/architecture.md).
//!
//! Invariant: a code is reused only if its count is 0. Also, every output must have passed the last time at which it was assigned,
//! retained or released, and no reader of an arrangement may ask for an earlier time. Several operators share a dictionary, and one
//! may be batches ahead of another.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::hint::black_box;
use std::rc::{Rc, Weak};

use hashbrown::HashTable;

use crate::core::data::Key;
use crate::core::key_groups::{ByGroup, KeyGroups};
use crate::core::sum::checked;
use crate::core::time::BatchTime;
use crate::metrics::held::Held;

/// So many keys are looked up together. Their places in memory are then read at the same time, not one after another.
const BLOCK: usize = 32;

/// The code of a key: dense, and valid on this worker only. Checkpoints contain keys.
pub(crate) type Code = u32;

struct Entry<K> {
    key: K,
    hash: u32,
    group: u16,
    /// The references to this code: records in panes, or the sum of an arrangement.
    held: i64,
    /// The last batch in which it was assigned, retained or released.
    last: BatchTime,
    /// Whether it is in `idle`.
    waits: bool,
}

/// The codes of the keys that this worker owns.
pub(crate) struct Dict<K> {
    groups: KeyGroups,
    /// Codes with the hashes of their keys: a place in `entries` is read only where the hash is equal.
    codes: HashTable<(u32, Code)>,
    entries: Vec<Option<Entry<K>>>,
    free: Vec<Code>,
    /// Codes whose count was 0 when they were added, with the time of that.
    idle: VecDeque<(BatchTime, Code)>,
    hasher: foldhash::fast::RandomState,
    /// The first time that the readers of each arrangement of these codes may ask for.
    readers: Vec<Weak<Cell<BatchTime>>>,
    /// How many bytes each arrangement of these codes takes.
    arrangements: Vec<Weak<Cell<u64>>>,
    /// How often an unused code was kept because an output had not passed its time.
    #[cfg(test)]
    pub kept: u64,
}

impl<K> Dict<K> {
    /// An empty dictionary of a job with these key groups.
    pub fn new(groups: KeyGroups) -> Self {
        Dict {
            groups,
            codes: HashTable::new(),
            entries: Vec::new(),
            free: Vec::new(),
            idle: VecDeque::new(),
            hasher: foldhash::fast::RandomState::default(),
            readers: Vec::new(),
            arrangements: Vec::new(),
            #[cfg(test)]
            kept: 0,
        }
    }

    /// As [`new`](Dict::new), shared by several operators. [`held_here`] knows of it.
    pub fn shared(groups: KeyGroups) -> Rc<RefCell<Self>>
    where
        K: 'static,
    {
        let dict = Rc::new(RefCell::new(Dict::new(groups)));
        let measured: Rc<dyn Measured> = dict.clone();
        SHARED.with_borrow_mut(|all| all.push(Rc::downgrade(&measured)));
        dict
    }

    /// How many keys have a code, and about how many bytes that takes, without what the keys point to.
    pub fn size(&self) -> Held {
        let entries = self.entries.capacity() * size_of::<Option<Entry<K>>>();
        // A control byte for each place of the table.
        let codes = self.codes.capacity() * (size_of::<(u32, Code)>() + 1);
        let unused = self.free.capacity() * size_of::<Code>() + self.idle.capacity() * size_of::<(BatchTime, Code)>();
        Held::of_keys(self.codes.len(), entries + codes + unused)
    }
}

/// A dictionary whatever its keys are.
trait Measured {
    /// Its own size, and the bytes of its arrangements.
    fn measure(&self) -> (Held, u64);
}

impl<K> Measured for RefCell<Dict<K>> {
    fn measure(&self) -> (Held, u64) {
        let dict = self.borrow();
        (dict.size(), dict.arrangements.iter().filter_map(Weak::upgrade).map(|bytes| bytes.get()).sum())
    }
}

thread_local!(static SHARED: RefCell<Vec<Weak<dyn Measured>>> = const { RefCell::new(Vec::new()) });

/// The size of all shared dictionaries of the worker on this thread, and the bytes of their arrangements.
pub(crate) fn held_here() -> (Held, u64) {
    SHARED.with_borrow_mut(|all| {
        all.retain(|dict| dict.strong_count() > 0);
        let (mut held, mut arranged) = (Held::default(), 0);
        for (size, bytes) in all.iter().filter_map(Weak::upgrade).map(|dict| dict.measure()) {
            held += size;
            arranged += bytes;
        }
        (held, arranged)
    })
}

impl<K: Key> Dict<K> {
    /// The code of a key, for use at `t`. Assigns one if the key has none.
    pub fn code(&mut self, key: K, t: BatchTime) -> Code {
        let hash = self.hash(&key);
        self.code_of(hash, key, t)
    }

    /// The code of a key, if it has one.
    pub fn find(&self, key: &K) -> Option<Code> {
        let hash = self.hash(key);
        let is_key = |(h, i): &(u32, Code)| *h == hash && self.entries[*i as usize].as_ref().is_some_and(|e| e.key == *key);
        self.codes.find(spread(hash), is_key).map(|(_, code)| *code)
    }

    /// As `code`, for many keys: calls `each` with the code of every key in turn.
    pub fn codes_of<X>(
        &mut self,
        keys: impl IntoIterator<Item = (K, X)>,
        t: BatchTime,
        mut each: impl FnMut(&mut Self, Code, X),
    ) {
        let mut keys = keys.into_iter();
        let mut block: Vec<(u32, K, X)> = Vec::with_capacity(BLOCK);
        loop {
            block.extend(keys.by_ref().take(BLOCK).map(|(key, x)| (self.hash(&key), key, x)));
            if block.is_empty() {
                return;
            }
            // These reads do not depend on one another, so the processor does them at the same time.
            let mut places = [0; BLOCK];
            for ((hash, ..), place) in block.iter().zip(&mut places) {
                *place = self.codes.find(spread(*hash), |(h, _)| h == hash).map_or(0, |(_, code)| *code as usize);
            }
            black_box(places.map(|place| self.entries.get(place).is_some_and(Option::is_some)));
            for (hash, key, x) in block.drain(..) {
                let code = self.code_of(hash, key, t);
                each(self, code, x);
            }
        }
    }

    fn hash(&self, key: &K) -> u32 {
        (self.hasher.hash_one(key) >> 32) as u32
    }

    fn code_of(&mut self, hash: u32, key: K, t: BatchTime) -> Code {
        let entries = &self.entries;
        let is_key = |(h, i): &(u32, Code)| *h == hash && entries[*i as usize].as_ref().is_some_and(|e| e.key == key);
        if let Some(&(_, code)) = self.codes.find(spread(hash), is_key) {
            self.used(code, t);
            return code;
        }
        let group = self.groups.of(&key) as u16;
        let entry = Some(Entry { key, hash, group, held: 0, last: t, waits: false });
        let code = match self.free.pop() {
            Some(code) => {
                self.entries[code as usize] = entry;
                code
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as Code
            }
        };
        self.codes.insert_unique(spread(hash), (hash, code), |(h, _)| spread(*h));
        code
    }

    /// The key groups of the job.
    pub fn groups(&self) -> KeyGroups {
        self.groups
    }

    /// The key with this code.
    pub fn key(&self, code: Code) -> &K {
        &self.entry(code).key
    }

    /// The key with this code, and its key group.
    pub fn group_and_key(&self, code: Code) -> (u64, &K) {
        let e = self.entry(code);
        (e.group.into(), &e.key)
    }

    fn entry(&self, code: Code) -> &Entry<K> {
        self.entries[code as usize].as_ref().expect("a code in use is not reclaimed")
    }

    fn used(&mut self, code: Code, t: BatchTime) -> &mut Entry<K> {
        let e = self.entries[code as usize].as_mut().expect("a code in use is not reclaimed");
        e.last = e.last.max(t);
        e
    }

    /// Adds `diff` references to a code at `t`; a negative number removes them. Returns the key group of its key.
    ///
    /// # Panics
    /// If their number does not fit into an `i64`. Records are too few for that; sums of numbers use [`Dict::try_retain`].
    pub fn retain(&mut self, code: Code, diff: i64, t: BatchTime) -> u16 {
        match self.try_retain(code, diff, t) {
            Some(group) => group,
            None => panic!("the copies of {:?} do not fit into 64 bits", self.key(code)),
        }
    }

    /// Like `retain`. `None`: their number does not fit, and is as before.
    pub fn try_retain(&mut self, code: Code, diff: i64, t: BatchTime) -> Option<u16> {
        let e = self.used(code, t);
        e.held = checked(e.held, diff)?;
        let (last, group) = (e.last, e.group);
        if e.held == 0 && !e.waits {
            e.waits = true;
            self.idle.push_back((last, code));
        }
        Some(group)
    }

    /// Removes `n` references to a code at `t`.
    pub fn release(&mut self, code: Code, n: i64, t: BatchTime) {
        self.retain(code, -n, t);
    }

    /// Keeps codes from reuse that were used after the time in this cell: the readers of an arrangement may still find them.
    pub fn keep_since(&mut self, time: Weak<Cell<BatchTime>>) {
        self.readers.push(time);
    }

    /// An arrangement of these codes takes as many bytes as this cell says.
    pub fn arranged(&mut self, bytes: Weak<Cell<u64>>) {
        self.arrangements.retain(|bytes| bytes.strong_count() > 0);
        self.arrangements.push(bytes);
    }

    /// Reclaims codes without references that were last used at a time that every output has `passed`.
    pub fn reclaim(&mut self, passed: impl Fn(BatchTime) -> bool) {
        self.readers.retain(|time| time.strong_count() > 0);
        let since = self.readers.iter().filter_map(Weak::upgrade).map(|time| time.get()).min();
        let passed = |t| since.is_none_or(|since| t <= since) && passed(t);
        while let Some((_, code)) = self.idle.front().copied().filter(|(t, _)| passed(*t)) {
            self.idle.pop_front();
            let Some(e) = self.entries[code as usize].as_mut() else { continue };
            if e.held != 0 {
                e.waits = false;
            } else if !passed(e.last) {
                let last = e.last;
                self.idle.push_back((last, code));
                #[cfg(test)]
                (self.kept += 1);
            } else {
                if let Ok(found) = self.codes.find_entry(spread(e.hash), |(_, i)| *i == code) {
                    found.remove();
                }
                self.entries[code as usize] = None;
                self.free.push(code);
            }
        }
        #[cfg(test)]
        (self.kept += u64::from(!self.idle.is_empty()));
    }

    /// The codes with references, by key group.
    pub fn held_by_group(&self) -> ByGroup<Vec<Code>> {
        let mut groups: ByGroup<Vec<Code>> = ByGroup::default();
        for (code, e) in self.entries.iter().enumerate() {
            if let Some(e) = e.as_ref().filter(|e| e.held != 0) {
                groups.of(e.group.into()).push(code as Code);
            }
        }
        groups
    }

    /// A key, and the references to its code.
    pub fn held(&self, code: Code) -> (&K, i64) {
        let e = self.entry(code);
        (&e.key, e.held)
    }

    /// The number of arrangements of these codes.
    #[cfg(test)]
    pub fn arrangements(&self) -> usize {
        self.readers.len()
    }

    /// The number of keys that have a code.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    /// The number of codes that were ever assigned.
    pub fn codes(&self) -> usize {
        self.entries.len()
    }
}

/// A hash for a table of hashes: the table places by the low bits, and compares the high ones.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> BatchTime {
        BatchTime::from_millis(ms)
    }

    #[test]
    fn an_id_is_used_again_only_after_its_time_has_passed() {
        let mut d = Dict::new(KeyGroups::default());
        let a = d.code("a".to_string(), at(1));
        d.retain(a, 2, at(1));
        d.retain(a, -2, at(5));
        d.reclaim(|t| t < at(5));
        assert_eq!(d.code("a".to_string(), at(4)), a, "batch 5 may still be on its way");
        assert_ne!(d.code("b".to_string(), at(5)), a);
        d.reclaim(|t| t <= at(5));
        assert_eq!(d.code("c".to_string(), at(6)), a);
        assert_eq!((d.key(a).as_str(), d.len()), ("c", 2));
    }

    #[test]
    fn an_id_is_kept_while_a_reader_may_ask_for_its_time() {
        let mut d = Dict::new(KeyGroups::default());
        let a = d.code('a', at(1));
        d.retain(a, 1, at(1));
        d.retain(a, -1, at(5));
        let since = Rc::new(Cell::new(at(4)));
        d.keep_since(Rc::downgrade(&since));
        d.reclaim(|_| true);
        assert_eq!(d.key(a), &'a', "a reader at 4 sees the row");
        since.set(at(5));
        d.reclaim(|_| true);
        assert_eq!(d.len(), 0);
        let b = d.code('b', at(7));
        d.retain(b, 1, at(7));
        d.retain(b, -1, at(8));
        drop(since);
        d.reclaim(|_| true);
        assert_eq!(d.len(), 0, "the arrangement has no reader any more");
    }

    #[test]
    fn a_key_that_comes_back_in_time_keeps_its_code() {
        let mut d = Dict::new(KeyGroups::default());
        let a = d.code(7u64, at(1));
        d.retain(a, 1, at(1));
        d.retain(a, -1, at(2));
        d.retain(a, 1, at(3));
        d.reclaim(|_| true);
        assert_eq!(d.code(7, at(3)), a);
        assert_eq!(d.held_by_group().iter().map(|(_, codes)| codes.clone()).collect::<Vec<_>>(), [[a]]);
        assert_eq!(d.held(a), (&7, 1));
        d.retain(a, -1, at(4));
        d.retain(a, 1, at(5));
        d.retain(a, -1, at(6));
        d.reclaim(|t| t < at(6));
        assert_eq!(d.len(), 1, "released at 6, and not only at 4");
        d.reclaim(|_| true);
        assert_eq!(d.len(), 0);
    }

    #[test]
    fn an_id_that_was_given_out_again_is_kept_until_it_can_be_held() {
        let mut d = Dict::new(KeyGroups::default());
        let a = d.code('a', at(1));
        d.retain(a, 1, at(1));
        d.retain(a, -1, at(2));
        assert_eq!(d.code('a', at(4)), a, "a pane of batch 4 is on its way to its window");
        d.reclaim(|t| t <= at(3));
        d.retain(a, 1, at(4));
        assert_eq!(d.len(), 1);
        // Two windows share the key. The one that is ahead releases it at 9, the other at 8.
        d.retain(a, 1, at(4));
        d.retain(a, -1, at(9));
        d.retain(a, -1, at(8));
        d.reclaim(|t| t <= at(8));
        assert_eq!(d.key(a), &'a', "a row that expired at 9 still needs its key");
        d.reclaim(|t| t <= at(9));
        assert_eq!(d.len(), 0);
    }
}
