//! The interface of every stateful verb to checkpoints.

use crate::core::error::{BoxError, Result};
use crate::core::key_groups::KeyGroups;
use crate::core::schedule::WindowSpec;
use crate::core::time::BatchTime;
use crate::metrics::held::Held;

/// A set of key groups: one bit each, up to the largest one that was added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Groups(Vec<u64>);

impl Groups {
    /// All of them.
    pub fn all(groups: KeyGroups) -> Self {
        let mut all = Groups::default();
        (0..groups.count()).for_each(|group| all.insert(group));
        all
    }

    /// The first group, if `has` it; else none. For states that are not by key.
    pub fn first(has: bool) -> Self {
        let mut groups = Groups::default();
        if has {
            groups.insert(0u16);
        }
        groups
    }

    #[inline]
    pub fn insert(&mut self, group: impl Into<u64>) {
        let group = group.into();
        let (word, bit) = ((group / 64) as usize, 1 << (group % 64));
        match self.0.get_mut(word) {
            Some(word) => *word |= bit,
            None => self.grow(word, bit),
        }
    }

    #[cold]
    fn grow(&mut self, word: usize, bit: u64) {
        self.0.resize(word + 1, 0);
        self.0[word] = bit;
    }

    /// These groups, and those.
    pub fn and(mut self, others: &Self) -> Self {
        self.0.resize(self.0.len().max(others.0.len()), 0);
        self.0.iter_mut().zip(&others.0).for_each(|(word, more)| *word |= more);
        self
    }

    pub fn contains(&self, group: u64) -> bool {
        self.0.get((group / 64) as usize).is_some_and(|word| word & (1 << (group % 64)) != 0)
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Takes the smallest one.
    pub fn pop(&mut self) -> Option<u64> {
        let at = self.0.iter().position(|word| *word != 0)?;
        let (first, word) = (at as u64 * 64, &mut self.0[at]);
        let group = first + u64::from(word.trailing_zeros());
        *word &= *word - 1;
        Some(group)
    }
}

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
        Groups::default()
    }

    /// The window whose batches it holds, if it is one. Default: none.
    fn window(&self) -> Option<WindowSpec> {
        None
    }

    /// What it holds in memory now. Called between batches, twice in a second: it must not look at each key.
    fn held(&self) -> Held;

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
#[derive(Clone, Debug)]
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
    (0..KeyGroups::default().count()).for_each(|group| drop(empty.save(group, BatchTime::default())));
    took
}
