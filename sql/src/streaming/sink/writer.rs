//! `DataStreamWriter`: where the rows of a query go, by Spark's formats, modes and options.

use std::io::Write;
use std::path::Path;

use tidemill::connector::sink::Distribution;
use tidemill::prelude::{BatchTime, BoxError, StreamingContext};

use super::files;
use super::query::{Definition, Trigger};
use super::table_sink::Dropped;
use crate::data_frame::DataFrame;
use crate::error::{Result, SqlError};
use crate::files::options::Options;
use crate::streaming::OutputMode;
use crate::streaming::frame::StreamingDataFrame;

const FORMATS: &str = "console, memory, csv, json, text, parquet, kafka, jdbc or noop";

type ForeachBatch = Box<dyn FnMut(BatchTime, DataFrame) -> std::result::Result<(), BoxError> + Send>;

/// Writes the rows of a query: Spark's `DataStreamWriter`. [`StreamingDataFrame::write_stream`] makes one. An asserting example is at
/// [`StreamingQueries`](crate::StreamingQueries).
///
/// | format | modes | options |
/// |---|---|---|
/// | `console` | all | `numRows`, `truncate` |
/// | `memory` | append, complete, changes | a query name, which is the table |
/// | `csv`, `json`, `text` | append; `csv` and `json` also changes | `path`: a directory with one for each batch; `compression`: `gzip` or `none`; `metadataLog`, `retention`; those of the format |
/// | `parquet` (feature `parquet`) | append, changes | `path`, `metadataLog`, `retention`: as for `csv` |
/// | `kafka` (feature `kafka`) | all | `kafka.bootstrap.servers` and all `kafka.*`, `topic`, `sink.delivery-guarantee`; without `topic`, the column of that name |
/// | `jdbc` (features `postgres` and `sqlite`) | append, update, complete | `url`: `jdbc:postgresql://HOST/DATABASE` or `jdbc:sqlite:FILE`; `user`, `password`, `dbtable`, `primaryKey`, `deadLetters`, `numPartitions`, `sink.delivery-guarantee` |
/// | `noop` | all | rows are counted on the worker that makes them, and go nowhere |
///
/// Files are written exactly once if the job has a checkpoint directory, and Kafka and databases with `sink.delivery-guarantee=exactly-once`. The
/// default mode is append, as in Spark.
///
/// Mode [`changes`](OutputMode::Changes) adds the column `diff`: how many copies of the row entered the result, or, below zero, left. A record of
/// Kafka has it as a header of this name.
///
/// Beside the files, `_spark_metadata` names those of all complete batches, as a sink of Spark writes it. So Spark reads them as one table, and
/// `session.read()` and `read_stream` do. `metadataLog=false` leaves it out. Every tenth batch writes all names again, about 200 bytes
/// each; with `retention`, such as `30d`, older files leave the table.
///
/// The table of a database exists, with the columns of the result. If rows change, `primaryKey` names the columns that find a row: mode update
/// replaces rows, and mode complete keeps the table equal to the result, so that rows also leave. `deadLetters` is a table for rows that violate a
/// constraint, and `numPartitions` the number of transactions of a batch.
#[must_use = "start declares the query"]
pub struct DataStreamWriter<'f, 's> {
    frame: &'f StreamingDataFrame<'s>,
    format: String,
    mode: Result<OutputMode>,
    name: Option<String>,
    trigger: Option<Trigger>,
    options: Options,
    foreach_batch: Option<ForeachBatch>,
}

impl<'s> StreamingDataFrame<'s> {
    /// Writes the rows of the query, by the name of a format.
    #[doc(alias = "writeStream")]
    pub fn write_stream(&self) -> DataStreamWriter<'_, 's> {
        DataStreamWriter {
            frame: self,
            format: String::new(),
            mode: Ok(OutputMode::Append),
            name: None,
            trigger: None,
            options: Options::default(),
            foreach_batch: None,
        }
    }
}

/// An output mode, or Spark's name of one.
///
/// ```
/// use tidemill_sql::{IntoOutputMode, OutputMode};
/// assert_eq!("complete".into_output_mode()?, OutputMode::Complete);
/// assert_eq!("changes".into_output_mode()?, OutputMode::Changes);
/// assert!("all".into_output_mode().is_err());
/// # Ok::<(), tidemill_sql::SqlError>(())
/// ```
pub trait IntoOutputMode {
    /// The mode.
    ///
    /// # Errors
    /// If no mode has this name.
    fn into_output_mode(self) -> Result<OutputMode>;
}

