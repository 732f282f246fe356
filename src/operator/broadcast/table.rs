//! `broadcast` of a view: every worker has all of its pairs, as a `Table`.

use std::borrow::Borrow;
use std::hash::Hash;
use std::rc::Rc;

use crate::api::view::View;
use crate::core::data::{FastMap, Key};
use crate::operator::broadcast::{Broadcast, Patch};

/// The rows of a view of pairs, by key.
///
/// ```
/// use tidemill::prelude::*;
/// use tidemill::testing::check2;
/// check2(
///     [vec!['a', 'b']],
///     [vec![('a', 2), ('a', 1)]],
///     |keys, pairs| keys.flat_map_with_broadcast(&pairs.accumulate().broadcast(), |key, table: &Table<char, i32>| {
///         let all: Vec<i32> = table.values(&key).copied().collect();
///         assert_eq!((table.len(), table.is_empty(), table.contains_key(&key)), (1, false, key == 'a'));
///         assert_eq!(table.get(&key), all.first());
///         Some(all)
///     }),
///     [vec![vec![1, 2], vec![]]],
/// );
/// ```
#[derive(Clone, Debug)]
pub struct Table<K, W> {
    /// The values of each key, ascending, each with its count.
    rows: FastMap<K, Vec<(W, i64)>>,
}

impl<K, W> Default for Table<K, W> {
    fn default() -> Self {
        Table { rows: FastMap::default() }
    }
}

impl<K: Key, W: Key> Table<K, W> {
    /// The value of a key: the least, if it has several.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&W>
    where
        K: Borrow<Q>,
    {
        self.values(key).next()
    }

    /// All values of a key, ascending: one that is there twice comes twice.
    pub fn values<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> impl Iterator<Item = &W>
    where
        K: Borrow<Q>,
    {
        self.rows.get(key).into_iter().flatten().flat_map(|(w, n)| std::iter::repeat_n(w, (*n).max(0) as usize))
    }

    /// Whether a key has a value.
    pub fn contains_key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.rows.contains_key(key)
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds `n` to the count of one value of a key. Keys have few values.
    pub(crate) fn apply(&mut self, k: K, w: W, n: i64) {
        let values = self.rows.entry(k.clone()).or_default();
        match values.binary_search_by(|(old, _)| old.cmp(&w)) {
            Ok(at) => {
                values[at].1 += n;
                if values[at].1 == 0 {
                    values.remove(at);
                }
            }
            Err(at) => values.insert(at, (w, n)),
        }
        if values.is_empty() {
            self.rows.remove(&k);
        }
    }
}

impl<'s, K: Key, W: Key> View<'s, (K, W)> {
    /// All pairs of this view on every worker, as of each batch. Streams read them without an exchange.
    ///
    /// Between two times of the view's schedule the table is as of the earlier one. A batch costs the changes of the view on every worker. Each
    /// verb that reads the table has a copy on each worker: so a view with many rows is better joined by
    /// [`DStream::join_view`](crate::prelude::DStream::join_view), which shares it out. Keeps no state of its own.
    ///
    /// ```
    /// use tidemill::testing::check2;
    /// check2(
    ///     [vec!["a.example", "b.example"], vec!["b.example"]],
    ///     [vec!["a.example"], vec!["b.example"]],
    ///     |urls, allowed| {
    ///         let allowed = allowed.map(|domain| (domain.to_owned(), ())).accumulate().broadcast();
    ///         urls.flat_map_with_broadcast(&allowed, |url, allowed| allowed.contains_key(url).then(|| url.to_owned()))
    ///     },
    ///     [vec!["a.example".to_owned()], vec!["b.example".to_owned()]],
    /// );
    /// ```
    #[track_caller]
    pub fn broadcast(&self) -> Broadcast<'s, Table<K, W>> {
        let operator = self.operator::<(K, W)>("broadcast", "");
        self.broadcast_as(operator, |changes| -> Patch<Table<K, W>> {
            Rc::new(move |table| {
                // Verbs do not share their copies, so none is made here.
                let table = Rc::make_mut(table.get_or_insert_default());
                changes.iter().cloned().for_each(|((k, w), n)| table.apply(k, w, n));
            })
        })
    }
}
