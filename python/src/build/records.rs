//! Records of Kafka as rows, and what the first verbs make of their texts without a row between.

use std::sync::Arc;

use tidemill::prelude::{BatchTime, KeyCounter, Message};

use super::utf8;
use crate::call::{Failure, Site, Step, Steps};
use crate::native::Native;
use crate::value::{Countable, Part, Value};

/// How records become rows.
pub struct Decode {
    /// What a row is: see [`crate::program::Kafka::rows`].
    pub rows: String,
    /// What the first verbs make of a record.
    pub texts: Option<Texts>,
    /// The source.
    pub site: Site,
    /// Where an exception goes.
    pub failure: Failure,
}

/// Verbs that need only the text of a record, without a pair of key and value: `map(lambda record: record[1])`, then functions of texts that
/// Rust knows, such as `map(tidemill.json("word"))`, and `flatMap(lambda line: line.split(" "))` at the end.
pub struct Texts {
    /// The functions of texts.
    pub maps: Vec<Arc<Step>>,
    /// What splits the last one.
    pub split: Option<Arc<Step>>,
}

impl Texts {
    /// Gives what the verbs make of a text to `out`. `None`: Python must be asked, and nothing was given.
    fn give(&self, text: &str, mut out: impl FnMut(Part<'_>)) -> Option<()> {
        let mut part = Part::Text(text);
        for step in &self.maps {
            part = step.function.native()?.of_part(part)?;
        }
        let Some(split) = &self.split else {
            out(part);
            return Some(());
        };
        let native: &Native = split.function.native()?;
        match &part {
            Part::Text(text) => native.split(text, |part| out(Part::Text(part))),
            Part::Value(Value::Str(text)) => native.split(text, |part| out(Part::Text(part))),
            Part::Value(_) => None,
        }
    }
}

impl Decode {
    /// The rows of some records.
    pub fn values(&self, batch: BatchTime, messages: &[Message]) -> Vec<Value> {
        let mut rows = Vec::with_capacity(messages.len());
        match &self.texts {
            None => rows.extend(messages.iter().map(|message| self.row(message, &self.rows, batch))),
            Some(texts) => messages.iter().for_each(|message| {
                self.give(texts, message, batch, |part| rows.push(part.into_value()));
            }),
        }
        rows
    }

    /// Counts what the first verbs make of the text of a record. `copy` is a place for a text.
    pub fn count(&self, message: &Message, copy: &mut String, counts: &mut KeyCounter<'_, dyn Countable>) {
        let batch = counts.time();
        let count = |part: Part<'_>| match part {
            Part::Text(text) => {
                copy.clear();
                copy.push_str(text);
                counts.push(copy as &dyn Countable);
            }
            Part::Value(value) if value.is_plain() => counts.push(&value as &dyn Countable),
            Part::Value(value) => {
                let plain = super::saved(value, batch, &self.site, &self.failure);
                counts.push(&plain as &dyn Countable);
            }
        };
        if let Some(texts) = &self.texts {
            self.give(texts, message, batch, count);
        }
    }

    fn give(&self, texts: &Texts, message: &Message, batch: BatchTime, mut out: impl FnMut(Part<'_>)) {
        if message.key().is_some_and(|key| std::str::from_utf8(key).is_err()) {
            // It ends the job, as it does where somebody reads the key.
            self.row(message, "text", batch);
        }
        let text = message.value_opt().and_then(|bytes| std::str::from_utf8(bytes).ok());
        if text.and_then(|text| texts.give(text, &mut out)).is_some() {
            return;
        }
        let Ok((_, value)) = self.row(message, "text", batch).into_pair() else { return };
        let mut steps = Steps::new(&self.failure);
        texts.maps.iter().chain(&texts.split).for_each(|step| steps.push(step.clone()));
        steps.run(batch, vec![value]).into_iter().for_each(|value| out(Part::Value(value)));
    }

    /// The row of a record, which is one of `rows`.
    fn row(&self, message: &Message, rows: &str, batch: BatchTime) -> Value {
        let bytes = |bytes: Option<&[u8]>| bytes.map_or(Value::None, |bytes| Value::Bytes(bytes.into()));
        let place = || format!("{}/{} offset {}", message.topic(), message.partition(), message.offset());
        let text =
            |bytes: Option<&[u8]>| bytes.map_or(Value::None, |bytes| utf8::text(bytes, place, batch, &self.site, &self.failure));
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
}
