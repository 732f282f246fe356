//! Functions that Rust knows: a program says them with `tidemill.split` and its like, with `operator`, or as a lambda that Python's half
//! recognizes by its bytecode.
//!
//! Each is the Rust half of a callable of Python. For a value that it does not know exactly as Python does, it returns `None`, and the
//! callable is called. So a result never depends on which half made it.

mod binary;
mod json;

use std::borrow::Cow;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

pub use binary::Binary;

use crate::value::{Part, Value};

/// A function of one value.
#[derive(Clone, Debug)]
pub enum Native {
    /// `lambda x: x`
    This,
    /// `lambda x: constant`
    Constant(Value),
    /// `lambda x: x[i]`
    Item(i64),
    /// `lambda x: x.split(separator)`; `None`: at white space.
    Split(Option<Box<str>>),
    /// `str.lower`
    Lower,
    /// `str.upper`
    Upper,
    /// `str.strip`
    Strip,
    /// A part of a text of JSON: names and indexes.
    Json(Vec<json::Step>),
    /// The groups of the first match, or `None`.
    Regex(regex::Regex),
    /// A tuple of what other functions return.
    Tuple(Vec<Native>),
    /// A text of JSON with names for what other functions return.
    ToJson(json::Names, Vec<Native>),
}

impl Native {
    /// The function of a tuple of Python: its name, and its arguments.
    pub fn parse(said: &Bound<'_, PyTuple>) -> PyResult<Native> {
        let name: String = said.get_item(0)?.extract()?;
        let argument = || said.get_item(1);
        Ok(match &*name {
            "this" => Native::This,
            "constant" => Native::Constant(Value::plain_of(&argument()?)?),
            "item" => Native::Item(argument()?.extract()?),
            "split" => Native::Split(argument()?.extract::<Option<String>>()?.map(Into::into)),
            "lower" => Native::Lower,
            "upper" => Native::Upper,
            "strip" => Native::Strip,
            "json" => Native::Json(json::path(&argument()?.extract::<String>()?)),
            "regex" => Native::Regex(pattern(&argument()?.extract::<String>()?)?),
            "tuple" => {
                let parts = argument()?.extract::<Vec<Bound<'_, PyTuple>>>()?;
                Native::Tuple(parts.iter().map(Native::parse).collect::<PyResult<_>>()?)
            }
            "to_json" => {
                let parts = argument()?.extract::<Vec<(String, Bound<'_, PyTuple>)>>()?;
                let names = json::names(parts.iter().map(|(name, _)| name.as_str()));
                Native::ToJson(names, parts.iter().map(|(_, part)| Native::parse(part)).collect::<PyResult<_>>()?)
            }
            other => return Err(PyValueError::new_err(format!("Rust has no function '{other}'"))),
        })
    }

    /// The result; `None`: ask Python.
    pub fn apply(&self, value: &Value) -> Option<Value> {
        self.seen(value).map(Cow::into_owned)
    }

    /// The result, without a copy if it is a part of the value. `None`: ask Python.
    fn seen<'v>(&'v self, value: &'v Value) -> Option<Cow<'v, Value>> {
        match (self, value) {
            (Native::This, value) => Some(Cow::Borrowed(value)),
            (Native::Constant(constant), _) => Some(Cow::Borrowed(constant)),
            (Native::Item(i), Value::Tuple(parts)) => {
                let at = if *i < 0 { parts.len().checked_sub(i.unsigned_abs() as usize)? } else { *i as usize };
                parts.get(at).map(Cow::Borrowed)
            }
            (Native::Tuple(parts), value) => {
                let mut all = Vec::with_capacity(parts.len());
                for part in parts {
                    all.push(part.apply(value)?);
                }
                Some(Cow::Owned(Value::Tuple(all)))
            }
            (Native::ToJson(names, parts), value) => {
                let text = json::object(names, |i| parts[i].seen(value))?;
                Some(Cow::Owned(Value::text(text)))
            }
            (_, Value::Str(text)) => self.of_text(text).map(|part| Cow::Owned(part.into_value())),
            _ => None,
        }
    }

    /// As [`Native::apply`], for a part of a text.
    pub fn of_part<'t>(&self, part: Part<'t>) -> Option<Part<'t>> {
        match part {
            Part::Text(text) => self.of_text(text),
            Part::Value(value) => self.apply(&value).map(Part::Value),
        }
    }

    /// Whether it is a function of texts, which needs no value of the text.
    pub fn is_of_texts(&self) -> bool {
        matches!(self, Native::Split(_) | Native::Lower | Native::Upper | Native::Strip | Native::Json(_) | Native::Regex(_))
    }

    /// What the function makes of a text, without a [`Value`] of the text. `None`: ask Python.
    fn of_text<'t>(&self, text: &'t str) -> Option<Part<'t>> {
        let value = match self {
            Native::Split(_) => {
                let mut parts = Vec::new();
                self.split(text, |part| parts.push(Value::text(part)))?;
                Value::List(parts)
            }
            // Only ASCII is the same in every version of Unicode.
            Native::Lower if text.is_ascii() => Value::text(text.to_ascii_lowercase()),
            Native::Upper if text.is_ascii() => Value::text(text.to_ascii_uppercase()),
            Native::Strip => return Some(Part::Text(text.trim_matches(space))),
            Native::Json(path) => return json::find(text, path),
            Native::Regex(regex) => groups(regex, text),
            _ => return None,
        };
        Some(Part::Value(value))
    }

    /// Gives the parts of a text to `out`, if the function is `split`. `None`: it is another function, and nothing was given.
    pub fn split<'t>(&self, text: &'t str, out: impl FnMut(&'t str)) -> Option<()> {
        match self {
            Native::Split(None) => text.split(space).filter(|part| !part.is_empty()).for_each(out),
            // One byte is found faster than a text.
            Native::Split(Some(separator)) if separator.len() == 1 => {
                text.split(char::from(separator.as_bytes()[0])).for_each(out)
            }
            Native::Split(Some(separator)) if !separator.is_empty() => text.split(&**separator).for_each(out),
            _ => return None,
        }
        Some(())
    }

    /// Whether it splits texts, whatever they are.
    pub fn splits(&self) -> bool {
        matches!(self, Native::Split(separator) if separator.as_deref() != Some(""))
    }

    /// Whether it makes a pair of a value and the number 1, as programs do before they count.
    pub fn is_pair_with_one(&self) -> bool {
        matches!(self, Native::Tuple(parts) if matches!(&**parts, [Native::This, Native::Constant(Value::Int(1))]))
    }
}

/// White space as `str.split` has it.
fn space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// The groups of the first match, or the whole match if the pattern has none. `None` if nothing matches.
pub fn groups(regex: &regex::Regex, text: &str) -> Value {
    let Some(found) = regex.captures(text) else { return Value::None };
    let group = |i: usize| found.get(i).map_or(Value::None, |part| Value::text(part.as_str()));
    match found.len() {
        1 => group(0),
        groups => Value::Tuple((1..groups).map(group).collect()),
    }
}

/// A regular expression.
///
/// # Errors
/// A `ValueError` that says what is wrong.
pub fn pattern(text: &str) -> PyResult<regex::Regex> {
    regex::Regex::new(text)
        .map_err(|e| PyValueError::new_err(format!("regex({text:?}): {e}; for look-around use re, in a lambda")))
}
