//! The verbs of a program.

use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tidemill::prelude::{QueueSource, Slide};

use super::{Arguments, Kinesis};
use crate::call::{Function, Kind, Site, Step};
use crate::value::Value;

/// A source or a sink of Kafka.
#[derive(Clone, Debug)]
pub struct Kafka {
    /// Settings by their names, `bootstrap.servers` among them.
    pub settings: Vec<(String, String)>,
    /// The topics; of a sink, one.
    pub topics: Vec<String>,
    /// Where partitions begin: topic, partition, offset.
    pub offsets: Vec<(String, i32, i64)>,
    /// Where ranges end; empty for a stream.
    pub until: Vec<i64>,
    /// Whether partitions without such a place begin at their first record.
    pub earliest: bool,
    /// The consumer group of a receiver; `None`: a direct stream.
    pub group: Option<String>,
    /// What a row is: `text`, a pair of texts; `bytes`, a pair of bytes; `message`, a tuple of all that a record has.
    pub rows: String,
    /// Whether a sink writes exactly once.
    pub once: bool,
}

/// A verb, with its arguments.
pub enum Verb {
    /// Batches from memory.
    Queue(QueueSource<Value>),
    /// Lines of a socket.
    Socket(String, u16),
    /// Lines of files that appear in a directory.
    TextFiles(String),
    /// Records of files that appear in a directory, by their length in bytes.
    BinaryRecords(String, usize),
    /// Records of Kafka.
    Kafka(Box<Kafka>),
    /// Records of Kinesis.
    Kinesis(Kinesis),
    /// A verb that makes rows of one row.
    Step(Arc<Step>),
    /// A function of the rows of a partition; with its number, if the flag is set.
    MapPartitions(Arc<Function>, bool),
    /// A list of each partition.
    Glom,
    /// These rows and those of another stream.
    Union,
    /// Rows in this many partitions.
    Repartition(u32),
    /// Pairs in this many partitions, by their keys.
    PartitionBy(u32),
    /// The number of rows.
    Count,
    /// The number of each row.
    CountByValue,
    /// All rows as one.
    Reduce(Arc<Function>),
    /// All values of a key as one.
    ReduceByKey(Arc<Function>),
    /// As it, by three functions: create, add, merge.
    CombineByKey(Arc<Function>, Arc<Function>, Arc<Function>),
    /// The values of each key.
    GroupByKey,
    /// A join of two streams by key: `join`, `leftOuterJoin`, `rightOuterJoin`, `fullOuterJoin` or `cogroup`.
    Join(String),
    /// The rows of the last batches.
    Window(Duration, Slide),
    /// Their number.
    CountByWindow(Duration, Slide),
    /// The number of each of them.
    CountByValueAndWindow(Duration, Slide),
    /// All of them as one; the second function undoes the first.
    ReduceByWindow(Arc<Function>, Option<Arc<Function>>, Duration, Slide),
    /// All values of a key as one; the second function undoes the first, and the third says which rows are shown.
    ReduceByKeyAndWindow(Arc<Function>, Option<Arc<Function>>, Option<Arc<Function>>, Duration, Slide),
    /// The values of each key in the window.
    GroupByKeyAndWindow(Duration, Slide),
    /// A state for each key, and the first states.
    UpdateStateByKey(Arc<Function>, Vec<(Value, Value)>),
    /// The sum of the values of a key since the beginning, if it has changed.
    SumByKey,
    /// A function of the whole batch.
    Transform(Arc<Function>),
    /// A function of two whole batches.
    TransformWith(Arc<Function>),
    /// How often states are saved.
    Checkpoint(Duration),
    /// The first rows as text.
    Pprint(Arc<Function>, usize),
    /// A function of the whole batch, as an output.
    Foreach(Arc<Function>),
    /// Text files, with a prefix and a suffix.
    SaveAsTextFiles(String, String),
    /// Records of a topic.
    ToKafka(Box<Kafka>),
}

