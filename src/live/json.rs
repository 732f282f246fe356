//! A row of an added computation: JSON that can be a key, and its columns.

use std::cmp::Ordering;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Number, Value};

use crate::core::data::F64;

/// JSON that can be a key. As text it is JSON, in bytes it is an enum, because not every encoding tells types.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub(crate) enum Json {
    #[default]
    Null,
    Bool(bool),
    Int(i128),
    Float(F64),
    Text(String),
    List(Vec<Json>),
    /// Its fields in the order of the row.
    Object(Vec<(String, Json)>),
}

/// What a column is that a row does not have.
static NULL: Json = Json::Null;

/// What orders values: numbers by their value, after all that are not numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    Other(Json),
    /// The whole part and the fraction.
    Number(i128, F64),
}

/// A step to a part of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// An element, counted from 1: `_1`.
    Element(usize),
    Field(String),
}

/// A column of a row: `_2`, `name`, `_1.name`.
pub(crate) type Column = Vec<Step>;

impl Json {
    /// A column of this row. A row that is not a list is its own first column. A column that is missing is null.
    pub fn column(&self, column: &[Step]) -> &Json {
        match (self, column.split_first()) {
            (Json::List(_), _) => self.part(column),
            (_, Some((Step::Element(1), rest))) => self.part(rest),
            _ => self.part(column),
        }
    }

    fn part(&self, steps: &[Step]) -> &Json {
        let Some((step, rest)) = steps.split_first() else { return self };
        let part = match (self, step) {
            (Json::List(parts), Step::Element(n)) => n.checked_sub(1).and_then(|n| parts.get(n)),
            (Json::Object(fields), Step::Field(name)) => fields.iter().find(|(field, _)| field == name).map(|(_, part)| part),
            _ => None,
        };
        part.map_or(&NULL, |part| part.part(rest))
    }

    /// A row of these columns. One column is the row itself, as in views of single values.
    pub fn row(mut columns: Vec<Json>) -> Json {
        match columns.len() {
            1 => columns.remove(0),
            _ => Json::List(columns),
        }
    }

    /// The columns of this row.
    pub fn columns(self) -> Vec<Json> {
        match self {
            Json::List(parts) => parts,
            row => vec![row],
        }
    }

    /// The whole part and the fraction of a number. Floats above 2^100 are left out, so that sums of them fit.
    pub fn number(&self) -> Option<(i128, F64)> {
        match self {
            Json::Int(n) => Some((*n, F64::default())),
            Json::Float(x) if x.abs() < 2f64.powi(100) => Some((x.floor() as i128, F64::from(**x - x.floor()))),
            _ => None,
        }
    }

    /// What orders this value.
    pub fn rank(&self) -> Rank {
        self.number().map_or_else(|| Rank::Other(self.clone()), |(whole, fraction)| Rank::Number(whole, fraction))
    }

    /// What orders this row: its last number, as in `tidemill query --top`.
    pub fn last_number(&self) -> Rank {
        let parts = match self {
            Json::List(parts) => parts.as_slice(),
            row => std::slice::from_ref(row),
        };
        parts.iter().rev().find(|part| part.number().is_some()).unwrap_or(&NULL).rank()
    }

    /// The order of two values of one type: numbers by their value, texts by their letters, lists part by part. `None`: they have no order.
    pub fn order(&self, other: &Json) -> Option<Ordering> {
        match (self, other) {
            (Json::Null, Json::Null) => Some(Ordering::Equal),
            (Json::Bool(a), Json::Bool(b)) => Some(a.cmp(b)),
            (Json::Text(a), Json::Text(b)) => Some(a.cmp(b)),
            (Json::Int(_) | Json::Float(_), Json::Int(_) | Json::Float(_)) => match (self.number(), other.number()) {
                (Some(a), Some(b)) => Some(a.cmp(&b)),
                _ => self.float().partial_cmp(&other.float()),
            },
            (Json::List(a), Json::List(b)) => {
                for (a, b) in a.iter().zip(b) {
                    match a.order(b)? {
                        Ordering::Equal => {}
                        other => return Some(other),
                    }
                }
                Some(a.len().cmp(&b.len()))
            }
            (Json::Object(_), Json::Object(_)) if self == other => Some(Ordering::Equal),
            _ => None,
        }
    }

    fn float(&self) -> f64 {
        match self {
            Json::Int(n) => *n as f64,
            Json::Float(x) => **x,
            _ => f64::NAN,
        }
    }

