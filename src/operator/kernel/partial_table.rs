//! The sums of a batch by key, in books; and how owners of keys are told of them by number.
//!
//! A worker writes what the keys of a batch add up to into a book. Where the same keys come batch after batch the book serves
//! the next one: a key is owned, placed and told by name once, and by its number from then on. Its owner understands what it
//! hears in the order of arrival, which is that of sending, and forgets a book when its writer closes it. Numbers follow the order
//! in which a book is read out, so both ends go through memory as it lies.

use std::borrow::{Borrow, Cow};
use std::hash::{BuildHasher, Hash};
use std::rc::Rc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use serde::{Deserialize, Serialize};

use crate::core::data::{Exchange, FastMap, KEY_GROUPS, Key, PartitionId, Rows, key_group};
use crate::core::time::BatchTime;
use crate::engine::dictionary::{Dict, Id};
use crate::engine::flow::Give;

/// A book with more than so many times the keys of its batch is closed.
const STALE: usize = 4;
/// After a book that did not pay none is kept for so many batches, at first and at most.
const REST: [u32; 2] = [7, 31];
/// Where one id in so many has a number, all are looked through: as many as a cache line has.
const DENSE: usize = 4;
/// How many keys a parcel has at most.
const PARCEL: usize = 512;

struct Line<K, A> {
    key: K,
    sum: A,
    /// What its owner calls it: how many keys of this book it had heard of before. `UNTOLD` if it has not heard of this one.
    number: Id,
    group: u8,
    /// Whether it is in the batch at hand.
    live: bool,
}

const UNTOLD: Id = Id::MAX;

/// What the keys of one batch at a time add up to.
pub(crate) struct Book<K, A> {
    number: u64,
    lines: HashTable<Line<K, A>>,
    /// How many of its keys each owner has heard of.
    told: Vec<Id>,
    /// Whether it is for what is late of a batch, and closed after it.
    once: bool,
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
        let hash = self.hasher.hash_one(key);
        let line = self.lines.entry(hash, |l| l.key.borrow() == key, |l| self.hasher.hash_one(&l.key));
        live(line, &self.zero, || key.to_owned())
    }

    /// As `of`, of a key that is owned already.
    pub fn of_own(&mut self, key: K) -> &mut A {
        let hash = self.hasher.hash_one(&key);
        let line = self.lines.entry(hash, |l| l.key == key, |l| self.hasher.hash_one(&l.key));
        live(line, &self.zero, || key)
    }
}

