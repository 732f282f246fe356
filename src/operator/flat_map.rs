//! `flat_map` and `flat_map_into`: any number of rows for one row.

use crate::api::dstream::DStream;
use crate::core::data::{Data, Rows};
use crate::engine::flow::{Site, expand};

impl<'s, T: Data> DStream<'s, T> {
    /// All rows that `f` makes of each row, in order. What `f` returns must not borrow from its argument: for splitting text
    /// there is [`DStream::flat_map_into`], and [`DStream::count_by`], which owns a word once a batch. docs/guide/flat-map.md has
    /// the compiler's error, E0515, and why.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![2, 0, 3]], |s| s.flat_map(|n| 0..n), [vec![0, 1, 0, 1, 2]]);
    /// ```
    #[doc(alias = "flatMap")]
    #[track_caller]
    pub fn flat_map<U: Data, I: IntoIterator<Item = U>>(&self, mut f: impl FnMut(T) -> I + 'static) -> DStream<'s, U> {
        let site = Site::of("flat_map");
        self.node.graph.note::<U>("flat_map", "");
        self.narrow(expand(&self.node.graph.flow, &site, self.inner(), move |_, rows: Rows<T>, give| {
            give(Rows::new(rows.partition, rows.take().into_iter().flat_map(&mut f).collect()));
        }))
    }

    /// As `flat_map`, into a vector: `f` sees the row borrowed and pushes what it makes of it.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check(
    ///     [vec!["a b".to_string()]],
    ///     |s| s.flat_map_into(|line, out| out.extend(line.split(' ').map(str::to_owned))),
    ///     [vec!["a".to_string(), "b".to_string()]],
    /// );
    /// ```
    #[track_caller]
    pub fn flat_map_into<U: Data>(&self, mut f: impl FnMut(&T, &mut Vec<U>) + 'static) -> DStream<'s, U> {
        let site = Site::of("flat_map_into");
        self.node.graph.note::<U>("flat_map_into", "");
        self.narrow(expand(&self.node.graph.flow, &site, self.inner(), move |_, rows: Rows<T>, give| {
            let mut out = Vec::with_capacity(rows.rows.len());
            rows.rows.iter().for_each(|r| f(r, &mut out));
            give(Rows::new(rows.partition, out));
        }))
    }
}
