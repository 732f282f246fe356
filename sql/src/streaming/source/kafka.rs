//! Kafka as a table: Spark's columns and options, over the library's source.

use std::sync::Arc;

use datafusion::arrow::array::{
    BinaryArray, BinaryBuilder, Int32Array, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder, StructBuilder,
    TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema};
use tidemill::prelude::{KafkaSource, Message, StartFrom, StreamingContext};

use crate::files::ddl::timestamp;
use crate::files::options::Options;
use crate::streaming::batches::Batches;

/// The options of Kafka.
pub(super) const OPTIONS: [&str; 11] = [
    "kafka.",
    "subscribe",
    "subscribePattern",
    "startingOffsets",
    "startingTimestamp",
    "failOnDataLoss",
    "includeHeaders",
    "maxRatePerPartition",
    "groupId",
    "groupIdPrefix",
    "maxOffsetsPerTrigger",
];

/// The topics to read, by Spark's options.
pub(super) fn source(options: &Options) -> Result<KafkaSource, String> {
    let mut source = KafkaSource::brokers(options.needed("kafka", "kafka.bootstrap.servers")?);
    source = match (options.get("subscribe"), options.get("subscribePattern")) {
        (Some(topics), None) => source.topics(topics.split(',').map(|topic| topic.trim().to_owned())),
        (None, Some(pattern)) => source.pattern(pattern),
        _ => return Err("format kafka needs one of the options subscribe and subscribePattern".to_owned()),
    };
    if options.get("maxOffsetsPerTrigger").is_some() {
        let remedy = "say maxRatePerPartition, in records a second of each partition";
        return Err(format!("option maxOffsetsPerTrigger is not there, since the batch interval is the trigger; {remedy}"));
    }
    source = source.start(match (options.get("startingOffsets"), options.get("startingTimestamp")) {
        (None, None) => StartFrom::latest(),
        (None, Some(ms)) => StartFrom::from_timestamp(
            ms.parse().map_err(|_| format!("option startingTimestamp is `{ms}`; say milliseconds since 1970"))?,
        ),
        (Some(at), None) => starting(at)?,
        (Some(_), Some(_)) => return Err("startingOffsets and startingTimestamp exclude each other; say one".to_owned()),
    });
    if let Some(stop) = options.flag("failOnDataLoss")? {
        source = source.fail_on_data_loss(stop);
    }
    if let Some(rate) = options.number("maxRatePerPartition")? {
        source = source.max_rate_per_partition(rate);
    }
    if let Some(group) = options.get("groupId").or(options.get("groupIdPrefix")) {
        source = source.group_id(group);
    }
    if options.flag("includeHeaders")?.unwrap_or(false) {
        source = source.include_headers();
    }
    for (name, value) in options.with_prefix("kafka.").filter(|(name, _)| !name.eq_ignore_ascii_case("bootstrap.servers")) {
        source = source.set(name, value);
    }
    Ok(source)
}

/// `earliest`, `latest`, or JSON: `{"words": {"0": 23, "1": -1}}`, where -1 is the end.
fn starting(text: &str) -> Result<StartFrom, String> {
    let wrong = || format!("option startingOffsets is `{text}`; say earliest, latest, or JSON as {{\"words\": {{\"0\": 23}}}}");
    match text.to_ascii_lowercase().as_str() {
        "earliest" => return Ok(StartFrom::earliest()),
        "latest" => return Ok(StartFrom::latest()),
        _ => {}
    }
    let topics: std::collections::BTreeMap<String, std::collections::BTreeMap<String, i64>> =
        serde_json::from_str(text).map_err(|_| wrong())?;
    let mut offsets = Vec::new();
    for (topic, partitions) in topics {
        for (partition, offset) in partitions {
            let partition: i32 = partition.parse().map_err(|_| wrong())?;
            match offset {
                // A partition that is not named begins at its end.
                -1 => {}
                -2 => {
                    return Err(format!("startingOffsets: -2 for one partition is not there; say 'earliest' for all of {topic}"));
                }
                offset => offsets.push((topic.clone(), partition, offset)),
            }
        }
    }
    Ok(StartFrom::from_offsets(offsets))
}

