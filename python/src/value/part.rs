//! [`Part`]: a value, or a text that is not copied yet. [`Countable`]: a value that is counted, without a copy of it.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};

use super::Value;

/// What a function makes of a text: a part of it, or another value.
#[derive(Clone, Debug, PartialEq)]
pub enum Part<'t> {
    /// A part of the text.
    Text(&'t str),
    /// Another value.
    Value(Value),
}

impl Part<'_> {
    /// The value.
    pub fn into_value(self) -> Value {
        match self {
            Part::Text(text) => Value::text(text),
            Part::Value(value) => value,
        }
    }
}

/// A key that is counted: a [`Value`], or the text of one. Both have the same hash.
pub trait Countable {
    /// What it is.
    fn as_part(&self) -> Known<'_>;
}

/// What a [`Countable`] is.
#[derive(PartialEq)]
pub enum Known<'a> {
    /// A str.
    Text(&'a str),
    /// Any other value.
    Other(&'a Value),
}

impl Countable for Value {
    fn as_part(&self) -> Known<'_> {
        match self {
            Value::Str(text) => Known::Text(text),
            other => Known::Other(other),
        }
    }
}

impl Countable for String {
    fn as_part(&self) -> Known<'_> {
        Known::Text(self)
    }
}

impl Hash for dyn Countable {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.as_part() {
            Known::Text(text) => text.hash(state),
            Known::Other(value) => value.hash(state),
        }
    }
}

impl PartialEq for dyn Countable {
    fn eq(&self, other: &Self) -> bool {
        self.as_part() == other.as_part()
    }
}

impl Eq for dyn Countable {}

impl Borrow<dyn Countable> for Value {
    fn borrow(&self) -> &(dyn Countable + 'static) {
        self
    }
}

impl ToOwned for dyn Countable {
    type Owned = Value;

    fn to_owned(&self) -> Value {
        match self.as_part() {
            Known::Text(text) => Value::text(text),
            Known::Other(value) => value.clone(),
        }
    }
}
