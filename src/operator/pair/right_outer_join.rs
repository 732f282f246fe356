//! `right_outer_join` on batches: a join that keeps the rows of the right stream.

use super::cogroup::{every_pair, or_none};
use crate::api::dstream::DStream;
use crate::core::data::{Exchange, Key};

impl<'s, K: 'static, V: 'static> DStream<'s, (K, V)> {
    /// The rows of [`DStream::join`], and the values of the other stream that have no partner: a row `(key, (None, right))` for each value
    /// whose key is not in the batch of this stream.
    ///
    /// Rows are in no order; outputs sort them. The values of both streams move to the workers that own their keys. Keeps no state.
    ///
    /// ```
    /// use tidemill::testing::check2;
    /// check2(
    ///     [vec![('a', 1), ('b', 2)]],
    ///     [vec![('a', true), ('c', false)]],
    ///     |s, other| s.right_outer_join(other),
    ///     [vec![('a', (Some(1), true)), ('c', (None, false))]],
    /// );
    /// ```
    #[doc(alias = "rightOuterJoin")]
    #[track_caller]
    pub fn right_outer_join<W: Exchange>(&self, other: &DStream<'s, (K, W)>) -> DStream<'s, (K, (Option<V>, W))>
    where
        K: Key,
        V: Exchange,
    {
        let operator = self.operator::<(K, V, W)>("right_outer_join", "");
        self.cogrouped(other, &operator, |left, right| every_pair(or_none(left), right))
    }
}
