//! The text of a value, as Python's `print` and `repr` write it; and [`Text`], which is ordered as it is written.

use std::fmt::Write;

use pyo3::prelude::*;
use serde::de::{SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Value;

impl Value {
    /// `str(value)`
    pub fn str(&self) -> PyResult<String> {
        if let Value::Str(text) = self {
            return Ok(text.to_string());
        }
        let mut text = String::new();
        if self.write_repr(&mut text) {
            return Ok(text);
        }
        Python::attach(|py| Ok(self.to_python(py)?.str()?.to_string_lossy().into_owned()))
    }

    /// `repr(value)`, for messages.
    pub fn repr(&self) -> String {
        let mut text = String::new();
        if self.write_repr(&mut text) {
            return text;
        }
        let repr = Python::attach(|py| Ok::<_, PyErr>(self.to_python(py)?.repr()?.to_string_lossy().into_owned()));
        repr.unwrap_or_else(|e| e.to_string())
    }

    /// Writes `repr(value)` if Rust knows how. `false`: only Python knows, as for a letter that may not be printable.
    fn write_repr(&self, out: &mut String) -> bool {
        match self {
            Value::None => out.push_str("None"),
            Value::Bool(true) => out.push_str("True"),
            Value::Bool(false) => out.push_str("False"),
            Value::Int(n) => _ = write!(out, "{n}"),
            Value::Str(text) if text.bytes().all(|b| matches!(b, b' '..=b'~') && !matches!(b, b'\'' | b'\\')) => {
                _ = write!(out, "'{text}'");
            }
            Value::Tuple(parts) => {
                out.push('(');
                for (i, part) in parts.iter().enumerate() {
                    if i > 0 {
                        out.push_str(", ");
                    }
                    if !part.write_repr(out) {
                        return false;
                    }
                }
                out.push_str(if parts.len() == 1 { ",)" } else { ")" });
            }
            _ => return false,
        }
        true
    }
}

/// A text whose encoding sorts as the text does: its bytes, and a zero byte. A zero byte in the text is two bytes, 1 and 1, and a byte 1
/// is 1 and 2.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(pub String);

const END: u8 = 0;
const ESCAPE: u8 = 1;

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // People read the text.
        if serializer.is_human_readable() {
            return serializer.serialize_str(&self.0);
        }
        let escaped = self.0.bytes().filter(|b| *b <= ESCAPE).count();
        let mut bytes = serializer.serialize_tuple(self.0.len() + escaped + 1)?;
        for byte in self.0.bytes() {
            if byte <= ESCAPE {
                bytes.serialize_element(&ESCAPE)?;
                bytes.serialize_element(&(byte + 1))?;
            } else {
                bytes.serialize_element(&byte)?;
            }
        }
        bytes.serialize_element(&END)?;
        bytes.end()
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Text;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text that ends with a zero byte")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Text, A::Error> {
                let mut bytes = Vec::new();
                loop {
                    match seq.next_element::<u8>()? {
                        Some(ESCAPE) => bytes.push(seq.next_element::<u8>()?.unwrap_or(1).wrapping_sub(1)),
                        Some(END) | None => break,
                        Some(byte) => bytes.push(byte),
                    }
                }
                String::from_utf8(bytes).map(Text).map_err(serde::de::Error::custom)
            }
        }
        deserializer.deserialize_tuple(usize::MAX, Bytes)
    }
}