    /// The row as JSON text.
    pub fn text(&self) -> String {
        Value::from(self).to_string()
    }
}

impl From<&Json> for Value {
    fn from(json: &Json) -> Value {
        match json {
            Json::Null => Value::Null,
            Json::Bool(b) => Value::Bool(*b),
            Json::Int(n) => Number::from_i128(*n).map_or_else(|| Value::from(*n as f64), Value::Number),
            Json::Float(x) => Value::from(**x),
            Json::Text(text) => Value::String(text.clone()),
            Json::List(parts) => Value::Array(parts.iter().map(Value::from).collect()),
            Json::Object(fields) => {
                Value::Object(fields.iter().map(|(name, part)| (name.clone(), part.into())).collect::<Map<_, _>>())
            }
        }
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Json {
        match value {
            Value::Null => Json::Null,
            Value::Bool(b) => Json::Bool(b),
            Value::Number(n) => match n.as_i128() {
                Some(n) => Json::Int(n),
                None => n.as_f64().map_or(Json::Null, |x| Json::Float(x.into())),
            },
            Value::String(text) => Json::Text(text),
            Value::Array(parts) => Json::List(parts.into_iter().map(Json::from).collect()),
            Value::Object(fields) => Json::Object(fields.into_iter().map(|(name, part)| (name, part.into())).collect()),
        }
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { Value::from(self).serialize(serializer) } else { Json::serialize(self, serializer) }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            Value::deserialize(deserializer).map(Json::from)
        } else {
            Json::deserialize(deserializer)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::data::encoded;

    fn of(value: Value) -> Json {
        value.into()
    }

    #[test]
    fn a_value_is_the_same_after_text_and_bytes() {
        for value in [
            json!(null),
            json!(true),
            json!(-7),
            json!(u64::MAX),
            json!(0.5),
            json!("tide"),
            json!([[1, "a"], {"b": [2.5], "c": null}]),
        ] {
            let json = of(value.clone());
            assert_eq!(Value::from(&json), value);
            assert_eq!(postcard::from_bytes::<Json>(&encoded(&json)).unwrap(), json);
            assert_eq!(serde_json::from_str::<Json>(&json.text()).unwrap(), json);
            assert_eq!(serde_json::to_value(&json).unwrap(), value);
        }
        assert_eq!(Json::Int(i128::MAX).text(), "1.7014118346046923e+38", "JSON has no larger integers");
    }

    #[test]
    fn columns_are_elements_and_fields_and_what_is_missing_is_null() {
        let row = of(json!([["tide", 3], {"at": {"port": 7}}, 2]));
        let column = |steps: &[Step]| Value::from(row.column(steps));
        let field = |name: &str| Step::Field(name.into());
        assert_eq!(column(&[Step::Element(1), Step::Element(2)]), json!(3));
        assert_eq!(column(&[Step::Element(2), field("at"), field("port")]), json!(7));
        for missing in [&[Step::Element(0)][..], &[Step::Element(4)], &[field("at")], &[Step::Element(3), Step::Element(1)]] {
            assert_eq!(column(missing), Value::Null, "{missing:?}");
        }
        assert_eq!(of(json!("mill")).column(&[Step::Element(1)]), &Json::Text("mill".into()));
        assert_eq!(of(json!({"a": 1})).column(&[field("a")]), &Json::Int(1));
        assert_eq!(of(json!({"a": 1})).column(&[Step::Element(1), field("a")]), &Json::Int(1));
    }

    #[test]
    fn numbers_are_compared_by_value_and_types_are_not_compared() {
        let order = |a, b| of(a).order(&of(b));
        assert_eq!(order(json!(1), json!(1.0)), Some(Ordering::Equal));
        assert_eq!(order(json!(-0.5), json!(0)), Some(Ordering::Less));
        assert_eq!(order(json!(1e200), json!(u64::MAX)), Some(Ordering::Greater));
        assert_eq!(order(json!("b"), json!("a")), Some(Ordering::Greater));
        assert_eq!(order(json!([1, "b"]), json!([1, "c"])), Some(Ordering::Less));
        assert_eq!((order(json!("1"), json!(1)), order(json!(null), json!(0))), (None, None));
        let rank = |row| of(row).last_number();
        assert!(rank(json!(["a", 3.5])) > rank(json!(["b", 3])) && rank(json!(["a", 3, "x"])) > rank(json!(["b"])));
        assert!(rank(json!([-0.5])) > rank(json!([-1])));
    }
}
