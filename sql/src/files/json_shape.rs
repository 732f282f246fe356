//! Types that are read off values of JSON: those of the lines of files, and those of the rows of a view.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Fields};
use serde_json::Value as Json;

/// Who wrote the JSON: it decides what an array and a large number are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// Anybody. As in Spark, an array is a list, and a number that no BIGINT has is a double.
    Anybody,
    /// A job, of values of Rust: an array whose parts are of different kinds is a tuple, and a whole number keeps its digits.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "only the command asks jobs"))]
    Job,
}

/// What is known of a value.
pub(crate) enum Shape {
    Nothing,
    Bool,
    Whole,
    /// A whole number beyond 64 bits with a sign.
    Large,
    Real,
    Text,
    /// Arrays of one length: tuples, as long as nothing else is seen.
    Parts(Vec<Shape>),
    /// Arrays of several lengths.
    Items(Box<Shape>),
    Object(BTreeMap<String, Shape>),
}

impl Shape {
    pub fn of(json: &Json) -> Shape {
        match json {
            Json::Null => Shape::Nothing,
            Json::Bool(_) => Shape::Bool,
            Json::Number(n) if n.is_i64() => Shape::Whole,
            Json::Number(n) if n.is_u64() => Shape::Large,
            Json::Number(_) => Shape::Real,
            Json::String(_) => Shape::Text,
            Json::Array(items) => Shape::Parts(items.iter().map(Shape::of).collect()),
            Json::Object(fields) => Shape::Object(fields.iter().map(|(name, value)| (name.clone(), Shape::of(value))).collect()),
        }
    }

    /// What is known of values that are of one of two shapes. A text if these do not go together.
    pub fn both(self, other: Shape) -> Shape {
        use Shape::{Bool, Items, Large, Nothing, Object, Parts, Real, Text, Whole};
        match (self, other) {
            (Nothing, other) | (other, Nothing) => other,
            (Bool, Bool) => Bool,
            (Whole, Whole) => Whole,
            (Whole | Large, Whole | Large) => Large,
            (Whole | Large | Real, Whole | Large | Real) => Real,
            (Parts(a), Parts(b)) if a.len() == b.len() => Parts(a.into_iter().zip(b).map(|(a, b)| a.both(b)).collect()),
            (a @ (Parts(_) | Items(_)), b @ (Parts(_) | Items(_))) => Items(Box::new(a.item().both(b.item()))),
            (Object(mut a), Object(b)) => {
                for (name, shape) in b {
                    let before = a.remove(&name).unwrap_or(Nothing);
                    a.insert(name, before.both(shape));
                }
                Object(a)
            }
            _ => Text,
        }
    }

    /// The item of an array.
    fn item(self) -> Shape {
        match self {
            Shape::Parts(parts) => parts.into_iter().reduce(Shape::both).unwrap_or(Shape::Nothing),
            Shape::Items(item) => *item,
            other => other,
        }
    }

    /// The type of its values.
    pub fn kind(self, writer: Writer) -> DataType {
        match self {
            Shape::Bool => DataType::Boolean,
            Shape::Whole => DataType::Int64,
            Shape::Large if writer == Writer::Job => DataType::Decimal128(20, 0),
            Shape::Large | Shape::Real => DataType::Float64,
            Shape::Nothing | Shape::Text => DataType::Utf8,
            Shape::Parts(parts) if writer == Writer::Job && is_tuple(&parts) => DataType::Struct(numbered(parts, writer)),
            Shape::Object(fields) => DataType::Struct(by_name(fields, writer)),
            array => DataType::List(Arc::new(Field::new("item", array.item().kind(writer), true))),
        }
    }
}

/// Whether the parts of an array are of different kinds: then it is a tuple.
fn is_tuple(parts: &[Shape]) -> bool {
    let kind = |shape: &Shape| match shape {
        Shape::Nothing => None,
        Shape::Bool => Some(0),
        Shape::Whole | Shape::Large | Shape::Real => Some(1),
        Shape::Text => Some(2),
        Shape::Parts(_) | Shape::Items(_) => Some(3),
        Shape::Object(_) => Some(4),
    };
    let mut kinds = parts.iter().filter_map(kind);
    kinds.next().is_some_and(|first| kinds.any(|other| other != first))
}

/// The columns of a tuple.
pub(crate) fn numbered(parts: Vec<Shape>, writer: Writer) -> Fields {
    parts.into_iter().zip(1..).map(|(part, n)| Field::new(format!("_{n}"), part.kind(writer), true)).collect()
}

/// The columns of an object, in the order of their names.
pub(crate) fn by_name(fields: BTreeMap<String, Shape>, writer: Writer) -> Fields {
    fields.into_iter().map(|(name, shape)| Field::new(name, shape.kind(writer), true)).collect()
}