impl IntoOutputMode for OutputMode {
    fn into_output_mode(self) -> Result<OutputMode> {
        Ok(self)
    }
}

impl IntoOutputMode for &str {
    fn into_output_mode(self) -> Result<OutputMode> {
        match self.to_ascii_lowercase().as_str() {
            "append" => Ok(OutputMode::Append),
            "complete" => Ok(OutputMode::Complete),
            "update" => Ok(OutputMode::Update),
            "changes" => Ok(OutputMode::Changes),
            _ => Err(SqlError::new("output_mode", format!("there is no mode {self}; say append, complete, update or changes"))),
        }
    }
}

impl DataStreamWriter<'_, '_> {
    /// The format. Default: none, so one is needed, or [`foreach_batch`](Self::foreach_batch).
    pub fn format(mut self, format: &str) -> Self {
        self.format = format.to_lowercase();
        self
    }

    /// Which rows leave: an [`OutputMode`], or its name. Default: append.
    #[doc(alias = "outputMode")]
    pub fn output_mode(mut self, mode: impl IntoOutputMode) -> Self {
        self.mode = mode.into_output_mode();
        self
    }

    /// The query's name, and the table of format `memory`. No other query of the job may have it.
    #[doc(alias = "queryName")]
    pub fn query_name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// When batches come. Default: at the batch interval of the job.
    pub fn trigger(mut self, trigger: Trigger) -> Self {
        self.trigger = Some(trigger);
        self
    }

    /// An option, by Spark's name. Its case does not matter. `checkpointLocation` is an error: the directory is that of the job.
    pub fn option(mut self, name: &str, value: impl ToString) -> Self {
        self.options.set(name, value.to_string());
        self
    }

    /// Calls `f` with the rows of each batch as a table, instead of a format.
    #[doc(alias = "foreachBatch")]
    pub fn foreach_batch(
        mut self,
        f: impl FnMut(BatchTime, DataFrame) -> std::result::Result<(), BoxError> + Send + 'static,
    ) -> Self {
        self.foreach_batch = Some(Box::new(f));
        self
    }

    /// [`start`](Self::start) with a path.
    ///
    /// # Errors
    /// As `start`.
    pub fn start_path(self, path: impl AsRef<Path>, ssc: &StreamingContext<'_>) -> Result<()> {
        self.option("path", path.as_ref().display()).start(ssc)
    }

    /// Declares the query. It runs when the job runs; then [`StreamingQueries`](crate::StreamingQueries) has its handle.
    ///
    /// # Errors
    /// If the format, an option or the mode is wrong, another query of the job has the name, or the trigger has no meaning for the job.
    pub fn start(mut self, ssc: &StreamingContext<'_>) -> Result<()> {
        let frame = self.frame;
        let mode = self.mode.clone()?;
        let fault = |reason: String| SqlError::new(&frame.query, format!("write_stream: {reason}"));
        if self.options.get("checkpointLocation").is_some() {
            let remedy = "give it to the job by Builder::checkpoint(DIR) or --checkpoint DIR";
            return Err(fault(format!("option checkpointLocation: a checkpoint is of the whole job; {remedy}")));
        }
        self.check_trigger(ssc).map_err(fault)?;
        let name = self.declared_name().map_err(fault)?;
        let place = ["path", "topic", "dbtable"].iter().find_map(|name| self.options.get(name));
        let described = match place {
            Some(place) => format!("{} {place}", self.format),
            None if self.foreach_batch.is_some() => "foreach_batch".to_owned(),
            None => self.format.clone(),
        };
        let definition = Definition {
            name,
            named: self.name.is_some(),
            job: ssc.name().to_owned(),
            sink: described,
            trigger: self.trigger,
            has_offsets: frame.tables.has_offsets.get(),
            // Each format is one output, and the next one.
            output: ssc.output_count(),
            watermarks: frame.watermarks_in(mode)?,
        };
        match self.foreach_batch.take() {
            Some(f) => frame.foreach_batch(mode, f)?,
            None => self.write(mode)?,
        }
        frame.tables.parent.definitions().declare(definition);
        Ok(())
    }

