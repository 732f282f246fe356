//! The values of a row that a function of a program takes: from columns to the type of its argument.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::{cast, filter_record_batch};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::error::DataFusionError;
use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::rows::{Columns, Values};

/// Reads columns as arguments.
pub(super) struct Reader<A> {
    schema: Arc<Schema>,
    values: Values<A>,
}

impl<A: DeserializeOwned + 'static> Reader<A> {
    pub fn new() -> Result<Self> {
        Ok(Reader { schema: Columns::of::<A>()?.schema().clone(), values: Values::new() })
    }

    /// The types of the columns.
    pub fn kinds(&self) -> Vec<DataType> {
        self.schema.fields().iter().map(|field| field.data_type().clone()).collect()
    }

    /// The rows that have all values that they need, and for each row whether it has. `None`: all have.
    pub fn read(&self, columns: &[ArrayRef], rows: usize) -> Result<(Vec<A>, Option<BooleanArray>), DataFusionError> {
        let fields = self.schema.fields();
        let needed = columns.iter().zip(fields).filter(|(column, field)| !field.is_nullable() && column.null_count() > 0);
        let needed: Vec<&ArrayRef> = needed.map(|(column, _)| column).collect();
        let whole = |row| Some(needed.iter().all(|column| column.is_valid(row)));
        let keep = (!needed.is_empty()).then(|| (0..rows).map(whole).collect::<BooleanArray>());
        let typed = columns.iter().zip(fields).map(|(column, field)| Ok(cast(column, field.data_type())?));
        let typed = typed.collect::<Result<Vec<_>, DataFusionError>>()?;
        let nullable: Vec<Field> = fields.iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let mut batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(nullable)), typed, &options)?;
        if let Some(keep) = &keep {
            batch = filter_record_batch(&batch, keep)?;
        }
        let batch = RecordBatch::try_new(self.schema.clone(), batch.columns().to_vec())?;
        let read = self.values.read(&batch).map_err(|e| DataFusionError::Internal(format!("the arguments do not fit: {e}")))?;
        Ok((read, keep))
    }
}
