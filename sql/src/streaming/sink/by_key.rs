//! Rows of a result in the order of their batches, key by key.

use tidemill::prelude::{DStream, Exchange, Key};

/// The same rows with all rows of a key in one shard. Rows of a result lie where its groups do, and each shard commits by itself. So the last row
/// of a key would not always be the last one that is written.
pub(super) fn by_key<'s, K: Key, T: Exchange>(rows: &DStream<'s, T>, key: impl Fn(&T) -> K + 'static) -> DStream<'s, T> {
    rows.map(move |row| (key(&row), row)).group_by_key().flat_map(|(_, rows)| rows)
}
