//! The traits of rows and keys, and how a value becomes bytes.
//!
//! All three traits have blanket implementations. A program's own type has them if it derives serde and the usual traits.

use std::fmt::Debug;
use std::hash::Hash;
use std::rc::Rc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use timely::Accountable;

use crate::core::error::BoxError;
use crate::core::origin::Origins;

/// A row of a `DStream`: every type that can be cloned and borrows nothing.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a row of a DStream",
    label = "not `Clone`, or it borrows",
    note = "a row is `Clone`, and it owns its data: `String`, not `&str`"
)]
pub trait Data: Clone + 'static {}
#[diagnostic::do_not_recommend]
impl<T: Clone + 'static> Data for T {}

/// A row that can move to another worker or process, be gathered, and be saved.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot move to another worker, or be written",
    label = "not `Clone`, `Send`, `Serialize` and `Deserialize`",
    note = "derive serde's traits for it: `#[derive(Clone, serde::Serialize, serde::Deserialize)]`",
    note = "a row owns its data: `String`, not `&str`"
)]
pub trait Exchange: Data + Send + Serialize + DeserializeOwned {}
#[diagnostic::do_not_recommend]
impl<T: Data + Send + Serialize + DeserializeOwned> Exchange for T {}

/// A row that can be counted or grouped, or be a row of a `View`.
///
/// Two keys must be equal if and only if their encoded bytes are ([`encoded`]). Equal keys with different bytes would be in several
/// key groups: one key on one worker, and several keys on more workers. Derived traits keep this promise if those of all
/// fields do. A type that ignores something in comparisons, such as case, must remove it when a value is created.
/// `tidemill::testing::check_keys` checks a type. For a float use [`F64`], which has one zero and one NaN.
///
/// ```
/// use tidemill::{prelude::*, testing::check_keys};
/// #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
/// struct Sensor { name: String, threshold: F64 }
///
/// let sensor = |threshold| Sensor { name: "tide gauge".into(), threshold: F64::from(threshold) };
/// check_keys(&[sensor(0.0), sensor(-0.0), sensor(1.5)]);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key, or a row of a View",
    label = "not a `Key`",
    note = "for a float use `F64`: `F64::from(x)`",
    note = "a type of your own derives `Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize`"
)]
pub trait Key: Exchange + Ord + Hash + Debug {}
#[diagnostic::do_not_recommend]
impl<T: Exchange + Ord + Hash + Debug> Key for T {}

pub use crate::core::float::F64;

/// The bytes of a value in postcard, the only encoding of rows: docs/formats.md. Rows that compare equal are sorted by them.
///
/// # Panics
/// If the value's `Serialize` fails, as a map of unknown length does.
pub fn encoded<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("the value's Serialize failed; see docs/formats.md for what can be encoded")
}

/// The value that [`encoded`] made these bytes of.
///
/// # Errors
/// If they are not those of such a value.
///
/// ```
/// use tidemill::core::data::{decoded, encoded};
/// assert_eq!(decoded::<(u8, String)>(&encoded(&(7u8, "tide")))?, (7, "tide".to_owned()));
/// assert!(decoded::<String>(&[9]).is_err());
/// # Ok::<(), tidemill::BoxError>(())
/// ```
pub fn decoded<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BoxError> {
    Ok(postcard::from_bytes(bytes)?)
}

/// The name of a type in the graph's fingerprint, which checkpoints keep.
///
/// Types of this crate keep the path that they had in version 1, so that checkpoints of an older version can be loaded.
pub(crate) fn type_name<T: ?Sized>() -> String {
    const RENAMED: [(&str, &str); 3] = [
        ("tidemill::connector::message::", "tidemill::source::message::"),
        ("tidemill::core::float::F64", "ordered_float::OrderedFloat<f64>"),
        ("tidemill::core::", "tidemill::"),
    ];
    let name = std::any::type_name::<T>().to_owned();
    RENAMED.iter().fold(name, |name, (now, first)| name.replace(now, first))
}

