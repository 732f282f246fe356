//! The fallible verbs: `try_map`, `try_flat_map`, `try_count_by`. What fails is data: an error stream with provenance.

use std::borrow::Borrow;
use std::hash::Hash;

use crate::api::dstream::DStream;
use crate::core::data::{Data, Key, Rows};
use crate::core::error::BoxError;
use crate::core::time::BatchTime;
use crate::engine::flow::{Give, Site, fork};
use crate::operator::count_by::KeyCounter;
use crate::operator::decode::{Decoded, bad_record};
use crate::operator::kernel::partial_table::Book;

impl<'s, T: Data> DStream<'s, T> {
    /// Each row through `f`; where `f` fails, the row becomes a [`BadRecord`](crate::core::data::BadRecord) of the error stream.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// let lines = ["1", "x"].map(str::to_owned).to_vec();
    /// check([lines.clone()], |s| s.try_map(|l| l.parse::<i32>()).oks(), [vec![1]]);
    /// check([lines], |s| s.try_map(|l| l.parse::<i32>()).errors().map(|e| e.raw), [vec![b"x".to_vec()]]);
    /// ```
    #[track_caller]
    pub fn try_map<U: Data, E: Into<BoxError>>(&self, mut f: impl FnMut(&T) -> Result<U, E> + 'static) -> Decoded<'s, U> {
        self.try_each(&Site::of("try_map"), "try_map", move |row, out| {
            out.push(f(row).map_err(Into::into)?);
            Ok(())
        })
    }

    /// As `flat_map`; where `f` fails, the row becomes a [`BadRecord`](crate::core::data::BadRecord) and gives nothing.
    #[track_caller]
    pub fn try_flat_map<U: Data, I: IntoIterator<Item = U>, E: Into<BoxError>>(
        &self,
        mut f: impl FnMut(&T) -> Result<I, E> + 'static,
    ) -> Decoded<'s, U> {
        self.try_each(&Site::of("try_flat_map"), "try_flat_map", move |row, out| {
            out.extend(f(row).map_err(Into::into)?);
            Ok(())
        })
    }

    /// The kernel: `f` pushes what it makes of a row, or says why it cannot.
    pub(crate) fn try_each<U: Data>(
        &self,
        site: &Site,
        verb: &str,
        mut f: impl FnMut(&T, &mut Vec<U>) -> Result<(), BoxError> + 'static,
    ) -> Decoded<'s, U> {
        let graph = &self.node.graph;
        graph.note::<U>(verb, "");
        let (oks, errors) = fork(&graph.flow, site, self.inner(), move |t, rows: Rows<T>, ok, err| {
            let mut good = Vec::with_capacity(rows.rows.len());
            let mut bad = Vec::new();
            for row in rows.rows.iter() {
                let before = good.len();
                if let Err(e) = f(row, &mut good) {
                    good.truncate(before);
                    bad.push(bad_record(row, t, &*e));
                }
            }
            ok(Rows::new(rows.partition, good));
            err(Rows::new(rows.partition, bad));
        });
        Decoded::new(self.narrow(oks), self.narrow(errors), site)
    }

    /// As [`DStream::count_by`]; where `f` fails, the row becomes a [`BadRecord`](crate::core::data::BadRecord). What `f` pushed before it failed counts:
    /// push last.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// let lines = ["7", "x", "7"].map(str::to_owned).to_vec();
    /// check(
    ///     [lines],
    ///     |s| s.try_count_by::<i32>(|l, out| Ok(out.push(&l.parse()?))).oks(),
    ///     [vec![(7, 2)]],
    /// );
    /// ```
    #[track_caller]
    pub fn try_count_by<Q>(
        &self,
        mut f: impl FnMut(&T, &mut KeyCounter<'_, Q>) -> Result<(), BoxError> + 'static,
    ) -> Decoded<'s, (Q::Owned, i64)>
    where
        Q: ?Sized + Hash + Eq + ToOwned + 'static,
        Q::Owned: Key + Borrow<Q>,
    {
        let site = Site::of("try_count_by");
        self.node.graph.note::<Q::Owned>("try_count_by", "");
        let fold = move |counts: &mut Book<_, _>, t: BatchTime, rows: Rows<T>, err: &mut Give<'_, _>| {
            let mut bad = Vec::new();
            let mut out = KeyCounter { counts };
            for row in rows.rows.iter() {
                if let Err(e) = f(row, &mut out) {
                    bad.push(bad_record(row, t, &*e));
                }
            }
            err(Rows::new(rows.partition, bad));
        };
        let (counts, errors) = self.try_combine(&site, 0, fold, |a, b| *a += b);
        Decoded::new(counts, errors, &site)
    }
}
