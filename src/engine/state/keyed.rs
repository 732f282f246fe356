//! The interface of every stateful verb to checkpoints.

use crate::core::data::KEY_GROUPS;
use crate::core::error::{BoxError, Result};
use crate::core::schedule::WindowSpec;
use crate::core::time::BatchTime;

/// A set of key groups: one bit each.
pub(crate) type Groups = u128;

/// All of them.
pub(crate) const ALL: Groups = !0;

const _: () = assert!(KEY_GROUPS == Groups::BITS as u64);

/// The state of a stateful verb on one worker.
///
/// # Call order
/// `load` is called before the first batch, for each chunk. After a batch, `snapshot` is called, and then `save` for every group in
/// [`Changes::groups`]. The state does not change until then.
pub(crate) trait KeyedState {
    /// A snapshot starts, after the batch of `t`. Returns what changed since the previous one.
    fn snapshot(&mut self, t: BatchTime) -> Changes;

    /// The groups in which something changed that an earlier chunk has, since the previous call. Called after `snapshot`. Each is saved whole,
    /// and its chunk replaces all earlier ones. Default: none, because deltas usually only add.
    fn rewritten(&mut self) -> Groups {
        0
    }

    /// The window whose batches it holds, if it is one. Default: none.
    fn window(&self) -> Option<WindowSpec> {
        None
    }

    /// The encoded state of the keys of one group; empty if there is none. If chunks are deltas, only the changes after `since`: the
    /// time of an earlier snapshot, or 0 for everything.
    fn save(&mut self, group: u64, since: BatchTime) -> Vec<u8>;

    /// Loads a result of `save` from the snapshot of `time`, oldest first. The number of workers may have changed since.
    ///
    /// # Errors
    /// The bytes are not a result of `save`.
    fn load(&mut self, bytes: &[u8], time: BatchTime) -> Result<(), BoxError>;
}

/// The report of a state when a snapshot starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changes {
    /// The groups that may have changed since the previous snapshot.
    pub groups: Groups,
    /// `None`: a chunk is the whole state of its group. `Some(t)`: chunks are deltas, and those up to `t` have expired.
    pub expired: Option<BatchTime>,
}

/// For fuzzers: loads arbitrary bytes into an empty state and saves what it took. Returns whether the bytes were valid.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn take_any(mut empty: impl KeyedState, bytes: &[u8]) -> bool {
    let took = empty.load(bytes, BatchTime::from_millis(8)).is_ok();
    empty.snapshot(BatchTime::from_millis(10));
    (0..KEY_GROUPS).for_each(|group| drop(empty.save(group, BatchTime::default())));
    took
}
