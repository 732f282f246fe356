//! `to_json`: a struct, an array or a map as a text of JSON.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ReturnFieldArgs, ScalarFunctionArgs, Signature, Volatility};

use super::{Function, plan};
use crate::files::write::json_text;

/// `to_json(value)`: the value as `format("json")` writes it. Fields that are null are left out.
pub(super) fn to_json() -> Function {
    Function { name: "to_json", signature: Signature::any(1, Volatility::Immutable), kind, values }
}

fn kind(args: &ReturnFieldArgs) -> Result<DataType> {
    match args.arg_fields[0].data_type() {
        DataType::Struct(_) | DataType::List(_) | DataType::LargeList(_) | DataType::Map(..) => Ok(DataType::Utf8),
        _ => plan("to_json takes a struct, an array or a map: to_json(named_struct('word', word, 'n', n))"),
    }
}

fn values(args: &ScalarFunctionArgs) -> Result<ArrayRef> {
    let values = args.args[0].to_array(args.number_rows)?;
    let texts = (0..values.len()).map(|row| json_text(&values, row)).collect::<std::result::Result<Vec<_>, String>>();
    Ok(Arc::new(StringArray::from(texts.map_err(DataFusionError::Execution)?)))
}

#[cfg(test)]
mod tests {
    use crate::TableSession;

    #[test]
    fn structs_arrays_and_maps_are_texts() {
        let one = |sql: &str| TableSession::new().sql(sql).unwrap().collect::<Option<String>>().unwrap().remove(0);
        let text = one(
            "select to_json(named_struct('z', 'a\"b', 'n', 2, 'no', cast(null as int), 'a', named_struct('y', 1, 'x', array(true))))",
        );
        assert_eq!(text.unwrap(), r#"{"z":"a\"b","n":2,"a":{"y":1,"x":[true]}}"#, "fields keep their order");
        assert_eq!(one("select to_json(map('k', 1.5))").unwrap(), r#"{"k":1.5}"#);
        assert_eq!(one("select to_json(from_json(cast(null as string), 'n INT'))"), None);
        let error = TableSession::new().sql("select to_json('x')").unwrap_err().to_string();
        assert!(error.contains("to_json(named_struct("), "{error}");
    }
}
