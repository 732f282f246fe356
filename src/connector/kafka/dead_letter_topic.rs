//! Reads dead letters of a topic, and puts records back into the topics that they are from: for `tidemill dead-letters`.

use std::time::Duration;

use rdkafka::message::{Headers, Message as _};

use crate::connector::kafka::topic_tools::Topics;
use crate::connector::kafka::topic_writer::Producer;
use crate::core::data::BadRecord;
use crate::core::error::Result;
use crate::core::letter::Letter;
use crate::core::time::BatchTime;

/// The headers that a dead letter has besides those of its record. `connector/dead_letters.rs` writes them.
const PREFIXES: [&str; 2] = ["__streams.errors.", "__tidemill.errors."];
/// How long the brokers may take to store what was sent.
const SETTLED: Duration = Duration::from_secs(60);

impl Topics {
    /// The committed dead letters of a topic, up to its end, and how many records of it are none.
    ///
    /// # Errors
    /// As [`read`](Topics::read).
    pub fn dead_letters(&self, topic: &str, stopped: impl Fn() -> bool) -> Result<(Vec<Letter>, u64)> {
        let (mut letters, mut others) = (Vec::new(), 0);
        self.read_messages(topic, true, false, stopped, |m| {
            let headers = m.headers().into_iter().flat_map(Headers::iter);
            let headers = headers.map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec())).collect();
            match letter(m.key(), m.payload(), headers) {
                Some(letter) => letters.push(letter),
                None => others += 1,
            }
            Ok(true)
        })?;
        Ok((letters, others))
    }
}

/// The letter of a record, if it is a dead letter.
fn letter(key: Option<&[u8]>, value: Option<&[u8]>, headers: Vec<(String, Vec<u8>)>) -> Option<Letter> {
    let (about, own): (Vec<_>, Vec<_>) = headers.into_iter().partition(|(name, _)| PREFIXES.iter().any(|p| name.starts_with(p)));
    // The last one counts: a letter may have been a dead letter before.
    let text =
        |name: &str| about.iter().rev().find_map(|(n, value)| (n == name).then(|| String::from_utf8_lossy(value).into_owned()));
    let bad = BadRecord {
        origin: text("__streams.errors.topic").unwrap_or_default(),
        partition: text("__streams.errors.partition").and_then(|p| p.parse().ok()).unwrap_or(0),
        offset: text("__streams.errors.offset").and_then(|o| o.parse().ok()).unwrap_or(-1),
        time: BatchTime::from_millis(text("__tidemill.errors.batch_time")?.parse().ok()?),
        raw: value.unwrap_or_default().to_vec(),
        key: key.map(<[u8]>::to_vec),
        headers: own,
        verb: text("__tidemill.errors.verb").unwrap_or_default(),
        reason: text("__streams.errors.message").unwrap_or_default(),
    };
    Some(Letter { bad, generation: text("__tidemill.errors.generation").and_then(|g| g.parse().ok()).unwrap_or(0) })
}

/// Puts records back at the ends of their partitions of a topic, with their keys and headers.
///
/// # Errors
/// The brokers refuse one. Some may be there then.
pub(crate) fn put_back(brokers: &str, set: &[(String, String)], topic: &str, letters: &[&BadRecord]) -> Result<u64> {
    let producer = Producer::with_settings(brokers, set, topic)?;
    for letter in letters {
        producer.send_record(Some(letter.partition), letter.key.as_deref(), &letter.raw, &letter.headers)?;
    }
    producer.settle(SETTLED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_is_known_by_its_headers() {
        let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        let about = [
            header("unit", "words"),
            header("__streams.errors.topic", "words"),
            header("__streams.errors.partition", "3"),
            header("__streams.errors.offset", "41"),
            header("__streams.errors.message", "no \"JSON\""),
            header("__tidemill.errors.batch_time", "1000"),
            header("__tidemill.errors.verb", "decode (main.rs:7)"),
            header("__tidemill.errors.generation", "12"),
        ];
        let found = letter(Some(b"k"), Some(b"{"), about.to_vec()).unwrap();
        let bad = BadRecord {
            origin: "words".into(),
            partition: 3,
            offset: 41,
            time: BatchTime::from_millis(1_000),
            raw: b"{".to_vec(),
            key: Some(b"k".to_vec()),
            headers: vec![header("unit", "words")],
            verb: "decode (main.rs:7)".into(),
            reason: "no \"JSON\"".into(),
        };
        assert_eq!(found, Letter { bad, generation: 12 });
        assert_eq!(
            letter(None, None, about[5..7].to_vec()).map(|letter| (
                letter.bad.origin,
                letter.bad.offset,
                letter.bad.raw,
                letter.generation
            )),
            Some((String::new(), -1, Vec::new(), 0))
        );
        assert_eq!(letter(None, Some(b"x"), about[..1].to_vec()), None);
    }
}
