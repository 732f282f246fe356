//! Sources.

use std::sync::Arc;

use tidemill::prelude::{DStream, StreamingContext};

use super::kafka::Short;
use super::{Build, Stream, containers};
use crate::call::{Kind, Step};
use crate::native::Native;
use crate::program::{Kafka, Node, Verb};
use crate::value::Value;

impl<'s> Build<'_, 's> {
    /// The stream of a source.
    pub(super) fn source(&mut self, i: usize, node: &Node) -> Stream<'s> {
        let ssc: &StreamingContext<'s> = self.ssc;
        let rows = match &node.verb {
            Verb::Queue(queue) => ssc.queue_stream(queue),
            Verb::Socket(host, port) => lines(&ssc.socket_text_stream(host.clone(), *port).oks()),
            Verb::TextFiles(dir) => lines(&ssc.text_file_stream(dir).oks()),
            Verb::BinaryRecords(dir, length) => {
                let records = ssc.binary_records_stream(dir, *length).oks();
                containers(&records, "records", |_, records| records.into_iter().map(|r| Value::Bytes(r.into())).collect())
            }
            Verb::Kafka(kafka) => {
                let short = self.short(i, kafka);
                self.kafka_source(kafka, &node.site, short)
            }
            _ => unreachable!("a source"),
        };
        self.plain(rows)
    }
}

impl Build<'_, '_> {
    /// The verbs behind a source that it does itself, for less work on each record. They are in `done` then.
    fn short(&mut self, source: usize, kafka: &Kafka) -> Option<Short> {
        let (value, step) = self.only_map_of(source)?;
        if kafka.rows != "text" || !matches!(step.function.native(), Some(Native::Item(1 | -1))) {
            return None;
        }
        self.done.push(value);
        let next = self.only_map_of(value).filter(|(_, step)| step.function.native().is_some_and(Native::is_of_texts));
        Some(Short(next.map(|(node, step)| {
            self.done.push(node);
            step
        })))
    }

    /// The only verb that reads a node, if it is `map`.
    fn only_map_of(&self, node: usize) -> Option<(usize, Arc<Step>)> {
        let readers = || self.description.nodes.iter().enumerate().filter(|(_, reader)| reader.inputs.contains(&node));
        if self.uses[node] != 1 || readers().count() != 1 {
            return None;
        }
        readers().find_map(|(i, reader)| match &reader.verb {
            Verb::Step(step) if step.kind == Kind::Map => Some((i, step.clone())),
            _ => None,
        })
    }
}

fn lines<'s>(lines: &DStream<'s, String>) -> DStream<'s, Value> {
    containers(lines, "lines", |_, lines| lines.into_iter().map(Value::text).collect())
}
