//! Kafka as a sink: Spark's columns and options, over the library's sink.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema};
use serde::{Deserialize, Serialize};
use tidemill::prelude::{KafkaSink, ProducerRecord};

use super::by_key::by_key;
use crate::error::{Result, SqlError};
use crate::files::options::Options;
use crate::streaming::OutputMode;
use crate::streaming::bad_rows::{Tried, parted};
use crate::streaming::frame::StreamingDataFrame;
use crate::streaming::output_modes::DIFF;

const OPTIONS: [&str; 3] = ["kafka.", "topic", "sink.delivery-guarantee"];

/// A record to write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    topic: Option<String>,
    partition: Option<i32>,
}

/// Writes the columns `key`, `value`, `headers`, `topic` and `partition` as records. As in Spark, the option `topic` is stronger than the column.
/// In mode `changes` a record has the column `diff` as a header.
pub(super) fn write(frame: &StreamingDataFrame<'_>, options: &Options, mode: OutputMode) -> Result<()> {
    let fault = |reason: String| SqlError::new(&frame.query, format!("write_stream, format kafka: {reason}"));
    options.only("kafka", &OPTIONS).map_err(fault)?;
    let columns = frame.columns_in(OutputMode::Append)?;
    let mut places = Places::of(&columns).map_err(fault)?;
    // It is behind the columns of the result.
    places.diff = (mode == OutputMode::Changes).then_some(columns.fields().len());
    let sink = sink(options, &places).map_err(fault)?;
    if options.get("topic").is_some() {
        places.topic = None;
    }
    let keyed = places.key.is_some() && frame.changes_in(mode)?;
    let records = match places.topic {
        None => frame.columns_leaving(mode, move |batch| places.records(batch).collect())?,
        Some(_) => {
            let tried = move |batch: &RecordBatch| Tried::all(places.records(batch).map(with_topic).collect());
            parted(&frame.columns_leaving(mode, tried)?, &frame.asked())
        }
    };
    let records = if keyed { by_key(&records, |record: &Record| record.key.clone()) } else { records };
    records.to_kafka(sink, fill);
    Ok(())
}

fn fill(row: &Record, record: &mut ProducerRecord) {
    row.topic.iter().for_each(|topic| _ = record.topic(topic));
    row.key.iter().for_each(|key| _ = record.key(key));
    row.value.iter().for_each(|value| _ = record.value(value));
    row.headers.iter().for_each(|(name, value)| _ = record.header_opt(name, value.as_ref()));
    row.partition.iter().for_each(|partition| _ = record.partition(*partition));
}

/// A record without a topic is a bad record: there is no option `topic` for it.
fn with_topic(record: Record) -> std::result::Result<Record, String> {
    match record.topic.as_deref() {
        None | Some("") => {
            let value = record.value.as_deref().map_or("NULL".into(), String::from_utf8_lossy);
            Err(format!(
                "the column topic is {}, and there is no option topic; the value is {value}",
                match record.topic {
                    None => "NULL",
                    Some(_) => "empty",
                }
            ))
        }
        Some(_) => Ok(record),
    }
}

fn sink(options: &Options, places: &Places) -> std::result::Result<KafkaSink, String> {
    let brokers = options.needed("kafka", "kafka.bootstrap.servers")?;
    let mut sink = match (options.get("topic"), places.topic) {
        (Some(topic), _) => KafkaSink::new(brokers, topic),
        (None, Some(_)) => KafkaSink::by_record(brokers),
        (None, None) => return Err("format kafka needs the option topic, or a column topic of type STRING".to_owned()),
    };
    if options.exactly_once()? {
        sink = sink.exactly_once();
    }
    for (name, value) in options.with_prefix("kafka.").filter(|(name, _)| !name.eq_ignore_ascii_case("bootstrap.servers")) {
        sink = sink.set(name, value);
    }
    sink.check().map_err(|e| e.to_string())?;
    Ok(sink)
}

