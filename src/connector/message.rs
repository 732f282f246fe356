//! A Kafka record: a cheap handle into a block of bytes.
//!
//! The fetcher thread copies records from librdkafka into a `Block`. It has one allocation for the bytes of thousands of
//! records, and one for their positions. A [`Message`] is the block and an index, so cloning and filtering copy no bytes.

use std::fmt;
use std::sync::Arc;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::core::origin::{Origin, Records};

/// Records of one partition in offset order: their bytes in one buffer, and the position of each.
#[cfg_attr(not(any(feature = "kafka", feature = "kinesis")), allow(dead_code))]
pub(crate) struct Block {
    topic: Arc<str>,
    partition: i32,
    first: i64,
    time: Option<i64>,
    nulls: u32,
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

/// One record of a block: 24 bytes, so that thousands fit into the cache. It holds the length + 1 of key and value, or 0 if
/// absent.
#[derive(Clone, Copy)]
struct Entry {
    at: u32,
    offset: u32,
    time: i32,
    key: u32,
    value: u32,
    headers: u32,
}

const NO_TIME: i32 = i32::MIN;

/// A record before it is in a block.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Raw<'a> {
    pub(crate) offset: i64,
    pub(crate) time: Option<i64>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [u8],
}

#[cfg_attr(not(any(feature = "kafka", feature = "kinesis")), allow(dead_code))]
impl Block {
    pub(crate) fn new(topic: Arc<str>, partition: i32, first: i64, rows: usize, bytes: usize) -> Self {
        let (bytes, entries) = (Vec::with_capacity(bytes), Vec::with_capacity(rows));
        Block { topic, partition, first, time: None, nulls: 0, bytes, entries }
    }

    /// Adds a record. `false`: it does not fit the compact form, and must begin a new block.
    pub(crate) fn push(&mut self, raw: &Raw<'_>) -> bool {
        let size = |part: Option<&[u8]>| part.map_or(0, |p| p.len() + 1);
        let (key, value) = (size(raw.key), size(raw.value));
        let Ok(offset) = u32::try_from(raw.offset - self.first) else { return false };
        let Some(time) = self.relative(raw.time) else { return false };
        if self.bytes.len() + key + value + raw.headers.len() > u32::MAX as usize {
            return false;
        }
        let (at, headers) = (self.bytes.len() as u32, raw.headers.len() as u32);
        self.nulls += u32::from(raw.value.is_none());
        self.bytes.extend_from_slice(raw.key.unwrap_or_default());
        self.bytes.extend_from_slice(raw.value.unwrap_or_default());
        self.bytes.extend_from_slice(raw.headers);
        self.entries.push(Entry { at, offset, time, key: key as u32, value: value as u32, headers });
        true
    }

