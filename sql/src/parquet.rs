//! Parquet files, with the feature `parquet`.

use std::path::PathBuf;

use crate::data_frame::DataFrame;
use crate::error::{Result, SqlError};
use crate::files::options::Options;
use crate::files::read::FILE_OPTIONS;
use crate::session::TableSession;

/// The rows of files as a table. The first file has the columns.
pub(crate) fn read(session: &TableSession, thing: &str, files: &[PathBuf], options: &Options) -> Result<DataFrame> {
    options.only("parquet", &FILE_OPTIONS).map_err(|reason| SqlError::new(thing, reason))?;
    #[cfg(not(feature = "parquet"))]
    {
        let _ = (session, files);
        Err(SqlError::new(thing, "this build has no Parquet; add the feature `parquet` of tidemill-sql"))
    }
    #[cfg(feature = "parquet")]
    {
        use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

        let fault = |file: &PathBuf, e: &dyn std::fmt::Display| SqlError::new(thing, format!("{}: {e}", file.display()));
        let (mut schema, mut batches) = (None, Vec::new());
        for file in files {
            let opened = std::fs::File::open(file).map_err(|e| fault(file, &e))?;
            let reader = ParquetRecordBatchReaderBuilder::try_new(opened).map_err(|e| fault(file, &e))?;
            let schema = schema.get_or_insert_with(|| reader.schema().clone());
            for batch in reader.build().map_err(|e| fault(file, &e))? {
                let batch = batch.map_err(|e| fault(file, &e))?;
                if batch.schema().fields() != schema.fields() {
                    return Err(fault(file, &"its columns are not those of the first file; read them one by one"));
                }
                batches.push(batch.with_schema(schema.clone()).map_err(|e| fault(file, &e))?);
            }
        }
        match schema {
            Some(schema) => session.table_of(schema, batches),
            None => Err(SqlError::new(thing, "there is no file, so the columns are not known")),
        }
    }
}