/// Where the columns of a record are.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Places {
    key: Option<usize>,
    value: usize,
    headers: Option<usize>,
    topic: Option<usize>,
    partition: Option<usize>,
    /// In mode `changes`: how many copies of the row entered or left.
    diff: Option<usize>,
}

impl Places {
    fn of(schema: &Schema) -> std::result::Result<Self, String> {
        let mut places = Places { key: None, value: usize::MAX, headers: None, topic: None, partition: None, diff: None };
        for (place, field) in schema.fields().iter().enumerate() {
            let kind = field.data_type();
            match field.name().to_lowercase().as_str() {
                "key" if is_bytes(kind) => places.key = Some(place),
                "value" if is_bytes(kind) => places.value = place,
                "headers" if is_headers(kind) => places.headers = Some(place),
                "topic" if is_text(kind) => places.topic = Some(place),
                "partition" if *kind == DataType::Int32 => places.partition = Some(place),
                name => {
                    let columns = "a record has the columns value and key (STRING or BINARY), topic (STRING), partition (INT) \
                                   and headers (ARRAY<STRUCT<key STRING, value BINARY>>)";
                    return Err(format!("the column {name} of type {kind} has no place; {columns}; cast it, or leave it out"));
                }
            }
        }
        match places.value {
            usize::MAX => Err("the result has no column value; write for example: select to_json(..) as value".to_owned()),
            _ => Ok(places),
        }
    }

    fn records(self, batch: &RecordBatch) -> impl Iterator<Item = Record> {
        (0..batch.num_rows()).map(move |row| self.record(batch, row))
    }

