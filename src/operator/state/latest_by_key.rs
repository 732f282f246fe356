//! `latest_by_key`: the last value of each key, as a view.

use crate::api::dstream::DStream;
use crate::api::view::View;
use crate::core::data::Key;

impl<'s, K: 'static, V: 'static> DStream<'s, (K, V)> {
    /// A view with a row `(key, value)` for each key: its last value since the job began. Kafka Streams calls it a KTable, Flink an
    /// upsert stream.
    ///
    /// The last value is the last in stream order: of several partitions that have the key in one batch, the last partition counts. A
    /// key has a row from its first value on, for ever. For a message that deletes its key let `V` be an `Option`, and call
    /// `flat_map` on the view.
    ///
    /// A batch costs the keys in it; their values move to the workers that own them. State: a value per key, saved in checkpoints.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 1), ('b', 7), ('a', 2)], vec![], vec![('a', 3)]],
    ///     |s| s.latest_by_key().complete(),
    ///     [vec![('a', 2), ('b', 7)], vec![('a', 2), ('b', 7)], vec![('a', 3), ('b', 7)]],
    /// );
    /// // A value of `None` deletes its key.
    /// check(
    ///     [vec![('a', Some(1)), ('b', Some(7))], vec![('a', None)]],
    ///     |s| s.latest_by_key().flat_map(|(k, v)| v.map(|v| (k, v))).complete(),
    ///     [vec![('a', 1), ('b', 7)], vec![('b', 7)]],
    /// );
    /// ```
    #[track_caller]
    pub fn latest_by_key(&self) -> View<'s, (K, V)>
    where
        K: Key,
        V: Key,
    {
        let operator = self.operator::<(K, V)>("latest_by_key", "");
        self.stepped(&operator, |_, mut values| values.pop().expect("a key of a batch has a value"))
    }
}
