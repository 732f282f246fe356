//! Parquet files, with the feature `parquet`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions, new_null_array};
use datafusion::arrow::compute::{CastOptions, cast_with_options, concat_batches};
use datafusion::arrow::datatypes::Schema;

use crate::data_frame::DataFrame;
use crate::error::{Result, SqlError};
use crate::files::options::Options;
use crate::files::read::FILE_OPTIONS;
use crate::session::TableSession;

/// The columns and the rows of a file.
type Read = (Arc<Schema>, Vec<RecordBatch>);

/// The rows of files as a table. The first file has the columns.
pub(crate) fn read(session: &TableSession, thing: &str, files: &[PathBuf], options: &Options) -> Result<DataFrame> {
    options.only("parquet", &FILE_OPTIONS).map_err(|reason| SqlError::new(thing, reason))?;
    reading::there().map_err(|reason| SqlError::new(thing, reason))?;
    let fault = |file: &Path, e: &dyn std::fmt::Display| SqlError::new(thing, format!("{}: {e}", file.display()));
    let (mut schema, mut batches) = (None, Vec::new());
    for file in files {
        let (found, rows) = reading::file(file).map_err(|e| fault(file, &e))?;
        let schema = schema.get_or_insert(found);
        for batch in rows {
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

/// The columns of a file.
pub(crate) fn schema(path: &Path) -> Result<Arc<Schema>, String> {
    reading::schema(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// The rows of a file by its content. Columns are found by name and cast to the types of the schema; one that is missing is null.
pub(crate) fn table(bytes: &[u8], schema: &Arc<Schema>) -> Result<RecordBatch, String> {
    let (found, batches) = reading::bytes(bytes).map_err(|e| format!("it is not a file of Parquet: {e}"))?;
    let all = concat_batches(&found, &batches).map_err(|e| e.to_string())?;
    let columns = schema.fields().iter().map(|field| {
        let name = field.name();
        let same = found.fields().iter().position(|f| f.name() == name);
        let place = same.or_else(|| found.fields().iter().position(|f| f.name().eq_ignore_ascii_case(name)));
        let Some(place) = place else {
            return match field.is_nullable() {
                true => Ok(new_null_array(field.data_type(), all.num_rows())),
                false => Err(format!("the column {name} is NOT NULL, and the file has none")),
            };
        };
        let exact = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(all.column(place), field.data_type(), &exact).map_err(|e| format!("column {name}: {e}"))
    });
    let columns = columns.collect::<Result<Vec<_>, String>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(all.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(|e| e.to_string())
}

pub(crate) use reading::there;

#[cfg(feature = "parquet")]
mod reading {
    use std::fs::File;

    use bytes::Bytes;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use parquet::errors::{ParquetError, Result};
    use parquet::file::reader::ChunkReader;

    use super::{Arc, Path, Read, Schema};

    /// Whether this build reads Parquet.
    pub(crate) fn there() -> super::Result<(), String> {
        Ok(())
    }

    pub fn schema(path: &Path) -> Result<Arc<Schema>> {
        Ok(ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?.schema().clone())
    }

    pub fn file(path: &Path) -> Result<Read> {
        all(File::open(path)?)
    }

    pub fn bytes(bytes: &[u8]) -> Result<Read> {
        all(Bytes::copy_from_slice(bytes))
    }

    fn all(from: impl ChunkReader + 'static) -> Result<Read> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(from)?;
        let schema = reader.schema().clone();
        let batches = reader.build()?.collect::<std::result::Result<_, _>>().map_err(ParquetError::from)?;
        Ok((schema, batches))
    }
}

/// A build without Parquet: each function says so.
#[cfg(not(feature = "parquet"))]
mod reading {
    use super::{Arc, Path, Read, Result, Schema};

    pub(crate) fn there<T>() -> Result<T, String> {
        Err("this build has no Parquet; add the feature `parquet` of tidemill-sql".to_owned())
    }

    pub fn schema(_: &Path) -> Result<Arc<Schema>, String> {
        there()
    }

    pub fn file(_: &Path) -> Result<Read, String> {
        there()
    }

    pub fn bytes(_: &[u8]) -> Result<Read, String> {
        there()
    }
}
