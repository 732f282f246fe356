//! `join_broadcast`: each batch looks up its keys in a table that every worker has.

use crate::api::dstream::DStream;
use crate::core::data::{Data, Key};
use crate::operator::broadcast::{Broadcast, Table};

impl<'s, K: Key, V: Data> DStream<'s, (K, V)> {
    /// A row `(key, (value, looked up))` for each row and each value that its key has in the table as of the batch. Spark's broadcast join.
    ///
    /// The rows stay in their partitions and order, and none is exchanged. [`DStream::join_view`] has the same rows, and no copy of the
    /// table on each worker. A row whose key is not in the table has no result; [`DStream::flat_map_with_broadcast`] can keep it.
    /// Keeps no state.
    ///
    /// ```
    /// use tidemill::testing::check2;
    /// check2(
    ///     [vec![('b', 1), ('a', 2)], vec![('c', 3)]],
    ///     [vec![('a', "x".to_owned()), ('b', "y".to_owned())], vec![]],
    ///     |rows, names| rows.join_broadcast(&names.latest_by_key().broadcast()),
    ///     [vec![('b', (1, "y".to_owned())), ('a', (2, "x".to_owned()))], vec![]],
    /// );
    /// ```
    #[track_caller]
    pub fn join_broadcast<W: Key>(&self, table: &Broadcast<'s, Table<K, W>>) -> DStream<'s, (K, (V, W))> {
        let operator = self.operator::<(K, V, W)>("join_broadcast", "");
        self.with_broadcast(operator, true, table, |(k, v), table| {
            let found = table.values(&k).map(|w| (k.clone(), (v.clone(), w.clone())));
            found.collect::<Vec<_>>()
        })
    }
}
