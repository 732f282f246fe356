//! Functions that Rust knows: a program says them with `tidemill.split` and its like, with `operator`, or as a lambda that Python's half
//! recognizes by its bytecode.
//!
//! Each is the Rust half of a callable of Python. For a value that it does not know exactly as Python does, it returns `None`, and the
//! callable is called. So a result never depends on which half made it.

mod binary;
mod json;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

pub use binary::Binary;

use crate::value::Value;

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
    ToJson(Vec<(String, Native)>),
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
                let part = |(name, part): &(String, Bound<'_, PyTuple>)| Ok((name.clone(), Native::parse(part)?));
                Native::ToJson(parts.iter().map(part).collect::<PyResult<_>>()?)
            }
            other => return Err(PyValueError::new_err(format!("Rust has no function '{other}'"))),
        })
    }

    /// The result; `None`: ask Python.
    pub fn apply(&self, value: &Value) -> Option<Value> {
        match (self, value) {
            (Native::This, value) => Some(value.clone()),
            (Native::Constant(constant), _) => Some(constant.clone()),
            (Native::Item(i), Value::Tuple(parts)) => {
                let at = if *i < 0 { parts.len().checked_sub(i.unsigned_abs() as usize)? } else { *i as usize };
                parts.get(at).cloned()
            }
            (Native::Tuple(parts), value) => {
                Some(Value::Tuple(parts.iter().map(|part| part.apply(value)).collect::<Option<_>>()?))
            }
            (Native::ToJson(parts), value) => {
                let parts = parts.iter().map(|(name, part)| Some((name, part.apply(value)?)));
                json::object(&parts.collect::<Option<Vec<_>>>()?).map(Value::text)
            }
            (_, Value::Str(text)) => self.apply_text(text),
            _ => None,
        }
    }

    /// Whether it is a function of texts, which needs no value of the text.
    pub fn is_of_texts(&self) -> bool {
        matches!(self, Native::Split(_) | Native::Lower | Native::Upper | Native::Strip | Native::Json(_) | Native::Regex(_))
    }

    /// What the function makes of a text, without a [`Value`] of the text. `None`: only [`Native::apply`] knows.
    pub fn apply_text(&self, text: &str) -> Option<Value> {
        match self {
            Native::Split(None) => Some(texts(text.split(space).filter(|part| !part.is_empty()))),
            Native::Split(Some(separator)) if !separator.is_empty() => Some(texts(text.split(&**separator))),
            // Only ASCII is the same in every version of Unicode.
            Native::Lower if text.is_ascii() => Some(Value::text(text.to_ascii_lowercase())),
            Native::Upper if text.is_ascii() => Some(Value::text(text.to_ascii_uppercase())),
            Native::Strip => Some(Value::text(text.trim_matches(space))),
            Native::Json(path) => json::find(text, path),
            Native::Regex(regex) => Some(groups(regex, text)),
            _ => None,
        }
    }
}

/// White space as `str.split` has it.
fn space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

fn texts<'a>(parts: impl Iterator<Item = &'a str>) -> Value {
    Value::List(parts.map(Value::text).collect())
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
