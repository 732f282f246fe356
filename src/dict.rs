//! Keys by number: one dictionary per worker and key type gives dense ids, arrangements hold ids, and a name is looked up
//! on the worker before a row leaves it. String keys cost an arrangement three times what ids do (docs/architecture.md).
//!
//! An id is used again only when nobody holds it and every output has passed the time at which it was let go.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use hashbrown::HashTable;

use crate::data::{Key, key_group};
use crate::time::BatchTime;

/// A key's number, dense, valid on this worker only: checkpoints write names.
pub(crate) type Id = u32;

struct Entry<K> {
    key: K,
    group: u8,
    /// How much is remembered under this id: records in panes, or what an arrangement adds up to.
    held: i64,
    /// Since when nobody holds it, if it waits in `idle`.
    since: Option<BatchTime>,
}

/// Names and numbers of the keys this worker owns.
pub(crate) struct Dict<K> {
    ids: HashTable<Id>,
    entries: Vec<Option<Entry<K>>>,
    free: Vec<Id>,
    /// Ids that nobody holds, since when.
    idle: VecDeque<(BatchTime, Id)>,
    hasher: foldhash::fast::RandomState,
}

impl<K> Default for Dict<K> {
    fn default() -> Self {
        Dict {
            ids: HashTable::new(),
            entries: Vec::new(),
            free: Vec::new(),
            idle: VecDeque::new(),
            hasher: foldhash::fast::RandomState::default(),
        }
    }
}

impl<K: Key> Dict<K> {
    /// The id of a key, a new one if it has none.
    pub fn id(&mut self, key: K) -> Id {
        let hash = self.hasher.hash_one(&key);
        let entries = &self.entries;
        if let Some(&id) = self.ids.find(hash, |&i| entries[i as usize].as_ref().is_some_and(|e| e.key == key)) {
            return id;
        }
        let group = key_group(&key) as u8;
        let entry = Some(Entry { key, group, held: 0, since: None });
        let id = match self.free.pop() {
            Some(id) => {
                self.entries[id as usize] = entry;
                id
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as Id
            }
        };
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.ids.insert_unique(hash, id, |&i| hasher.hash_one(&entries[i as usize].as_ref().expect("an id in use").key));
        id
    }

    /// The key with this id.
    pub fn name(&self, id: Id) -> &K {
        &self.entry(id).key
    }

    fn entry(&self, id: Id) -> &Entry<K> {
        self.entries[id as usize].as_ref().expect("an id is not given up while somebody holds it")
    }

    /// Something adds up to `diff` more under this id, at `t`.
    pub fn hold(&mut self, id: Id, diff: i64, t: BatchTime) {
        let e = self.entries[id as usize].as_mut().expect("an id is not given up while somebody holds it");
        e.held += diff;
        if e.held == 0 && e.since.replace(t).is_none() {
            self.idle.push_back((t, id));
        }
    }

    /// Gives up ids that nobody has held since a time that every output has `passed`.
    pub fn tidy(&mut self, passed: impl Fn(BatchTime) -> bool) {
        while let Some(&(t, id)) = self.idle.front() {
            if !passed(t) {
                return;
            }
            self.idle.pop_front();
            let Some(e) = self.entries[id as usize].as_mut() else { continue };
            let since = e.since.take();
            if e.held != 0 {
                continue;
            }
            if let Some(later) = since.filter(|s| *s > t) {
                e.since = Some(later);
                self.idle.push_back((later, id));
                continue;
            }
            let hash = self.hasher.hash_one(&e.key);
            if let Ok(found) = self.ids.find_entry(hash, |&i| i == id) {
                found.remove();
            }
            self.entries[id as usize] = None;
            self.free.push(id);
        }
    }

    /// Every key that is held, with how much, its id and its group.
    pub fn held(&self) -> impl Iterator<Item = (&K, i64, Id, u8)> {
        self.entries
            .iter()
            .enumerate()
            .filter_map(|(id, e)| e.as_ref().filter(|e| e.held != 0).map(|e| (&e.key, e.held, id as Id, e.group)))
    }

    /// How many keys have an id.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.ids.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> BatchTime {
        BatchTime::from_millis(ms)
    }

    #[test]
    fn an_id_is_used_again_only_after_its_time_has_passed() {
        let mut d = Dict::default();
        let a = d.id("a".to_string());
        d.hold(a, 2, at(1));
        d.hold(a, -2, at(5));
        d.tidy(|t| t < at(5));
        assert_eq!(d.id("a".to_string()), a, "batch 5 may still be on its way");
        assert_ne!(d.id("b".to_string()), a);
        d.tidy(|t| t <= at(5));
        assert_eq!(d.id("c".to_string()), a);
        assert_eq!((d.name(a).as_str(), d.len()), ("c", 2));
    }

    #[test]
    fn a_key_that_comes_back_in_time_keeps_its_id() {
        let mut d = Dict::default();
        let a = d.id(7u64);
        d.hold(a, 1, at(1));
        d.hold(a, -1, at(2));
        d.hold(a, 1, at(3));
        d.tidy(|_| true);
        assert_eq!(d.id(7), a);
        assert_eq!(d.held().map(|(k, n, ..)| (*k, n)).collect::<Vec<_>>(), [(7, 1)]);
        d.hold(a, -1, at(4));
        d.hold(a, 1, at(5));
        d.hold(a, -1, at(6));
        d.tidy(|t| t < at(6));
        assert_eq!(d.len(), 1, "let go at 6, whatever it was at 4");
        d.tidy(|_| true);
        assert_eq!(d.len(), 0);
    }
}
