//! A part of a text of JSON, read without making objects of the rest.

use std::fmt::{self, Write};

use num_bigint::BigInt;
use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::value::Value;

/// A step of a path: a name in an object, or an index of an array.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    name: Box<str>,
    index: Option<usize>,
}

/// The path `user.screen_name`; a number is an index of an array, or a name of an object. An empty path is the whole text.
pub fn path(text: &str) -> Vec<Step> {
    let steps = text.split('.').filter(|step| !step.is_empty());
    steps.map(|step| Step { name: step.into(), index: step.parse().ok() }).collect()
}

/// The value at a path. `None`: the text is not JSON, has no such part, or has a number that Python reads in its own way.
pub fn find(text: &str, path: &[Step]) -> Option<Value> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let found = Find(path).deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    found
}

/// A text of JSON, as `json.dumps` of Python writes it without spaces and with letters as they are. `None`: a part is not a text, a small
/// int, a bool or `None`.
pub fn object(parts: &[(&String, Value)]) -> Option<String> {
    let mut out = String::from("{");
    for (i, (name, value)) in parts.iter().enumerate() {
        out += if i > 0 { "," } else { "" };
        out += &serde_json::to_string(name).ok()?;
        out.push(':');
        match value {
            Value::None => out += "null",
            Value::Bool(flag) => out += if *flag { "true" } else { "false" },
            Value::Int(n) => _ = write!(out, "{n}"),
            Value::Str(text) => out += &serde_json::to_string(text).ok()?,
            _ => return None,
        }
    }
    out.push('}');
    Some(out)
}

/// Reads the value at a path, and skips everything else. `None`: the path leads to nothing.
#[derive(Clone, Copy)]
struct Find<'a>(&'a [Step]);

impl<'de> DeserializeSeed<'de> for Find<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Option<Value>, D::Error> {
        reader.deserialize_any(self)
    }
}

/// With an empty path, the value itself. Otherwise only objects and arrays have parts.
impl<'de> Visitor<'de> for Find<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Option<Value>, E> {
        Ok(self.0.is_empty().then_some(Value::None))
    }

    fn visit_bool<E>(self, b: bool) -> Result<Option<Value>, E> {
        Ok(self.0.is_empty().then_some(Value::Bool(b)))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Option<Value>, E> {
        Ok(self.0.is_empty().then_some(Value::Int(n)))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Option<Value>, E> {
        let value = i64::try_from(n).map_or_else(|_| Value::Big(BigInt::from(n)), Value::Int);
        Ok(self.0.is_empty().then_some(value))
    }

    /// Python's float of a text may be another one, and an int of more than 64 bits comes here too.
    fn visit_f64<E>(self, _: f64) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_str<E>(self, text: &str) -> Result<Option<Value>, E> {
        Ok(self.0.is_empty().then(|| Value::text(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Option<Value>, A::Error> {
        let Some((step, rest)) = self.0.split_first() else {
            let mut all = Some(Vec::new());
            while let Some(part) = parts.next_element_seed(self)? {
                all = all.zip(part).map(|(mut all, part)| {
                    all.push(part);
                    all
                });
            }
            return Ok(all.map(Value::List));
        };
        let (mut found, mut at) = (None, 0);
        loop {
            if Some(at) == step.index {
                match parts.next_element_seed(Find(rest))? {
                    Some(part) => found = part,
                    None => return Ok(None),
                }
            } else if parts.next_element::<IgnoredAny>()?.is_none() {
                return Ok(found);
            }
            at += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut parts: A) -> Result<Option<Value>, A::Error> {
        let Some((step, rest)) = self.0.split_first() else {
            let mut all = Some(Vec::<(Value, Value)>::new());
            while let Some(name) = parts.next_key::<String>()? {
                let part = parts.next_value_seed(self)?;
                all = all.zip(part).map(|(mut all, part)| {
                    let name = Value::text(name);
                    // Of a name that is there twice, the last value counts, at the first place.
                    match all.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, value)) => *value = part,
                        None => all.push((name, part)),
                    }
                    all
                });
            }
            return Ok(all.map(Value::Dict));
        };
        let mut found = None;
        while let Some(name) = parts.next_key::<std::borrow::Cow<'_, str>>()? {
            if *name == *step.name {
                found = parts.next_value_seed(Find(rest))?;
            } else {
                parts.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}