    fn relative(&mut self, time: Option<i64>) -> Option<i32> {
        let Some(time) = time else { return Some(NO_TIME) };
        let base = *self.time.get_or_insert(time);
        i32::try_from(time.checked_sub(base)?).ok().filter(|t| *t != NO_TIME)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// The memory of the block.
    pub(crate) fn cost(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Whether it has a record without a value.
    pub(crate) fn has_nulls(&self) -> bool {
        self.nulls > 0
    }

    pub(crate) fn offset(&self, index: usize) -> i64 {
        self.first + i64::from(self.entries[index].offset)
    }

    /// When the record was created or appended.
    pub(crate) fn timestamp(&self, index: usize) -> Option<i64> {
        let time = self.entries[index].time;
        (time != NO_TIME).then(|| self.time.unwrap_or_default() + i64::from(time))
    }

    /// How many records from `index` on lie before the offset `until`.
    pub(crate) fn before(&self, index: usize, until: i64) -> usize {
        self.entries[index..].partition_point(|e| self.first + i64::from(e.offset) < until)
    }

    /// The bytes of the records `from..to`.
    pub(crate) fn span(&self, from: usize, to: usize) -> usize {
        let at = |i: usize| self.entries.get(i).map_or(self.bytes.len(), |e| e.at as usize);
        at(to) - at(from)
    }

    /// Handles to the records `from..to`.
    pub(crate) fn messages(self: &Arc<Self>, from: usize, to: usize) -> impl Iterator<Item = Message> {
        let block = self.clone();
        (from as u32..to as u32).map(move |index| Message { block: block.clone(), index })
    }
}

/// A Kafka record: a handle that is cheap to clone and may cross threads and processes.
///
/// ```
/// use tidemill::connector::message::Message;
/// let m = Message::new("words", 0, 41, Some(1_000), Some(b"k"), Some(b"tide"));
/// assert_eq!((m.topic(), m.partition(), m.offset(), m.timestamp()), ("words", 0, 41, Some(1_000)));
/// assert_eq!((m.key(), m.value_opt()), (Some(&b"k"[..]), Some(&b"tide"[..])));
/// ```
#[derive(Clone)]
pub struct Message {
    block: Arc<Block>,
    index: u32,
}

impl Message {
    /// A single message, for tests and for sources other than Kafka.
    pub fn new(
        topic: impl Into<Arc<str>>,
        partition: i32,
        offset: i64,
        timestamp: Option<i64>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Self {
        Message::of(topic.into(), partition, &Raw { offset, time: timestamp, key, value, headers: &[] })
    }

    pub(crate) fn of(topic: Arc<str>, partition: i32, raw: &Raw<'_>) -> Self {
        let size = raw.key.map_or(0, <[u8]>::len) + raw.value.map_or(0, <[u8]>::len) + raw.headers.len();
        let mut block = Block::new(topic, partition, raw.offset, 1, size);
        assert!(block.push(raw), "a Kafka record is smaller than 4 GiB");
        Message { block: Arc::new(block), index: 0 }
    }

    fn entry(&self) -> &Entry {
        &self.block.entries[self.index as usize]
    }

    fn part(&self, skip: usize, len: usize) -> &[u8] {
        let at = self.entry().at as usize + skip;
        &self.block.bytes[at..at + len]
    }

    /// Its topic.
    pub fn topic(&self) -> &str {
        &self.block.topic
    }

    /// Its partition.
    pub fn partition(&self) -> i32 {
        self.block.partition
    }

    /// Its offset in the partition.
    pub fn offset(&self) -> i64 {
        self.block.first + i64::from(self.entry().offset)
    }

    /// When it was created or appended (a setting of the topic), in milliseconds since the epoch.
    pub fn timestamp(&self) -> Option<i64> {
        self.block.timestamp(self.index as usize)
    }

    /// Its key.
    pub fn key(&self) -> Option<&[u8]> {
        let key = self.entry().key.checked_sub(1)?;
        Some(self.part(0, key as usize))
    }

    /// Its value. For a record without one (a tombstone), an error, so that `?` works.
    ///
    /// # Errors
    /// The record has no value.
    pub fn value(&self) -> Result<&[u8], NullValue> {
        self.value_opt().ok_or_else(|| NullValue { partition: self.partition(), offset: self.offset() })
    }

    /// Its value; `None` is a tombstone.
    pub fn value_opt(&self) -> Option<&[u8]> {
        let e = self.entry();
        Some(self.part(e.key.saturating_sub(1) as usize, e.value.checked_sub(1)? as usize))
    }

    /// Its value, empty for a tombstone: `BadRecord::raw`.
    pub fn raw(&self) -> &[u8] {
        self.value_opt().unwrap_or_default()
    }

    /// Its headers, in their order; names may repeat. Empty unless the Kafka source has `include_headers`.
    ///
    /// ```
    /// # use tidemill::connector::message::Message;
    /// assert_eq!(Message::new("t", 0, 0, None, None, None).headers().count(), 0);
    /// ```
    pub fn headers(&self) -> Headers<'_> {
        Headers { rest: self.header_bytes() }
    }

    fn header_bytes(&self) -> &[u8] {
        let e = self.entry();
        self.part((e.key.saturating_sub(1) + e.value.saturating_sub(1)) as usize, e.headers as usize)
    }
}

impl Records for Vec<Message> {
    fn origin(&self, index: usize) -> Origin<'_> {
        let m = &self[index];
        Origin { name: m.topic(), partition: m.partition(), offset: m.offset(), raw: m.value_opt() }
    }

    fn key(&self, index: usize) -> Option<&[u8]> {
        self[index].key()
    }

    fn headers(&self, index: usize) -> Vec<(String, Vec<u8>)> {
        self[index].headers().map(|(name, value)| (name.to_owned(), value.unwrap_or_default().to_vec())).collect()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| {
            let shown = bytes[..bytes.len().min(200)].escape_ascii().to_string();
            if bytes.len() > 200 { shown + "..." } else { shown }
        };
        f.debug_struct("Message")
            .field("topic", &self.topic())
            .field("partition", &self.partition())
            .field("offset", &self.offset())
            .field("timestamp", &self.timestamp())
            .field("key", &self.key().map(text))
            .field("value", &self.value_opt().map(text))
            .finish()
    }
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        let place = |m: &Message| (m.partition(), m.offset(), m.timestamp());
        place(self) == place(other)
            && self.topic() == other.topic()
            && self.key() == other.key()
            && self.value_opt() == other.value_opt()
            && self.header_bytes() == other.header_bytes()
    }
}

