//! Sources.

use tidemill::prelude::{DStream, StreamingContext};

use super::{Build, Stream, containers};
use crate::program::{Node, Verb};
use crate::value::Value;

impl<'s> Build<'_, 's> {
    /// The stream of a source.
    pub(super) fn source(&self, node: &Node) -> Stream<'s> {
        let ssc: &StreamingContext<'s> = self.ssc;
        let rows = match &node.verb {
            Verb::Queue(queue) => ssc.queue_stream(queue),
            Verb::Socket(host, port) => lines(&ssc.socket_text_stream(host.clone(), *port).oks()),
            Verb::TextFiles(dir) => lines(&ssc.text_file_stream(dir).oks()),
            Verb::BinaryRecords(dir, length) => {
                let records = ssc.binary_records_stream(dir, *length).oks();
                containers(&records, "records", |_, records| records.into_iter().map(|r| Value::Bytes(r.into())).collect())
            }
            Verb::Kafka(kafka) => self.kafka_source(kafka, &node.site),
            _ => unreachable!("a source"),
        };
        self.plain(rows)
    }
}

fn lines<'s>(lines: &DStream<'s, String>) -> DStream<'s, Value> {
    containers(lines, "lines", |_, lines| lines.into_iter().map(Value::text).collect())
}
