//! A function of the values of a row.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_arrow::utils::Items;
use tidemill::prelude::BoxError;

use super::arguments::Reader;
use crate::error::Result;
use crate::rows::item;

/// The results for columns of this many rows.
type OfColumns = dyn Fn(&[ArrayRef], usize) -> Result<ArrayRef, DataFusionError> + Send + Sync;

/// The function as DataFusion calls it.
pub(super) fn function<A: DeserializeOwned + 'static, R: Serialize + Deserialize<'static> + 'static>(
    name: &str,
    f: impl Fn(A) -> Result<R, BoxError> + Send + Sync + 'static,
) -> Result<ScalarUDF> {
    let (reader, result) = (Reader::<A>::new()?, item::<R>()?);
    let (signature, output) = (Signature::exact(reader.kinds(), Volatility::Immutable), result.data_type().clone());
    let (own, fields) = (name.to_owned(), [Arc::new(result.as_ref().clone().with_nullable(true))]);
    let of_columns = move |columns: &[ArrayRef], rows: usize| {
        let (arguments, keep) = reader.read(columns, rows)?;
        let mut results = arguments.into_iter().map(|row| f(row).map_err(|e| DataFusionError::Execution(format!("{own}: {e}"))));
        let has = |row: usize| keep.as_ref().is_none_or(|keep| keep.value(row));
        let all = (0..rows).map(|row| if has(row) { results.next().transpose() } else { Ok(None) });
        let all: Vec<Option<R>> = all.collect::<Result<_, _>>()?;
        let fault = |reason: &str| DataFusionError::Internal(format!("{own}: the results are no column: {reason}"));
        let batch = serde_arrow::to_record_batch(&fields[..], &Items(&all)).map_err(|e| fault(e.message()))?;
        Ok(batch.column(0).clone())
    };
    Ok(ScalarUDF::from(UserScalar { name: name.to_owned(), signature, output, of_columns: Arc::new(of_columns) }))
}

struct UserScalar {
    name: String,
    signature: Signature,
    output: DataType,
    of_columns: Arc<OfColumns>,
}

impl ScalarUDFImpl for UserScalar {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(self.output.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let columns = args.args.iter().map(|arg| arg.to_array(args.number_rows)).collect::<Result<Vec<_>, _>>()?;
        let results = (self.of_columns)(&columns, args.number_rows)?;
        debug_assert_eq!(results.len(), args.number_rows);
        Ok(ColumnarValue::Array(results))
    }
}

impl PartialEq for UserScalar {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.of_columns, &other.of_columns)
    }
}

impl Eq for UserScalar {}

impl Hash for UserScalar {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl fmt::Debug for UserScalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserScalar").field("name", &self.name).finish_non_exhaustive()
    }
}