    /// Writes the rows of a mode in the format.
    fn write(&self, mode: OutputMode) -> Result<()> {
        let frame = self.frame;
        let fault = |reason: String| SqlError::new(&frame.query, format!("write_stream: {reason}"));
        match self.format.as_str() {
            "console" => console(frame, mode, &self.options),
            "memory" => match &self.name {
                None => Err(fault("format memory needs a query_name, which is the table".to_owned())),
                Some(name) => {
                    self.options.only("memory", &[]).map_err(fault)?;
                    frame.memory(mode, &frame.tables.parent, name)
                }
            },
            "noop" => dropped(frame, mode),
            "csv" | "json" | "text" => files::write(frame, &self.format, &self.options, mode),
            #[cfg(feature = "parquet")]
            "parquet" => super::parquet::write(frame, &self.options, mode),
            #[cfg(not(feature = "parquet"))]
            "parquet" => Err(fault("this build has no Parquet; add the feature `parquet` of tidemill-sql".to_owned())),
            #[cfg(feature = "kafka")]
            "kafka" => super::kafka::write(frame, &self.options, mode),
            #[cfg(not(feature = "kafka"))]
            "kafka" => Err(fault("this build has no Kafka; add the feature `kafka` of tidemill-sql".to_owned())),
            #[cfg(any(feature = "postgres", feature = "sqlite"))]
            "jdbc" => super::jdbc::write(frame, &self.options, mode),
            #[cfg(not(any(feature = "postgres", feature = "sqlite")))]
            "jdbc" => {
                Err(fault("this build has no databases; add the feature `postgres` or `sqlite` of tidemill-sql".to_owned()))
            }
            "" => Err(fault(format!("no format is given; say {FORMATS}, or foreach_batch"))),
            other => Err(fault(format!("there is no format {other}; say {FORMATS}"))),
        }
    }

    fn check_trigger(&self, ssc: &StreamingContext<'_>) -> std::result::Result<(), String> {
        let (Some(Trigger::ProcessingTime(every)), interval) = (self.trigger, ssc.batch_interval()) else { return Ok(()) };
        match every.is_zero() || every == interval {
            true => Ok(()),
            false => Err(format!(
                "trigger {every:?}: the batch interval of the job, {interval:?}, is the trigger of all of its queries; give the job that one"
            )),
        }
    }

    /// The query's name, which no other query of this build has.
    fn declared_name(&self) -> std::result::Result<String, String> {
        let mut started = self.frame.tables.started.borrow_mut();
        let ends = self.trigger.is_some_and(Trigger::ends_job);
        if started.iter().any(|(_, other)| *other != ends) {
            return Err("the trigger AvailableNow ends the job, so all queries of the job have it, or none".to_owned());
        }
        let name = self.name.clone().unwrap_or_else(|| format!("query {}", started.len()));
        if started.iter().any(|(other, _)| *other == name) {
            return Err(format!("two queries have the name {name}; give each a query_name of its own"));
        }
        started.push((name.clone(), ends));
        Ok(name)
    }
}

/// Rows are counted where they are made, and go nowhere.
fn dropped(frame: &StreamingDataFrame<'_>, mode: OutputMode) -> Result<()> {
    frame.counts_leaving(mode)?.sink_to(Dropped, Distribution::Gathered);
    Ok(())
}

fn console(frame: &StreamingDataFrame<'_>, mode: OutputMode, options: &Options) -> Result<()> {
    let fault = |reason: String| SqlError::new(&frame.query, format!("write_stream: {reason}"));
    options.only("console", &["numRows", "truncate"]).map_err(fault)?;
    let rows = options.number("numRows").map_err(fault)?.unwrap_or(20) as usize;
    let truncate = match options.get("truncate") {
        Some("false") => 0,
        Some("true") | None => 20,
        Some(_) => options.number("truncate").map_err(fault)?.unwrap_or(20) as usize,
    };
    let print = move |time: BatchTime, table: DataFrame| -> std::result::Result<(), BoxError> {
        let line = "-".repeat(43);
        writeln!(std::io::stdout().lock(), "{line}\nBatch: {time}\n{line}\n{}", table.show_string(rows, truncate)?)?;
        Ok(())
    };
    frame.foreach_batch(mode, print)
}
