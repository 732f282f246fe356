//! Kafka: the direct stream, the receiver of a consumer group, and the sink.

use pyo3::exceptions::PyTypeError;
use tidemill::prelude::{DStream, KafkaSink, KafkaSource, Message, OffsetRange, ProducerRecord, StartFrom, StreamingContext};

use super::Build;
use crate::call::Site;
use crate::program::Kafka;
use crate::value::Value;

impl<'s> Build<'_, 's> {
    /// The records of topics.
    pub(super) fn kafka_source(&self, kafka: &Kafka) -> DStream<'s, Message> {
        let ssc: &StreamingContext<'s> = self.ssc;
        let settings = kafka.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut source = KafkaSource::params(settings);
        if kafka.earliest {
            source = source.start(StartFrom::earliest());
        }
        if !kafka.until.is_empty() {
            let ranges = kafka.offsets.iter().zip(&kafka.until);
            let ranges: Vec<_> = ranges.map(|((topic, p, from), until)| OffsetRange::new(topic, *p, *from, *until)).collect();
            ssc.kafka_ranges(source, &ranges)
        } else if let Some(group) = &kafka.group {
            ssc.kafka_receiver_stream(source.topics(&kafka.topics).group_id(group))
        } else {
            let mut source = source.topics(&kafka.topics);
            if !kafka.offsets.is_empty() {
                source = source.start(StartFrom::from_offsets(kafka.offsets.clone()));
            }
            ssc.kafka_direct_stream(source)
        }
    }

    /// Writes the rows of a node to a topic: pairs as key and value, other rows as values.
    pub(super) fn kafka_sink(&mut self, node: usize, kafka: &Kafka, site: &Site) {
        let (input, steps) = self.open(node);
        let (name, site, failure) = (site.clone(), site.clone(), self.failure.clone());
        let records = input.through(name.text(), move |batch, rows| {
            let record = |row: Value| {
                if let Some(wrong) = wrong(&row) {
                    let error = PyTypeError::new_err(format!(
                        "a record of Kafka has str, bytes or None, not {}; map it before, by str or json.dumps",
                        wrong.type_name()
                    ));
                    failure.end(error, &site, Some(batch), Some(row.repr()));
                }
                record(row)
            };
            steps.run(batch, rows).into_iter().map(record).collect()
        });
        let address = kafka.settings.iter().find(|(name, _)| name == "bootstrap.servers").map_or("", |(_, address)| address);
        let mut sink = KafkaSink::new(address, kafka.topics.concat());
        for (name, value) in kafka.settings.iter().filter(|(name, _)| name != "bootstrap.servers") {
            sink = sink.set(name, value);
        }
        let sink = if kafka.once { sink.exactly_once() } else { sink };
        records.to_kafka(sink, |(key, value): &Record, out: &mut ProducerRecord| {
            if let Some(key) = key {
                out.key(key);
            }
            match value {
                Some(value) => out.value(value),
                None => out.tombstone(),
            };
        });
    }
}

/// Key and value.
type Record = (Option<Vec<u8>>, Option<Vec<u8>>);

/// The part of a row that no record can have.
fn wrong(row: &Value) -> Option<&Value> {
    let wrong = |value: &&Value| !matches!(value, Value::None | Value::Str(_) | Value::Bytes(_));
    match row {
        Value::Tuple(parts) if parts.len() == 2 => parts.iter().find(wrong),
        row => Some(row).filter(wrong),
    }
}

fn record(row: Value) -> Record {
    let bytes = |value: Value| match value {
        Value::Str(text) => Some(text.into_string().into_bytes()),
        Value::Bytes(bytes) => Some(bytes.into_vec()),
        _ => None,
    };
    match row.into_pair() {
        Ok((key, value)) => (bytes(key), bytes(value)),
        Err(row) => (None, bytes(row)),
    }
}