impl Eq for Message {}

/// The record has no value: a tombstone. See [`Message::value`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record at partition {partition}, offset {offset} has no value (a tombstone)")]
pub struct NullValue {
    /// The record's partition.
    pub partition: i32,
    /// The record's offset.
    pub offset: i64,
}

/// The headers of a message: see [`Message::headers`].
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Headers<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (part, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(part)
    }

    fn number(&mut self) -> Option<usize> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?) as usize)
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    // Bytes from another process may be malformed. Then the iterator ends without a panic.
    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = (self.number()?, self.number()?);
        let name = std::str::from_utf8(self.take(name)?).unwrap_or("\u{fffd}");
        Some((name, if value == 0 { None } else { Some(self.take(value - 1)?) }))
    }
}

/// Adds a header to the bytes of [`Raw::headers`].
pub(crate) fn put_header(out: &mut Vec<u8>, name: &[u8], value: Option<&[u8]>) {
    out.extend_from_slice(&(name.len() as u32).to_le_bytes());
    out.extend_from_slice(&value.map_or(0, |v| v.len() as u32 + 1).to_le_bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(value.unwrap_or_default());
}

/// Bytes that serde takes as bytes, not as a list of numbers. In JSON they are a text, if they are one.
struct Bytes<B>(B);

impl<B: AsRef<[u8]>> Serialize for Bytes<B> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(self.0.as_ref()) {
            Ok(text) if s.is_human_readable() => s.serialize_str(text),
            _ => s.serialize_bytes(self.0.as_ref()),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes<Vec<u8>> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Take;
        impl<'de> Visitor<'de> for Take {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, v: &[u8]) -> Result<Vec<u8>, E> {
                Ok(v.to_vec())
            }
            fn visit_str<E>(self, v: &str) -> Result<Vec<u8>, E> {
                Ok(v.as_bytes().to_vec())
            }
            fn visit_byte_buf<E>(self, v: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(v)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u8>, A::Error> {
                let mut bytes = Vec::new();
                while let Some(b) = seq.next_element()? {
                    bytes.push(b);
                }
                Ok(bytes)
            }
        }
        d.deserialize_byte_buf(Take).map(Bytes)
    }
}

