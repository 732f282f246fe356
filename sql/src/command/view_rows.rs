//! The rows of a view, which are JSON, as a table. JSON says no types, so they are read off all rows.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema};
use serde_json::Value as Json;

use crate::error::{Result, SqlError};
use crate::files::json_shape::{Shape, Writer, by_name, numbered};
use crate::files::values::{Value, Values, batch};
use crate::{DataFrame, TableSession};

/// The rows of a view as a table. A tuple has the columns `_1`, `_2` and so on, a struct its fields by name, and any other row the column
/// `value`. No rows have no columns.
pub(super) fn table(session: &TableSession, view: &str, rows: &[Json]) -> Result<DataFrame> {
    // The columns, and whether a row is the one value of its column.
    let (fields, is_value) = match rows.iter().map(Shape::of).reduce(Shape::both) {
        Some(Shape::Parts(parts)) => (numbered(parts, Writer::Job), false),
        Some(Shape::Object(fields)) => (by_name(fields, Writer::Job), false),
        Some(other) => (Fields::from(vec![Field::new("value", other.kind(Writer::Job), true)]), true),
        None => (Fields::empty(), false),
    };
    let values = |row: &Json| match is_value {
        true => Values(vec![value(row, fields[0].data_type())]),
        false => Values(parts(row, &fields)),
    };
    let rows: Vec<Values> = rows.iter().map(values).collect();
    let schema = Arc::new(Schema::new(fields.clone()));
    let table = batch(&schema, &rows).map_err(|e| SqlError::new(view, e))?;
    session.table_of(schema, vec![table])
}

/// The values of a row or of a struct.
fn parts(row: &Json, fields: &Fields) -> Vec<Value> {
    let part = |(place, field): (usize, &Arc<Field>)| {
        let part = row.as_array().map_or_else(|| row.get(field.name()), |items| items.get(place));
        part.map_or(Value::Null, |json| value(json, field.data_type()))
    };
    fields.iter().enumerate().map(part).collect()
}

/// The type was made of all values, so it fits each.
fn value(json: &Json, kind: &DataType) -> Value {
    match (kind, json) {
        (_, Json::Null) => Value::Null,
        (DataType::Boolean, Json::Bool(b)) => Value::Bool(*b),
        (DataType::Int64, Json::Number(n)) => n.as_i64().map_or(Value::Null, Value::Int),
        (DataType::Decimal128(..), Json::Number(n)) => n.as_i128().map_or(Value::Null, Value::Decimal),
        (DataType::Float64, Json::Number(n)) => n.as_f64().map_or(Value::Null, Value::Float),
        (DataType::List(item), Json::Array(items)) => Value::List(items.iter().map(|i| value(i, item.data_type())).collect()),
        (DataType::Struct(fields), row) => Value::Struct(parts(row, fields)),
        (_, Json::String(text)) => Value::Text(text.clone()),
        (_, other) => Value::Text(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::files::{ddl, write};

    fn read(rows: Json) -> (String, Vec<String>) {
        let Json::Array(rows) = rows else { panic!("rows are a list") };
        let table = table(&TableSession::new(), "v", &rows).unwrap();
        let lines = table.record_batches().unwrap().iter().flat_map(|b| write::json_lines(b).unwrap()).collect();
        (ddl::text(&table.schema()), lines)
    }

    #[test]
    fn a_row_is_a_tuple_a_struct_or_a_value() {
        let (schema, rows) = read(json!([["a", 1, null], ["b", 2.5, true]]));
        assert_eq!(schema, "_1 STRING, _2 DOUBLE, _3 BOOLEAN");
        assert_eq!(rows, [r#"{"_1":"a","_2":1.0}"#, r#"{"_1":"b","_2":2.5,"_3":true}"#]);
        let (schema, rows) = read(json!([{"n": 1, "at": {"x": 2}}, {"n": null, "at": {"x": 3}}]));
        assert_eq!(schema, "at STRUCT<x: BIGINT>, n BIGINT");
        assert_eq!(rows, [r#"{"at":{"x":2},"n":1}"#, r#"{"at":{"x":3}}"#]);
        let (schema, rows) = read(json!(["a", "b"]));
        assert_eq!((schema.as_str(), rows), ("value STRING", vec![r#"{"value":"a"}"#.to_owned(), r#"{"value":"b"}"#.into()]));
        assert_eq!(read(json!([{"value": 1}])), ("value BIGINT".to_owned(), vec![r#"{"value":1}"#.to_owned()]));
        assert_eq!(read(json!([])), (String::new(), vec![]));
    }

    #[test]
    fn parts_of_different_kinds_are_a_tuple_and_others_a_list() {
        let (schema, rows) = read(json!([[["a", 1], 7], [["b", 2], 8]]));
        assert_eq!(schema, "_1 STRUCT<_1: STRING, _2: BIGINT>, _2 BIGINT");
        assert_eq!(rows[1], r#"{"_1":{"_1":"b","_2":2},"_2":8}"#);
        let (schema, rows) = read(json!([[[1, 2], "x"], [[], "y"]]));
        assert_eq!(schema, "_1 ARRAY<BIGINT>, _2 STRING");
        assert_eq!(rows[1], r#"{"_1":[],"_2":"y"}"#);
        assert_eq!(
            read(json!([[1, 2], [3]])),
            ("value ARRAY<BIGINT>".into(), vec![r#"{"value":[1,2]}"#.into(), r#"{"value":[3]}"#.into()])
        );
    }

    #[test]
    fn numbers_keep_their_digits_and_values_without_one_type_are_texts() {
        let (schema, rows) = read(json!([[u64::MAX, 1], [1, "x"]]));
        assert_eq!(schema, "_1 DECIMAL(20,0), _2 STRING");
        assert_eq!(rows, [r#"{"_1":"18446744073709551615","_2":"1"}"#, r#"{"_1":1.0,"_2":"x"}"#]);
    }
}
