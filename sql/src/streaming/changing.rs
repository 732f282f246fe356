//! A function of columns over the rows of a result that changes.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::error::DataFusionError;
use tidemill::prelude::{BoxError, Key, View};

use super::bad_rows::attempt;
use super::batches::Asked;
use super::codec::{Codec, Row};

/// The results of `f` for the rows of a view: one for each, `None` to leave it out. It gets many rows at once, as columns and as bytes.
///
/// A row that cannot be computed is a bad record when it comes, and has no result.
pub(crate) fn mapped<'s, U: Key>(
    asked: &Asked<'_, 's>,
    view: &View<'s, Row>,
    schema: &Arc<Schema>,
    f: impl Fn(RecordBatch, Vec<Row>) -> Result<Vec<Option<U>>, DataFusionError> + 'static,
) -> Result<View<'s, U>, DataFusionError> {
    let (codec, query) = (Codec::new(schema)?, asked.query.to_owned());
    let (results, errors) = view.try_map_vectorized(move |rows| {
        let batch = codec.decode(rows.iter()).unwrap_or_else(|e| panic!("{query}: {e}"));
        let results = match f(batch.clone(), rows) {
            Ok(results) => return results.into_iter().map(|result| result.map(Ok)).collect(),
            // Which row it is, and what the others are.
            Err(_) => {
                attempt(&query, &|part: RecordBatch| f(part.clone(), codec.encode(part.columns(), part.num_rows())?), batch)
            }
        };
        results.into_iter().map(|result| result.map_err(BoxError::from).transpose()).collect()
    });
    asked.errors.borrow_mut().push(errors);
    Ok(results)
}