/// A message by value, as it crosses a process border. `B` is borrowed when sending, owned when receiving.
#[derive(Serialize, Deserialize)]
#[serde(bound(serialize = "Bytes<B>: Serialize", deserialize = "Bytes<B>: Deserialize<'de>"))]
struct Wire<B> {
    topic: Arc<str>,
    partition: i32,
    offset: i64,
    timestamp: Option<i64>,
    key: Option<Bytes<B>>,
    value: Option<Bytes<B>>,
    headers: Bytes<B>,
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        Wire {
            topic: self.block.topic.clone(),
            partition: self.partition(),
            offset: self.offset(),
            timestamp: self.timestamp(),
            key: self.key().map(Bytes),
            value: self.value_opt().map(Bytes),
            headers: Bytes(self.header_bytes()),
        }
        .serialize(s)
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let w = Wire::<Vec<u8>>::deserialize(d)?;
        let (key, value) = (w.key.as_ref().map(|b| &b.0[..]), w.value.as_ref().map(|b| &b.0[..]));
        let raw = Raw { offset: w.offset, time: w.timestamp, key, value, headers: &w.headers.0 };
        Ok(Message::of(w.topic, w.partition, &raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(records: &[Raw<'_>]) -> Arc<Block> {
        let mut b = Block::new("t".into(), 3, records[0].offset, records.len(), 64);
        records.iter().for_each(|r| assert!(b.push(r)));
        Arc::new(b)
    }

    #[test]
    fn a_block_gives_back_what_went_in() {
        let mut headers = Vec::new();
        put_header(&mut headers, b"trace", Some(b"1"));
        put_header(&mut headers, b"trace", None);
        put_header(&mut headers, b"", Some(b""));
        let b = block(&[
            Raw { offset: 10, time: Some(5), key: Some(b"k"), value: Some(b"v"), headers: &headers },
            Raw { offset: 11, time: None, key: None, value: None, headers: &[] },
            Raw { offset: 17, time: Some(-9), key: Some(b""), value: Some(b""), headers: &[] },
        ]);
        let m: Vec<Message> = b.messages(0, 3).collect();
        assert_eq!(m.iter().map(Message::offset).collect::<Vec<_>>(), [10, 11, 17]);
        assert_eq!(m.iter().map(Message::timestamp).collect::<Vec<_>>(), [Some(5), None, Some(-9)]);
        assert_eq!((m[0].key(), m[0].value().unwrap()), (Some(&b"k"[..]), &b"v"[..]));
        assert_eq!((m[1].key(), m[1].value(), m[1].raw()), (None, Err(NullValue { partition: 3, offset: 11 }), &b""[..]));
        assert_eq!((m[2].key(), m[2].value_opt()), (Some(&b""[..]), Some(&b""[..])));
        let all: Vec<_> = m[0].headers().collect();
        assert_eq!(all, [("trace", Some(&b"1"[..])), ("trace", None), ("", Some(&b""[..]))]);
        assert_eq!((b.before(0, 11), b.before(1, 17), b.before(2, 17), b.has_nulls()), (1, 1, 0, true));
        assert_eq!(b.span(0, 3), b.byte_len());
    }

    #[test]
    fn a_record_that_does_not_fit_begins_a_new_block() {
        let mut b = Block::new("t".into(), 0, 0, 4, 4);
        assert!(b.push(&Raw { offset: 0, time: Some(0), ..Raw::default() }));
        assert!(!b.push(&Raw { offset: 1 << 32, ..Raw::default() }), "compaction may leave gaps that wide");
        assert!(!b.push(&Raw { offset: 1, time: Some(i64::from(i32::MAX) + 1), ..Raw::default() }));
        assert!(!b.push(&Raw { offset: 1, time: Some(i64::MIN), ..Raw::default() }));
        assert!(b.push(&Raw { offset: u32::MAX.into(), ..Raw::default() }));
    }

    #[test]
    fn one_message_crosses_a_border_by_value() {
        let mut headers = Vec::new();
        put_header(&mut headers, "naïve".as_bytes(), Some(&[0, 255]));
        for (key, value) in [(None, None), (Some(&b"k"[..]), Some(&[0u8, 200, 255][..])), (Some(b""), Some(b""))] {
            let raw = Raw { offset: i64::MAX, time: Some(-1), key, value, headers: &headers };
            let m = Message::of("naïve".into(), -1, &raw);
            let bytes = postcard::to_stdvec(&m).unwrap();
            assert_eq!(postcard::from_bytes::<Message>(&bytes).unwrap(), m);
            assert_eq!(serde_json::from_str::<Message>(&serde_json::to_string(&m).unwrap()).unwrap(), m);
        }
    }

    #[test]
    fn malformed_headers_end_and_do_not_panic() {
        for bytes in [&b"\x01"[..], b"\xff\xff\xff\xff\x01\x00\x00\x00", b"\x01\x00\x00\x00\xff\xff\xff\xffa"] {
            let m = Message::of("t".into(), 0, &Raw { headers: bytes, ..Raw::default() });
            assert_eq!(m.headers().count(), 0);
        }
    }

    #[test]
    fn debug_is_short_and_escaped() {
        let m = Message::new("t", 0, 1, None, None, Some(&[b'\n'; 300]));
        let text = format!("{m:?}");
        assert!(text.contains(r"\\n\\n") && text.ends_with("...\") }") && text.len() < 1100, "{text}");
    }
}