/// The sum of a line that is in the batch from here on.
fn live<'a, K, A: Clone>(line: Entry<'a, Line<K, A>>, zero: &A, own: impl FnOnce() -> K) -> &'a mut A {
    let line = match line {
        Entry::Occupied(line) => line.into_mut(),
        Entry::Vacant(new) => {
            let line = Line { key: own(), sum: zero.clone(), number: UNTOLD, group: 0, live: true };
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
            give(Rows::new(PartitionId { branch: 0, index: group as u32 }, rows));
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
    /// Keys that the owner has not heard of. Each has the next number from here on.
    named: Vec<(K, A)>,
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
    /// The owner of each key group.
    owners: Rc<[usize]>,
    zero: A,
    books: u64,
    /// Books that no batch has. There are never more books than there were batches open at once.
    spare: Vec<Book<K, A>>,
    newest: BatchTime,
    /// How many keys the last batch had.
    last: usize,
    /// For how many batches no book is kept, and whether the last one that was tried did not pay.
    rest: u32,
    failed: bool,
}

impl<K: Key, A: Exchange> Writer<K, A> {
    pub fn new(worker: usize, peers: usize, zero: A) -> Self {
        let owners = (0..KEY_GROUPS as usize).map(|group| group % peers).collect();
        let (worker, peers) = (worker as u32, peers as u32);
        Writer {
            worker,
            peers,
            owners,
            zero,
            books: 0,
            spare: Vec::new(),
            newest: BatchTime::default(),
            last: 0,
            rest: 0,
            failed: false,
        }
    }

    /// A book for the records that come of a batch. What comes after a later batch began is little, as a rule: nothing is concluded
    /// from it.
    pub fn open(&mut self, t: BatchTime) -> Book<K, A> {
        let late = t < self.newest;
        self.newest = self.newest.max(t);
        let kept = if late { None } else { self.spare.pop() };
        kept.unwrap_or_else(|| {
            self.books += 1;
            let lines = HashTable::with_capacity(if late { 0 } else { self.last });
            let told = vec![0; self.peers as usize];
            Book { number: self.books, lines, told, once: late, hasher: Default::default(), zero: self.zero.clone() }
        })
    }

    /// Takes the sums of a batch out of its book; `each` is given group, number if the owner knows it, key and sum. Returns whether
    /// the book is closed.
    fn take(&mut self, book: &mut Book<K, A>, mut each: impl FnMut(u8, Option<Id>, Cow<'_, K>, A)) -> bool {
        if book.once || self.rest > 0 {
            let mut keys = 0;
            for line in std::mem::take(&mut book.lines).into_iter().filter(|l| l.live) {
                match line.number {
                    UNTOLD => each(key_group(&line.key) as u8, None, Cow::Owned(line.key), line.sum),
                    n => each(line.group, Some(n), Cow::Owned(line.key), line.sum),
                }
                keys += 1;
            }
            if !book.once {
                (self.last, self.rest) = (keys, self.rest - 1);
            }
            return true;
        }
        let (all, mut keys, mut known) = (book.lines.len(), 0, 0);
        for line in book.lines.iter_mut().filter(|l| l.live) {
            let sum = std::mem::replace(&mut line.sum, book.zero.clone());
            if line.number == UNTOLD {
                line.group = key_group(&line.key) as u8;
                each(line.group, None, Cow::Borrowed(&line.key), sum);
                let told = &mut book.told[self.owners[line.group as usize]];
                line.number = *told;
                *told += 1;
            } else {
                each(line.group, Some(line.number), Cow::Borrowed(&line.key), sum);
                known += 1;
            }
            keys += 1;
            line.live = false;
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
        let closed = self.take(&mut book, |group, _, key, sum| groups.push(group.into(), (key.into_owned(), sum)));
        groups.give(give);
        self.put_away(book, closed);
    }

    /// The rows of a batch, on their way to the owners of their keys.
    pub fn parcels(&mut self, mut book: Book<K, A>, give: &mut Give<'_, Vec<Parcel<K, A>>>) {
        let (from, this, peers) = (self.worker, book.number, self.peers);
        let room = (self.last / peers as usize).min(PARCEL);
        let new =
            |to, book, closed, room| Parcel { to, from, book, closed, named: Vec::new(), numbered: Vec::with_capacity(room) };
        let mut parcels: Vec<Parcel<K, A>> = (0..peers).map(|to| new(to, this, false, room)).collect();
        let owners = self.owners.clone();
        let closed = self.take(&mut book, |group, number, key, sum| {
            let parcel = &mut parcels[owners[group as usize]];
            match number {
                Some(number) => parcel.numbered.push((number, sum)),
                None => parcel.named.push((key.into_owned(), sum)),
            }
            if parcel.numbered.len() + parcel.named.len() >= PARCEL {
                let next = new(parcel.to, this, false, PARCEL);
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

    /// Takes all numbers; in the order of ids, as names lie in memory, where most ids have one.
    fn drain(&mut self, mut each: impl FnMut(Id, A)) {
        if self.touched.len() * DENSE >= self.at.len() {
            self.touched.clear();
            let all = self.at.iter_mut().enumerate();
            all.for_each(|(id, at)| at.take().into_iter().for_each(|a| each(id as Id, a)));
        } else {
            self.touched.drain(..).for_each(|id| each(id, self.at[id as usize].take().expect("a number that was touched")));
        }
    }
}

/// What the owner of keys knows of the books of all workers.
pub(crate) struct Reader<K, A> {
    peers: u32,
    dict: Dict<K>,
    /// Of batches that are through: without a number, and not made anew for each batch. As many as batches were open at once.
    spare: Vec<Vec<Option<A>>>,
    /// Its ids of the keys of each book, in the order in which it heard of them.
    books: FastMap<(u32, u64), Vec<Id>>,
}

impl<K: Key, A: Exchange> Reader<K, A> {
    pub fn new(peers: usize) -> Self {
        Reader { peers: peers as u32, dict: Dict::default(), spare: Vec::new(), books: FastMap::default() }
    }

    /// A parcel has arrived.
    pub fn read(&mut self, t: BatchTime, parcel: Parcel<K, A>, whole: &mut Whole<A>, merge: impl Fn(&mut A, A)) {
        let ids = self.books.entry((parcel.from, parcel.book)).or_default();
        for (key, a) in parcel.named {
            let id = self.dict.id(key, t);
            self.dict.hold(id, 1, t);
            ids.push(id);
            whole.make_room(&mut self.spare, self.dict.ids());
            whole.add(id, a, &merge);
        }
        whole.make_room(&mut self.spare, self.dict.ids());
        parcel.numbered.into_iter().for_each(|(n, a)| whole.add(ids[n as usize], a, &merge));
        if parcel.closed {
            let ids = self.books.remove(&(parcel.from, parcel.book)).unwrap_or_default();
            ids.into_iter().for_each(|id| _ = self.dict.hold(id, -1, t));
        }
    }

    /// All parcels of a batch have arrived.
    pub fn rows(&mut self, t: BatchTime, mut whole: Whole<A>, give: &mut Give<'_, Rows<(K, A)>>) {
        let mut groups = Groups::new(whole.touched.len(), self.peers);
        whole.drain(|id, sum| {
            let (group, key) = self.dict.placed(id);
            groups.push(group, (key.clone(), sum));
        });
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
