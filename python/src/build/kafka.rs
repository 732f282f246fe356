//! Kafka: the direct stream, the receiver of a consumer group, and the sink.

use std::sync::Arc;

use pyo3::exceptions::{PyTypeError, PyUnicodeDecodeError};
use pyo3::prelude::*;
use tidemill::prelude::{
    BatchTime, DStream, KafkaSink, KafkaSource, Message, OffsetRange, ProducerRecord, StartFrom, StreamingContext,
};

use super::{Build, containers};
use crate::call::{Failure, Site, Step, Steps};
use crate::program::Kafka;
use crate::value::Value;

impl<'s> Build<'_, 's> {
    /// The rows of topics.
    pub(super) fn kafka_source(&self, kafka: &Kafka, site: &Site, short: Option<Short>) -> DStream<'s, Value> {
        let ssc: &StreamingContext<'s> = self.ssc;
        let settings = kafka.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut source = KafkaSource::params(settings);
        if kafka.earliest {
            source = source.start(StartFrom::earliest());
        }
        let messages = if !kafka.until.is_empty() {
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
        };
        let (rows, site, failure) = (kafka.rows.clone(), site.clone(), self.failure.clone());
        if let Some(short) = short {
            return containers(&messages, site.clone().text(), move |batch, messages| {
                let mut out = Vec::with_capacity(messages.len());
                messages.iter().for_each(|message| short.row(message, batch, &site, &failure, &mut out));
                out
            });
        }
        containers(&messages, site.clone().text(), move |batch, messages| {
            messages.iter().map(|message| row(message, &rows, batch, &site, &failure)).collect()
        })
    }

    /// Writes rows to a topic: pairs as key and value, other rows as values.
    pub(super) fn kafka_sink(&self, rows: &DStream<'s, Value>, kafka: &Kafka, site: &Site) {
        let (site, failure) = (site.clone(), self.failure.clone());
        let records = containers(rows, site.clone().text(), move |batch, rows| {
            let record = |row: Value| record(&row).unwrap_or_else(|e| failure.end(e, &site, Some(batch), Some(row.repr())));
            rows.into_iter().map(record).collect()
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

/// What the first verbs make of a record, without a pair of key and value: `map(lambda record: record[1])`, and after it a function of texts
/// that Rust knows, such as `map(tidemill.json("word"))`.
pub(super) struct Short(pub Option<Arc<Step>>);

impl Short {
    fn row(&self, message: &Message, batch: BatchTime, site: &Site, failure: &Failure, out: &mut Vec<Value>) {
        if message.key().is_some_and(|key| std::str::from_utf8(key).is_err()) {
            // It ends the job, as it does where somebody reads the key.
            row(message, "text", batch, site, failure);
        }
        let text = message.value_opt().map(std::str::from_utf8);
        let known = match (&self.0, text) {
            (Some(step), Some(Ok(text))) => step.function.native().and_then(|native| native.apply_text(text)),
            _ => None,
        };
        match (known, &self.0) {
            (Some(value), _) => out.push(value),
            (None, step) => {
                let Ok((_, value)) = row(message, "text", batch, site, failure).into_pair() else { return };
                match step {
                    None => out.push(value),
                    Some(step) => {
                        let mut steps = Steps::new(failure);
                        steps.push(step.clone());
                        out.extend(steps.run(batch, vec![value]));
                    }
                }
            }
        }
    }
}

/// Key and value.
type Record = (Option<Vec<u8>>, Option<Vec<u8>>);

fn record(row: &Value) -> PyResult<Record> {
    match row {
        Value::Tuple(parts) if parts.len() == 2 => Ok((bytes(&parts[0])?, bytes(&parts[1])?)),
        row => Ok((None, bytes(row)?)),
    }
}

fn bytes(value: &Value) -> PyResult<Option<Vec<u8>>> {
    match value {
        Value::None => Ok(None),
        Value::Str(text) => Ok(Some(text.as_bytes().into())),
        Value::Bytes(bytes) => Ok(Some(bytes.to_vec())),
        other => Err(PyTypeError::new_err(format!(
            "a record of Kafka has str, bytes or None, not {}; map it before, by str or json.dumps",
            other.type_name()
        ))),
    }
}

/// The row of a record: see [`Kafka::rows`].
fn row(message: &Message, rows: &str, batch: BatchTime, site: &Site, failure: &Failure) -> Value {
    let bytes = |bytes: Option<&[u8]>| bytes.map_or(Value::None, |bytes| Value::Bytes(bytes.into()));
    let text = |bytes: Option<&[u8]>| match bytes.map(std::str::from_utf8) {
        None => Value::None,
        Some(Ok(text)) => Value::text(text),
        Some(Err(e)) => {
            let place = format!("{}/{} offset {}", message.topic(), message.partition(), message.offset());
            let raised = Python::attach(|py| {
                let raw = bytes.unwrap_or_default();
                PyUnicodeDecodeError::new_utf8(py, raw, e).map_or_else(|e| e, |e| PyErr::from_value(e.into_any()))
            });
            failure.end(raised, site, Some(batch), Some(place))
        }
    };
    match rows {
        "text" => Value::pair(text(message.key()), text(message.value_opt())),
        "bytes" => Value::pair(bytes(message.key()), bytes(message.value_opt())),
        _ => Value::Tuple(vec![
            Value::text(message.topic()),
            Value::Int(message.partition().into()),
            Value::Int(message.offset()),
            bytes(message.key()),
            bytes(message.value_opt()),
        ]),
    }
}
