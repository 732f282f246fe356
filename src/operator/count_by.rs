//! `count_by`: counts the keys that a function finds in each row. It is the fastest way to count, because it allocates each distinct key
//! once, not once per row.

use std::borrow::Borrow;
use std::hash::Hash;

use crate::api::dstream::DStream;
use crate::core::data::{Data, Key, Rows};
use crate::core::time::BatchTime;
use crate::engine::flow::Emitter;
use crate::operator::kernel::partial_table::PartialTable;

/// Counts the keys of a batch: the second argument of the function of [`DStream::count_by`].
///
/// ```
/// use tidemill::{prelude::*, testing::check};
/// fn count_vowels(word: &String, counter: &mut KeyCounter<'_, char>) {
///     word.chars().filter(|c| "aeiou".contains(*c)).for_each(|c| counter.push(&c));
/// }
/// check([vec!["abba".to_string(), "oak".to_string()]], |s| s.count_by(count_vowels), [vec![('a', 3), ('o', 1)]]);
/// ```
pub struct KeyCounter<'a, Q: ?Sized + ToOwned> {
    pub(crate) counts: &'a mut PartialTable<Q::Owned, i64>,
    pub(crate) time: BatchTime,
}

impl<Q: ?Sized + Hash + Eq + ToOwned> KeyCounter<'_, Q>
where
    Q::Owned: Key + Borrow<Q>,
{
    /// Counts one occurrence of the key. The key is cloned only if it is new to the worker. Example: [`KeyCounter`].
    pub fn push(&mut self, key: &Q) {
        *self.counts.of(key) += 1;
    }

    /// The batch, for messages: a row has no time of its own.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![7], vec![7]], |s| s.count_by(|n: &i64, out| out.push(&(*n, out.time().millis() > 0))), [7, 7].map(|n| vec![((n, true), 1)]));
    /// ```
    pub fn time(&self) -> BatchTime {
        self.time
    }
}

impl<'s, T: Data> DStream<'s, T> {
    /// A row `(key, count)` per batch for each key that `f` pushes; an empty batch has none. `f` sees rows by reference and pushes
    /// keys by reference, so a word of a line is not allocated for each occurrence.
    ///
    /// Rows are in no order; outputs sort them. Each worker counts while the batch is open and sends a row per key. Keeps no state.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check(
    ///     [vec!["a b a".to_string()]],
    ///     |s| s.count_by::<str>(|line, out| line.split(' ').for_each(|w| out.push(w))),
    ///     [vec![("a".into(), 2), ("b".into(), 1)]],
    /// );
    /// ```
    #[track_caller]
    pub fn count_by<Q>(&self, mut f: impl FnMut(&T, &mut KeyCounter<'_, Q>) + 'static) -> DStream<'s, (Q::Owned, i64)>
    where
        Q: ?Sized + Hash + Eq + ToOwned + 'static,
        Q::Owned: Key + Borrow<Q>,
    {
        let operator = self.operator::<Q::Owned>("count_by", "");
        let fold = move |table: &mut PartialTable<_, _>, time, rows: Rows<T>, _: &mut Emitter<'_, Rows<()>>| {
            let mut counter = KeyCounter { counts: table, time };
            rows.rows.iter().for_each(|r| f(r, &mut counter));
        };
        self.try_combine(&operator, 0, fold, |a, b| *a += b).0
    }
}