    fn record(&self, batch: &RecordBatch, row: usize) -> Record {
        let column = |place: Option<usize>| place.map(|place| batch.column(place)).filter(|column| column.is_valid(row));
        let mut headers = column(self.headers).map(|c| headers(&c.as_list::<i32>().value(row))).unwrap_or_default();
        let diff = column(self.diff).map(|c| c.as_primitive::<Int64Type>().value(row).to_string().into_bytes());
        headers.extend(diff.map(|diff| (DIFF.to_owned(), Some(diff))));
        Record {
            key: column(self.key).and_then(|c| bytes(c, row)),
            value: bytes(batch.column(self.value), row),
            headers,
            topic: column(self.topic).and_then(|c| text(c, row)),
            partition: column(self.partition).map(|c| c.as_primitive::<Int32Type>().value(row)),
        }
    }
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_bytes(kind: &DataType) -> bool {
    is_text(kind) || *kind == DataType::Binary
}

/// Pairs of a name and a value: what [`headers`] reads.
fn is_headers(kind: &DataType) -> bool {
    let DataType::List(pair) = kind else { return false };
    let DataType::Struct(fields) = pair.data_type() else { return false };
    let named = |field: &Field, name: &str| field.name().eq_ignore_ascii_case(name);
    match &fields[..] {
        [key, value] => named(key, "key") && is_text(key.data_type()) && named(value, "value") && is_bytes(value.data_type()),
        _ => false,
    }
}

/// The headers of a record. A pair that is NULL, or whose name is, is none.
fn headers(pairs: &ArrayRef) -> Vec<(String, Option<Vec<u8>>)> {
    let (all, pairs) = (pairs, pairs.as_struct());
    let (names, values) = (pairs.column(0), pairs.column(1));
    let pair = |row| Some((text(names, row)?, bytes(values, row)));
    (0..all.len()).filter(|row| all.is_valid(*row)).filter_map(pair).collect()
}

fn text(column: &ArrayRef, row: usize) -> Option<String> {
    bytes(column, row).map(|text| String::from_utf8_lossy(&text).into_owned())
}

fn bytes(column: &ArrayRef, row: usize) -> Option<Vec<u8>> {
    if column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(row).as_bytes().to_vec(),
        DataType::LargeUtf8 => column.as_string::<i64>().value(row).as_bytes().to_vec(),
        DataType::Utf8View => column.as_string_view().value(row).as_bytes().to_vec(),
        _ => column.as_binary::<i32>().value(row).to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::ddl::parsed;

    #[test]
    fn a_record_has_sparks_columns() {
        let places = |ddl: &str| Places::of(&parsed(ddl).unwrap());
        let all = "value STRING, KEY BINARY, partition INT, topic STRING, headers ARRAY<STRUCT<key: STRING, value: BINARY>>";
        let expected = Places { key: Some(1), value: 0, headers: Some(4), topic: Some(3), partition: Some(2), diff: None };
        assert_eq!(places(all), Ok(expected));
        assert!(places("value STRING, topic BINARY").unwrap_err().contains("the column topic of type Binary"));
        assert!(places("value STRING, headers ARRAY<STRING>").unwrap_err().contains("ARRAY<STRUCT<key STRING"));
        assert!(places("key STRING").unwrap_err().contains("no column value"));
        assert!(places("value BIGINT").unwrap_err().contains("cast it"));
        assert!(places("value STRING, word STRING").unwrap_err().contains("the column word"));
    }

    #[test]
    fn options_are_checked_before_a_broker_is_asked() {
        let places = |ddl: &str| Places::of(&parsed(ddl).unwrap()).unwrap();
        let (named, nameless) = (places("value STRING, topic STRING"), places("value STRING"));
        let mut options = Options::default();
        options.set("kafka.bootstrap.servers", "127.0.0.1:9092".into());
        assert!(sink(&options, &nameless).unwrap_err().contains("a column topic"));
        sink(&options, &named).unwrap();
        options.set("topic", "no spaces".into());
        assert!(sink(&options, &named).unwrap_err().contains("no topic can be called"), "the option is stronger than the column");
        options.set("topic", "counts".into());
        sink(&options, &nameless).unwrap();
        options.set("sink.delivery-guarantee", "once".into());
        assert!(sink(&options, &named).unwrap_err().contains("exactly-once"));
    }

    #[test]
    fn a_row_is_a_record_with_its_topic_and_headers() {
        use std::sync::Arc;

        use datafusion::arrow::array::{BinaryArray, Int32Array, ListArray, StringArray, StructArray};
        use datafusion::arrow::buffer::OffsetBuffer;
        let ddl = "topic STRING, value STRING, partition INT, headers ARRAY<STRUCT<key: STRING, value: BINARY>>";
        let schema = Arc::new(parsed(ddl).unwrap());
        let DataType::List(pair) = schema.field(3).data_type().clone() else { panic!("headers are an array") };
        let DataType::Struct(fields) = pair.data_type().clone() else { panic!("a header is a struct") };
        let names: ArrayRef = Arc::new(StringArray::from(vec![Some("unit"), Some("none"), None]));
        let values: ArrayRef = Arc::new(BinaryArray::from_opt_vec(vec![Some(&b"words"[..]), None, Some(b"x")]));
        let pairs = StructArray::new(fields, vec![names, values], None);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![Some("orders"), None])),
            Arc::new(StringArray::from(vec!["a", "b"])),
            Arc::new(Int32Array::from(vec![Some(2), None])),
            Arc::new(ListArray::new(pair, OffsetBuffer::from_lengths([3, 0]), Arc::new(pairs), None)),
        ];
        let places = Places::of(&schema).unwrap();
        let batch = RecordBatch::try_new(schema, columns).unwrap();
        let (headers, topic) =
            (vec![("unit".to_owned(), Some(b"words".to_vec())), ("none".to_owned(), None)], Some("orders".to_owned()));
        let first = Record { key: None, value: Some(b"a".to_vec()), headers, topic, partition: Some(2) };
        assert_eq!(with_topic(places.record(&batch, 0)), Ok(first.clone()));
        let e = with_topic(places.record(&batch, 1)).unwrap_err();
        assert_eq!(e, "the column topic is NULL, and there is no option topic; the value is b");
        assert!(with_topic(Record { topic: Some(String::new()), ..first }).unwrap_err().contains("is empty"));
    }
}
