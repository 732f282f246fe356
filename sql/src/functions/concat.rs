//! `concat`: texts one after the other, also of values that are not texts.

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};
use datafusion_spark::function::string::concat::SparkConcat;

/// datafusion-spark's `concat`, which takes texts alone.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
struct Concat(SparkConcat);

/// `concat(a, b, ..)`: null if one of them is.
pub(super) fn concat() -> ScalarUDF {
    ScalarUDF::from(Concat::default())
}

/// The type that a value has beside a text: a number, a truth or a time becomes its text, as Spark casts it.
pub(crate) fn as_text(kind: &DataType) -> DataType {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => kind.clone(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => kind.clone(),
        nested if nested.is_nested() => kind.clone(),
        _ => DataType::Utf8,
    }
}

impl ScalarUDFImpl for Concat {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        Ok(kinds.iter().map(as_text).collect())
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        self.0.return_type(kinds)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.0.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.0.invoke_with_args(args)
    }
}

#[cfg(test)]
mod tests {
    use tidemill::testing::check;

    use crate::{StreamTables, TableSession};

    #[test]
    fn values_that_are_no_texts_are_cast() {
        let session = TableSession::new();
        session.create_data_frame(&[("a", 5, Some(true)), ("b", -1, None)]).unwrap().create_or_replace_temp_view("t").unwrap();
        let texts = |list: &str| {
            let sql = format!("select {list} from t order by _1");
            session.sql(&sql).and_then(|table| table.collect::<Option<String>>()).unwrap_or_else(|e| panic!("{e}"))
        };
        let some = |texts: [&str; 2]| texts.map(|text| Some(text.to_owned()));
        for list in ["concat(_1, _2)", "_1 || _2"] {
            assert_eq!(texts(list), some(["a5", "b-1"]), "{list}");
        }
        for list in ["concat(_2, 1.5, _2)", "_2 || 1.5 || _2"] {
            assert_eq!(texts(list), some(["51.55", "-11.5-1"]), "{list}");
        }
        assert_eq!(texts("concat('a', 5, date '2026-11-29')"), some(["a52026-11-29"; 2]));
        // A null makes all of it null.
        for list in ["concat(_1, _3)", "_1 || _3"] {
            assert_eq!(texts(list), [Some("atrue".to_owned()), None], "{list}");
        }
        assert_eq!(texts("concat()"), some([""; 2]));
        assert_eq!(texts("concat('a', null)"), [None, None]);
    }

    #[test]
    fn the_same_holds_over_streams() {
        check(
            [vec![("to", 2)], vec![("be", 2)]],
            |stream| {
                let tables = StreamTables::new(&TableSession::new());
                tables.register_stream("words", &stream.map(|(word, n)| (word.to_owned(), n))).unwrap();
                tables.sql("select concat(_1, '=', _2) || _2 from words").unwrap().stream::<String>().unwrap()
            },
            [vec!["to=22".to_owned()], vec!["be=22".to_owned()]],
        );
    }
}
