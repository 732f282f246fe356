//! The rows of a source that bad records become, when they are read once more. A source takes records back if its rows are messages, lines, texts
//! or bytes.

use std::any::Any;

use crate::connector::message::{Message, Raw, put_header};
use crate::core::data::BadRecord;
use crate::format::lines::{Line, Raw as RawLine};

/// Whether rows of this type can be made of records.
pub(super) fn takes_records<T: 'static>() -> bool {
    rows::<T>(&[]).is_some()
}

/// The rows of these records; `None`: rows of this type cannot be made of records.
pub(super) fn rows<T: 'static>(letters: &[BadRecord]) -> Option<Vec<T>> {
    fn cast<T: 'static, U: 'static>(rows: impl Iterator<Item = U>) -> Option<Vec<T>> {
        let rows: Box<dyn Any> = Box::new(rows.collect::<Vec<U>>());
        rows.downcast().ok().map(|rows| *rows)
    }
    let each = || letters.iter();
    let text = |letter: &BadRecord| String::from_utf8_lossy(&letter.raw).into_owned();
    cast(each().map(message))
        .or_else(|| cast(each().map(line)))
        .or_else(|| cast(each().map(text)))
        .or_else(|| cast(each().map(|letter| letter.raw.clone())))
}

/// The message that it was. A dead letter has no timestamp.
fn message(letter: &BadRecord) -> Message {
    let mut headers = Vec::new();
    letter.headers.iter().for_each(|(name, value)| put_header(&mut headers, name.as_bytes(), Some(value)));
    let raw = Raw { offset: letter.offset, time: None, key: letter.key.as_deref(), value: Some(&letter.raw), headers: &headers };
    Message::of(letter.origin.as_str().into(), letter.partition, &raw)
}

fn line(letter: &BadRecord) -> Line {
    let line = RawLine { at: 0, bytes: &letter.raw, over: false };
    line.line(&letter.origin.as_str().into(), letter.offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::BatchTime;

    #[test]
    fn records_become_rows_of_the_source() {
        let letter = BadRecord {
            origin: "words".into(),
            partition: 2,
            offset: 41,
            time: BatchTime::from_millis(10),
            raw: b"a\xff".to_vec(),
            key: Some(b"k".to_vec()),
            headers: vec![("unit".into(), b"words".to_vec())],
            verb: String::new(),
            reason: String::new(),
        };
        let message: Vec<Message> = rows(std::slice::from_ref(&letter)).unwrap();
        let m = &message[0];
        assert_eq!((m.topic(), m.partition(), m.offset(), m.key(), m.raw()), ("words", 2, 41, Some(&b"k"[..]), &b"a\xff"[..]));
        assert_eq!(m.headers().collect::<Vec<_>>(), [("unit", Some(&b"words"[..]))]);
        let lines: Vec<Line> = rows(std::slice::from_ref(&letter)).unwrap();
        assert!(matches!(&lines[..], [Line::Bad(bad)] if &*bad.origin == "words" && bad.offset == 41));
        assert_eq!(rows::<String>(std::slice::from_ref(&letter)).unwrap(), ["a\u{fffd}"]);
        assert_eq!(rows::<Vec<u8>>(std::slice::from_ref(&letter)).unwrap(), [b"a\xff"]);
        let text = BadRecord { raw: b"tide".to_vec(), ..letter };
        assert_eq!(rows::<Line>(&[text]).unwrap(), [Line::Text("tide".into(), 41)]);
        assert!(takes_records::<String>() && !takes_records::<i64>());
    }
}
