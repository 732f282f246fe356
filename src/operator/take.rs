//! `take` and `first`: the first rows of each batch.

use crate::api::dstream::{DStream, RowOrder};
use crate::core::data::{Exchange, Rows};
use crate::engine::operator_id::OperatorId;

impl<'s, T: 'static> DStream<'s, T> {
    /// The first `n` rows of each batch. For a sorted stream they are the first in its order, and for a source the first as read. For a
    /// counted or shuffled stream they are the first by encoding. Keeps no state.
    ///
    /// Of a source, `n` rows of each partition go to worker 0. Of a counted or shuffled stream the whole batch does, as for
    /// [`DStream::sort_by`].
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![5, 4, 6]], |s| s.sort_by(|n| *n).take(2), [vec![4, 5]]);
    /// ```
    #[track_caller]
    pub fn take(&self, n: usize) -> DStream<'s, T>
    where
        T: Exchange,
    {
        let operator = self.operator::<T>("take", n);
        self.taken(&operator, n)
    }

    /// The first row of each batch, as [`DStream::take`] finds it; an empty batch has none. Keeps no state.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![5, 4, 6], vec![]], |s| s.first(), [vec![5], vec![]]);
    /// ```
    #[track_caller]
    pub fn first(&self) -> DStream<'s, T>
    where
        T: Exchange,
    {
        let operator = self.operator::<T>("first", "");
        self.taken(&operator, 1)
    }

    fn taken(&self, operator: &OperatorId, n: usize) -> DStream<'s, T>
    where
        T: Exchange,
    {
        let (verb, orders) = (operator.clone(), self.node.orders.clone());
        let candidates = self.narrow(move |s| {
            s.positioned(&verb, move |_, before, rows: Rows<T>, emit| {
                let room = n.saturating_sub(usize::try_from(before).unwrap_or(usize::MAX));
                match orders[rows.partition.branch as usize] {
                    RowOrder::Unordered { .. } => emit(rows),
                    _ if rows.rows.len() <= room => emit(rows),
                    _ => emit(Rows::new(rows.partition, rows.rows[..room].to_vec())),
                }
            })
        });
        candidates.gather_ordered(operator, move |_, mut rows| {
            rows.truncate(n);
            rows
        })
    }
}
