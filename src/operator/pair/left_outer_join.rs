//! `left_outer_join` on batches: a join that keeps the rows of the left stream.

use super::cogroup::{every_pair, or_none};
use crate::api::dstream::DStream;
use crate::core::data::{Exchange, Key};

impl<'s, K: 'static, V: 'static> DStream<'s, (K, V)> {
    /// The rows of [`DStream::join`], and the values of this stream that have no partner: a row `(key, (left, None))` for each value whose
    /// key is not in the batch of the other stream.
    ///
    /// Rows are in no order; outputs sort them. The values of both streams move to the workers that own their keys. Keeps no state.
    ///
    /// ```
    /// use tidemill::testing::check2;
    /// check2(
    ///     [vec![('a', 1), ('b', 2)]],
    ///     [vec![('a', true), ('c', false)]],
    ///     |s, other| s.left_outer_join(other),
    ///     [vec![('a', (1, Some(true))), ('b', (2, None))]],
    /// );
    /// ```
    #[doc(alias = "leftOuterJoin")]
    #[track_caller]
    pub fn left_outer_join<W: Exchange>(&self, other: &DStream<'s, (K, W)>) -> DStream<'s, (K, (V, Option<W>))>
    where
        K: Key,
        V: Exchange,
    {
        let operator = self.operator::<(K, V, W)>("left_outer_join", "");
        self.cogrouped(other, &operator, |left, right| every_pair(left, or_none(right)))
    }
}
