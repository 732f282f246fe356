//! Files of Parquet that appear: each is read whole, and its rows have the columns of the table.

use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use tidemill::prelude::{BadRecord, DStream, StreamingContext, TextFileSource};

use crate::parquet::table;
use crate::streaming::batches::Batches;

/// The rows of the files, and the files that are bad.
pub(super) fn rows<'s>(
    ssc: &StreamingContext<'s>,
    files: TextFileSource,
    schema: &Arc<Schema>,
) -> (Batches<'s>, DStream<'s, BadRecord>) {
    let (files, columns) = (ssc.binary_files_stream_with(files), schema.clone());
    let rows = files.try_flat_map(move |(_, bytes)| Ok([table(bytes, &columns)?]));
    let errors = files.errors().union(&rows.errors());
    (Batches(rows.oks()), errors)
}
