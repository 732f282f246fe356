//! `map`: keys and values, in turns, as a map.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, MapArray, StructArray};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::{cast, interleave};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::plan;
use crate::files::ddl;

/// `map(key, value, ..)`: a map of these pairs. The types are those of the first pair. A key may not be null.
pub(super) fn map() -> ScalarUDF {
    ScalarUDF::from(MapOf { signature: Signature::variadic_any(Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct MapOf {
    signature: Signature,
}

impl ScalarUDFImpl for MapOf {
    fn name(&self) -> &str {
        "map"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [key, value, ..] if types.len().is_multiple_of(2) => Ok(ddl::map(key.clone(), value.clone())),
            _ => plan("map takes keys and values in turns: map('a', 1, 'b', 2)"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let kind = args.return_type().clone();
        let DataType::Map(entries, sorted) = &kind else { return plan("map has no type") };
        let DataType::Struct(pair) = entries.data_type() else { return plan("map has no pairs") };
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
        if keys.null_count() > 0 {
            return Err(DataFusionError::Execution("map: a key is null".to_owned()));
        }
        let parts = StructArray::try_new(pair.clone(), vec![keys, values], None)?;
        let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(pairs, rows));
        Ok(ColumnarValue::Array(Arc::new(MapArray::try_new(entries.clone(), offsets, parts, None, *sorted)?)))
    }
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
        let null = session.sql("select map(cast(null as string), 1)['a']").and_then(|frame| frame.collect::<i64>());
        assert!(null.unwrap_err().to_string().contains("a key is null"));
    }
}
