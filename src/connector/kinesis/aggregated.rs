//! Records that the Kinesis Producer Library has packed into one: four magic bytes, a message of Protocol Buffers, and its MD5.
//!
//! The format is that of aggregation-format.md of amazon-kinesis-producer.

use md5::{Digest, Md5};
use prost::Message;

/// The first bytes of a record that holds several.
const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];
/// The bytes of the checksum.
const CHECKSUM: usize = 16;

/// What is packed.
#[derive(Clone, PartialEq, Message)]
pub(super) struct AggregatedRecord {
    #[prost(string, repeated, tag = "1")]
    pub partition_key_table: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub explicit_hash_key_table: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    pub records: Vec<UserRecord>,
}

/// One of the records.
#[derive(Clone, PartialEq, Message)]
pub(super) struct UserRecord {
    #[prost(uint64, required, tag = "1")]
    pub partition_key_index: u64,
    #[prost(uint64, optional, tag = "2")]
    pub explicit_hash_key_index: Option<u64>,
    #[prost(bytes = "vec", required, tag = "3")]
    pub data: Vec<u8>,
}

/// The hash keys of a shard: what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HashKeys {
    pub first: u128,
    pub last: u128,
}

impl HashKeys {
    fn has(self, key: u128) -> bool {
        (self.first..=self.last).contains(&key)
    }
}

/// Whether a record may hold several.
pub(super) fn is_packed(data: &[u8]) -> bool {
    data.starts_with(&MAGIC)
}

/// The keys and bytes that are packed into a record of a shard. `None`: it is an ordinary record. As the library of consumers does, it takes
/// a record whose checksum is wrong as an ordinary one. It leaves out records that belong to another shard: the producer has found that a
/// shard was split or merged, and has sent them again.
pub(super) fn unpacked(data: &[u8], shard: Option<HashKeys>) -> Option<Vec<(String, Vec<u8>)>> {
    let packed = data.strip_prefix(&MAGIC)?;
    let (message, checksum) = packed.split_at_checked(packed.len().checked_sub(CHECKSUM)?)?;
    if Md5::digest(message)[..] != *checksum {
        return None;
    }
    let AggregatedRecord { partition_key_table, explicit_hash_key_table, records } = AggregatedRecord::decode(message).ok()?;
    let mut unpacked = Vec::with_capacity(records.len());
    for record in records {
        let key = partition_key_table.get(usize::try_from(record.partition_key_index).ok()?)?;
        let hash = match record.explicit_hash_key_index {
            Some(at) => explicit_hash_key_table.get(usize::try_from(at).ok()?)?.parse().ok()?,
            None => hash_key(key),
        };
        if shard.is_none_or(|shard| shard.has(hash)) {
            unpacked.push((key.clone(), record.data));
        }
    }
    Some(unpacked)
}

/// By which shard a partition key is taken.
fn hash_key(partition_key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(message: &AggregatedRecord) -> Vec<u8> {
        let bytes = message.encode_to_vec();
        [&MAGIC[..], &bytes, &Md5::digest(&bytes)[..]].concat()
    }

    fn two() -> AggregatedRecord {
        let record = |at, data: &[u8]| UserRecord { partition_key_index: at, explicit_hash_key_index: None, data: data.to_vec() };
        AggregatedRecord {
            partition_key_table: vec!["a".into(), "b".into()],
            explicit_hash_key_table: vec!["7".into()],
            records: vec![record(0, b"tide"), record(1, b""), record(0, b"mill")],
        }
    }

    #[test]
    fn the_records_of_a_packed_one_come_in_their_order() {
        let all = unpacked(&packed(&two()), None).unwrap();
        assert_eq!(all, [("a".into(), b"tide".to_vec()), ("b".into(), Vec::new()), ("a".into(), b"mill".to_vec())]);
    }

    #[test]
    fn records_of_another_shard_are_left_out() {
        // MD5 of "a" is 0cc1..., of "b" 92eb...
        let lower = HashKeys { first: 0, last: u128::MAX / 2 };
        let upper = HashKeys { first: u128::MAX / 2 + 1, last: u128::MAX };
        assert_eq!(unpacked(&packed(&two()), Some(lower)).unwrap().len(), 2);
        assert_eq!(unpacked(&packed(&two()), Some(upper)).unwrap(), [("b".into(), Vec::new())]);
        let mut explicit = two();
        explicit.records[1].explicit_hash_key_index = Some(0);
        assert_eq!(unpacked(&packed(&explicit), Some(lower)).unwrap().len(), 3);
    }

    #[test]
    fn what_is_not_packed_stays_as_it_is() {
        assert_eq!(unpacked(b"tide", None), None);
        assert_eq!(unpacked(&MAGIC, None), None, "no checksum");
        let mut wrong = packed(&two());
        *wrong.last_mut().unwrap() ^= 1;
        assert_eq!(unpacked(&wrong, None), None, "another checksum");
        let mut message = two();
        message.records[0].partition_key_index = 9;
        assert_eq!(unpacked(&packed(&message), None), None, "a key that is not there");
    }
}
