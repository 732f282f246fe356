//! Rows of text: a table whose rows were lines.

use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use tidemill::prelude::DStream;

use crate::files::values::{Values, batch};
use crate::streaming::batches::Batches;

/// The values of lines as a source, by their schema.
pub(super) fn values<'s>(stream: &DStream<'s, Values>, schema: &Arc<Schema>) -> Batches<'s> {
    let schema = schema.clone();
    Batches::of(stream, move |rows| Ok(batch(&schema, rows)?))
}
