//! Output operations.

use pyo3::prelude::*;
use tidemill::prelude::DStream;

use super::whole::{call_output, whole};
use super::{Build, containers};
use crate::call::Site;
use crate::program::{Node, Verb};
use crate::value::{Text, Value};

impl<'s> Build<'_, 's> {
    /// Attaches an output.
    pub(super) fn output(&mut self, node: &Node) {
        let (input, site, failure) = (node.inputs[0], node.site.clone(), self.failure.clone());
        match &node.verb {
            Verb::Pprint(function, n) => {
                let (function, n) = (function.clone(), *n);
                // Of rows in an order only the first ones become text.
                let ordered = self.ordered(input);
                let rows = self.rows(input);
                let first = if ordered { rows.take(n + 1) } else { rows };
                let texts = self.texts(&first, &site, Text).take(n + 1);
                texts.foreach_batch(move |batch| {
                    let more = batch.len() > n;
                    let rows: Vec<&str> = batch.iter().take(n).map(|text| &*text.0).collect();
                    call_output(&function, &site, &failure, batch.time(), |f| {
                        f.call1((batch.time().millis(), rows, more)).map(drop)
                    })
                });
            }
            Verb::Foreach(function) => {
                let function = function.clone();
                self.rows(input).foreach_batch(move |batch| {
                    call_output(&function, &site, &failure, batch.time(), |f| f.call1(whole(f.py(), batch)?).map(drop))
                });
            }
            Verb::SaveAsTextFiles(prefix, suffix) => {
                let rows = self.rows(input);
                self.texts(&rows, &site, |text| text).save_as_text_files(prefix, suffix);
            }
            Verb::ToKafka(kafka) => {
                self.kafka_sink(input, kafka, &site);
            }
            _ => unreachable!("an output"),
        }
    }

    /// Whether the rows of a node have an order of their own: those of sources and sorted ones. Other rows are ordered as text.
    fn ordered(&self, node: usize) -> bool {
        let node = &self.description.nodes[node];
        match &node.verb {
            verb if verb.is_source() => true,
            Verb::Transform(_) | Verb::TransformWith(_) => true,
            Verb::Step(_) | Verb::Checkpoint(_) => self.ordered(node.inputs[0]),
            _ => false,
        }
    }

    /// `str` of each row.
    fn texts<T: Clone + 'static>(
        &self,
        rows: &DStream<'s, Value>,
        site: &Site,
        make: impl Fn(String) -> T + 'static,
    ) -> DStream<'s, T> {
        let (site, failure) = (site.clone(), self.failure.clone());
        containers(rows, site.clone().text(), move |batch, rows| {
            let text = |row: Value| make(row.str().unwrap_or_else(|e| failure.end(e, &site, Some(batch), Some(row.repr()))));
            rows.into_iter().map(text).collect()
        })
    }
}
