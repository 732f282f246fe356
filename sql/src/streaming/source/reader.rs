//! `DataStreamReader`: which stream becomes a table, by Spark's formats and options.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use datafusion::arrow::array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use serde::Deserialize;
use tidemill::prelude::{BadRecord, DStream, StreamingContext};

use super::lines::values;
use super::{files, parquet};
use crate::error::{Result, SqlError};
use crate::files::ddl;
use crate::files::line_format::{LineFormat, known};
use crate::files::options::Options;
use crate::files::read;
use crate::rows::Columns;
use crate::streaming::batches::{Batches, Source};
use crate::streaming::frame::StreamingDataFrame;
use crate::streaming::tables::StreamTables;

const FORMATS: &str = "csv, json, text, parquet, socket, rate or kafka";

type Loaded<'s> = (Arc<Schema>, Rc<dyn Source<'s> + 's>, Option<DStream<'s, BadRecord>>);

/// Reads a stream as a table without end: Spark's `DataStreamReader`. [`StreamTables::read_stream`] makes one.
///
/// | format | columns | options |
/// |---|---|---|
/// | `csv`, `json` | those of the schema, which is needed, or `inferSchema=true` | `path`, `maxFilesPerTrigger`, `latestFirst`, `maxFileAge`, `pathGlobFilter`, `recursiveFileLookup`, `cleanSource`, `sourceArchiveDir`, `timestampFormat`, `dateFormat`; csv: `header`, `sep`, `quote`, `nullValue`, `ignoreLeadingWhiteSpace` |
/// | `text` | `value` | those of files |
/// | `parquet` (feature `parquet`) | those of the schema, by name, or `inferSchema=true`: those of the first file | those of files |
/// | `socket` | `value` | `host`, `port` |
/// | `rate` | `timestamp`, `value` | `rowsPerSecond` |
/// | `kafka` (feature `kafka`) | `key`, `value`, `topic`, `partition`, `offset`, `timestamp`, `timestampType`, and `headers` if asked for | `kafka.bootstrap.servers` and all `kafka.*`, `subscribe`, `subscribePattern`, `startingOffsets`, `startingTimestamp`, `failOnDataLoss`, `includeHeaders`, `maxRatePerPartition`, `groupId` |
///
/// Files that are there at the start are read too. Of a directory that a file sink has written, those are read that its `_spark_metadata` names.
/// `cleanSource` is `off`, `delete` or `archive`: what becomes of files that were read, when no restart reads them again
/// ([`TextFileSource::clean_source`](tidemill::prelude::TextFileSource::clean_source)). A row that does not fit its table becomes a bad record:
/// [`StreamingDataFrame::errors`] has it with its path and byte, and without a reader it is counted and logged.
///
/// ```
/// # let dir = std::env::temp_dir().join(format!("tidemill-doc-read-stream-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// # std::fs::write(dir.join("a.csv"), "station,minutes\nFerry,63\nMarket,x\nFerry,7\n").unwrap();
/// use tidemill::prelude::*;
/// use tidemill_sql::{OutputMode, StreamTables, TableSession};
///
/// let (session, bad) = (TableSession::new(), MemorySink::new());
/// let (tables, letters, path) = (session.clone(), bad.clone(), dir.display().to_string());
/// let job = StreamingContext::builder("trips", millis(100)).without_checkpoint().start(move |ssc| {
///     let tables = StreamTables::new(&tables);
///     let trips = tables.read_stream(ssc).schema("station STRING, minutes INT").option("header", true).csv(&path)?;
///     trips.errors()?.dead_letters(letters.clone());
///     trips.create_or_replace_temp_view("trips")?;
///     let totals = tables.sql("select station, sum(minutes) as minutes from trips group by station")?;
///     totals.memory(OutputMode::Complete, &session, "totals")?;
///     Ok(())
/// })?;
/// # let _ = &bad;
/// job.stop_gracefully()?;
/// assert_eq!(bad.rows()[0].reason, "column minutes: `x` is not of type INT");
/// assert_eq!((bad.rows()[0].origin.rsplit('/').next(), bad.rows()[0].offset), (Some("a.csv"), 25));
/// # std::fs::remove_dir_all(dir).unwrap();
/// # Ok::<(), tidemill::Error>(())
/// ```
#[must_use = "it describes what to read"]
pub struct DataStreamReader<'t, 's> {
    tables: &'t StreamTables<'s>,
    ssc: &'t StreamingContext<'s>,
    format: String,
    schema: Option<Result<Arc<Schema>>>,
    options: Options,
}

impl<'s> StreamTables<'s> {
    /// Reads a stream as a table without end, by the name of a format. An asserting example is at [`DataStreamReader`].
    #[doc(alias = "readStream")]
    pub fn read_stream<'t>(&'t self, ssc: &'t StreamingContext<'s>) -> DataStreamReader<'t, 's> {
        DataStreamReader { tables: self, ssc, format: String::new(), schema: None, options: Options::default() }
    }
}

