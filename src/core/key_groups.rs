//! Key groups: the parts into which the keys of a job are divided, and in which their state is saved. Their number is the largest number of
//! workers that share the keys: Flink's max parallelism.

use serde::Serialize;

use crate::core::data::stable_hash;
use crate::core::error::{Error, Result};

/// How many key groups a job has: 1 to 4,096, 128 by default. `Builder::max_parallelism` sets
/// it. Files and shards name key groups, never workers. See docs/formats.md.
///
/// ```
/// use tidemill::core::key_groups::KeyGroups;
/// let groups = KeyGroups::new(1_000)?;
/// assert!(groups.count() == 1_000 && groups.of("tide") < 1_000);
/// assert_eq!(groups.of("tide"), groups.of(&String::from("tide")));
/// assert!(KeyGroups::new(5_000).is_err());
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyGroups(u16);

impl Default for KeyGroups {
    fn default() -> Self {
        KeyGroups(Self::USUAL)
    }
}

impl KeyGroups {
    /// The default number.
    pub const USUAL: u16 = 128;

    /// The largest number. State costs a few bytes for each group, and a checkpoint a chunk.
    pub const MOST: u16 = 4_096;

    /// This number of key groups.
    ///
    /// # Errors
    /// It is not 1 to [`MOST`](Self::MOST).
    pub fn new(n: u16) -> Result<Self> {
        match n {
            1..=Self::MOST => Ok(KeyGroups(n)),
            _ => Err(Error::config(format!("max_parallelism {n}: it must be 1 to {}", Self::MOST))),
        }
    }

    /// How many there are.
    pub fn count(self) -> u64 {
        self.0.into()
    }

    /// The key group of a key: `xxh3_64(encoded key)` modulo the number of groups, the same in every build.
    ///
    /// # Panics
    /// If the key's `Serialize` fails.
    pub fn of<K: Serialize + ?Sized>(self, key: &K) -> u64 {
        let (hash, n) = (stable_hash(key, 0), self.count());
        // A division takes longer than everything else here but the hash.
        if n.is_power_of_two() { hash & (n - 1) } else { hash % n }
    }
}

/// A value for each key group that has one. A worker has only some of the groups, so values are made at first use.
#[derive(Clone, Debug)]
pub(crate) struct ByGroup<T> {
    /// The place of each group in `values`, and 1; 0 if it has none.
    places: Vec<u16>,
    values: Vec<T>,
}

impl<T> Default for ByGroup<T> {
    fn default() -> Self {
        ByGroup { places: Vec::new(), values: Vec::new() }
    }
}

impl<T: Default> ByGroup<T> {
    /// The value of a group; a new one if it has none.
    pub fn of(&mut self, group: u64) -> &mut T {
        let group = group as usize;
        match self.places.get(group) {
            Some(place @ 1..) => &mut self.values[usize::from(*place) - 1],
            _ => self.begin(group),
        }
    }

    #[cold]
    fn begin(&mut self, group: usize) -> &mut T {
        if self.places.len() <= group {
            self.places.resize(group + 1, 0);
        }
        self.values.push(T::default());
        self.places[group] = u16::try_from(self.values.len()).expect("no more values than groups");
        self.values.last_mut().expect("the value that was just made")
    }

    /// Takes the value of a group. It has an empty one then.
    pub fn take(&mut self, group: u64) -> T {
        self.get_mut(group).map(std::mem::take).unwrap_or_default()
    }
}

impl<T> ByGroup<T> {
    /// The value of a group, if it has one.
    pub fn get(&self, group: u64) -> Option<&T> {
        let place = usize::from(*self.places.get(group as usize)?);
        self.values.get(place.checked_sub(1)?)
    }

    fn get_mut(&mut self, group: u64) -> Option<&mut T> {
        let place = usize::from(*self.places.get(group as usize)?);
        self.values.get_mut(place.checked_sub(1)?)
    }

    /// The groups with a value, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        (0..).zip(&self.places).filter_map(|(group, place)| Some((group, self.values.get(usize::from(*place).checked_sub(1)?)?)))
    }

    /// All values, in no order.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.values.iter_mut()
    }

    /// What `f` makes of each value.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> ByGroup<U> {
        ByGroup { places: self.places, values: self.values.into_iter().map(f).collect() }
    }

    /// Takes all values: calls `each` with every group that has one, ascending.
    pub fn drain(self, mut each: impl FnMut(u64, T)) {
        let mut values: Vec<Option<T>> = self.values.into_iter().map(Some).collect();
        for (group, place) in (0..).zip(self.places) {
            let value = usize::from(place).checked_sub(1).and_then(|place| values[place].take());
            value.into_iter().for_each(|value| each(group, value));
        }
    }

    /// Calls `each` with every group that has a value, ascending.
    pub fn for_each_mut(&mut self, mut each: impl FnMut(u64, &mut T)) {
        for (group, place) in (0..).zip(&self.places) {
            if let Some(place) = usize::from(*place).checked_sub(1) {
                each(group, &mut self.values[place]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::data::encoded;

    #[test]
    fn key_groups_are_written_down() {
        // These values are the format: docs/formats.md. A change here loses every checkpoint.
        for n in [1u16, 7, 128, 1_000, 4_096] {
            let groups = ["a", "tide", "mill", ""].map(|key| KeyGroups::new(n).unwrap().of(key));
            assert_eq!(groups, ["a", "tide", "mill", ""].map(|key| xxhash_rust::xxh3::xxh3_64(&encoded(key)) % u64::from(n)));
        }
        let groups = KeyGroups::default();
        assert_eq!(groups.count(), 128);
        assert_eq!(groups.of(&7u64), groups.of(&7u32), "integers are varints: the width does not show");
        for wrong in [0, 4_097, u16::MAX] {
            let e = KeyGroups::new(wrong).unwrap_err().to_string();
            assert!(e.contains(&format!("max_parallelism {wrong}: it must be 1 to 4096")), "{e}");
        }
    }

    #[test]
    fn a_group_has_a_value_from_its_first_use_on() {
        let mut by_group: ByGroup<Vec<u8>> = ByGroup::default();
        for (group, value) in [(4_095, 1), (3, 2), (4_095, 3)] {
            by_group.of(group).push(value);
        }
        assert_eq!(by_group.values.len(), 2, "only for groups that are used");
        assert_eq!(by_group.iter().collect::<Vec<_>>(), [(3, &vec![2]), (4_095, &vec![1, 3])]);
        assert_eq!((by_group.get(4), by_group.get(5_000), by_group.get(3)), (None, None, Some(&vec![2])));
        assert_eq!((by_group.take(3), by_group.take(3), by_group.take(4)), (vec![2], vec![], vec![]));
        by_group.for_each_mut(|group, all| all.push(group as u8));
        assert_eq!((by_group.get(3), by_group.get(4_095)), (Some(&vec![3]), Some(&vec![1, 3, 255])));
    }
}
