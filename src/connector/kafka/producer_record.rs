//! The record that a program makes of a row.

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use serde::Serialize;

use crate::connector::kafka::producer::Outgoing;
use crate::connector::kafka::reports::Receipt;
use crate::connector::sink::FatalError;
use crate::core::error::BoxError;

/// The record that a sink's closure fills for each row. The next row reuses its memory.
///
/// ```
/// use tidemill::prelude::*;
/// let queue = QueueSource::from_batches([vec![("tide".to_owned(), 2)]]);
/// # let job =
/// StreamingContext::builder("records", secs(1))
/// # ;
/// # let build = move |ssc: &StreamingContext<'_>| -> Result<(), BoxError> {
///     // in the build closure
///     let counts = ssc.queue_stream(&queue);
///     counts.to_kafka(KafkaSink::new("127.0.0.1:9092", "counts"), |(word, n), record| {
///         record.key(word).json(&serde_json::json!({"word": word, "count": n})).header("version", "1").header_opt("trace", None::<&str>);
///     });
///     Ok(())
/// # };
/// # let _ = (job, build);
/// ```
#[derive(Debug, Default)]
pub struct ProducerRecord {
    key: Option<usize>,
    value: Option<usize>,
    keys: Vec<u8>,
    values: Vec<u8>,
    topic: String,
    is_topic_set: bool,
    pub(crate) headers: Option<OwnedHeaders>,
    pub(crate) partition: Option<i32>,
    pub(crate) error: Option<serde_json::Error>,
}

impl ProducerRecord {
    /// Sets the key. Equal keys go to the same partition, the one that Kafka's Java clients choose.
    /// [`partition`](ProducerRecord::partition) overrides this.
    pub fn key(&mut self, key: impl AsRef<[u8]>) -> &mut Self {
        self.keys.clear();
        self.keys.extend_from_slice(key.as_ref());
        self.key = Some(self.keys.len());
        self
    }

    /// Sets the value. A record without a value is a tombstone.
    pub fn value(&mut self, value: impl AsRef<[u8]>) -> &mut Self {
        self.values.clear();
        self.values.extend_from_slice(value.as_ref());
        self.value = Some(self.values.len());
        self
    }

    /// Sets the value, as JSON. A value that cannot be JSON fails the batch.
    pub fn json<T: Serialize + ?Sized>(&mut self, value: &T) -> &mut Self {
        self.values.clear();
        self.error = self.error.take().or(serde_json::to_writer(&mut self.values, value).err());
        self.value = Some(self.values.len());
        self
    }

    /// Adds a header; names may repeat.
    pub fn header(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        self.header_opt(name, Some(value))
    }

    /// Adds a header that may have no value, which is not the same as an empty one.
    pub fn header_opt(&mut self, name: &str, value: Option<impl AsRef<[u8]>>) -> &mut Self {
        let (all, value): (_, Option<&[u8]>) = (self.headers.take().unwrap_or_default(), value.as_ref().map(AsRef::as_ref));
        self.headers = Some(all.insert(Header { key: name, value }));
        self
    }

    /// Sets the topic, instead of that of the sink. The sink must allow it: [`KafkaSink::topics`] and [`KafkaSink::by_record`] do.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let queue = QueueSource::from_batches([vec![("order".to_owned(), 2)]]);
    /// # let job =
    /// StreamingContext::builder("by kind", secs(1))
    /// # ;
    /// # let build = move |ssc: &StreamingContext<'_>| -> Result<(), BoxError> {
    ///     // in the build closure
    ///     let sink = KafkaSink::new("127.0.0.1:9092", "others").topics(["orders", "returns"]);
    ///     ssc.queue_stream(&queue).to_kafka(sink, |(kind, n), record| {
    ///         record.json(n);
    ///         match kind.as_str() {
    ///             "order" => _ = record.topic("orders"),
    ///             "return" => _ = record.topic("returns"),
    ///             _ => {}
    ///         }
    ///     });
    ///     Ok(())
    /// # };
    /// # let _ = (job, build);
    /// ```
    ///
    /// [`KafkaSink::topics`]: crate::prelude::KafkaSink::topics
    /// [`KafkaSink::by_record`]: crate::prelude::KafkaSink::by_record
    pub fn topic(&mut self, name: impl AsRef<str>) -> &mut Self {
        self.topic.clear();
        self.topic.push_str(name.as_ref());
        self.is_topic_set = true;
        self
    }