impl<'s> DataStreamReader<'_, 's> {
    /// The format: `csv`, `json`, `text`, `parquet`, `socket`, `rate` or `kafka`.
    pub fn format(mut self, format: &str) -> Self {
        self.format = format.to_lowercase();
        self
    }

    /// The columns, in Spark's words: `"station STRING, minutes INT"`.
    pub fn schema(mut self, ddl: &str) -> Self {
        self.schema = Some(ddl::parsed(ddl).map(Arc::new).map_err(|reason| SqlError::new("read_stream", reason)));
        self
    }

    /// The columns of a type: those of [`TableSession::create_data_frame`](crate::TableSession::create_data_frame).
    pub fn schema_of<T: Deserialize<'static>>(mut self) -> Self {
        self.schema = Some(Columns::of::<T>().map(|columns| columns.schema().clone()));
        self
    }

    /// An option, by Spark's name. Its case does not matter.
    pub fn option(mut self, name: &str, value: impl ToString) -> Self {
        self.options.set(name, value.to_string());
        self
    }

    /// The stream as a table.
    ///
    /// # Errors
    /// If the format or an option is unknown, an option is missing, or the schema does not go with the format.
    pub fn load(self) -> Result<StreamingDataFrame<'s>> {
        let thing = format!("read_stream, format {}", self.format);
        let (schema, source, errors) = self.loaded().map_err(|reason| SqlError::new(&thing, reason))?;
        self.tables.context.get_or_init(|| self.ssc.clone());
        let mut frame = self.tables.frame_of(&thing, &self.tables.unnamed(), schema, source)?;
        frame.bad_sources = errors;
        Ok(frame)
    }

    /// [`load`](Self::load) of the files of a path: a directory, a file, or a pattern of them.
    ///
    /// # Errors
    /// As `load`.
    pub fn load_path(self, path: impl AsRef<Path>) -> Result<StreamingDataFrame<'s>> {
        self.option("path", path.as_ref().display()).load()
    }

    /// [`load_path`](Self::load_path) of format `csv`.
    ///
    /// # Errors
    /// As `load`.
    pub fn csv(self, path: impl AsRef<Path>) -> Result<StreamingDataFrame<'s>> {
        self.format("csv").load_path(path)
    }

    /// [`load_path`](Self::load_path) of format `json`.
    ///
    /// # Errors
    /// As `load`.
    pub fn json(self, path: impl AsRef<Path>) -> Result<StreamingDataFrame<'s>> {
        self.format("json").load_path(path)
    }

    /// [`load_path`](Self::load_path) of format `text`.
    ///
    /// # Errors
    /// As `load`.
    #[doc(alias = "textFile")]
    pub fn text(self, path: impl AsRef<Path>) -> Result<StreamingDataFrame<'s>> {
        self.format("text").load_path(path)
    }

    /// [`load_path`](Self::load_path) of format `parquet`. A file is read whole, at most 256 MiB; one that cannot be read is a bad record.
    ///
    /// # Errors
    /// As `load`.
    pub fn parquet(self, path: impl AsRef<Path>) -> Result<StreamingDataFrame<'s>> {
        self.format("parquet").load_path(path)
    }

    fn loaded(&self) -> Result<Loaded<'s>, String> {
        if self.format == "parquet" {
            return self.parquet_files();
        }
        if let Some(format) = LineFormat::named(&self.format, &self.options)? {
            return self.files(format);
        }
        if self.schema.is_some() {
            return Err("this format has columns of its own; leave the schema out".to_owned());
        }
        match self.format.as_str() {
            "socket" => self.socket(),
            "rate" => self.rate(),
            "kafka" => self.kafka(),
            "" => Err(format!("no format is given; say {FORMATS}")),
            "memory" => Err("rows in memory are register_stream of a queue_stream".to_owned()),
            other => Err(format!("there is no format {other}; say {FORMATS}")),
        }
    }

    fn files(&self, format: LineFormat) -> Result<Loaded<'s>, String> {
        let mut options = [&files::options()[..], known(&self.format)].concat();
        match format {
            LineFormat::Csv(_) => options.extend(["header", "inferSchema"]),
            LineFormat::Json(_) => options.push("inferSchema"),
            LineFormat::Text => {}
        }
        self.options.only(&self.format, &options)?;
        let path = self.options.needed(&self.format, "path")?;
        let schema = self.schema_of_files(&format, path)?;
        format.check(&schema)?;
        let header = matches!(format, LineFormat::Csv(_)) && self.options.flag("header")?.unwrap_or(false);
        let lines = self.ssc.text_file_stream_with(files::source(path, &self.options)?.header(header));
        let (of, parse) = (schema.clone(), format);
        let rows = lines.try_flat_map(move |line: &String| Ok(parse.values(line, &of)?));
        let errors = lines.errors().union(&rows.errors());
        Ok((schema.clone(), Rc::new(values(&rows.oks(), &schema)), Some(errors)))
    }

    fn schema_of_files(&self, format: &LineFormat, path: &str) -> Result<Arc<Schema>, String> {
        let is_text = matches!(format, LineFormat::Text);
        self.given_or_inferred(is_text, || {
            let files = read::files(Path::new(path), &self.options)?;
            read::inferred(format, &files, &self.options, true)
        })
    }

    /// The schema that is given, or the one that the files have, if it may be inferred. `always`: it may, without being asked for.
    fn given_or_inferred(
        &self,
        always: bool,
        inferred: impl FnOnce() -> Result<Arc<Schema>, String>,
    ) -> Result<Arc<Schema>, String> {
        match &self.schema {
            Some(Ok(schema)) => return Ok(schema.clone()),
            Some(Err(e)) => return Err(e.to_string()),
            None => {}
        }
        let infers = always || self.options.flag("inferSchema")?.unwrap_or(false);
        match (infers, inferred()) {
            (true, inferred) => inferred,
            (false, Ok(schema)) => {
                let found = ddl::text(&schema);
                Err(format!("no schema is given; the files that are there have .schema(\"{found}\"), or say inferSchema=true"))
            }
            (false, Err(_)) => Err("no schema is given; say .schema(\"name TYPE, ..\")".to_owned()),
        }
    }

    fn parquet_files(&self) -> Result<Loaded<'s>, String> {
        crate::parquet::there()?;
        self.options.only("parquet", &[&files::options()[..], &["inferSchema"]].concat())?;
        let path = self.options.needed("parquet", "path")?;
        let schema = self.given_or_inferred(false, || {
            let files = read::files(Path::new(path), &self.options)?;
            let first = files.first().ok_or_else(|| format!("{path} has no file yet; say .schema(\"name TYPE, ..\")"))?;
            crate::parquet::schema(first)
        })?;
        let (rows, errors) = parquet::rows(self.ssc, files::source(path, &self.options)?, &schema);
        Ok((schema, Rc::new(rows), Some(errors)))
    }

    fn socket(&self) -> Result<Loaded<'s>, String> {
        self.options.only("socket", &["host", "port"])?;
        let port = self.options.number("port")?.ok_or("format socket needs the option port")?;
        let port = u16::try_from(port).map_err(|_| format!("option port is `{port}`; say 1 to 65535"))?;
        let lines = self.ssc.socket_text_stream(self.options.needed("socket", "host")?, port);
        let schema = Arc::new(Schema::new(vec![Field::new("value", DataType::Utf8, true)]));
        let rows = lines.map(|line| crate::files::values::Values(vec![crate::files::values::Value::Text(line)]));
        Ok((schema.clone(), Rc::new(values(&rows, &schema)), Some(lines.errors())))
    }

    fn rate(&self) -> Result<Loaded<'s>, String> {
        self.options.only("rate", &["rowsPerSecond"])?;
        let stream = self.ssc.rate(self.options.number("rowsPerSecond")?.unwrap_or(1));
        let fields = vec![Field::new("timestamp", ddl::timestamp(), false), Field::new("value", DataType::Int64, false)];
        let schema = Arc::new(Schema::new(fields));
        let columns = schema.clone();
        let batch = move |rows: &[(i64, i64)]| {
            let times = rows.iter().map(|(ms, _)| Some(ms.saturating_mul(1_000))).collect::<TimestampMicrosecondArray>();
            let numbers = rows.iter().map(|(_, n)| Some(*n)).collect::<Int64Array>();
            Ok(RecordBatch::try_new(columns.clone(), vec![Arc::new(times), Arc::new(numbers)])?)
        };
        Ok((schema, Rc::new(Batches::of(&stream, batch)), None))
    }

    #[cfg(feature = "kafka")]
    fn kafka(&self) -> Result<Loaded<'s>, String> {
        self.options.only("kafka", &super::kafka::OPTIONS)?;
        let source = super::kafka::source(&self.options)?;
        let schema = Arc::new(super::kafka::schema(self.options.flag("includeHeaders")?.unwrap_or(false)));
        let rows = super::kafka::rows(self.ssc, source, &schema);
        self.tables.has_offsets.set(true);
        Ok((schema, Rc::new(rows), None))
    }

    #[cfg(not(feature = "kafka"))]
    fn kafka(&self) -> Result<Loaded<'s>, String> {
        Err("this build has no Kafka; add the feature `kafka` of tidemill-sql".to_owned())
    }
}
