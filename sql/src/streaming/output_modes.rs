//! Which rows of a result leave after a batch, and with which columns: Spark's output modes, and the mode `changes`.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use tidemill::prelude::{Change, DStream, Data};

use super::codec::{Codec, Row};
use super::frame::{Rows, StreamingDataFrame};
use super::narrow::with_columns;
use super::render::Windows;
use crate::error::{Result, SqlError};

/// Which rows of a result leave after a batch: Spark's output modes, and [`Changes`](OutputMode::Changes).
///
/// ```
/// assert_ne!(tidemill_sql::OutputMode::Append, tidemill_sql::OutputMode::Complete);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputMode {
    /// New rows, which never change: for queries without aggregates.
    Append,
    /// The whole result: for queries with aggregates.
    Complete,
    /// New and changed rows.
    Update,
    /// The rows that left, and then those that entered: for all queries. The last column, `diff`, is how many copies of the row entered, or, if
    /// it is negative, left. A row that is replaced leaves, and another one enters. So over all batches the sum of `diff` of a row is how often
    /// the result has it. Windows that a watermark closes stay in the result, as in mode [`Complete`](OutputMode::Complete).
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill_sql::{OutputMode, StreamTables, TableSession};
    ///
    /// let words = QueueSource::from_batches([vec!["to".to_owned(), "be".to_owned()], vec!["to".to_owned()]]);
    /// let session = TableSession::new();
    /// let memory = session.clone();
    /// StreamingContext::builder("words", millis(10)).run(move |ssc| {
    ///     let tables = StreamTables::new(&memory);
    ///     tables.register_stream("words", &ssc.queue_stream(&words))?;
    ///     let counts = tables.sql("select value, count(*) as n from words group by value")?;
    ///     counts.memory(OutputMode::Changes, &memory, "log")?;
    ///     Ok(())
    /// })?;
    /// let log = session.sql("select value, n, diff from log where value = 'to' order by n, diff desc")?;
    /// let row = |n, diff| ("to".to_owned(), n, diff);
    /// assert_eq!(log.collect::<(String, i64, i64)>()?, [row(1, 1), row(1, -1), row(2, 1)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    Changes,
}

/// The column of mode `changes`.
pub(super) const DIFF: &str = "diff";

/// What becomes of windows in a mode. Rows of a window that is forgotten would leave the result, so `changes` has all windows.
fn windows_in(mode: OutputMode) -> Windows {
    match mode {
        OutputMode::Append => Windows::Final,
        OutputMode::Update => Windows::Open,
        OutputMode::Complete | OutputMode::Changes => Windows::All,
    }
}

/// What helps against an aggregate in mode Append.
pub(super) fn remedy(part: &str) -> &'static str {
    match part.starts_with("GROUP BY") {
        true => ", or give the stream a watermark by with_watermark and group by window(..)",
        false => "",
    }
}

