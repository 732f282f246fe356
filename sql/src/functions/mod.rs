//! Functions of Spark that neither DataFusion nor datafusion-spark has in this build, a file each.

mod from_json;
mod get_json_object;
mod map;
mod split;
mod to_json;

use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};

/// All of them.
pub(crate) fn all() -> [ScalarUDF; 5] {
    [from_json::from_json(), get_json_object::get_json_object(), map::map(), split::split(), to_json::to_json()]
}

fn plan<T>(reason: &str) -> Result<T> {
    Err(DataFusionError::Plan(reason.to_owned()))
}

/// The text that a constant is.
fn text_of(value: &ScalarValue) -> Option<&str> {
    match value {
        ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text) => text.as_deref(),
        _ => None,
    }
}

/// The text of an argument that is one for all rows.
fn constant(value: &ColumnarValue) -> Option<&str> {
    match value {
        ColumnarValue::Scalar(value) => text_of(value),
        ColumnarValue::Array(_) => None,
    }
}
