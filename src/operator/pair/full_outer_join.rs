//! `full_outer_join` on batches: a join that keeps the rows of both streams.

use super::cogroup::{every_pair, or_none};
use crate::api::dstream::DStream;
use crate::core::data::{Exchange, Key};

impl<'s, K: 'static, V: 'static> DStream<'s, (K, V)> {
    /// The rows of [`DStream::join`], and the values of both streams that have no partner: a row with `None` for each value whose key is
    /// not in the batch of the other stream.
    ///
    /// Rows are in no order; outputs sort them. The values of both streams move to the workers that own their keys. Keeps no state.
    ///
    /// ```
    /// use tidemill::testing::check2;
    /// check2(
    ///     [vec![('a', 1), ('b', 2)]],
    ///     [vec![('a', true), ('c', false)]],
    ///     |s, other| s.full_outer_join(other),
    ///     [vec![('a', (Some(1), Some(true))), ('b', (Some(2), None)), ('c', (None, Some(false)))]],
    /// );
    /// ```
    #[doc(alias = "fullOuterJoin")]
    #[track_caller]
    #[allow(clippy::type_complexity, reason = "the row, as a program sees it")]
    pub fn full_outer_join<W: Exchange>(&self, other: &DStream<'s, (K, W)>) -> DStream<'s, (K, (Option<V>, Option<W>))>
    where
        K: Key,
        V: Exchange,
    {
        let operator = self.operator::<(K, V, W)>("full_outer_join", "");
        self.cogrouped(other, &operator, |left, right| every_pair(or_none(left), or_none(right)))
    }
}
