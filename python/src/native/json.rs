//! A part of a text of JSON, read without making objects of the rest.

use std::borrow::Cow;
use std::fmt;
use std::io::Write;

use num_bigint::BigInt;
use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::value::{Part, Value};

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
pub fn find<'t>(text: &'t str, path: &[Step]) -> Option<Part<'t>> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let found = Find(path).deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    found
}

/// A text of JSON, as `json.dumps` of Python writes it without spaces and with letters as they are. `None`: a part is not a text, a small
/// int, a bool or `None`.
pub fn object<'v>(names: &Names, part: impl Fn(usize) -> Option<Cow<'v, Value>>) -> Option<String> {
    let mut out = Vec::with_capacity(64);
    for (i, name) in names.0.iter().enumerate() {
        out.extend_from_slice(name.as_bytes());
        match &*part(i)? {
            Value::None => out.extend_from_slice(b"null"),
            Value::Bool(flag) => out.extend_from_slice(if *flag { b"true" } else { b"false" }),
            Value::Int(n) => write!(out, "{n}").ok()?,
            Value::Str(text) => serde_json::to_writer(&mut out, text).ok()?,
            _ => return None,
        }
    }
    out.extend_from_slice(if names.0.is_empty() { b"{}" } else { b"}" });
    String::from_utf8(out).ok()
}

/// The names of an object, each with what is before its value: `{"word":`, `,"count":`.
#[derive(Clone, Debug)]
pub struct Names(Vec<String>);

/// Names in their order.
pub fn names<'a>(names: impl Iterator<Item = &'a str>) -> Names {
    let quoted = |name: &str| serde_json::Value::from(name).to_string();
    Names(names.enumerate().map(|(i, name)| format!("{}{}:", if i == 0 { '{' } else { ',' }, quoted(name))).collect())
}

/// Reads the value at a path, and skips everything else. `None`: the path leads to nothing.
#[derive(Clone, Copy)]
struct Find<'a>(&'a [Step]);

impl<'de> DeserializeSeed<'de> for Find<'_> {
    type Value = Option<Part<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Option<Part<'de>>, D::Error> {
        reader.deserialize_any(self)
    }
}

/// Whether a name of an object is that of a step, without a copy of the name.
struct IsName<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for IsName<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for IsName<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

/// With an empty path, the value itself. Otherwise only objects and arrays have parts.
impl<'de> Visitor<'de> for Find<'_> {
    type Value = Option<Part<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Option<Part<'de>>, E> {
        Ok(self.0.is_empty().then_some(Part::Value(Value::None)))
    }

    fn visit_bool<E>(self, b: bool) -> Result<Option<Part<'de>>, E> {
        Ok(self.0.is_empty().then_some(Part::Value(Value::Bool(b))))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Option<Part<'de>>, E> {
        Ok(self.0.is_empty().then_some(Part::Value(Value::Int(n))))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Option<Part<'de>>, E> {
        let value = i64::try_from(n).map_or_else(|_| Value::Big(BigInt::from(n)), Value::Int);
        Ok(self.0.is_empty().then_some(Part::Value(value)))
    }

    /// Python's float of a text may be another one, and an int of more than 64 bits comes here too.
    fn visit_f64<E>(self, _: f64) -> Result<Option<Part<'de>>, E> {
        Ok(None)
    }

    fn visit_str<E>(self, text: &str) -> Result<Option<Part<'de>>, E> {
        Ok(self.0.is_empty().then(|| Part::Value(Value::text(text))))
    }

    /// A text without escapes is a part of the whole text.
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Option<Part<'de>>, E> {
        Ok(self.0.is_empty().then_some(Part::Text(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Option<Part<'de>>, A::Error> {
        let Some((step, rest)) = self.0.split_first() else {
            let mut all = Some(Vec::new());
            while let Some(part) = parts.next_element_seed(self)? {
                all = all.zip(part).map(|(mut all, part)| {
                    all.push(part.into_value());
                    all
                });
            }
            return Ok(all.map(|all| Part::Value(Value::List(all))));
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

    fn visit_map<A: MapAccess<'de>>(self, mut parts: A) -> Result<Option<Part<'de>>, A::Error> {
        let Some((step, rest)) = self.0.split_first() else {
            let mut all = Some(Vec::<(Value, Value)>::new());
            while let Some(name) = parts.next_key::<String>()? {
                let part = parts.next_value_seed(self)?;
                all = all.zip(part).map(|(mut all, part)| {
                    let (name, part) = (Value::text(name), part.into_value());
                    // Of a name that is there twice, the last value counts, at the first place.
                    match all.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, value)) => *value = part,
                        None => all.push((name, part)),
                    }
                    all
                });
            }
            return Ok(all.map(|all| Part::Value(Value::Dict(all))));
        };
        let mut found = None;
        while let Some(is_step) = parts.next_key_seed(IsName(&step.name))? {
            if is_step {
                found = parts.next_value_seed(Find(rest))?;
            } else {
                parts.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}