impl Verb {
    /// The verb by its name, with the arguments in the order that Python's half gives them.
    pub fn parse(name: &str, with: &Arguments<'_>, site: &Site) -> PyResult<Verb> {
        if let Some(kind) = Kind::of(name) {
            let (callable, said): (Bound<'_, PyAny>, Bound<'_, PyAny>) = with.object(0)?.extract()?;
            return Ok(Verb::Step(Arc::new(Step { kind, function: Function::new(&callable, &said)?, site: site.clone() })));
        }
        Ok(match name {
            "queueStream" => Verb::Queue(queue(with)?),
            "socketTextStream" => Verb::Socket(with.text(0)?, with.object(1)?.extract()?),
            "textFileStream" => Verb::TextFiles(with.text(0)?),
            "binaryRecordsStream" => Verb::BinaryRecords(with.text(0)?, with.object(1)?.extract()?),
            "kafka" => Verb::Kafka(kafka(with)?),
            "kinesis" => Verb::Kinesis(Kinesis::parse(with)?),
            "mapPartitions" => Verb::MapPartitions(with.function(0)?, with.flag(1)?),
            "glom" => Verb::Glom,
            "union" => Verb::Union,
            "repartition" => Verb::Repartition(with.object(0)?.extract()?),
            "partitionBy" => Verb::PartitionBy(with.object(0)?.extract()?),
            "count" => Verb::Count,
            "countByValue" => Verb::CountByValue,
            "reduce" => Verb::Reduce(with.function(0)?),
            "reduceByKey" => Verb::ReduceByKey(with.function(0)?),
            "combineByKey" => Verb::CombineByKey(with.function(0)?, with.function(1)?, with.function(2)?),
            "groupByKey" => Verb::GroupByKey,
            "join" | "leftOuterJoin" | "rightOuterJoin" | "fullOuterJoin" | "cogroup" => Verb::Join(name.into()),
            "window" => Verb::Window(with.time(0)?, with.slide(1)?),
            "countByWindow" => Verb::CountByWindow(with.time(0)?, with.slide(1)?),
            "countByValueAndWindow" => Verb::CountByValueAndWindow(with.time(0)?, with.slide(1)?),
            "reduceByWindow" => Verb::ReduceByWindow(with.function(0)?, with.some_function(1)?, with.time(2)?, with.slide(3)?),
            "reduceByKeyAndWindow" => Verb::ReduceByKeyAndWindow(
                with.function(0)?,
                with.some_function(1)?,
                with.some_function(2)?,
                with.time(3)?,
                with.slide(4)?,
            ),
            "groupByKeyAndWindow" => Verb::GroupByKeyAndWindow(with.time(0)?, with.slide(1)?),
            "updateStateByKey" => Verb::UpdateStateByKey(with.function(0)?, pairs(with.rows(1)?)?),
            "sum_by_key" => Verb::SumByKey,
            "transform" => Verb::Transform(with.function(0)?),
            "transformWith" => Verb::TransformWith(with.function(0)?),
            "checkpoint" => Verb::Checkpoint(with.time(0)?),
            "pprint" => Verb::Pprint(with.function(0)?, with.object(1)?.extract()?),
            "foreachRDD" => Verb::Foreach(with.function(0)?),
            "saveAsTextFiles" => Verb::SaveAsTextFiles(with.text(0)?, with.text(1)?),
            "to_kafka" => Verb::ToKafka(kafka(with)?),
            other => return Err(PyValueError::new_err(format!("no verb '{other}'"))),
        })
    }

    /// Whether the verb is a source.
    pub fn is_source(&self) -> bool {
        matches!(
            self,
            Verb::Queue(_) | Verb::Socket(..) | Verb::TextFiles(_) | Verb::BinaryRecords(..) | Verb::Kafka(_) | Verb::Kinesis(_)
        )
    }

    /// Whether the verb is an output operation.
    pub fn is_output(&self) -> bool {
        matches!(self, Verb::Pprint(..) | Verb::Foreach(_) | Verb::SaveAsTextFiles(..) | Verb::ToKafka(_))
    }
}

fn queue(with: &Arguments<'_>) -> PyResult<QueueSource<Value>> {
    let batches = with.object(0)?.try_iter()?.map(|batch| batch?.try_iter()?.map(|row| Value::from_python(&row?)).collect());
    let batches = batches.collect::<PyResult<Vec<Vec<Value>>>>()?;
    let (one, default, bounded) = (with.flag(1)?, with.rows(2)?, with.flag(3)?);
    let queue = if bounded {
        QueueSource::from_batches(batches)
    } else {
        let queue = QueueSource::new();
        batches.into_iter().for_each(|batch| queue.push(batch));
        queue
    };
    Ok(queue.one_at_a_time(one).default_batch(default))
}

fn kafka(with: &Arguments<'_>) -> PyResult<Box<Kafka>> {
    let offsets: Vec<(String, i32, i64)> = with.object(2)?.extract()?;
    Ok(Box::new(Kafka {
        settings: with.object(0)?.extract()?,
        topics: with.object(1)?.extract()?,
        offsets,
        until: with.object(3)?.extract()?,
        earliest: with.flag(4)?,
        group: with.object(5)?.extract()?,
        rows: with.text(6)?,
        once: with.flag(7)?,
    }))
}

fn pairs(rows: Vec<Value>) -> PyResult<Vec<(Value, Value)>> {
    let no_pair = |row: Value| PyValueError::new_err(format!("initialRDD needs pairs (key, state), not {}", row.repr()));
    rows.into_iter().map(|row| row.into_pair().map_err(no_pair)).collect()
}
