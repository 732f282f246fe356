//! Files of Parquet that appear: each is read whole, and its rows have the columns of the table.

use std::rc::Rc;
use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use tidemill::prelude::{BadRecord, DStream, StreamingContext, TextFileSource};

use crate::parquet::table;
use crate::streaming::codec::{Codec, Row};
use crate::streaming::tables::Columnar;

/// The rows of the files, and the files that are bad.
pub(super) fn rows<'s>(
    ssc: &StreamingContext<'s>,
    files: TextFileSource,
    schema: &Arc<Schema>,
) -> Result<(Columnar<'s, Row>, DStream<'s, BadRecord>), String> {
    let codec = Rc::new(Codec::new(schema).map_err(|e| e.to_string())?);
    let files = ssc.binary_files_stream_with(files);
    let (encode, columns) = (codec.clone(), schema.clone());
    let rows = files.try_flat_map(move |(_, bytes)| {
        let rows = table(bytes, &columns)?;
        Ok(encode.encode(rows.columns(), rows.num_rows())?)
    });
    let errors = files.errors().union(&rows.errors());
    Ok((Columnar::encoded(rows.oks(), codec), errors))
}
