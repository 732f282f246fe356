//! `subtract_by_key` on batches: the pairs whose key another stream does not have.

use crate::api::dstream::DStream;
use crate::core::data::{Data, Exchange, Key};

impl<'s, K: 'static, V: 'static> DStream<'s, (K, V)> {
    /// The pairs of each batch whose key the other stream does not have in that batch, each as often as it occurs. Rows are in no
    /// order; outputs sort them.
    ///
    /// The pairs of this stream and the keys of the other move to the workers that own the keys. Keeps no state: a key of an earlier
    /// batch removes nothing.
    ///
    /// ```
    /// use tidemill::testing::check2;
    /// let blocked = [vec![("eve".to_owned(), "since May")], vec![]];
    /// let clicks = [vec![("ada".to_owned(), 1), ("eve".to_owned(), 2)], vec![("eve".to_owned(), 3)]];
    /// check2(
    ///     clicks,
    ///     blocked,
    ///     |clicks, blocked| clicks.subtract_by_key(blocked),
    ///     [vec![("ada".to_owned(), 1)], vec![("eve".to_owned(), 3)]],
    /// );
    /// ```
    #[doc(alias = "subtractByKey")]
    #[track_caller]
    pub fn subtract_by_key<W: Data>(&self, other: &DStream<'s, (K, W)>) -> DStream<'s, (K, V)>
    where
        K: Key,
        V: Exchange,
    {
        let operator = self.operator::<(K, V, W)>("subtract_by_key", "");
        let keys = other.mapped(&operator, true, |(k, _)| (k, ()));
        self.cogrouped(&keys, &operator, |values, found| if found.is_empty() { values } else { Vec::new() })
    }
}
