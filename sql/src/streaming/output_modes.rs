//! Which rows of a result leave after a batch, and with which columns: Spark's output modes, and the mode `changes`.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::error::ArrowError;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
use tidemill::prelude::View;
use tidemill::prelude::{Change, DStream};

use super::codec::{Codec, Row};
use super::frame::{Rows, StreamingDataFrame};
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

impl<'s> StreamingDataFrame<'s> {
    /// The rows that leave in a mode, with the columns of that mode.
    pub(super) fn leaving(&self, mode: OutputMode) -> Result<DStream<'s, Row>> {
        let fault = |reason: String| Err(SqlError::new(&self.query, reason));
        match (&self.rendered(windows_in(mode))?.rows, mode) {
            (Rows::Growing(stream), OutputMode::Append | OutputMode::Update) => Ok(stream.clone()),
            (Rows::Changing(view, _), OutputMode::Complete) => Ok(view.complete()),
            (Rows::Changing(view, _), OutputMode::Update) => Ok(view.update()),
            (Rows::Changing(view, None), OutputMode::Append) => Ok(view.append()),
            (Rows::Changing(_, Some(part)), OutputMode::Append) => fault(format!(
                "mode Append is for rows that never change, and {part} changes rows of this result; use Complete or Update{}",
                remedy(part)
            )),
            (Rows::Growing(_), OutputMode::Complete) => {
                fault("mode Complete would keep every row for ever, since the query has no aggregate; use Append".to_owned())
            }
            (Rows::Growing(stream), OutputMode::Changes) => {
                let with_diff = self.with_diff()?;
                Ok(stream.map_partitions(move |rows: Vec<Row>| {
                    let entered = vec![1; rows.len()];
                    with_diff(rows, entered)
                }))
            }
            (Rows::Changing(view, _), OutputMode::Changes) => {
                let with_diff = self.with_diff()?;
                Ok(view.changes().map_partitions(move |changes: Vec<Change<Row>>| {
                    let (rows, diffs) = changes.into_iter().map(|change| (change.row, change.diff)).unzip();
                    with_diff(rows, diffs)
                }))
            }
        }
    }

    /// What puts the column `diff` behind the columns of rows.
    fn with_diff(&self) -> Result<impl Fn(Vec<Row>, Vec<i64>) -> Vec<Row> + 'static> {
        let (from, to) = (self.codec_in(OutputMode::Update)?, self.codec_in(OutputMode::Changes)?);
        let query = self.query.clone();
        Ok(move |rows: Vec<Row>, diffs: Vec<i64>| {
            let encoded = || {
                let mut columns = from.decode(rows.iter())?.columns().to_vec();
                columns.push(Arc::new(Int64Array::from(diffs)) as ArrayRef);
                to.encode(&columns, rows.len())
            };
            encoded().unwrap_or_else(|e: ArrowError| panic!("{query}: {e}"))
        })
    }

    /// The result as a view, if its rows change.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(super) fn changing(&self) -> Result<Option<View<'s, Row>>> {
        match &self.rendered(Windows::All)?.rows {
            Rows::Changing(view, _) => Ok(Some(view.clone())),
            Rows::Growing(_) => Ok(None),
        }
    }

    /// Whether rows of the result change, so that its modes are complete and update. If not, its mode is append. The mode `changes` is for
    /// both.
    ///
    /// # Errors
    /// If the query cannot be kept up to date.
    pub fn changes(&self) -> Result<bool> {
        self.changes_in(OutputMode::Append)
    }

    /// The same of what leaves in a mode: windows by a watermark are final in mode append, and change in the others.
    pub(super) fn changes_in(&self, mode: OutputMode) -> Result<bool> {
        Ok(matches!(self.rendered(windows_in(mode))?.rows, Rows::Changing(..)))
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