/// Decoding allocates at most this many bytes, plus [`DECODE_PER_BYTE`] for each byte of input, whatever the input is. A decoder
/// believes a length only as far as bytes follow it. This holds for tidemill's own formats; types of a program may be larger.
pub const DECODE_LEAST: usize = 4 << 20;
/// See [`DECODE_LEAST`].
pub const DECODE_PER_BYTE: usize = 128;

/// Sorts rows by their encoded bytes. One buffer holds the bytes of all rows. After the first bytes that all rows share, such as the times
/// of a window, eight bytes as a number usually decide.
pub(crate) fn sort_by_encoded<T: Serialize>(rows: &mut [T]) {
    let mut bytes = Vec::with_capacity(16 * rows.len());
    let mut keys: Vec<(u64, usize, usize, usize)> = Vec::with_capacity(rows.len());
    let mut shared = usize::MAX;
    for (i, row) in rows.iter().enumerate() {
        let from = bytes.len();
        bytes = postcard::to_extend(row, bytes).expect("the row's Serialize failed");
        keys.push((0, from, bytes.len(), i));
        let first = &bytes[..keys[0].2.min(shared)];
        shared = first.iter().zip(&bytes[from..]).take_while(|(a, b)| a == b).count();
    }
    for (number, from, to, _) in &mut keys {
        *from += shared;
        let mut head = [0; 8];
        let shown = (*to - *from).min(8);
        head[..shown].copy_from_slice(&bytes[*from..*from + shown]);
        *number = u64::from_be_bytes(head);
    }
    keys.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| bytes[a.1..a.2].cmp(&bytes[b.1..b.2])).then(a.3.cmp(&b.3)));
    // Puts row keys[i].3 at i. An earlier swap may have moved it; `keys` leads to its new place.
    for i in 0..keys.len() {
        let mut from = keys[i].3;
        while from < i {
            from = keys[from].3;
        }
        rows.swap(i, from);
    }
}

/// `xxh3_64` of the encoded value, with a seed: the same in every build.
pub(crate) fn stable_hash<T: Serialize + ?Sized>(value: &T, seed: u64) -> u64 {
    thread_local!(static BYTES: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) });
    BYTES.with_borrow_mut(|bytes| {
        bytes.clear();
        *bytes = postcard::to_extend(value, std::mem::take(bytes)).expect("the value's Serialize failed");
        xxhash_rust::xxh3::xxh3_64_with_seed(bytes, seed)
    })
}

/// The hash map of the hot paths.
pub(crate) type FastMap<K, V> = hashbrown::HashMap<K, V, foldhash::fast::RandomState>;

/// The origin of the rows of a container. It orders the rows of a batch: first by `branch`, then by `index`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionId {
    /// The input of a union, from left to right.
    pub branch: u16,
    /// The split id; after an exchange by key, the key group.
    pub index: u32,
}

impl PartitionId {
    /// One number for both: the second stream of a union begins at 65,536.
    pub(crate) fn number(self) -> u32 {
        self.index + (u32::from(self.branch) << 16)
    }
}

/// The container of a `DStream`: rows of one partition, shared by all verbs that only read them.
#[derive(Debug)]
pub struct Rows<T> {
    /// Where they come from.
    pub partition: PartitionId,
    /// The rows, in the partition's order.
    pub rows: Rc<Vec<T>>,
    /// Where each row is from, if a fallible verb asks for it.
    pub(crate) origins: Option<Origins>,
}

impl<T> Rows<T> {
    pub(crate) fn new(partition: PartitionId, rows: Vec<T>) -> Self {
        Rows { partition, rows: Rc::new(rows), origins: None }
    }

    /// These rows, with the origin of each.
    pub(crate) fn with_origins(self, origins: Option<Origins>) -> Self {
        Rows { origins, ..self }
    }

    /// The owned rows: moved if no other verb reads them, cloned otherwise.
    pub(crate) fn take(self) -> Vec<T>
    where
        T: Clone,
    {
        Rc::try_unwrap(self.rows).unwrap_or_else(|shared| shared.to_vec())
    }
}

