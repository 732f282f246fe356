//! [`Value`]: a row, a key or a state, as the engine holds it.
//!
//! Scalars, and tuples of them, are Rust values: they are hashed, compared and saved without Python. Any other object stays a
//! Python object ([`Object`]) until somebody must save or compare it. Then it becomes plain ([`Value::plain`]): lists, dicts, sets, and
//! records of named types. Nothing is ever pickled.

mod from_python;
mod object;
mod part;
mod text;
mod to_python;

pub use object::Object;
pub use part::{Countable, Part};
pub use text::Text;

use std::hash::{Hash, Hasher};

use num_bigint::BigInt;
use serde::{Deserialize, Serialize};
use tidemill::prelude::F64;

/// A value of Python. Checkpoints have its path, and its variants by number: a new one comes last (docs/formats.md). Two values are equal if and only if their encodings are, as a `Key` must be. So `1`, `1.0` and `True` are three keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Value {
    /// `None`
    None,
    /// `True` or `False`
    Bool(bool),
    /// An int of 64 bits.
    Int(i64),
    /// An int that needs more than 64 bits.
    Big(BigInt),
    /// A float: one zero, one NaN.
    Float(F64),
    /// A str.
    Str(Box<str>),
    /// Bytes.
    Bytes(Box<[u8]>),
    /// A tuple.
    Tuple(Vec<Value>),
    /// A plain list.
    List(Vec<Value>),
    /// A plain dict, in its own order.
    Dict(Vec<(Value, Value)>),
    /// A plain set, in order.
    Set(Vec<Value>),
    /// An object of a named type that Python's half of this crate can make again, with its parts.
    Record(Box<str>, Vec<Value>),
    /// An object of Python.
    Object(Object),
}

/// A str is hashed as a text, so that a text is found among values ([`Countable`]).
impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if !matches!(self, Value::Str(_)) {
            std::mem::discriminant(self).hash(state);
        }
        match self {
            Value::None => {}
            Value::Bool(flag) => flag.hash(state),
            Value::Int(n) => n.hash(state),
            Value::Big(n) => n.hash(state),
            Value::Float(x) => x.hash(state),
            Value::Str(text) => text.hash(state),
            Value::Bytes(bytes) => bytes.hash(state),
            Value::Tuple(parts) | Value::List(parts) | Value::Set(parts) => parts.hash(state),
            Value::Dict(parts) => parts.hash(state),
            Value::Record(name, parts) => (name, parts).hash(state),
            Value::Object(object) => object.hash(state),
        }
    }
}

impl Value {
    /// A str.
    pub fn text(text: impl Into<Box<str>>) -> Self {
        Value::Str(text.into())
    }

    /// A pair.
    pub fn pair(first: Value, second: Value) -> Self {
        Value::Tuple(vec![first, second])
    }

    /// The two parts of a pair; the value itself if it is none.
    pub fn into_pair(self) -> Result<(Value, Value), Value> {
        match self {
            Value::Tuple(parts) if parts.len() == 2 => {
                let mut parts = parts.into_iter();
                match (parts.next(), parts.next()) {
                    (Some(first), Some(second)) => Ok((first, second)),
                    _ => Err(Value::None),
                }
            }
            other => Err(other),
        }
    }

    /// Whether the value has no object of Python in it.
    pub fn is_plain(&self) -> bool {
        match self {
            Value::Object(_) => false,
            Value::Tuple(parts) | Value::List(parts) => parts.iter().all(Value::is_plain),
            // Dicts, sets and records are made by `plain` only.
            _ => true,
        }
    }

    /// The name of its type, as Python has it.
    pub fn type_name(&self) -> String {
        let name = match self {
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) | Value::Big(_) => "int",
            Value::Float(_) => "float",
            Value::Str(_) => "str",
            Value::Bytes(_) => "bytes",
            Value::Tuple(_) => "tuple",
            Value::List(_) => "list",
            Value::Dict(_) => "dict",
            Value::Set(_) => "set",
            Value::Record(name, _) => return name.to_string(),
            Value::Object(object) => return object.type_name(),
        };
        name.into()
    }
}
