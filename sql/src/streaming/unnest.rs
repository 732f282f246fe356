//! `explode`: a row for each item of a list.

use std::rc::Rc;

use datafusion::arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::DataType;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Unnest;

use super::narrow::{OfBatch, with_columns};

/// What one `explode` makes of a record batch. A null and an empty list have no row, as in Spark.
pub(super) fn unnested(unnest: &Unnest) -> Result<OfBatch, DataFusionError> {
    let plan = |reason: &str| Err(DataFusionError::Plan(reason.to_owned()));
    let [(list, to)] = &unnest.list_type_columns[..] else {
        return plan("a SELECT has one explode; put another one into a query around it");
    };
    if to.depth != 1 || !unnest.struct_type_columns.is_empty() {
        return plan("explode takes one list; explode the lists in it by a query around it");
    }
    if !matches!(unnest.input.schema().field(*list).data_type(), DataType::List(_)) {
        return plan("explode takes an ARRAY");
    }
    let (list, from, output) = (*list, unnest.dependency_indices.clone(), unnest.schema.inner().clone());
    Ok(Rc::new(move |batch: RecordBatch| {
        let lists = batch.column(list).as_list::<i32>();
        let (mut rows, mut items) = (Vec::new(), Vec::new());
        for row in (0..batch.num_rows()).filter(|row| lists.is_valid(*row)) {
            for item in lists.value_offsets()[row]..lists.value_offsets()[row + 1] {
                rows.push(row as u32);
                items.push(item as u32);
            }
        }
        let (rows, items) = (UInt32Array::from(rows), UInt32Array::from(items));
        let column = |place: &usize| match *place == list {
            true => take(lists.values(), &items, None),
            false => take(batch.column(*place), &rows, None),
        };
        let columns = from.iter().map(column).collect::<Result<Vec<_>, _>>()?;
        with_columns(&output, columns, rows.len())
    }))
}
