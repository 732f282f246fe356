//! Functions of Spark that neither DataFusion nor datafusion-spark has in this build, or that take less there, a file each.

mod concat;
mod from_json;
mod get_json_object;
mod map;
mod split;
mod to_json;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};

pub(crate) use concat::as_text;

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = ScalarUDF> {
    let functions = [from_json::from_json(), get_json_object::get_json_object(), map::map(), split::split(), to_json::to_json()];
    functions.map(ScalarUDF::from).into_iter().chain([concat::concat()])
}

/// A function whose values depend on its arguments alone.
#[derive(Debug)]
struct Function {
    name: &'static str,
    signature: Signature,
    /// The type of its values, which may be null. A wrong call is an error here, before any row.
    kind: fn(&ReturnFieldArgs) -> Result<DataType>,
    /// A value for each row.
    values: fn(&ScalarFunctionArgs) -> Result<ArrayRef>,
}

/// No two functions have the same name.
impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        plan(&format!("{}: its type is that of `return_field_from_args`", self.name))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(self.name, (self.kind)(&args)?, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        (self.values)(&args).map(ColumnarValue::Array)
    }
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
