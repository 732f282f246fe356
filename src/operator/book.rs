//! The sums of a batch by key, in books; and how owners of keys are told of them by number.
//!
//! A worker writes what the keys of a batch add up to into a book. Where the same keys come batch after batch the book serves
//! the next one: a key is owned, placed and told by name once, and by its number from then on. Its owner understands what it
//! hears in the order of arrival, which is that of sending, and forgets a book when its writer closes it.

use std::borrow::{Borrow, Cow};
use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use serde::{Deserialize, Serialize};

use crate::data::{Exchange, FastMap, KEY_GROUPS, Key, Lane, Rows, key_group};
use crate::dict::{Dict, Id};
use crate::flow::Give;
use crate::time::BatchTime;

/// A book with more than so many times the keys of its batch is closed.
const STALE: usize = 4;
/// After a book that did not pay none is kept for so many batches, at first and at most.
const REST: [u32; 2] = [7, 31];
/// How many keys a parcel has at most.
const PARCEL: usize = 512;

struct Line<K, A> {
    key: K,
    sum: A,
    number: Id,
    group: u8,
    /// Whether it is in the batch at hand.
    live: bool,
    /// Whether its owner knows its number.
    told: bool,
}

/// What the keys of one batch at a time add up to.
pub(crate) struct Book<K, A> {
    number: u64,
    lines: HashTable<Line<K, A>>,
    hasher: foldhash::fast::RandomState,
    zero: A,
}

impl<K: Key, A: Exchange> Book<K, A> {
    /// What a key adds up to. It is owned only if it is new.
    pub fn of<Q>(&mut self, key: &Q) -> &mut A
    where
        Q: ?Sized + Hash + Eq + ToOwned<Owned = K>,
        K: Borrow<Q>,
    {
        let (hash, number) = (self.hasher.hash_one(key), self.lines.len() as Id);
        let line = self.lines.entry(hash, |l| l.key.borrow() == key, |l| self.hasher.hash_one(&l.key));
        live(line, number, &self.zero, || key.to_owned())
    }

    /// As `of`, of a key that is owned already.
    pub fn of_own(&mut self, key: K) -> &mut A {
        let (hash, number) = (self.hasher.hash_one(&key), self.lines.len() as Id);
        let line = self.lines.entry(hash, |l| l.key == key, |l| self.hasher.hash_one(&l.key));
        live(line, number, &self.zero, || key)
    }
}

/// The sum of a line that is in the batch from here on.
fn live<'a, K, A: Clone>(line: Entry<'a, Line<K, A>>, number: Id, zero: &A, own: impl FnOnce() -> K) -> &'a mut A {
    let line = match line {
        Entry::Occupied(line) => line.into_mut(),
        Entry::Vacant(new) => {
            let line = Line { key: own(), sum: zero.clone(), number, group: 0, live: true, told: false };
            new.insert(line).into_mut()
        }
    };
    line.live = true;
    &mut line.sum
}

/// Rows by key group, each group a container.
struct Groups<K, A> {
    rows: Vec<Vec<(K, A)>>,
    /// How many rows a group will have, more or less.
    each: usize,
}

impl<K, A> Groups<K, A> {
    fn new(keys: usize, peers: u32) -> Self {
        let each = (keys + keys / 4) * peers as usize / KEY_GROUPS as usize + 2;
        Groups { rows: (0..KEY_GROUPS).map(|_| Vec::new()).collect(), each }
    }

    fn push(&mut self, group: u64, row: (K, A)) {
        let rows = &mut self.rows[group as usize];
        if rows.is_empty() {
            rows.reserve(self.each);
        }
        rows.push(row);
    }

    fn give(self, give: &mut Give<'_, Rows<(K, A)>>) {
        for (group, rows) in self.rows.into_iter().enumerate().filter(|(_, r)| !r.is_empty()) {
            give(Rows::new(Lane { side: 0, lane: group as u32 }, rows));
        }
    }
}

/// Some keys of a batch on their way from a worker to their owner.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Parcel<K, A> {
    pub to: u32,
    from: u32,
    book: u64,
    /// The book is not used any more after this.
    closed: bool,
    named: Vec<(Id, K, A)>,
    numbered: Vec<(Id, A)>,
}