/// Spark's columns.
pub(super) fn schema(headers: bool) -> Schema {
    let mut fields = vec![
        Field::new("key", DataType::Binary, true),
        Field::new("value", DataType::Binary, true),
        Field::new("topic", DataType::Utf8, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("timestamp", timestamp(), true),
        Field::new("timestampType", DataType::Int32, false),
    ];
    if headers {
        fields.push(Field::new("headers", DataType::List(Arc::new(Field::new("item", DataType::Struct(header()), true))), false));
    }
    Schema::new(fields)
}

fn header() -> Fields {
    Fields::from(vec![Field::new("key", DataType::Utf8, true), Field::new("value", DataType::Binary, true)])
}

/// The records as rows.
pub(super) fn rows<'s>(ssc: &StreamingContext<'s>, source: KafkaSource, schema: &Arc<Schema>) -> Batches<'s> {
    let schema = schema.clone();
    let batch = move |rows: &[Message]| {
        let mut columns: Vec<Arc<dyn datafusion::arrow::array::Array>> = vec![
            Arc::new(rows.iter().map(Message::key).collect::<BinaryArray>()),
            Arc::new(rows.iter().map(Message::value_opt).collect::<BinaryArray>()),
            Arc::new(rows.iter().map(|m| Some(m.topic())).collect::<StringArray>()),
            Arc::new(rows.iter().map(|m| Some(m.partition())).collect::<Int32Array>()),
            Arc::new(rows.iter().map(|m| Some(m.offset())).collect::<Int64Array>()),
            Arc::new(
                rows.iter().map(|m| m.timestamp().map(|ms| ms.saturating_mul(1_000))).collect::<TimestampMicrosecondArray>(),
            ),
            // A record does not say whether its time is that of its creation, which is 0, or that of the log.
            Arc::new(rows.iter().map(|_| Some(0)).collect::<Int32Array>()),
        ];
        if schema.fields().len() > columns.len() {
            columns.push(Arc::new(headers(rows)));
        }
        Ok(RecordBatch::try_new(schema.clone(), columns)?)
    };
    Batches::of(&ssc.kafka_direct_stream(source), batch)
}

fn headers(rows: &[Message]) -> datafusion::arrow::array::ListArray {
    let pair = StructBuilder::new(header(), vec![Box::new(StringBuilder::new()), Box::new(BinaryBuilder::new())]);
    let mut list = ListBuilder::new(pair);
    for message in rows {
        for (name, value) in message.headers() {
            let pair = list.values();
            pair.field_builder::<StringBuilder>(0).expect("the first field is a text").append_value(name);
            pair.field_builder::<BinaryBuilder>(1).expect("the second field is bytes").append_option(value);
            pair.append(true);
        }
        list.append(true);
    }
    list.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_to_start_from_are_sparks() {
        assert_eq!(starting("earliest"), Ok(StartFrom::earliest()));
        assert_eq!(starting(r#"{"words": {"0": 23, "1": -1}}"#), Ok(StartFrom::from_offsets([("words", 0, 23)])));
        assert!(starting(r#"{"words": {"0": -2}}"#).unwrap_err().contains("earliest"));
        assert!(starting("soon").unwrap_err().contains("`soon`"));
    }

    #[test]
    fn the_options_are_checked_before_a_broker_is_asked() {
        let mut options = Options::default();
        assert!(source(&options).unwrap_err().contains("kafka.bootstrap.servers"));
        options.set("kafka.bootstrap.servers", "127.0.0.1:9092".into());
        assert!(source(&options).unwrap_err().contains("subscribe"));
        options.set("subscribe", "a, b".into());
        options.set("kafka.fetch.min.bytes", "100000".into());
        source(&options).unwrap().check().unwrap();
        options.set("maxOffsetsPerTrigger", "9".into());
        assert!(source(&options).unwrap_err().contains("maxRatePerPartition"));
    }
}