impl<T> Clone for Rows<T> {
    fn clone(&self) -> Self {
        Rows { partition: self.partition, rows: self.rows.clone(), origins: self.origins.clone() }
    }
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Rows::new(PartitionId::default(), Vec::new())
    }
}

impl<T> Accountable for Rows<T> {
    fn record_count(&self) -> i64 {
        self.rows.len() as i64
    }
}

/// One row leaving or entering a view: `diff` times.
///
/// ```
/// use tidemill::testing::check;
/// check(
///     [vec![('a', 1)], vec![('a', 2)]],
///     |s| s.sum_by_key().changes().map(|c| (c.row, c.diff)),
///     [vec![(('a', 1), 1)], vec![(('a', 1), -1), (('a', 3), 1)]],
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Change<T> {
    /// The row.
    pub row: T,
    /// How many copies entered (positive) or left (negative).
    pub diff: i64,
}

/// A record that could not be read or parsed: data, never a crash.
///
/// ```
/// use tidemill::testing::check;
/// check(
///     [vec!["1".to_owned(), "two".to_owned()]],
///     |s| s.try_map(|text| Ok(text.parse::<i64>()?)).errors().map(|bad| (String::from_utf8(bad.raw).unwrap(), bad.reason)),
///     [vec![("two".to_owned(), "invalid digit found in string".to_owned())]],
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadRecord {
    /// The topic, path or address of its source; empty if the verb does not know it.
    pub origin: String,
    /// The partition; 0 if there is none.
    pub partition: i32,
    /// The offset in the partition, or the byte in the file; -1 if the verb does not know it.
    pub offset: i64,
    /// The batch it was in.
    pub time: crate::core::time::BatchTime,
    /// The bytes of the record, unchanged.
    pub raw: Vec<u8>,
    /// The key of the record, if it is a message with a key.
    pub key: Option<Vec<u8>>,
    /// The headers of the record, if it is a message. One without a value is empty.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The verb that found it, and the line that called the verb.
    pub verb: String,
    /// Why it is bad.
    pub reason: String,
}

impl BadRecord {
    /// Where it is from, if that is known, and why it is bad.
    pub(crate) fn described(&self) -> String {
        match &*self.origin {
            "" => self.reason.clone(),
            origin if self.offset < 0 => format!("{origin}/{}: {}", self.partition, self.reason),
            origin => format!("{origin}/{} offset {}: {}", self.partition, self.offset, self.reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_keep_the_names_that_old_checkpoints_have() {
        use crate::connector::message::Message;
        use crate::core::{plan::OffsetRange, time::BatchTime};
        assert_eq!(type_name::<(String, Message)>(), "(alloc::string::String, tidemill::source::message::Message)");
        assert_eq!(
            type_name::<(Change<BadRecord>, BatchTime, OffsetRange, F64)>(),
            "(tidemill::data::Change<tidemill::data::BadRecord>, tidemill::time::BatchTime, tidemill::plan::OffsetRange, \
             ordered_float::OrderedFloat<f64>)"
        );
    }

    #[test]
    fn a_text_is_encoded_with_its_length() {
        assert_eq!(encoded("tide"), b"\x04tide");
    }

    proptest::proptest! {
        #[test]
        fn sorting_by_encoded_bytes_is_just_that(
            first in 0u64..3 << 50,
            rows in proptest::collection::vec(("[a-c]{0,12}", 0u8..3), 0..60),
        ) {
            let rows: Vec<_> = rows.into_iter().map(|row| (first, row)).collect();
            let mut sorted = rows.clone();
            sort_by_encoded(&mut sorted);
            let mut expected = rows;
            expected.sort_by_cached_key(encoded);
            proptest::prop_assert_eq!(sorted, expected);
        }
    }

    #[test]
    fn rows_are_cloned_only_when_shared() {
        let a = Rows::new(PartitionId::default(), vec![String::from("x")]);
        let ptr = a.rows.as_ptr();
        let own = a.take();
        assert_eq!(own.as_ptr(), ptr);
        let a = Rows::new(PartitionId::default(), vec![String::from("x")]);
        let b = a.clone();
        let own = a.take();
        assert_ne!(own.as_ptr(), b.rows.as_ptr());
    }
}
