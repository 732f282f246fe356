//! A bad record as a line of JSON, and back: what files of dead letters have, and what a correction over HTTP has.

use std::ops::Deref;

use serde_json::{Map, Value, json};

use crate::core::data::BadRecord;
use crate::core::time::BatchTime;

/// A bad record that was written as a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "only the command shows who wrote letters"))]
pub(crate) struct Letter {
    pub bad: BadRecord,
    /// The number of the run that wrote it, or 0 if the job had no checkpoint directory.
    pub generation: u64,
}

impl Deref for Letter {
    type Target = BadRecord;

    fn deref(&self) -> &BadRecord {
        &self.bad
    }
}

/// The line of a bad record, with the number of the run that writes it, or without one if that is 0. Bytes that are not UTF-8 are
/// `{"hex": "..."}`.
pub(crate) fn line(bad: &BadRecord, generation: u64) -> String {
    let headers: Map<String, Value> = bad.headers.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    let mut line = json!({
        "topic": bad.origin,
        "partition": bad.partition,
        "offset": bad.offset,
        "batch_time": bad.time.millis(),
        "verb": bad.verb,
        "reason": bad.reason,
        "key": bad.key.as_deref().map(text),
        "value": text(&bad.raw),
        "headers": headers,
    });
    if generation > 0 {
        line["generation"] = generation.into();
    }
    line.to_string()
}

fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "hex": bytes.iter().map(|b| format!("{b:02x}")).collect::<String>() }),
    }
}

/// The bad record of a line.
///
/// # Errors
/// The line is not one of [`line`].
#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only the port of a job and the command read letters"))]
pub(crate) fn parse(line: &str) -> Result<Letter, String> {
    let mut letter: Value = serde_json::from_str(line).map_err(|e| format!("this is not a line of JSON: {e}"))?;
    let mut field = |name: &str| letter.get_mut(name).map(Value::take).unwrap_or_default();
    let number =
        |name: &str, value: Value| value.as_i64().ok_or_else(|| format!("\"{name}\" is {value}, and should be a number"));
    let string = |name: &str, value: Value| match value {
        Value::String(text) => Ok(text),
        other => Err(format!("\"{name}\" is {other}, and should be a text")),
    };
    let partition = number("partition", field("partition"))?;
    let time = number("batch_time", field("batch_time"))?;
    let generation = field("generation").as_u64().unwrap_or(0);
    let key = field("key");
    let headers = match field("headers") {
        Value::Object(headers) => {
            headers.into_iter().map(|(name, value)| Ok((name, bytes("headers", value)?))).collect::<Result<_, String>>()?
        }
        Value::Null => Vec::new(),
        other => return Err(format!("\"headers\" is {other}, and should be an object")),
    };
    let bad = BadRecord {
        origin: string("topic", field("topic"))?,
        partition: partition.try_into().map_err(|_| format!("partition {partition} cannot be"))?,
        offset: number("offset", field("offset"))?,
        time: BatchTime::from_millis(time.try_into().map_err(|_| format!("batch time {time} cannot be"))?),
        raw: bytes("value", field("value"))?,
        key: if key.is_null() { None } else { Some(bytes("key", key)?) },
        headers,
        verb: string("verb", field("verb"))?,
        reason: string("reason", field("reason"))?,
    };
    Ok(Letter { bad, generation })
}

/// The bytes of a text, or of `{"hex": "..."}`.
#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only the port of a job and the command read letters"))]
fn bytes(name: &str, value: Value) -> Result<Vec<u8>, String> {
    let hex = match value {
        Value::String(text) => return Ok(text.into_bytes()),
        value => value.get("hex").and_then(Value::as_str).map(str::to_owned).ok_or(value),
    };
    let wrong = |value| format!("\"{name}\" is {value}, and should be a text or {{\"hex\": \"...\"}}");
    let hex = hex.map_err(&wrong)?;
    let digits: Option<Vec<u8>> = hex.chars().map(|c| Some(c.to_digit(16)? as u8)).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2)).ok_or_else(|| wrong(Value::String(hex)))?;
    Ok(digits.chunks(2).map(|pair| pair[0] * 16 + pair[1]).collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A bad record that has everything.
    pub(crate) fn bad() -> BadRecord {
        BadRecord {
            origin: "words".into(),
            partition: 3,
            offset: 41,
            time: BatchTime::from_millis(1_000),
            raw: b"\xff\"\n".to_vec(),
            key: Some(b"k".to_vec()),
            headers: vec![("unit".into(), b"words".to_vec())],
            verb: "decode (main.rs:7)".into(),
            reason: "no \"JSON\"".into(),
        }
    }

    #[test]
    fn a_line_has_all_of_a_bad_record_and_is_json_whatever_its_bytes() {
        let expected = json!({
            "topic": "words", "partition": 3, "offset": 41, "batch_time": 1_000, "verb": "decode (main.rs:7)",
            "reason": "no \"JSON\"", "key": "k", "value": { "hex": "ff220a" }, "headers": { "unit": "words" },
        });
        let line = line(&bad(), 0);
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
        assert!(!line.contains('\n'));
    }

    #[test]
    fn a_line_is_read_back() {
        for bad in [bad(), BadRecord { key: None, offset: -1, raw: b"{}".to_vec(), headers: Vec::new(), ..bad() }] {
            for generation in [0, 7] {
                assert_eq!(parse(&line(&bad, generation)).unwrap(), Letter { bad: bad.clone(), generation });
            }
        }
        for (wrong, why) in [
            ("{", "this is not a line of JSON"),
            ("7", "\"partition\" is null"),
            (r#"{"partition":1,"batch_time":-1,"offset":0}"#, "\"topic\" is null"),
            (r#"{"partition":1,"batch_time":1,"offset":0,"topic":"t","value":{"hex":"a"}}"#, "\"value\" is \"a\""),
            (r#"{"partition":1,"batch_time":1,"offset":0,"topic":"t","value":7}"#, "\"value\" is 7"),
            (r#"{"partition":1,"batch_time":1,"offset":0,"topic":"t","value":"","headers":7}"#, "\"headers\" is 7"),
        ] {
            let said = parse(wrong).unwrap_err();
            assert!(said.starts_with(why), "{wrong}: {said}");
        }
    }
}
