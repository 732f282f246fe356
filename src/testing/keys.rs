//! `check_keys`: checks whether a type of a program can be a key.

use std::cmp::Ordering;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use crate::core::data::{Key, encoded};

/// Checks with these values that a type keeps the promises of a [`Key`]. Two values are equal if and only if their bytes are. `Ord`
/// and `Hash` agree with `Eq`. A value that is encoded and decoded is the same.
///
/// Give it values that are equal and look different, such as names that differ in case if the type ignores case.
///
/// # Panics
/// If the type does not keep a promise. The message has both values.
///
/// ```
/// use tidemill::{prelude::*, testing::check_keys};
/// check_keys(&[F64::from(0.0), F64::from(-0.0), F64::from(f64::NAN)]);
/// ```
///
/// A type that is equal without regard to case, and is sent with it, is several keys on several workers:
///
/// ```should_panic
/// use serde::{Deserialize, Serialize};
/// use std::{cmp::Ordering, hash::{Hash, Hasher}};
///
/// #[derive(Clone, Debug, Serialize, Deserialize)]
/// struct Name(String);
/// impl PartialEq for Name { fn eq(&self, other: &Self) -> bool { self.cmp(other).is_eq() } }
/// impl Eq for Name {}
/// impl Hash for Name { fn hash<H: Hasher>(&self, h: &mut H) { self.0.to_lowercase().hash(h) } }
/// impl Ord for Name { fn cmp(&self, other: &Self) -> Ordering { self.0.to_lowercase().cmp(&other.0.to_lowercase()) } }
/// impl PartialOrd for Name { fn partial_cmp(&self, other: &Self) -> Option<Ordering> { Some(self.cmp(other)) } }
///
/// tidemill::testing::check_keys(&["Tide", "tide"].map(|name| Name(name.to_owned())));
/// ```
#[track_caller]
pub fn check_keys<K: Key>(values: &[K]) {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    for a in values {
        let bytes = encoded(a);
        let again: K = match postcard::from_bytes(&bytes) {
            Ok(again) => again,
            Err(e) => panic!("{a:?} cannot be decoded after it was encoded: {e}"),
        };
        assert!(again == *a && encoded(&again) == bytes, "{a:?} is {again:?} after it was encoded and decoded");
        for b in values {
            let equal = a == b;
            let remedy = "give equal values one form where they are made, as F64 does with -0.0";
            assert_eq!(equal, bytes == encoded(b), "{a:?} and {b:?}: equal or not (left), and their bytes (right); {remedy}");
            assert_eq!(equal, a.cmp(b) == Ordering::Equal, "{a:?} and {b:?}: Eq (left) and Ord (right) do not agree");
            assert_eq!(a.cmp(b), b.cmp(a).reverse(), "{a:?} and {b:?}: Ord depends on the side");
            assert!(!equal || hasher.hash_one(a) == hasher.hash_one(b), "{a:?} and {b:?} are equal, and their hashes are not");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::data::{Change, PartitionId};
    use crate::core::plan::{OffsetRange, Split};
    use crate::core::time::BatchTime;

    /// The types of the library that can be keys. `F64` has its own test.
    #[test]
    fn the_keys_of_the_library_are_keys() {
        check_keys(&[0, 1, u64::MAX].map(BatchTime::from_millis));
        check_keys(&[("t", 0), ("t", 1), ("u", 0)].map(|(topic, n)| OffsetRange::new(topic, n, 0, 5)));
        check_keys(&[Split::custom("t", 0), Split::custom_received("t", 0), Split::custom_whole("t", 0, 5)]);
        check_keys(&[1, 2].map(|diff| Change { row: "a".to_owned(), diff }));
        check_keys(&[(0, 1), (1, 0)].map(|(branch, index)| PartitionId { branch, index }));
    }
}
