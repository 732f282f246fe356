//! `map`: keys and values, in turns, as a map.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, MapArray, StructArray};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::{cast, interleave};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ReturnFieldArgs, ScalarFunctionArgs, Signature, Volatility};

use super::{Function, plan};
use crate::files::ddl;

/// `map(key, value, ..)`: a map of these pairs. All keys have one type, and so have all values. A key may not be null, nor come
/// twice.
pub(super) fn map() -> Function {
    Function { name: "map", signature: Signature::variadic_any(Volatility::Immutable), kind, values }
}

fn kind(args: &ReturnFieldArgs) -> Result<DataType> {
    let [key, value, ..] = args.arg_fields else { return plan(USAGE) };
    if !args.arg_fields.len().is_multiple_of(2) {
        return plan(USAGE);
    }
    let (key, value) = (key.data_type(), value.data_type());
    for (place, field) in args.arg_fields.iter().enumerate() {
        let (what, first) = if place % 2 == 0 { ("keys", key) } else { ("values", value) };
        let kind = field.data_type();
        if kind != first && *kind != DataType::Null {
            let (first, other) = (ddl::type_text(first), ddl::type_text(kind));
            return plan(&format!("map: its {what} are of the types {first} and {other}; cast them to one"));
        }
    }
    Ok(ddl::map(key.clone(), value.clone()))
}

const USAGE: &str = "map takes keys and values in turns: map('a', 1, 'b', 2)";

fn values(args: &ScalarFunctionArgs) -> Result<ArrayRef> {
    let DataType::Map(entries, sorted) = args.return_type() else { return plan(USAGE) };
    let DataType::Struct(pair) = entries.data_type() else { return plan(USAGE) };
    let (rows, pairs) = (args.number_rows, args.args.len() / 2);
    // The keys of a row follow one another, and so do its values.
    let column = |first: usize| -> Result<ArrayRef> {
        let parts = args.args.iter().skip(first).step_by(2);
        let parts = parts.map(|part| Ok(cast(&part.to_array(rows)?, pair[first].data_type())?));
        let parts = parts.collect::<Result<Vec<ArrayRef>>>()?;
        let places: Vec<(usize, usize)> = (0..rows).flat_map(|row| (0..pairs).map(move |part| (part, row))).collect();
        Ok(interleave(&parts.iter().map(|part| part.as_ref()).collect::<Vec<&dyn Array>>(), &places)?)
    };
    let (keys, values) = (column(0)?, column(1)?);
    let fault = |reason: String| Err(DataFusionError::Execution(format!("map: {reason}")));
    if keys.null_count() > 0 {
        return fault("a key is null".to_owned());
    }
    let names = cast(&keys, &DataType::Utf8)?;
    for row in names.as_string::<i32>().iter().collect::<Vec<_>>().chunks(pairs) {
        if let Some(twice) = (1..row.len()).find(|place| row[..*place].contains(&row[*place])) {
            return fault(format!("the key {} comes twice", row[twice].unwrap_or_default()));
        }
    }
    let parts = StructArray::try_new(pair.clone(), vec![keys, values], None)?;
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(pairs, rows));
    Ok(Arc::new(MapArray::try_new(entries.clone(), offsets, parts, None, *sorted)?))
}

#[cfg(test)]
mod tests {
    use crate::TableSession;

    #[test]
    fn pairs_are_found_by_their_key() {
        let session = TableSession::new();
        session.create_data_frame(&["to", "be"]).unwrap().create_or_replace_temp_view("words").unwrap();
        let rows = session.sql("select m['a'], m['b'] from (select map('a', value, 'b', 'x') as m from words) t").unwrap();
        let pairs = [("to", "x"), ("be", "x")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(rows.collect::<(String, String)>().unwrap(), pairs);
        assert!(session.sql("select map('a')").unwrap_err().to_string().contains("in turns"));
        let failed = |sql: &str| session.sql(sql).and_then(|frame| frame.collect::<i64>()).unwrap_err().to_string();
        assert!(failed("select map('a', 1, 'b', 'x')['b']").contains("values are of the types BIGINT and STRING"));
        assert!(failed("select map('a', 1, 'a', 2)['a']").contains("the key a comes twice"));
        let null = session.sql("select map(cast(null as string), 1)['a']").and_then(|frame| frame.collect::<i64>());
        assert!(null.unwrap_err().to_string().contains("a key is null"));
    }
}