    /// Sets the partition, instead of the one that the key selects.
    pub fn partition(&mut self, partition: i32) -> &mut Self {
        self.partition = Some(partition);
        self
    }

    /// Removes the value. The record deletes its key from a compacted topic.
    pub fn tombstone(&mut self) -> &mut Self {
        self.value = None;
        self
    }

    /// The record in librdkafka's form, with the receipt that it carries until it has arrived.
    pub(super) fn outgoing<'a>(&'a mut self, topic: &'a str, receipt: &Receipt) -> Outgoing<'a> {
        let mut out = BaseRecord::with_opaque_to(topic, receipt.clone());
        (out.headers, out.partition) = (self.headers.take(), self.partition);
        (out.key, out.payload) = self.parts();
        out
    }

    /// Key and value.
    pub(crate) fn parts(&self) -> (Option<&[u8]>, Option<&[u8]>) {
        (self.key.map(|n| &self.keys[..n]), self.value.map(|n| &self.values[..n]))
    }

    /// The topic that it names.
    pub(super) fn topic_set(&self) -> Option<&str> {
        self.is_topic_set.then_some(self.topic.as_str())
    }

    /// Key and value as text, with a tab between them, and the topic before them if the record names one.
    pub(super) fn line(&self) -> String {
        let text = |bytes: Option<&[u8]>| bytes.map_or("null".into(), |b| String::from_utf8_lossy(b).into_owned());
        let (key, value) = self.parts();
        let topic = self.topic_set().map_or_else(String::new, |topic| format!("{topic}\t"));
        topic + &key.map_or_else(String::new, |_| text(key) + "\t") + &text(value)
    }

    /// Fills the record for a row.
    pub(crate) fn fill<T>(&mut self, fill: &mut impl FnMut(&T, &mut ProducerRecord), row: &T) -> Result<(), BoxError> {
        self.clear();
        fill(row, self);
        match self.error.take() {
            None => Ok(()),
            // The same row gives the same error again.
            Some(e) => Err(FatalError(format!("a row cannot be JSON: {e}")).into()),
        }
    }

    /// The record of a row as text.
    pub(crate) fn shown<T>(&mut self, fill: &mut impl FnMut(&T, &mut ProducerRecord), row: &T) -> String {
        match self.fill(fill, row) {
            Ok(()) => self.line(),
            Err(e) => e.to_string(),
        }
    }

    pub(crate) fn clear(&mut self) {
        (self.key, self.value, self.headers, self.partition, self.error) = (None, None, None, None, None);
        self.is_topic_set = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_used_again_and_keeps_nothing() {
        let mut r = ProducerRecord::default();
        let mut fill = |n: &i32, record: &mut ProducerRecord| _ = record.key("k").value(n.to_string());
        assert_eq!(r.shown(&mut fill, &7), "k\t7");
        r.clear();
        r.key("k").value([1, 2]).header("h", "x").partition(3);
        assert_eq!((r.key, r.value, r.partition, r.headers.is_some()), (Some(1), Some(2), Some(3), true));
        r.clear();
        r.json(&("a", 1)).key(String::from("kk"));
        assert_eq!((&r.values[..], r.key, r.partition, r.headers.is_none()), (&br#"["a",1]"#[..], Some(2), None, true));
        r.tombstone();
        assert_eq!(r.value, None);
        r.topic("orders");
        assert_eq!((r.topic_set(), &*r.line()), (Some("orders"), "orders\tkk\tnull"));
        r.clear();
        assert_eq!(r.topic_set(), None);
        r.json(&std::collections::BTreeMap::from([((1, 2), 3)]));
        assert!(r.error.is_some(), "a map's key must be text in JSON");
    }
}
