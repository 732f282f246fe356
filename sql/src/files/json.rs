//! Lines of JSON: an object is a row.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema};
use serde_json::{Map, Value as Json};

use super::csv::{decimal, scalar};
use super::ddl::type_text;
use super::options::Options;
use super::times::Times;
use super::values::{Value, Values, fits};

/// How the values of an object are written, by Spark's options.
#[derive(Clone, Debug)]
pub(crate) struct JsonLines {
    times: Times,
}

/// The options of [`JsonLines`].
pub(crate) const OPTIONS: [&str; 2] = ["timestampFormat", "dateFormat"];

impl JsonLines {
    pub(crate) fn new(options: &Options) -> Result<Self, String> {
        Ok(JsonLines { times: Times::new(options.get("timestampFormat"), options.get("dateFormat"))? })
    }

    /// The values of a line, by the names of the columns. A name that is missing is a null; a name without a column is left out. `None`: the line
    /// is empty.
    pub(crate) fn values(&self, line: &str, schema: &Schema) -> Result<Option<Values>, String> {
        if line.trim().is_empty() {
            return Ok(None);
        }
        match serde_json::from_str(line).map_err(|e| e.to_string())? {
            Json::Object(object) => self.object(object, schema.fields()).map(|row| Some(Values(row))),
            other => Err(format!("the line is {}, and not an object", kind_of(&other))),
        }
    }

    /// As `values`, but a value that does not fit is null. If the line is not an object, all columns are null.
    pub(crate) fn values_or_nulls(&self, line: &str, schema: &Schema) -> Values {
        let read = |one: &Arc<Field>| {
            let schema = Schema::new(vec![one.clone()]);
            self.values(line, &schema).ok().flatten().and_then(|values| values.0.into_iter().next()).unwrap_or(Value::Null)
        };
        match self.values(line, schema) {
            Ok(Some(values)) => values,
            Ok(None) => Values(vec![Value::Null; schema.fields().len()]),
            // Seldom: each column is read by itself.
            Err(_) => Values(schema.fields().iter().map(read).collect()),
        }
    }

    fn object(&self, mut object: Map<String, Json>, fields: &Fields) -> Result<Vec<Value>, String> {
        let value = |field: &Arc<Field>| {
            let name = field.name();
            // A name in another case is the same column, if none has the case of the schema.
            let found = object.remove(name.as_str()).or_else(|| {
                let same = object.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned()?;
                object.remove(&same)
            });
            match found {
                None | Some(Json::Null) if field.is_nullable() => Ok(Value::Null),
                None | Some(Json::Null) => Err(format!("the column {name} is NOT NULL, and has no value")),
                Some(found) => self.value(found, field.data_type()).map_err(|reason| format!("column {name}: {reason}")),
            }
        };
        fields.iter().map(value).collect()
    }

    fn value(&self, json: Json, kind: &DataType) -> Result<Value, String> {
        Ok(match (kind, json) {
            (_, Json::Null) => Value::Null,
            (DataType::Boolean, Json::Bool(b)) => Value::Bool(b),
            (DataType::Utf8, Json::String(text)) => Value::Text(text),
            // Spark keeps the text of other values too.
            (DataType::Utf8, other) => Value::Text(other.to_string()),
            (DataType::Timestamp(..) | DataType::Date32, Json::String(text)) => scalar(text, kind, &self.times)?,
            (DataType::Float32 | DataType::Float64, Json::Number(n)) => {
                Value::Float(n.as_f64().ok_or_else(|| format!("{n} is not of type {}", type_text(kind)))?)
            }
            (DataType::Decimal128(precision, scale), Json::Number(n)) => {
                Value::Decimal(decimal(&n.to_string(), *precision, *scale)?)
            }
            (kind, Json::Number(n)) if kind.is_integer() => match n.as_i64().filter(|n| fits(kind, *n)) {
                Some(n) => Value::Int(n),
                None => return Err(format!("{n} is not of type {}", type_text(kind))),
            },
            (DataType::List(item), Json::Array(items)) => {
                Value::List(items.into_iter().map(|i| self.value(i, item.data_type())).collect::<Result<_, _>>()?)
            }
            (DataType::Struct(fields), Json::Object(object)) => Value::Struct(self.object(object, fields)?),
            (DataType::Map(entries, _), Json::Object(object)) => match entries.data_type() {
                DataType::Struct(pair) if pair[0].data_type() == &DataType::Utf8 => {
                    let pairs = object.into_iter().map(|(k, v)| Ok((Value::Text(k), self.value(v, pair[1].data_type())?)));
                    Value::Map(pairs.collect::<Result<_, String>>()?)
                }
                _ => return Err("the keys of a MAP are STRING in JSON".to_owned()),
            },
            (kind, other) => return Err(format!("{} is not of type {}", kind_of(&other), type_text(kind))),
        })
    }
}

/// A value in words.
fn kind_of(json: &Json) -> String {
    match json {
        Json::Null => "null".to_owned(),
        Json::Array(_) => "an array".to_owned(),
        Json::Object(_) => "an object".to_owned(),
        Json::String(text) => format!("the text `{text}`"),
        other => format!("`{other}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ddl::parsed;
    use super::*;

    fn read(line: &str, schema: &str) -> Result<Option<Values>, String> {
        JsonLines::new(&Options::default()).unwrap().values(line, &parsed(schema).unwrap())
    }

    #[test]
    fn objects_are_rows() {
        let schema = "s STRING, n INT, l ARRAY<INT>, o STRUCT<a: DOUBLE, b: STRING>, m MAP<STRING, BIGINT>, d DECIMAL(4,1)";
        let line = r#"{"S": "x", "n": 3, "l": [1, null], "o": {"a": 1, "c": 2}, "m": {"k": 9}, "d": 12.5, "more": 1}"#;
        let expected = vec![
            Value::Text("x".into()),
            Value::Int(3),
            Value::List(vec![Value::Int(1), Value::Null]),
            Value::Struct(vec![Value::Float(1.0), Value::Null]),
            Value::Map(vec![(Value::Text("k".into()), Value::Int(9))]),
            Value::Decimal(125),
        ];
        assert_eq!(read(line, schema).unwrap().unwrap().0, expected);
        assert_eq!(read(r#"{"s": {"a": 1}}"#, "s STRING").unwrap().unwrap().0, [Value::Text(r#"{"a":1}"#.into())]);
        assert_eq!(read(" ", schema), Ok(None));
    }

    #[test]
    fn what_does_not_fit_is_an_error_that_names_column_and_value() {
        for (line, says) in [
            (r#"{"n": "x"}"#, "column n: the text `x` is not of type INT"),
            (r#"{"n": 3000000000}"#, "column n: 3000000000 is not of type INT"),
            ("[1]", "the line is an array, and not an object"),
            (r#"{"n": 1"#, "EOF"),
            (r#"{"n": 1, "k": null}"#, "the column k is NOT NULL"),
        ] {
            let error = read(line, "n INT, k INT NOT NULL").unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
        }
    }
}
