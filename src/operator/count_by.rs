//! `count_by`: counts what a function finds in each row, without owning it more than once a batch. The fast door.

use std::borrow::Borrow;
use std::hash::Hash;

use crate::api::dstream::DStream;
use crate::core::data::{Data, Key, Rows};
use crate::engine::flow::Site;
use crate::operator::kernel::partial_table::Book;

/// Where `count_by` is told what to count: borrowed, owned only when it is new in this batch.
pub struct KeyCounter<'a, Q: ?Sized + ToOwned> {
    pub(crate) counts: &'a mut Book<Q::Owned, i64>,
}

impl<Q: ?Sized + Hash + Eq + ToOwned> KeyCounter<'_, Q>
where
    Q::Owned: Key + Borrow<Q>,
{
    /// Counts one occurrence.
    pub fn push(&mut self, key: &Q) {
        *self.counts.of(key) += 1;
    }
}

impl<'s, T: Data> DStream<'s, T> {
    /// How often `f` pushes each key in the batch. Rows are only read; keys are pushed borrowed.
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
        let site = Site::of("count_by");
        self.node.graph.note::<Q::Owned>("count_by", "");
        let fold = move |sums: &mut Book<_, _>, rows: Rows<T>| {
            let mut out = KeyCounter { counts: sums };
            rows.rows.iter().for_each(|r| f(r, &mut out));
        };
        self.combine(&site, 0, fold, |a, b| *a += b)
    }
}
