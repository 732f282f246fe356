//! Rows of text: a table whose rows were lines.

use std::rc::Rc;
use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use tidemill::prelude::DStream;

use crate::files::values::{Values, batch};
use crate::streaming::tables::Columnar;

/// The values of lines as a source, by their schema.
pub(super) fn values<'s>(stream: DStream<'s, Values>, schema: &Arc<Schema>) -> Columnar<'s, Values> {
    let schema = schema.clone();
    Columnar { stream, batch: Rc::new(move |rows| Ok(batch(&schema, rows)?)) }
}
