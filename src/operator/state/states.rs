//! The states of all keys, by key group: what the verbs of this folder keep, and how checkpoints have it.

use crate::core::data::{Exchange, FastMap, Key, encoded};
use crate::core::error::BoxError;
use crate::core::key_groups::{ByGroup, KeyGroups};
use crate::core::time::BatchTime;
use crate::engine::state::{Changes, Groups, KeyedState};
use crate::metrics::held::Held;

/// Every key's state, by key group.
pub(super) struct States<K, S> {
    groups: KeyGroups,
    pub of: ByGroup<FastMap<K, S>>,
}

impl<K, S> States<K, S> {
    pub fn new(groups: KeyGroups) -> Self {
        States { groups, of: ByGroup::default() }
    }
}

impl<K: Key, S: Exchange> KeyedState for States<K, S> {
    /// The function ran for all keys. Which states have changed shows when they are saved.
    fn snapshot(&mut self, _: BatchTime) -> Changes {
        Changes { groups: Groups::all(self.groups), expired: None }
    }

    fn held(&self) -> Held {
        let groups = || self.of.iter().map(|(_, states)| states);
        let bytes = groups().map(|states| states.capacity() * (size_of::<(K, S)>() + 1)).sum();
        Held::of_keys(groups().map(FastMap::len).sum(), bytes)
    }

    fn save(&mut self, group: u64, _: BatchTime) -> Vec<u8> {
        let mut of_group: Vec<(&K, &S)> = self.of.get(group).into_iter().flatten().collect();
        of_group.sort_by(|a, b| a.0.cmp(b.0));
        if of_group.is_empty() { Vec::new() } else { encoded(&of_group) }
    }

    fn load(&mut self, bytes: &[u8], _: BatchTime) -> Result<(), BoxError> {
        for (k, s) in postcard::from_bytes::<Vec<(K, S)>>(bytes)? {
            self.of.of(self.groups.of(&k)).insert(k, s);
        }
        Ok(())
    }
}

/// See [`crate::engine::state::take_any`].
#[cfg(any(test, feature = "testing"))]
pub(crate) fn take_any(bytes: &[u8]) -> bool {
    crate::engine::state::take_any(States::<String, i64>::new(KeyGroups::default()), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_saved_and_restored_by_key_group() {
        let mut all: States<String, i64> = States::new(KeyGroups::default());
        for n in 0..100 {
            let k = format!("key {n}");
            all.of.of(KeyGroups::default().of(&k)).insert(k, n);
        }
        let mut again: States<String, i64> = States::new(KeyGroups::default());
        for group in 0..KeyGroups::default().count() {
            let piece = all.save(group, BatchTime::default());
            if !piece.is_empty() {
                again.load(&piece, BatchTime::default()).unwrap();
            }
        }
        assert_eq!(again.of.iter().collect::<Vec<_>>(), all.of.iter().collect::<Vec<_>>());
        assert!(again.load(&[255], BatchTime::default()).is_err());
    }
}
