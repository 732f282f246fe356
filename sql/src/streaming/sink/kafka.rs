//! Kafka as a sink: Spark's columns and options, over the library's sink.

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Int32Type, Int64Type, Schema};
use serde::{Deserialize, Serialize};
use tidemill::prelude::KafkaSink;

use super::by_key::by_key;
use crate::error::{Result, SqlError};
use crate::files::options::Options;
use crate::streaming::OutputMode;
use crate::streaming::codec::Row;
use crate::streaming::frame::StreamingDataFrame;
use crate::streaming::output_modes::DIFF;

const OPTIONS: [&str; 3] = ["kafka.", "topic", "sink.delivery-guarantee"];

/// A record to write.
#[derive(Clone, Serialize, Deserialize)]
struct Record {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    partition: Option<i32>,
    /// In mode `changes`, how many copies entered, or left.
    diff: Option<i64>,
}

/// Writes the columns `key`, `value` and `partition` as records. In mode `changes` a record has the column `diff` as a header.
pub(super) fn write(frame: &StreamingDataFrame<'_>, options: &Options, mode: OutputMode) -> Result<()> {
    let fault = |reason: String| SqlError::new(&frame.query, format!("write_stream, format kafka: {reason}"));
    options.only("kafka", &OPTIONS).map_err(fault)?;
    let sink = sink(options).map_err(fault)?;
    let (rows, codec, columns) = (frame.leaving(mode)?, frame.codec_in(mode)?, frame.columns_in(OutputMode::Append)?);
    let places = Places::of(&columns).map_err(fault)?;
    // It is behind the columns of the result.
    let diff = (mode == OutputMode::Changes).then_some(columns.fields().len());
    let query = frame.query.clone();
    let keyed = places.key.is_some() && frame.changes_in(mode)?;
    let records = rows.map_partitions(move |rows: Vec<Row>| {
        let batch = codec.decode(rows.iter()).unwrap_or_else(|e| panic!("{query}: {e}"));
        let columns = batch.columns();
        let record = |row| Record {
            key: places.key.and_then(|place| bytes(&columns[place], row)),
            value: bytes(&columns[places.value], row),
            partition: places
                .partition
                .map(|place| &columns[place])
                .filter(|c| c.is_valid(row))
                .map(|c| c.as_primitive::<Int32Type>().value(row)),
            diff: diff.map(|place| columns[place].as_primitive::<Int64Type>().value(row)),
        };
        (0..batch.num_rows()).map(record).collect::<Vec<_>>()
    });
    let records = if keyed { by_key(&records, |record: &Record| record.key.clone()) } else { records };
    records.to_kafka(sink, |row: &Record, record| {
        row.key.iter().for_each(|key| _ = record.key(key));
        row.value.iter().for_each(|value| _ = record.value(value));
        row.partition.iter().for_each(|partition| _ = record.partition(*partition));
        row.diff.iter().for_each(|diff| _ = record.header(DIFF, diff.to_string()));
    });
    Ok(())
}

fn sink(options: &Options) -> std::result::Result<KafkaSink, String> {
    let mut sink = KafkaSink::new(options.needed("kafka", "kafka.bootstrap.servers")?, options.needed("kafka", "topic")?);
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
struct Places {
    key: Option<usize>,
    value: usize,
    partition: Option<usize>,
}

impl Places {
    fn of(schema: &Schema) -> std::result::Result<Self, String> {
        let mut places = Places { key: None, value: usize::MAX, partition: None };
        for (place, field) in schema.fields().iter().enumerate() {
            let text = matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Binary);
            match (field.name().to_lowercase().as_str(), text, field.data_type()) {
                ("key", true, _) => places.key = Some(place),
                ("value", true, _) => places.value = place,
                ("partition", _, DataType::Int32) => places.partition = Some(place),
                (name, _, kind) => {
                    let columns = "a record has the columns value and key (STRING or BINARY) and partition (INT)";
                    return Err(format!("the column {name} of type {kind} has no place; {columns}; cast it, or leave it out"));
                }
            }
        }
        match places.value {
            usize::MAX => Err("the result has no column value; write for example: select to_json(..) as value".to_owned()),
            _ => Ok(places),
        }
    }
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
        let places = |ddl: &str| Places::of(&parsed(ddl).unwrap()).map(|p| (p.key, p.value, p.partition));
        assert_eq!(places("value STRING, KEY BINARY, partition INT"), Ok((Some(1), 0, Some(2))));
        assert!(places("key STRING").unwrap_err().contains("no column value"));
        assert!(places("value BIGINT").unwrap_err().contains("cast it"));
        assert!(places("value STRING, word STRING").unwrap_err().contains("the column word"));
    }

    #[test]
    fn options_are_checked_before_a_broker_is_asked() {
        let mut options = Options::default();
        options.set("kafka.bootstrap.servers", "127.0.0.1:9092".into());
        assert!(sink(&options).unwrap_err().contains("topic"));
        options.set("topic", "counts".into());
        sink(&options).unwrap();
        options.set("sink.delivery-guarantee", "once".into());
        assert!(sink(&options).unwrap_err().contains("exactly-once"));
    }
}