/// The rows that leave.
enum Leaving<'s> {
    Columns(DStream<'s, RecordBatch>),
    Bytes(DStream<'s, Row>),
}

/// Rows with the column `diff` behind their columns.
fn with_diff(schema: &Arc<Schema>, rows: &RecordBatch, diffs: Vec<i64>) -> RecordBatch {
    let columns = rows.columns().iter().cloned().chain([Arc::new(Int64Array::from(diffs)) as ArrayRef]).collect();
    with_columns(schema, columns, rows.num_rows()).unwrap_or_else(|e| panic!("rows with diff: {e}"))
}

impl<'s> StreamingDataFrame<'s> {
    /// The rows that leave in a mode, with the columns of that mode, as bytes.
    pub(super) fn leaving(&self, mode: OutputMode) -> Result<DStream<'s, Row>> {
        match self.rows_leaving(mode)? {
            Leaving::Columns(batches) => {
                let codec = self.codec_in(mode)?;
                Ok(batches.map_partitions(move |batches: Vec<RecordBatch>| codec.all_encoded(&batches)))
            }
            Leaving::Bytes(rows) => Ok(rows),
        }
    }

    /// What `f` makes of them on the worker that has them, as columns.
    pub(super) fn columns_leaving<X: Data>(
        &self,
        mode: OutputMode,
        f: impl Fn(&RecordBatch) -> Vec<X> + 'static,
    ) -> Result<DStream<'s, X>> {
        match self.rows_leaving(mode)? {
            Leaving::Columns(batches) => {
                Ok(batches.map_partitions(move |batches: Vec<RecordBatch>| batches.iter().flat_map(&f).collect::<Vec<_>>()))
            }
            Leaving::Bytes(rows) => {
                let (codec, query) = (self.codec_in(mode)?, self.query.clone());
                Ok(rows.map_partitions(move |rows: Vec<Row>| {
                    f(&codec.decode(rows.iter()).unwrap_or_else(|e| panic!("{query}: {e}")))
                }))
            }
        }
    }

    /// How many rows leave, a partition at a time.
    pub(super) fn counts_leaving(&self, mode: OutputMode) -> Result<DStream<'s, u64>> {
        Ok(match self.rows_leaving(mode)? {
            Leaving::Columns(batches) => batches.map(|batch| batch.num_rows() as u64),
            Leaving::Bytes(rows) => rows.map_partitions(|rows: Vec<Row>| [rows.len() as u64]),
        })
    }

    fn rows_leaving(&self, mode: OutputMode) -> Result<Leaving<'s>> {
        let fault = |reason: String| Err(SqlError::new(&self.query, reason));
        let rendering = self.rendered(windows_in(mode))?;
        if mode == OutputMode::Complete {
            return match self.result(windows_in(mode))? {
                Some(view) => Ok(Leaving::Bytes(view.complete())),
                None => {
                    fault("mode Complete would keep every row for ever, since the query has no aggregate; use Append".to_owned())
                }
            };
        }
        Ok(match (&rendering.rows, mode) {
            (Rows::Growing(batches) | Rows::Kept(batches, _), OutputMode::Changes) => {
                let columns = self.columns_in(OutputMode::Changes)?;
                // Each row enters once.
                Leaving::Columns(batches.map(move |batch| with_diff(&columns, &batch, vec![1; batch.num_rows()])))
            }
            (Rows::Growing(batches) | Rows::Kept(batches, _), _) => Leaving::Columns(batches.clone()),
            (Rows::Changing(view, _), OutputMode::Changes) => {
                let (from, columns, query) =
                    (self.codec_in(OutputMode::Update)?, self.columns_in(OutputMode::Changes)?, self.query.clone());
                Leaving::Columns(view.changes().map_partitions(move |changes: Vec<Change<Row>>| {
                    let rows = from.decode(changes.iter().map(|change| &change.row));
                    let diffs = changes.iter().map(|change| change.diff).collect();
                    [with_diff(&columns, &rows.unwrap_or_else(|e| panic!("{query}: {e}")), diffs)]
                }))
            }
            (Rows::Changing(_, Some(part)), OutputMode::Append) => {
                return fault(format!(
                    "mode Append is for rows that never change, and {part} changes rows of this result; use Complete or Update{}",
                    remedy(part)
                ));
            }
            (Rows::Changing(view, None), OutputMode::Append) => Leaving::Bytes(view.append()),
            (Rows::Changing(view, _), _) => Leaving::Bytes(view.update()),
        })
    }

    /// Whether the query keeps its result, so that it has the modes complete and update: one with an aggregate or a join. If not, its mode is
    /// append. The mode `changes` is for both.
    ///
    /// # Errors
    /// If the query cannot be kept up to date.
    pub fn changes(&self) -> Result<bool> {
        self.changes_in(OutputMode::Append)
    }

    /// The same of what leaves in a mode: windows by a watermark are final in mode append, and change in the others.
    pub(super) fn changes_in(&self, mode: OutputMode) -> Result<bool> {
        Ok(!matches!(self.rendered(windows_in(mode))?.rows, Rows::Growing(_)))
    }

    /// The operators that make the watermarks behind the rows of a mode.
    pub(super) fn watermarks_in(&self, mode: OutputMode) -> Result<Vec<usize>> {
        Ok(self.rendered(windows_in(mode))?.watermarks.clone())
    }

    /// The columns of the rows that leave in a mode.
    pub(super) fn columns_in(&self, mode: OutputMode) -> Result<Arc<Schema>> {
        let columns = self.columns()?;
        if mode != OutputMode::Changes {
            return Ok(columns);
        }
        if columns.fields().iter().any(|field| field.name().eq_ignore_ascii_case(DIFF)) {
            let reason = format!("mode Changes adds the column {DIFF}, and the result has one; give that another name by AS");
            return Err(SqlError::new(&self.query, reason));
        }
        let diff = Arc::new(Field::new(DIFF, DataType::Int64, false));
        Ok(Arc::new(Schema::new(columns.fields().iter().cloned().chain([diff]).collect::<Vec<_>>())))
    }

    pub(super) fn codec_in(&self, mode: OutputMode) -> Result<Codec> {
        Codec::new(&self.columns_in(mode)?).map_err(|e| SqlError::new(&self.query, e))
    }

    /// The same for rows that become a table, whose columns need names of their own.
    pub(super) fn table_codec(&self, mode: OutputMode) -> Result<Codec> {
        let columns = self.columns_in(mode)?;
        let names = columns.fields().iter().map(|field| field.name().as_str());
        match names.clone().enumerate().find(|(place, name)| names.clone().take(*place).any(|other| other == *name)) {
            Some((_, name)) => {
                let reason = format!("two columns are called {name}, and a table needs different names; add AS to one of them");
                Err(SqlError::new(&self.query, reason))
            }
            None => self.codec_in(mode),
        }
    }
}
