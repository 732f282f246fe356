//! Files of rows: each batch a directory of lines, by the library's sink of text files, exactly once with a checkpoint directory.

use std::path::Path;
use std::time::Duration;

use datafusion::arrow::datatypes::Schema;
use tidemill::prelude::TextFileSink;

use crate::error::{Result, SqlError};
use crate::files::csv::{self, Csv};
use crate::files::line_format::LineFormat;
use crate::files::options::Options;
use crate::files::write::{csv_lines, json_lines};
use crate::streaming::OutputMode;
use crate::streaming::frame::StreamingDataFrame;

/// Files have rows that never change, or say what changes.
pub(super) fn growing(mode: OutputMode) -> std::result::Result<(), String> {
    match mode {
        OutputMode::Append | OutputMode::Changes => Ok(()),
        OutputMode::Update | OutputMode::Complete => {
            Err("files cannot take rows back, so the mode is append or changes; use kafka, memory or foreach_batch".to_owned())
        }
    }
}

/// The options of the log of files: `_spark_metadata`, by which Spark reads them as one table.
pub(super) const LOG_OPTIONS: [&str; 2] = ["metadataLog", "retention"];

/// Whether there is a log, and how long files stay in it.
pub(super) fn log(options: &Options) -> std::result::Result<(bool, Option<Duration>), String> {
    // A bucket has no log.
    let by_default = !options.get("path").is_some_and(|path| path.starts_with("s3://"));
    let (log, retention) = (options.flag("metadataLog")?.unwrap_or(by_default), options.duration("retention")?);
    match log || retention.is_none() {
        true => Ok((log, retention)),
        false => Err("option retention is of the log of files, and metadataLog is false; leave one of them out".to_owned()),
    }
}

/// Writes rows that never change, or what changes.
pub(super) fn write(frame: &StreamingDataFrame<'_>, format: &str, options: &Options, mode: OutputMode) -> Result<()> {
    let fault = |reason: String| SqlError::new(&frame.query, format!("write_stream, format {format}: {reason}"));
    growing(mode).map_err(fault)?;
    if format == "text" && mode == OutputMode::Changes {
        return Err(fault("a line of text has no place for the column diff of mode changes; use csv or json".to_owned()));
    }
    let mut known = [&["path", "compression"][..], &LOG_OPTIONS].concat();
    let gzip = match options.get("compression").map(str::to_ascii_lowercase).as_deref() {
        None | Some("none" | "uncompressed") => false,
        Some("gzip") => true,
        Some(other) => return Err(fault(format!("option compression is `{other}`; there are none and gzip"))),
    };
    if format == "csv" {
        known.extend(csv::OPTIONS);
        if options.flag("header").map_err(fault)?.unwrap_or(false) {
            return Err(fault("files of a stream have no header; read them with schema()".to_owned()));
        }
        known.push("header");
    }
    options.only(format, &known).map_err(fault)?;
    let (has_log, retention) = log(options).map_err(fault)?;
    let path = Path::new(options.needed(format, "path").map_err(fault)?).join("batch");
    let columns = frame.columns_in(mode)?;
    let lines_of = lines(format, options, &columns).map_err(fault)?;
    let query = frame.query.clone();
    let lines = frame.columns_leaving(mode, move |batch| lines_of(batch).unwrap_or_else(|e| panic!("{query}: {e}")))?;
    let mut sink = TextFileSink::new(path).suffix(if format == "text" { "txt" } else { format }).skip_empty();
    if gzip {
        sink = sink.gzip();
    }
    if has_log {
        sink = retention.into_iter().fold(sink.metadata_log(), TextFileSink::retention);
    }
    lines.save_as_text_files_with(sink);
    Ok(())
}

type Lines = Box<dyn Fn(&datafusion::arrow::array::RecordBatch) -> std::result::Result<Vec<String>, String>>;

fn lines(format: &str, options: &Options, schema: &Schema) -> std::result::Result<Lines, String> {
    Ok(match format {
        "csv" => {
            let format = Csv::new(options)?;
            LineFormat::Csv(format.clone()).check(schema)?;
            Box::new(move |batch| csv_lines(&format, batch))
        }
        "json" => Box::new(json_lines),
        _ => {
            LineFormat::Text.check(schema)?;
            let plain = Csv::new(&Options::default())?;
            Box::new(move |batch| crate::files::write::texts(&plain, batch))
        }
    })
}
