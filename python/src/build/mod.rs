//! A program as a dataflow, on one worker: each verb becomes verbs of tidemill.
//!
//! Narrow verbs wait until somebody needs their rows. So a chain of them that nobody else reads is one operator, and one call of Python for
//! each container. Only verbs that lead to an output are built.

mod containers;
mod input;
mod join;
mod kafka;
mod keyed;
mod kinesis;
mod output;
mod records;
mod source;
mod utf8;
mod whole;
mod window;

use pyo3::prelude::*;
use tidemill::BoxError;
use tidemill::prelude::{DStream, StreamingContext};

use crate::call::{Failure, Site, Steps, not_a_pair};
use crate::program::{Description, Node, Verb};
use crate::value::{Countable, Value};
use containers::containers;
use input::Input;

/// Pairs, as verbs by key have them.
type Pairs<'s> = DStream<'s, (Value, Value)>;

/// A stream of the program.
enum Stream<'s> {
    /// Rows that still go through narrow verbs.
    Of(Input<'s>, Steps),
    /// An output has no rows, and what leads to no output is not built.
    Nothing,
}

/// A program that becomes a dataflow.
struct Build<'a, 's> {
    ssc: &'a StreamingContext<'s>,
    description: &'a Description,
    failure: &'a Failure,
    uses: Vec<usize>,
    /// Narrow verbs that their source has done.
    done: Vec<usize>,
    streams: Vec<Stream<'s>>,
}

/// Builds the program.
///
/// # Errors
/// What an output cannot do, such as an address that is none.
pub fn build(ssc: &StreamingContext<'_>, description: &Description, failure: &Failure) -> Result<(), BoxError> {
    let mut build = Build { ssc, description, failure, uses: description.uses(), done: Vec::new(), streams: Vec::new() };
    for (i, node) in description.nodes.iter().enumerate() {
        // Verbs of Python are no operators of their own, and nobody else can compare their functions.
        ssc.add_to_fingerprint(format!("python {} {}", node.site.text(), node.mark));
        let wanted = build.uses[i] > 0 || node.verb.is_output();
        let stream = if wanted { build.stream(i, node)? } else { Stream::Nothing };
        build.streams.push(stream);
    }
    Ok(())
}

