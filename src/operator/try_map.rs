//! The fallible verbs: `try_map`, `try_flat_map`, `try_count_by`. A row that fails becomes a row of an error stream, with its origin.

use std::borrow::Borrow;
use std::hash::Hash;
use std::rc::Rc;

use crate::api::dstream::DStream;
use crate::core::data::{Data, Key, Rows};
use crate::core::error::BoxError;
use crate::core::origin::OriginsWanted;
use crate::core::time::BatchTime;
use crate::engine::flow::Emitter;
use crate::engine::operator_id::OperatorId;
use crate::operator::count_by::KeyCounter;
use crate::operator::decode::{Decoded, bad_record};
use crate::operator::kernel::bad_limit::{Bad, RowsRead};
use crate::operator::kernel::origins::Trail;
use crate::operator::kernel::partial_table::PartialTable;

impl<'s, T: Data> DStream<'s, T> {
    /// The result of `f` for each row, in the same partitions and order. A row for which `f` fails becomes a
    /// [`BadRecord`](crate::core::data::BadRecord) of the error stream. If no output operation reads the error stream, bad records are
    /// counted and logged. Keeps no state.
    ///
    /// `?` turns any error into a [`BoxError`], and so does `Err("words".into())`.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// fn positive(line: &String) -> Result<i32, tidemill::BoxError> {
    ///     match line.parse()? {
    ///         n if n > 0 => Ok(n),
    ///         n => Err(format!("{n} is not positive").into()),
    ///     }
    /// }
    /// let lines = ["1", "x", "-2"].map(str::to_owned).to_vec();
    /// check([lines.clone()], |s| s.try_map(|l| Ok(l.parse::<i32>()?)).oks(), [vec![1, -2]]);
    /// let reasons = ["invalid digit found in string", "-2 is not positive"].map(str::to_owned).to_vec();
    /// check([lines], |s| s.try_map(positive).errors().map(|e| e.reason), [reasons]);
    /// ```
    #[track_caller]
    pub fn try_map<U: Data>(&self, mut f: impl FnMut(&T) -> Result<U, BoxError> + 'static) -> Decoded<'s, U> {
        self.try_each(&OperatorId::of("try_map"), move |row, out| {
            out.push(f(row)?);
            Ok(())
        })
    }

    /// As [`DStream::flat_map`]. A row for which `f` fails becomes a [`BadRecord`](crate::core::data::BadRecord) of the error stream,
    /// and has no other result.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// let numbers = |l: &String| Ok(l.split(' ').map(str::parse).collect::<Result<Vec<i32>, _>>()?);
    /// let lines = ["1 2", "3 x"].map(str::to_owned).to_vec();
    /// check([lines.clone()], move |s| s.try_flat_map(numbers).oks(), [vec![1, 2]]);
    /// check([lines], move |s| s.try_flat_map(numbers).errors().map(|e| e.raw), [vec![b"3 x".to_vec()]]);
    /// ```
    #[track_caller]
    pub fn try_flat_map<U: Data, I: IntoIterator<Item = U>>(
        &self,
        mut f: impl FnMut(&T) -> Result<I, BoxError> + 'static,
    ) -> Decoded<'s, U> {
        self.try_each(&OperatorId::of("try_flat_map"), move |row, out| {
            out.extend(f(row)?);
            Ok(())
        })
    }

    /// The kernel: `f` pushes the results of a row, or returns the reason why there are none.
    pub(crate) fn try_each<U: Data>(
        &self,
        operator: &OperatorId,
        mut f: impl FnMut(&T, &mut Vec<U>) -> Result<(), BoxError> + 'static,
    ) -> Decoded<'s, U> {
        self.node.graph.register_operator::<U>(operator, "");
        let verb = operator.clone();
        let each = move |wanted: Rc<OriginsWanted>, read: RowsRead| {
            move |t, rows: Rows<T>, ok: &mut Emitter<'_, _>, err: &mut Emitter<'_, _>| {
                let mut good = Vec::with_capacity(rows.rows.len());
                let (mut bad, mut trail) = (Bad::default(), Trail::new(&rows, &wanted));
                for (index, row) in rows.rows.iter().enumerate() {
                    let before = good.len();
                    if let Err(e) = f(row, &mut good) {
                        good.truncate(before);
                        bad.push(index, bad_record(&rows, index, t, &verb, &*e));
                    }
                    trail.step(good.len() - before);
                }
                ok(Rows::new(rows.partition, good).with_origins(trail.origins()));
                err(read.container(t, rows.partition, rows.rows.len(), bad));
            }
        };
        Decoded::split_of(self, operator, each)
    }

    /// As [`DStream::count_by`]. A row for which `f` fails becomes a [`BadRecord`](crate::core::data::BadRecord) of the error stream.
    /// Keys that `f` pushed before it failed count, so push last.
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
        let operator = self.operator::<Q::Owned>("try_count_by", "");
        let (verb, read) = (operator.clone(), RowsRead::new(&self.node.graph.config));
        let reads = read.clone();
        let fold = move |counts: &mut PartialTable<_, _>, t: BatchTime, rows: Rows<T>, err: &mut Emitter<'_, _>| {
            let mut bad = Bad::default();
            let mut out = KeyCounter { counts, time: t };
            for (index, row) in rows.rows.iter().enumerate() {
                if let Err(e) = f(row, &mut out) {
                    bad.push(index, bad_record(&rows, index, t, &verb, &*e));
                }
            }
            err(reads.container(t, rows.partition, rows.rows.len(), bad));
        };
        let rows = self.narrow(Self::inner_with_origins);
        let (counts, errors) = rows.try_combine(&operator, 0, fold, |a, b| *a += b);
        Decoded::new(counts, errors, &operator, read)
    }
}
