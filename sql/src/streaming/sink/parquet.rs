//! Files of Parquet: each batch with rows a directory of one file, complete with its `_SUCCESS`.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use tidemill::connector::files::sink_log::FileStreamSinkLog;
use tidemill::connector::sink::{Distribution, Part, Sink, SinkBatch};
use tidemill::prelude::BoxError;

use crate::error::{Result, SqlError};
use crate::files::options::Options;
use crate::streaming::OutputMode;
use crate::streaming::codec::{Codec, Row};
use crate::streaming::frame::StreamingDataFrame;
use crate::streaming::sink::files::{LOG_OPTIONS, growing, log};
use crate::streaming::sink::table_sink::shown;

/// Writes rows that never change, or what changes.
pub(super) fn write(frame: &StreamingDataFrame<'_>, options: &Options, mode: OutputMode) -> Result<()> {
    let fault = |reason: String| SqlError::new(&frame.query, format!("write_stream, format parquet: {reason}"));
    growing(mode).map_err(fault)?;
    options.only("parquet", &[&["path"][..], &LOG_OPTIONS].concat()).map_err(fault)?;
    let path = options.needed("parquet", "path").map_err(fault)?;
    let path = folder(path).map_err(fault)?;
    let (has_log, retention) = log(options).map_err(fault)?;
    let log = has_log.then(|| retention.into_iter().fold(FileStreamSinkLog::new(&path), FileStreamSinkLog::retention));
    let rows = frame.leaving(mode)?;
    let codec = frame.codec_in(mode)?;
    let schema = codec.schema().clone();
    rows.sink_to(Files { path, codec, schema, log }, Distribution::Gathered);
    Ok(())
}

/// A directory of a disk. A URL of anything else would be a directory of this name.
fn folder(path: &str) -> std::result::Result<PathBuf, String> {
    let local = path.strip_prefix("file://").unwrap_or(path);
    match local.split_once("://") {
        None => Ok(PathBuf::from(local)),
        Some((kind, _)) => {
            let remedy = "name a directory, which a program may copy, or write csv or json, which go to s3:// too";
            Err(format!("option path is {path}, and files of Parquet are not written to {kind}://; {remedy}"))
        }
    }
}

/// A batch that is written again has the same rows under the same name, so each row is there once.
struct Files {
    path: PathBuf,
    codec: Codec,
    schema: Arc<Schema>,
    log: Option<FileStreamSinkLog>,
}

impl Sink<Row> for Files {
    fn write(&mut self, batch: &SinkBatch, parts: &[Part<Row>]) -> std::result::Result<(), BoxError> {
        let rows: Vec<&Row> = parts.iter().flat_map(|part| &part.rows).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let name = format!("batch-{}.parquet", batch.time().millis());
        let dir = self.path.join(&name);
        let named = |e: std::io::Error| format!("{}: {e}", dir.display());
        std::fs::create_dir_all(&dir).map_err(named)?;
        let (temp, part) = (dir.join(".part-00000.tmp"), dir.join("part-00000.parquet"));
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let mut writer = ArrowWriter::try_new(File::create(&temp).map_err(named)?, self.schema.clone(), Some(properties))?;
        writer.write(&self.codec.decode(rows.into_iter())?)?;
        writer.into_inner()?.sync_all().map_err(named)?;
        std::fs::rename(&temp, &part).map_err(named)?;
        File::create(dir.join("_SUCCESS")).and_then(|file| file.sync_all()).map_err(named)?;
        // The names are on the disk, too.
        File::open(&dir).and_then(|dir| dir.sync_all()).map_err(named)?;
        // The log names a batch once, however often it is written.
        self.log.as_mut().map_or(Ok(()), |log| log.add(&name, ["part-00000.parquet"]))
    }

    fn shown(&mut self, rows: &[&Row]) -> Option<Vec<String>> {
        shown(&self.codec, rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_directory_of_a_disk() {
        assert_eq!(folder("out/trips"), Ok(PathBuf::from("out/trips")));
        assert_eq!(folder("file:///data/trips"), Ok(PathBuf::from("/data/trips")));
        for url in ["s3://bucket/trips", "file://s3://bucket", "hdfs://name/trips"] {
            let error = folder(url).unwrap_err();
            assert!(error.contains(url) && error.contains("csv or json"), "{error}");
        }
    }
}
