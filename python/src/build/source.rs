//! Sources.

use std::rc::Rc;
use std::sync::Arc;

use tidemill::prelude::{DStream, StreamingContext};

use super::input::Input;
use super::records::{Decode, Texts};
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
                let (texts, site, failure) = (self.of_texts(i, kafka), node.site.clone(), self.failure.clone());
                let decode = Decode { rows: kafka.rows.clone(), texts, site, failure };
                return self.of(Input::Records(self.kafka_source(kafka), Rc::new(decode)));
            }
            Verb::Kinesis(kinesis) => self.kinesis_source(kinesis, &node.site),
            _ => unreachable!("a source"),
        };
        self.plain(rows)
    }
}

impl Build<'_, '_> {
    /// The verbs behind a source that need only the text of a record. They are in `done` then.
    fn of_texts(&mut self, source: usize, kafka: &Kafka) -> Option<Texts> {
        let known = |native: &dyn Fn(&Native) -> bool, step: &Step| step.function.native().is_some_and(native);
        let (mut last, step) = self.only_reader(source)?;
        let is_text = |native: &Native| matches!(native, Native::Item(1 | -1));
        if kafka.rows != "text" || step.kind != Kind::Map || !known(&is_text, &step) {
            return None;
        }
        self.done.push(last);
        let mut texts = Texts { maps: Vec::new(), split: None };
        while let Some((next, step)) = self.only_reader(last) {
            match step.kind {
                Kind::Map if known(&Native::is_of_texts, &step) => texts.maps.push(step),
                Kind::FlatMap if known(&Native::splits, &step) => texts.split = Some(step),
                _ => break,
            }
            self.done.push(next);
            last = next;
            if texts.split.is_some() {
                break;
            }
        }
        Some(texts)
    }

    /// The only verb that reads a node, if it makes rows of one row.
    fn only_reader(&self, node: usize) -> Option<(usize, Arc<Step>)> {
        let readers = || self.description.nodes.iter().enumerate().filter(|(_, reader)| reader.inputs.contains(&node));
        if self.uses[node] != 1 || readers().count() != 1 {
            return None;
        }
        readers().find_map(|(i, reader)| match &reader.verb {
            Verb::Step(step) => Some((i, step.clone())),
            _ => None,
        })
    }
}

fn lines<'s>(lines: &DStream<'s, String>) -> DStream<'s, Value> {
    containers(lines, "lines", |_, lines| lines.into_iter().map(Value::text).collect())
}
