//! Where records go: stdout, a topic, a stream of Kinesis, or files.

use std::io::Write;
#[cfg(feature = "kafka")]
use std::time::Duration;

use super::super::terminal::listened;
use super::arguments::Args;
use super::days::Days;
use super::records::Record;
use crate::core::error::BoxError;

/// The destination of the records.
pub(super) trait Output {
    /// Sends a record. `false`: nobody reads any more, as when stdout is closed.
    fn send(&mut self, record: &mut Record) -> Result<bool, BoxError>;

    /// Hands over what was sent, after some records and before a time without any. `false`: as for `send`.
    fn pause(&mut self) -> Result<bool, BoxError>;

    /// Waits until all records are delivered. Returns their number; `sent` is that of those that were sent.
    fn finish(self: Box<Self>, sent: u64) -> Result<u64, BoxError>;

    /// Where that is, behind the number of records: ` in topic words`.
    fn place(&self) -> String;
}

/// The output that the arguments name.
pub(super) fn output(args: &Args) -> Result<Box<dyn Output>, BoxError> {
    if args.key.is_some() && !args.has_keys() {
        return Err("--key is for --brokers or --kinesis: lines have no key".into());
    }
    match (&args.kinesis, &args.brokers, &args.by_day) {
        (Some(stream), ..) => stream_of(args, stream),
        (None, Some(brokers), _) => topic(args, brokers),
        (None, None, Some(dir)) => Ok(Box::new(Days::new(dir, args.ending())?)),
        (None, None, None) => Ok(Box::new(Stdout(std::io::BufWriter::with_capacity(1 << 16, std::io::stdout().lock())))),
    }
}

struct Stdout(std::io::BufWriter<std::io::StdoutLock<'static>>);

impl Output for Stdout {
    fn send(&mut self, record: &mut Record) -> Result<bool, BoxError> {
        record.bytes.push(b'\n');
        Ok(listened(self.0.write_all(&record.bytes))?)
    }

    fn pause(&mut self) -> Result<bool, BoxError> {
        Ok(listened(self.0.flush())?)
    }

    fn finish(mut self: Box<Self>, sent: u64) -> Result<u64, BoxError> {
        Ok(listened(self.0.flush()).map(|_| sent)?)
    }

    fn place(&self) -> String {
        String::new()
    }
}

/// A topic of Kafka.
#[cfg(feature = "kafka")]
struct Topic {
    producer: crate::connector::kafka::topic_writer::Producer,
    key: Option<String>,
    headers: Vec<(String, Vec<u8>)>,
    place: String,
}

#[cfg(feature = "kafka")]
fn topic(args: &Args, brokers: &str) -> Result<Box<dyn Output>, BoxError> {
    use crate::connector::kafka::{topic_tools::Topics, topic_writer::Producer};
    let topic = args.topic.as_deref().unwrap_or(args.kind.topic());
    Topics::new(brokers, &[])?.create_missing(topic, args.partitions)?;
    let (producer, place) = (Producer::new(brokers, topic)?, format!(" in topic {topic} on {brokers}"));
    Ok(Box::new(Topic { producer, key: args.key.clone(), headers: args.header.clone(), place }))
}

#[cfg(not(feature = "kafka"))]
fn topic(_: &Args, _: &str) -> Result<Box<dyn Output>, BoxError> {
    Err("--brokers: this tidemill was built without Kafka; build it with the feature `kafka`".into())
}

#[cfg(feature = "kafka")]
impl Output for Topic {
    fn send(&mut self, record: &mut Record) -> Result<bool, BoxError> {
        let key = self.key.as_deref().and_then(|field| key_of(&record.bytes, field));
        self.producer.send_record(None, key.as_deref(), &record.bytes, &self.headers)?;
        Ok(true)
    }

    fn pause(&mut self) -> Result<bool, BoxError> {
        self.producer.poll();
        Ok(true)
    }

    fn finish(self: Box<Self>, _: u64) -> Result<u64, BoxError> {
        Ok(self.producer.settle(Duration::from_secs(35))?)
    }

    fn place(&self) -> String {
        self.place.clone()
    }
}

/// A stream of Kinesis.
#[cfg(feature = "kinesis")]
struct Stream {
    writer: crate::connector::kinesis::stream_writer::StreamWriter,
    key: Option<String>,
    /// The number of the next record.
    number: u64,
    place: String,
}

#[cfg(feature = "kinesis")]
fn stream_of(args: &Args, stream: &str) -> Result<Box<dyn Output>, BoxError> {
    use crate::connector::kinesis::{source::KinesisSource, stream_writer::StreamWriter};
    let mut source = KinesisSource::stream(stream);
    if let Some(url) = &args.endpoint_url {
        source = source.endpoint_url(url);
    }
    if let Some(region) = &args.region {
        source = source.region_name(region);
    }
    let (writer, place) = (StreamWriter::new(source, args.partitions)?, format!(" in stream {stream}"));
    Ok(Box::new(Stream { writer, key: args.key.clone(), number: 0, place }))
}

#[cfg(not(feature = "kinesis"))]
fn stream_of(_: &Args, _: &str) -> Result<Box<dyn Output>, BoxError> {
    Err("--kinesis: this tidemill was built without Kinesis; build it with the feature `kinesis`".into())
}

#[cfg(feature = "kinesis")]
impl Output for Stream {
    fn send(&mut self, record: &mut Record) -> Result<bool, BoxError> {
        let key = self.key.as_deref().and_then(|field| key_of(&record.bytes, field));
        let key = key.map_or_else(|| self.number.to_string(), |key| String::from_utf8_lossy(&key).into_owned());
        self.number += 1;
        self.writer.send(&key, &record.bytes)?;
        Ok(true)
    }

    fn pause(&mut self) -> Result<bool, BoxError> {
        self.writer.flush()?;
        Ok(true)
    }

    fn finish(self: Box<Self>, _: u64) -> Result<u64, BoxError> {
        Ok(self.writer.settle()?)
    }

    fn place(&self) -> String {
        self.place.clone()
    }
}

/// The value of a field of a JSON object, as the bytes of a key. Dots lead into objects. Text has no quotes.
#[cfg(any(feature = "kafka", feature = "kinesis"))]
fn key_of(record: &[u8], field: &str) -> Option<Vec<u8>> {
    let json: serde_json::Value = serde_json::from_slice(record).ok()?;
    match super::record_time::field(&json, field)? {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text.clone().into_bytes()),
        other => Some(other.to_string().into_bytes()),
    }
}

#[cfg(any(feature = "kafka", feature = "kinesis"))]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_field_of_the_record() {
        let record = br#"{"word": "tide", "user": {"id": 7}, "none": null}"#;
        let key = |field| key_of(record, field).map(|key| String::from_utf8(key).unwrap());
        assert_eq!(key("word").as_deref(), Some("tide"));
        assert_eq!(key("user.id").as_deref(), Some("7"));
        assert_eq!((key("none"), key("word.no"), key("other"), key_of(b"no JSON", "word")), (None, None, None, None));
    }
}
