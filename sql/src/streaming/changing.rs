//! A function of columns over the rows of a result that changes.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::error::DataFusionError;
use tidemill::prelude::{Key, View};

use super::codec::{Codec, Row};

/// The results of `f` for the rows of a view: one for each, `None` to leave it out. It gets many rows at once, as columns and as bytes.
///
/// A row that cannot be computed ends the job: the engine reports the panic with verb, worker and batch.
pub(crate) fn mapped<'s, U: Key>(
    query: &str,
    view: &View<'s, Row>,
    schema: &Arc<Schema>,
    f: impl Fn(RecordBatch, Vec<Row>) -> Result<Vec<Option<U>>, DataFusionError> + 'static,
) -> Result<View<'s, U>, DataFusionError> {
    let (codec, query) = (Codec::new(schema)?, query.to_owned());
    Ok(view.map_vectorized(move |rows| {
        let batch = codec.decode(rows.iter()).map_err(DataFusionError::from);
        batch.and_then(|batch| f(batch, rows)).unwrap_or_else(|e| panic!("{query}: {}", e.strip_backtrace()))
    }))
}
