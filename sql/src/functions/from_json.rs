//! `from_json`: a text of JSON as a struct.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, Signature, Volatility};

use super::{Function, plan, text_of};
use crate::files::ddl;
use crate::files::json::JsonLines;
use crate::files::options::Options;
use crate::files::values::{Value, Values, batch};

/// `from_json(text, schema)`: the object as a struct with these fields. A field that is missing or does not fit is null. If the text is not an
/// object, all fields are null. `from_json(text, schema, map('mode', 'FAILFAST'))` makes such a row an error.
pub(super) fn from_json() -> Function {
    Function { name: "from_json", signature: Signature::variadic_any(Volatility::Immutable), kind, values }
}

const USAGE: &str =
    "from_json takes a text, a schema in quotes, as in from_json(value, 'word STRING, n INT'), and perhaps a map of options";

/// The type that the schema of a call says.
fn kind(args: &ReturnFieldArgs) -> Result<DataType> {
    let ([_, schema] | [_, schema, _]) = args.scalar_arguments else { return plan(USAGE) };
    let Some(text) = schema.and_then(text_of) else { return plan(USAGE) };
    match ddl::parsed(text) {
        Ok(schema) => Ok(nullable(&DataType::Struct(schema.fields))),
        Err(reason) => plan(&format!("from_json: {reason}")),
    }
}

/// The type with fields that may all be null: NOT NULL says nothing of a text.
fn nullable(kind: &DataType) -> DataType {
    let of = |field: &FieldRef| Arc::new(field.as_ref().clone().with_data_type(nullable(field.data_type())).with_nullable(true));
    match kind {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(of).collect()),
        DataType::List(item) => DataType::List(of(item)),
        other => other.clone(),
    }
}

fn values(args: &ScalarFunctionArgs) -> Result<ArrayRef> {
    let kind = args.return_type();
    let DataType::Struct(fields) = kind else { return plan(USAGE) };
    let (schema, rows) = (Schema::new(fields.clone()), args.number_rows);
    let options = args.args.get(2).map(|map| options(map, rows)).transpose()?.unwrap_or_default();
    let fails = match options.get("mode").map(str::to_ascii_uppercase).as_deref() {
        None | Some("PERMISSIVE") => false,
        Some("FAILFAST") => true,
        Some(other) => return plan(&format!("from_json: the mode is {other}; there are PERMISSIVE and FAILFAST")),
    };
    let known = ["mode", "timestampFormat", "dateFormat"];
    let reader = options.only("from_json", &known).and_then(|()| JsonLines::new(&options));
    let reader = reader.map_err(|reason| DataFusionError::Plan(format!("from_json: {reason}")))?;
    let texts = cast(&args.args[0].to_array(rows)?, &DataType::Utf8)?;
    let texts = texts.as_string::<i32>();
    let value = |row: usize| match texts.is_valid(row).then(|| texts.value(row)) {
        None => Ok(Value::Null),
        Some(text) if fails => match reader.values(text, &schema) {
            Ok(Some(Values(parts))) => Ok(Value::Struct(parts)),
            Ok(None) => Err(DataFusionError::Execution("from_json: the text is empty".to_owned())),
            Err(reason) => Err(DataFusionError::Execution(format!("from_json: {reason}"))),
        },
        Some(text) => Ok(Value::Struct(reader.values_or_nulls(text, &schema).0)),
    };
    let values = (0..texts.len()).map(|row| Ok(Values(vec![value(row)?]))).collect::<Result<Vec<_>>>()?;
    let column = batch(&Arc::new(Schema::new(vec![Field::new("value", kind.clone(), true)])), &values)?;
    Ok(column.column(0).clone())
}

/// The options of a map, which are the same for all rows.
fn options(map: &ColumnarValue, rows: usize) -> Result<Options> {
    let map = map.to_array(rows.max(1))?;
    let (DataType::Map(..), false) = (map.data_type(), map.is_empty()) else { return plan(USAGE) };
    let entries = map.as_map().value(0);
    let texts = |place| cast(entries.column(place), &DataType::Utf8);
    let (names, values) = (texts(0)?, texts(1)?);
    let mut options = Options::default();
    for (name, value) in names.as_string::<i32>().iter().zip(values.as_string::<i32>()) {
        options.set(name.unwrap_or_default(), value.unwrap_or_default().to_owned());
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use crate::TableSession;

    fn one<T: serde::de::DeserializeOwned>(sql: &str) -> Result<T, String> {
        let rows = TableSession::new().sql(sql).and_then(|frame| frame.collect::<T>());
        rows.map(|mut rows| rows.remove(0)).map_err(|e| e.to_string())
    }

    #[test]
    fn objects_are_structs() {
        let parts = "select o.word, o.n from (select from_json(t, 'word STRING, n INT') as o from (select '{T}' as t))";
        let of = |json: &str| one::<(Option<String>, Option<i32>)>(&parts.replace("{T}", json)).unwrap();
        assert_eq!(of(r#"{"word": "to", "n": 3, "more": 1}"#), (Some("to".to_owned()), Some(3)));
        // What does not fit is null, and the rest stays.
        assert_eq!(of(r#"{"word": "to", "n": "x"}"#), (Some("to".to_owned()), None));
        let strict = one::<Option<i32>>("select o.n from (select from_json('{}', 'n INT NOT NULL') as o)");
        assert_eq!(strict, Ok(None));
        assert_eq!(of("[1]"), (None, None));
        assert_eq!(of("{"), (None, None));
    }

    #[test]
    fn nested_values_have_their_types() {
        let json = r#"{"a": {"b": [1, 2]}}"#;
        let sql = format!("select o.a.b from (select from_json('{json}', 'a STRUCT<b: ARRAY<INT>>') as o)");
        assert_eq!(one::<Vec<i32>>(&sql), Ok(vec![1, 2]));
    }

    #[test]
    fn a_row_that_does_not_fit_may_be_an_error() {
        let sql = r#"select o.n from (select from_json('{"n": "x"}', 'n INT', map('mode', 'FAILFAST')) as o)"#;
        assert!(one::<i32>(sql).unwrap_err().contains("column n: the text `x` is not of type INT"));
        assert!(one::<i32>("select from_json('{}', 'n WHAT')").unwrap_err().contains("WHAT"));
        assert!(one::<i32>("select from_json('{}')").unwrap_err().contains("from_json(value, 'word STRING, n INT')"));
        let sql = "select o.n from (select from_json('{}', 'n INT', map('mode', 'ALL')) as o)";
        assert!(one::<i32>(sql).unwrap_err().contains("PERMISSIVE and FAILFAST"));
    }
}