#[cfg(test)]
impl<K, A> Parcel<K, A> {
    /// How many keys it names.
    pub fn names(&self) -> usize {
        self.named.len()
    }
}

/// The half of a worker that combines: a batch has a book to itself, and a later one has it after it if that pays.
pub(crate) struct Writer<K, A> {
    worker: u32,
    peers: u32,
    zero: A,
    books: u64,
    /// Books that no batch has. There are never more books than there were batches open at once.
    spare: Vec<Book<K, A>>,
    /// How many keys the last batch had.
    last: usize,
    /// For how many batches no book is kept, and whether the last one that was tried did not pay.
    rest: u32,
    failed: bool,
}

impl<K: Key, A: Exchange> Writer<K, A> {
    pub fn new(worker: usize, peers: usize, zero: A) -> Self {
        let (worker, peers) = (worker as u32, peers as u32);
        Writer { worker, peers, zero, books: 0, spare: Vec::new(), last: 0, rest: 0, failed: false }
    }

    /// The book of a batch that begins.
    pub fn open(&mut self) -> Book<K, A> {
        self.spare.pop().unwrap_or_else(|| {
            self.books += 1;
            let lines = HashTable::with_capacity(self.last);
            Book { number: self.books, lines, hasher: Default::default(), zero: self.zero.clone() }
        })
    }

    /// Takes the sums of a batch out of its book; `each` is given number, group, whether the number was told, key and sum.
    /// Returns whether the book is closed.
    fn take(&mut self, book: &mut Book<K, A>, mut each: impl FnMut(Id, u8, bool, Cow<'_, K>, A)) -> bool {
        if self.rest > 0 {
            self.rest -= 1;
            self.last = 0;
            for line in std::mem::take(&mut book.lines).into_iter().filter(|l| l.live) {
                let group = if line.told { line.group } else { key_group(&line.key) as u8 };
                each(line.number, group, line.told, Cow::Owned(line.key), line.sum);
                self.last += 1;
            }
            return true;
        }
        let (all, mut keys, mut known) = (book.lines.len(), 0, 0);
        for line in book.lines.iter_mut().filter(|l| l.live) {
            if !line.told {
                line.group = key_group(&line.key) as u8;
            }
            let sum = std::mem::replace(&mut line.sum, book.zero.clone());
            each(line.number, line.group, line.told, Cow::Borrowed(&line.key), sum);
            keys += 1;
            known += usize::from(line.told);
            (line.live, line.told) = (false, true);
        }
        self.last = keys;
        // In the first batch of a book all is new.
        if known > 0 || keys < all {
            let pays = 4 * known >= 3 * keys;
            self.rest = if pays { 0 } else { REST[usize::from(self.failed)] };
            self.failed = !pays;
        }
        self.rest > 0 || all > STALE * keys
    }

    /// The rows of a batch, where this worker owns all keys.
    pub fn rows(&mut self, mut book: Book<K, A>, give: &mut Give<'_, Rows<(K, A)>>) {
        let mut groups = Groups::new(self.last, self.peers);
        let closed = self.take(&mut book, |_, group, _, key, sum| groups.push(group.into(), (key.into_owned(), sum)));
        groups.give(give);
        self.put_away(book, closed);
    }

    /// The rows of a batch, on their way to the owners of their keys.
    pub fn parcels(&mut self, mut book: Book<K, A>, give: &mut Give<'_, Vec<Parcel<K, A>>>) {
        let (from, number, peers) = (self.worker, book.number, self.peers);
        let room = (self.last / peers as usize).min(PARCEL);
        let new =
            |to, book, closed, room| Parcel { to, from, book, closed, named: Vec::new(), numbered: Vec::with_capacity(room) };
        let mut parcels: Vec<Parcel<K, A>> = (0..peers).map(|to| new(to, number, false, room)).collect();
        let closed = self.take(&mut book, |id, group, told, key, sum| {
            let parcel = &mut parcels[group as usize % peers as usize];
            match told {
                true => parcel.numbered.push((id, sum)),
                false => parcel.named.push((id, key.into_owned(), sum)),
            }
            if parcel.numbered.len() + parcel.named.len() >= PARCEL {
                let next = new(parcel.to, number, false, PARCEL);
                give(vec![std::mem::replace(parcel, next)]);
            }
        });
        for mut parcel in parcels {
            parcel.closed = closed;
            if closed || !parcel.named.is_empty() || !parcel.numbered.is_empty() {
                give(vec![parcel]);
            }
        }
        for book in self.put_away(book, closed) {
            (0..peers).for_each(|to| give(vec![new(to, book, true, 0)]));
        }
    }

    /// Keeps the book of a batch, if it is not closed. Returns those of others that are closed, since they are too large by now.
    fn put_away(&mut self, book: Book<K, A>, closed: bool) -> Vec<u64> {
        let most = STALE * self.last;
        let stale = self.spare.extract_if(.., |b| b.lines.len() > most).map(|b| b.number).collect();
        if !closed {
            self.spare.push(book);
        }
        stale
    }
}

/// One number a key, by the key's number, and the keys that have one: a batch as its owner puts it together.
pub(crate) struct Whole<A> {
    at: Vec<Option<A>>,
    touched: Vec<Id>,
}

impl<A> Default for Whole<A> {
    fn default() -> Self {
        Whole { at: Vec::new(), touched: Vec::new() }
    }
}

impl<A> Whole<A> {
    /// One number more for each new id, in what `spare` has if there is nothing yet.
    fn make_room(&mut self, spare: &mut Vec<Vec<Option<A>>>, ids: usize) {
        if self.at.is_empty() {
            self.at = spare.pop().unwrap_or_default();
        }
        if self.at.len() < ids {
            self.at.resize_with(ids.max(self.at.capacity()), || None);
        }
    }