impl<'s> Build<'_, 's> {
    fn stream(&mut self, i: usize, node: &Node) -> Result<Stream<'s>, BoxError> {
        match &node.verb {
            Verb::Queue(_)
            | Verb::Socket(..)
            | Verb::TextFiles(_)
            | Verb::BinaryRecords(..)
            | Verb::Kafka(_)
            | Verb::Kinesis(_) => Ok(self.source(i, node)),
            Verb::Step(step) => {
                let (input, mut steps) = self.open(node.inputs[0]);
                if !self.done.contains(&i) {
                    steps.push(step.clone());
                }
                Ok(Stream::Of(input, steps))
            }
            Verb::Checkpoint(every) => {
                let stream = self.rows(node.inputs[0]);
                Ok(self.plain(stream.checkpoint(*every)))
            }
            Verb::Window(..)
            | Verb::CountByWindow(..)
            | Verb::CountByValueAndWindow(..)
            | Verb::ReduceByWindow(..)
            | Verb::ReduceByKeyAndWindow(..)
            | Verb::GroupByKeyAndWindow(..) => Ok(self.windowed(node)),
            Verb::Join(kind) => Ok(self.joined(node, kind)),
            Verb::Reduce(_)
            | Verb::ReduceByKey(_)
            | Verb::CombineByKey(..)
            | Verb::GroupByKey
            | Verb::CountByValue
            | Verb::PartitionBy(_)
            | Verb::SumByKey
            | Verb::UpdateStateByKey(..) => Ok(self.keyed(node)),
            Verb::MapPartitions(..)
            | Verb::Glom
            | Verb::Union
            | Verb::Repartition(_)
            | Verb::Count
            | Verb::Transform(_)
            | Verb::TransformWith(_) => Ok(self.whole(node)),
            Verb::Pprint(..) | Verb::Foreach(_) | Verb::SaveAsTextFiles(..) | Verb::ToKafka(_) => {
                self.output(node);
                Ok(Stream::Nothing)
            }
        }
    }

    /// A stream of rows without narrow verbs.
    fn plain(&self, rows: DStream<'s, Value>) -> Stream<'s> {
        self.of(Input::Rows(rows))
    }

    /// A stream of pairs.
    fn of_pairs(&self, pairs: Pairs<'s>) -> Stream<'s> {
        self.of(Input::Pairs(pairs))
    }

    fn of(&self, input: Input<'s>) -> Stream<'s> {
        Stream::Of(input, Steps::new(self.failure))
    }

    /// What a node reads, and the narrow verbs that its rows still go through. If other verbs read them too, they have gone through.
    fn open(&mut self, node: usize) -> (Input<'s>, Steps) {
        match &self.streams[node] {
            Stream::Of(input, steps) if self.uses[node] == 1 => (input.clone(), steps.clone()),
            _ => (Input::Rows(self.rows(node)), Steps::new(self.failure)),
        }
    }

    /// The rows of a node.
    fn rows(&mut self, node: usize) -> DStream<'s, Value> {
        let rows = match &self.streams[node] {
            Stream::Of(Input::Rows(rows), steps) if steps.is_empty() => return rows.clone(),
            Stream::Of(input, steps) => {
                let (name, steps) = (if steps.is_empty() { "rows".into() } else { steps.name() }, steps.clone());
                input.through(&name, move |batch, rows| steps.run(batch, rows))
            }
            Stream::Nothing => unreachable!("an output has no readers"),
        };
        self.streams[node] = self.plain(rows.clone());
        rows
    }

    /// The rows of a node without objects of Python, for a verb that keeps or compares them.
    fn plain_rows(&mut self, node: usize, site: &Site) -> DStream<'s, Value> {
        let (input, steps) = self.open(node);
        let (name, site, failure) = (site.clone(), site.clone(), self.failure.clone());
        input.through(name.text(), move |batch, rows| {
            let mut rows = steps.run(batch, rows);
            for row in rows.iter_mut().filter(|row| !row.is_plain()) {
                *row = saved(std::mem::replace(row, Value::None), batch, &site, &failure);
            }
            rows
        })
    }

    /// The rows of a node as pairs whose keys are plain. `saved`: the values are plain too.
    fn pairs(&mut self, node: usize, site: &Site, keep: bool) -> Pairs<'s> {
        match &self.streams[node] {
            Stream::Of(Input::Pairs(pairs), steps) if steps.is_empty() && !keep => return pairs.clone(),
            Stream::Of(Input::Counts(counts), steps) if steps.is_empty() => {
                return containers(counts, site.text(), |_, counts| {
                    counts.into_iter().map(|(key, n)| (key, Value::Int(n))).collect()
                });
            }
            _ => {}
        }
        let (input, steps) = self.open(node);
        let (name, site, failure) = (site.clone(), site.clone(), self.failure.clone());
        input.through(name.text(), move |batch, rows| {
            let rows = steps.run(batch, rows).into_iter();
            let pairs = rows.map(|row| {
                let (key, value) = as_pair(row).unwrap_or_else(|row| {
                    failure.end(not_a_pair(&row.type_name()), &site, Some(batch), Some(row.repr()));
                });
                let key = if key.is_plain() { key } else { saved(key, batch, &site, &failure) };
                let value = if !keep || value.is_plain() { value } else { saved(value, batch, &site, &failure) };
                (key, value)
            });
            pairs.collect()
        })
    }

    /// How often each row of a node occurs, if nothing but a source and functions of texts is before the count. `paired`: rows are pairs with 1.
    fn counted(&self, node: usize, paired: bool) -> Option<DStream<'s, (Value, i64)>> {
        let Stream::Of(Input::Records(messages, decode), steps) = &self.streams[node] else { return None };
        if self.uses[node] != 1 || decode.texts.is_none() || !(if paired { steps.is_pair_with_one() } else { steps.is_empty() }) {
            return None;
        }
        let (decode, mut copy) = (decode.clone(), String::new());
        Some(messages.count_by::<dyn Countable>(move |message, counts| decode.count(message, &mut copy, counts)))
    }
}

/// A value without objects of Python. One that cannot be saved ends the job.
fn saved(value: Value, batch: tidemill::prelude::BatchTime, site: &Site, failure: &Failure) -> Value {
    value.clone().plain().unwrap_or_else(|e| failure.end(e, site, Some(batch), Some(value.repr())))
}

/// The two parts of a pair, which may be a list or a tuple of a named type, as PySpark's `Row` is.
fn as_pair(row: Value) -> Result<(Value, Value), Value> {
    match row.into_pair() {
        Err(Value::Object(object)) => {
            let parts = Python::attach(|py| {
                let (key, value) = object.bind(py).extract().ok()?;
                Some((Value::from_python(&key).ok()?, Value::from_python(&value).ok()?))
            });
            parts.ok_or(Value::Object(object))
        }
        Err(Value::List(parts)) if parts.len() == 2 => Value::Tuple(parts).into_pair(),
        pair => pair,
    }
}
