//! `join` on batches: the pairs of values that two streams have for the same key in the same batch.

use super::cogroup::every_pair;
use crate::api::dstream::DStream;
use crate::core::data::{Exchange, Key};

impl<'s, K: 'static, V: 'static> DStream<'s, (K, V)> {
    /// A row `(key, (left, right))` per batch for each key in both batches: every value of this stream with every value of the other.
    /// Rows are in no order; outputs sort them.
    ///
    /// The values of both streams move to the workers that own their keys. Keeps no state: rows of different batches do not meet
    /// ([`DStream::join_view`], or a join of views).
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 1), ('b', 2), ('a', 3)]],
    ///     |s| s.join(&s.filter(|(_, n)| *n == 1).map_values(|_| true)),
    ///     [vec![('a', (1, true)), ('a', (3, true))]],
    /// );
    /// ```
    #[track_caller]
    pub fn join<W: Exchange>(&self, other: &DStream<'s, (K, W)>) -> DStream<'s, (K, (V, W))>
    where
        K: Key,
        V: Exchange,
    {
        let operator = self.operator::<(K, V, W)>("join", "");
        self.cogrouped(other, &operator, every_pair)
    }
}
