//! Rows of a program and columns of a table, either way, by serde.

use std::marker::PhantomData;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Field, FieldRef, Schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_arrow::schema::{SchemaLike, TracingOptions};
use serde_arrow::utils::Items;

use crate::error::{Result, SqlError};

/// What the rows of a type are as a table.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    /// As serde names them.
    fields: Vec<FieldRef>,
    /// As the table names them.
    schema: Arc<Schema>,
    /// The row is one value, such as a text or a number: the table has one column, `value`.
    one_value: bool,
}

/// How types are traced.
fn options() -> TracingOptions {
    TracingOptions::default()
        .allow_null_fields(true)
        .enums_without_data_as_strings(true)
        .map_as_struct(false)
        .sequence_as_large_list(false)
        .strings_as_large_utf8(false)
        .bytes_as_large_binary(false)
}

/// The one column of values of a type, called `item`.
pub(crate) fn item<T: Deserialize<'static>>() -> Result<FieldRef> {
    let fault = |reason: &str| SqlError::new(std::any::type_name::<T>(), format!("no column can be made of this type: {reason}"));
    let fields = Vec::<FieldRef>::from_type::<serde_arrow::utils::Item<T>>(options()).map_err(|e| fault(e.message()))?;
    fields.into_iter().next().ok_or_else(|| fault("it has no values"))
}

impl Columns {
    /// The columns of a type: those of its fields; `_1`, `_2` and so on for a tuple; `value` for any other type. A column may be null if
    /// its field is an `Option`.
    pub(crate) fn of<T: Deserialize<'static>>() -> Result<Self> {
        let thing = std::any::type_name::<T>();
        let (fields, one_value) = match Vec::<FieldRef>::from_type::<T>(options()) {
            Ok(fields) => (fields, false),
            // Neither a struct nor a tuple.
            Err(first) => match Vec::<FieldRef>::from_type::<serde_arrow::utils::Item<T>>(options()) {
                Ok(fields) => (fields, true),
                Err(_) => return Err(SqlError::new(thing, format!("no table can be made of this type: {}", first.message()))),
            },
        };
        let tuple = fields.iter().enumerate().all(|(i, f)| *f.name() == i.to_string());
        let named = |(i, field): (usize, &FieldRef)| match (one_value, tuple) {
            (true, _) => field.as_ref().clone().with_name("value"),
            (_, true) => field.as_ref().clone().with_name(format!("_{}", i + 1)),
            _ => field.as_ref().clone(),
        };
        // What serde_arrow notes for itself is nothing to a table.
        let named = fields.iter().enumerate().map(named).map(|f: Field| f.with_metadata(Default::default()));
        let schema = Arc::new(Schema::new(named.collect::<Vec<_>>()));
        Ok(Columns { fields, schema, one_value })
    }

    pub(crate) fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Rows as columns.
    pub(crate) fn batch<T: Serialize>(&self, rows: &[T]) -> Result<RecordBatch> {
        let batch = match self.one_value {
            true => serde_arrow::to_record_batch(&self.fields, &Items(rows)),
            false => serde_arrow::to_record_batch(&self.fields, &rows),
        };
        let fault = |reason: String| SqlError::new(std::any::type_name::<T>(), format!("a row does not fit its table: {reason}"));
        let columns = batch.map_err(|e| fault(e.message().to_owned()))?.columns().to_vec();
        RecordBatch::try_new(self.schema.clone(), columns).map_err(|e| fault(e.to_string()))
    }
}

/// Reads rows of a table as values of a type: a struct by the names of its fields, a tuple by the order of the columns, another type of
/// the one column.
pub(crate) struct Values<T> {
    /// The type is neither a struct nor a tuple.
    one_value: bool,
    of: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Values<T> {
    pub(crate) fn new() -> Self {
        Values { one_value: Columns::of::<T>().is_ok_and(|c| c.one_value), of: PhantomData }
    }

    pub(crate) fn read(&self, batch: &RecordBatch) -> Result<Vec<T>> {
        let rows = match self.one_value {
            true => {
                let fields: Vec<_> = batch.schema().fields().iter().map(|f| f.as_ref().clone().with_name("item")).collect();
                RecordBatch::try_new(Arc::new(Schema::new(fields)), batch.columns().to_vec())
                    .map_err(|e| e.to_string())
                    .and_then(|b| serde_arrow::from_record_batch::<Items<Vec<T>>>(&b).map_err(|e| e.message().to_owned()))
                    .map(|items| items.0)
            }
            false => serde_arrow::from_record_batch::<Vec<T>>(batch).map_err(|e| e.message().to_owned()),
        };
        rows.map_err(|reason| {
            let columns: Vec<String> =
                batch.schema().fields().iter().map(|f| format!("{} {}", f.name(), f.data_type())).collect();
            let reason = format!("the columns ({}) do not fit this type: {reason}", columns.join(", "));
            SqlError::new(std::any::type_name::<T>(), reason)
        })
    }
}