    fn add(&mut self, id: Id, a: A, merge: impl Fn(&mut A, A)) {
        match &mut self.at[id as usize] {
            Some(at) => merge(at, a),
            at => {
                *at = Some(a);
                self.touched.push(id);
            }
        }
    }
}

/// What the owner of keys knows of the books of all workers.
pub(crate) struct Reader<K, A> {
    peers: u32,
    dict: Dict<K>,
    /// Of batches that are through: without a number, and not made anew for each batch. As many as batches were open at once.
    spare: Vec<Vec<Option<A>>>,
    /// Its ids of what workers call by number in their books.
    books: FastMap<(u32, u64), Vec<Id>>,
}

impl<K: Key, A: Exchange> Reader<K, A> {
    pub fn new(peers: usize) -> Self {
        Reader { peers: peers as u32, dict: Dict::default(), spare: Vec::new(), books: FastMap::default() }
    }

    /// A parcel has arrived.
    pub fn read(&mut self, t: BatchTime, parcel: Parcel<K, A>, whole: &mut Whole<A>, merge: impl Fn(&mut A, A)) {
        let ids = self.books.entry((parcel.from, parcel.book)).or_default();
        let numbers = parcel.named.iter().map(|(n, ..)| *n as usize + 1).max().unwrap_or(0);
        if ids.len() < numbers {
            ids.resize(numbers, Id::MAX);
        }
        for (n, key, a) in parcel.named {
            let id = self.dict.id(key, t);
            self.dict.hold(id, 1, t);
            ids[n as usize] = id;
            whole.make_room(&mut self.spare, self.dict.ids());
            whole.add(id, a, &merge);
        }
        whole.make_room(&mut self.spare, self.dict.ids());
        parcel.numbered.into_iter().for_each(|(n, a)| whole.add(ids[n as usize], a, &merge));
        if parcel.closed {
            let ids = self.books.remove(&(parcel.from, parcel.book)).unwrap_or_default();
            ids.into_iter().filter(|id| *id != Id::MAX).for_each(|id| _ = self.dict.hold(id, -1, t));
        }
    }

    /// All parcels of a batch have arrived.
    pub fn rows(&mut self, t: BatchTime, mut whole: Whole<A>, give: &mut Give<'_, Rows<(K, A)>>) {
        let mut groups = Groups::new(whole.touched.len(), self.peers);
        for id in whole.touched {
            let ((group, key), sum) = (self.dict.placed(id), whole.at[id as usize].take());
            groups.push(group, (key.clone(), sum.expect("a sum of the batch")));
        }
        groups.give(give);
        self.spare.push(whole.at);
        self.dict.tidy(|u| u <= t);
    }

    /// How many keys have an id, and how many ids there ever were.
    #[cfg(test)]
    pub fn sizes(&self) -> (usize, usize) {
        (self.dict.len(), self.dict.ids())
    }
}
