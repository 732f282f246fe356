//! `flat_map` and `flat_map_into`: any number of rows for one row.

use crate::api::dstream::DStream;
use crate::core::data::{Data, Rows};
use crate::core::origin::OriginsWanted;
use crate::engine::flow::map_containers;
use crate::engine::operator_id::OperatorId;
use crate::operator::kernel::origins::Trail;

impl<'s, T: Data> DStream<'s, T> {
    /// All rows that `f` returns for each row, in the same partitions and order. Keeps no state.
    ///
    /// The result of `f` must not borrow from its argument (the compiler says E0515; docs/guide/flat-map.md says why). To split text
    /// use [`DStream::flat_map_into`], or [`DStream::count_by`], which owns a word once a batch.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![2, 0, 3]], |s| s.flat_map(|n| 0..n), [vec![0, 1, 0, 1, 2]]);
    /// ```
    #[doc(alias = "flatMap")]
    #[track_caller]
    pub fn flat_map<U: Data, I: IntoIterator<Item = U>>(&self, f: impl FnMut(T) -> I + 'static) -> DStream<'s, U> {
        let operator = self.operator::<U>("flat_map", "");
        self.flat_mapped(&operator, false, f)
    }

    /// The kernel of the verbs that make rows of each row. `keyed`: they keep its key.
    pub(crate) fn flat_mapped<U: Data, I: IntoIterator<Item = U>>(
        &self,
        operator: &OperatorId,
        keyed: bool,
        mut f: impl FnMut(T) -> I + 'static,
    ) -> DStream<'s, U> {
        let operator = operator.clone();
        self.traced(keyed, move |s, wanted| {
            map_containers(s.flow(), &operator, s.inner(), move |_, rows: Rows<T>, emit| {
                emit(flat(rows, &wanted, &mut f));
            })
        })
    }

    /// As `flat_map`; `f` reads the row by reference and pushes the rows that it makes of it into a vector.
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
        let operator = self.operator::<U>("flat_map_into", "");
        self.traced(false, move |s, wanted| {
            map_containers(s.flow(), &operator, s.inner(), move |_, rows: Rows<T>, emit| {
                let (mut out, mut trail) = (Vec::with_capacity(rows.rows.len()), Trail::new(&rows, &wanted));
                for row in rows.rows.iter() {
                    let before = out.len();
                    f(row, &mut out);
                    trail.step(out.len() - before);
                }
                emit(Rows::new(rows.partition, out).with_origins(trail.origins()));
            })
        })
    }
}

/// The rows that `f` makes of each row of a container, in its partition.
pub(super) fn flat<T: Data, U, I: IntoIterator<Item = U>>(
    rows: Rows<T>,
    wanted: &OriginsWanted,
    mut f: impl FnMut(T) -> I,
) -> Rows<U> {
    let (partition, mut trail) = (rows.partition, Trail::new(&rows, wanted));
    let rows = rows.take().into_iter();
    let out: Vec<U> = if trail.is_wanted() {
        let mut out = Vec::with_capacity(rows.len());
        for row in rows {
            let before = out.len();
            out.extend(f(row));
            trail.step(out.len() - before);
        }
        out
    } else {
        rows.flat_map(f).collect()
    };
    Rows::new(partition, out).with_origins(trail.origins())
}
