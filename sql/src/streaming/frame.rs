//! `StreamingDataFrame`: the result of a query over streams, and where it goes.

use std::cell::OnceCell;
use std::fmt;
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::error::DataFusionError;
use serde::de::DeserializeOwned;
use tidemill::prelude::{BadRecord, BatchTime, BoxError, DStream, Data, Key, View};

use super::codec::{Codec, Row};
use super::render::{Rendered, Renderer};
use super::tables::{StreamTables, stable};
use crate::data_frame::DataFrame;
use crate::error::{Result, SqlError};
use crate::rows::Values;
use crate::session::TableSession;

/// Which rows of a result leave after a batch: Spark's output modes.
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
}

/// The result of a query over streams: the rows that the query has over all rows so far, kept up to date. A batch costs what it changes.
///
/// It leaves as typed rows, by [`stream`](Self::stream) and [`view`](Self::view), and so through every output of the library; or as a table
/// of each batch, by [`foreach_batch`](Self::foreach_batch) and what stands on it.
pub struct StreamingDataFrame<'s> {
    pub(super) query: String,
    pub(super) tables: StreamTables<'s>,
    pub(super) frame: DataFrame,
    /// Bad rows of the source, if it can have some.
    pub(super) errors: Option<DStream<'s, BadRecord>>,
    schema: Arc<Schema>,
    /// Made when an output first asks.
    rendered: OnceCell<Rendering<'s>>,
}

/// The rows of a result, with their columns.
pub(super) struct Rendering<'s> {
    schema: Arc<Schema>,
    rows: Rows<'s>,
}

/// The rows of a result, as bytes.
enum Rows<'s> {
    /// Rows that never change.
    Growing(DStream<'s, Row>),
    Changing(View<'s, Row>),
}

impl<'s> StreamingDataFrame<'s> {
    pub(super) fn new(query: &str, tables: &StreamTables<'s>, frame: DataFrame, errors: Option<DStream<'s, BadRecord>>) -> Self {
        let schema = frame.schema();
        StreamingDataFrame { query: query.to_owned(), tables: tables.clone(), frame, errors, schema, rendered: OnceCell::new() }
    }

    /// The rows as streams and views.
    pub(super) fn rendered(&self) -> Result<&Rendering<'s>> {
        if let Some(rendered) = self.rendered.get() {
            return Ok(rendered);
        }
        let (query, plan) = (&self.query, self.frame.logical_plan());
        stable(query, plan)?;
        let fault = |e: DataFusionError| SqlError::of(query, &e);
        let tables = &self.tables.session;
        let state = tables.context().state();
        let plan = state.optimize(plan).map_err(fault)?;
        let streams = self.tables.streams.borrow();
        let renderer = Renderer { query, session: tables, state: &state, streams: &streams };
        let schema = plan.schema().inner().clone();
        let rows = match renderer.render(&plan).map_err(fault)? {
            Rendered::Changing(view) => Rows::Changing(view),
            Rendered::Growing(source, narrow) => {
                let codec = Rc::new(Codec::new(&schema).map_err(|e| fault(e.into()))?);
                Rows::Growing(renderer.rows(&source, narrow, &codec))
            }
        };
        Ok(self.rendered.get_or_init(|| Rendering { schema, rows }))
    }

    /// The columns and their types, by Arrow's names.
    ///
    /// ```
    /// # use tidemill::testing::check;
    /// # use tidemill_sql::{StreamTables, TableSession};
    /// # check([vec![1]], |stream| {
    /// # let tables = StreamTables::new(&TableSession::new());
    /// # tables.register_stream("numbers", stream).unwrap();
    /// let result = tables.sql("select count(*), avg(value) as mean from numbers").unwrap();
    /// let names: Vec<&str> = result.schema().fields().iter().map(|f| f.name().as_str()).collect();
    /// assert_eq!(names, ["count(1)", "mean"]);
    /// # result.view::<(i64, Option<tidemill::prelude::F64>)>().unwrap().map(|_| ()).complete()
    /// # }, [vec![()]]);
    /// ```
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Whether rows of the result change, so that its modes are complete and update. If not, its mode is append.
    ///
    /// # Errors
    /// If the query cannot be kept up to date.
    pub fn changes(&self) -> Result<bool> {
        Ok(matches!(self.rendered()?.rows, Rows::Changing(_)))
    }

    /// The plan as text.
    #[cfg(feature = "cli")]
    pub(crate) fn explain_text(&self) -> Result<String> {
        self.frame.explain()
    }

    /// The rows of each batch as values of a type, for a query whose rows never change: one without aggregates. Columns and types go together as
    /// for [`DataFrame::collect`].
    ///
    /// # Errors
    /// If rows of the result change.
    ///
    /// # Panics
    /// While the job runs, if the columns do not fit the type.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// use tidemill_sql::{StreamTables, TableSession};
    /// check([vec!["to", "be"], vec!["or"]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("words", &stream.map(String::from)).unwrap();
    ///     assert!(tables.sql("select count(*) from words").unwrap().stream::<i64>().is_err());
    ///     tables.sql("select upper(value) from words where value like '%o%'").unwrap().stream::<String>().unwrap()
    /// }, [vec!["TO".to_owned()], vec!["OR".to_owned()]]);
    /// ```
    pub fn stream<T: Data + DeserializeOwned>(&self) -> Result<DStream<'s, T>> {
        let Rows::Growing(stream) = &self.rendered()?.rows else {
            return Err(SqlError::new(&self.query, "rows of this result change, so it is no stream of rows; use view()"));
        };
        let typed = self.typed()?;
        Ok(stream.map_partitions(move |rows: Vec<Row>| typed(rows)))
    }

    /// The rows as a view of values of a type, with its output modes: for a query with aggregates. ORDER BY is the view's presentation
    /// order.
    ///
    /// # Errors
    /// If no row of the result ever changes.
    ///
    /// # Panics
    /// While the job runs, if the columns do not fit the type.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// use tidemill_sql::{StreamTables, TableSession};
    /// check([vec!["to", "be", "to"], vec!["be", "be"]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("words", &stream.map(String::from)).unwrap();
    ///     let top = tables.sql("select value, count(*) as n from words group by value order by n desc limit 1").unwrap();
    ///     top.view::<(String, i64)>().unwrap().complete()
    /// }, [vec![("to".to_owned(), 2)], vec![("be".to_owned(), 3)]]);
    /// ```
    pub fn view<T: Key>(&self) -> Result<View<'s, T>> {
        let Rows::Changing(view) = &self.rendered()?.rows else {
            return Err(SqlError::new(&self.query, "no row of this result ever changes, so a view would keep all; use stream()"));
        };
        let typed = self.typed()?;
        Ok(view.map_vectorized(move |rows| typed(rows).into_iter().map(Some).collect()))
    }

    /// Calls `f` with the rows of each batch as a table, in order, as `foreach_batch` of a stream does. The table belongs to the session that the
    /// tables were made with.
    ///
    /// # Errors
    /// If the mode has no meaning for the query: [`OutputMode::Append`] for rows that change, and [`OutputMode::Complete`] for rows that
    /// never do. If `f` fails, see [`DStream::foreach_batch`].
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use tidemill::prelude::*;
    /// use tidemill_sql::{OutputMode, StreamTables, TableSession};
    ///
    /// let words = QueueSource::from_batches([vec!["to", "be"], vec!["to"]].map(|b| b.into_iter().map(String::from).collect::<Vec<_>>()));
    /// let seen = Arc::new(Mutex::new(Vec::new()));
    /// let log = seen.clone();
    /// StreamingContext::builder("words", millis(10)).run(move |ssc| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("words", &ssc.queue_stream(&words))?;
    ///     let counts = tables.sql("select value, count(*) as n from words group by value")?;
    ///     assert!(counts.foreach_batch(OutputMode::Append, |_, _| Ok(())).is_err());
    ///     let log = log.clone();
    ///     counts.foreach_batch(OutputMode::Update, move |_time, table| {
    ///         log.lock().unwrap().push(table.filter("n > 1")?.collect::<(String, i64)>()?);
    ///         Ok(())
    ///     })?;
    ///     Ok(())
    /// })?;
    /// assert_eq!(*seen.lock().unwrap(), [vec![], vec![("to".to_owned(), 2)]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[doc(alias = "foreachBatch")]
    pub fn foreach_batch(
        &self,
        mode: OutputMode,
        mut f: impl FnMut(BatchTime, DataFrame) -> Result<(), BoxError> + Send + 'static,
    ) -> Result<()> {
        let (rows, codec, session) = (self.leaving(mode)?, self.codec()?, self.tables.parent.clone());
        rows.foreach_batch(move |batch| {
            let table = codec.decode(batch.iter())?;
            f(batch.time(), session.table_of(table.schema(), vec![table])?)
        });
        Ok(())
    }

    /// The rows that leave in a mode.
    pub(super) fn leaving(&self, mode: OutputMode) -> Result<DStream<'s, Row>> {
        let fault = |reason: &str| Err(SqlError::new(&self.query, reason));
        match (&self.rendered()?.rows, mode) {
            (Rows::Growing(stream), OutputMode::Append | OutputMode::Update) => Ok(stream.clone()),
            (Rows::Changing(view), OutputMode::Complete) => Ok(view.complete()),
            (Rows::Changing(view), OutputMode::Update) => Ok(view.update()),
            (Rows::Changing(_), OutputMode::Append) => {
                fault("mode Append is for rows that never change, and those of this result do; use Complete or Update")
            }
            (Rows::Growing(_), OutputMode::Complete) => {
                fault("mode Complete would keep every row for ever, since the query has no aggregate; use Append")
            }
        }
    }

    /// Prints the rows of each batch as Spark's console sink does: at most 20, under a line with the batch time, where Spark has a
    /// number.
    ///
    /// # Errors
    /// As [`StreamingDataFrame::foreach_batch`].
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill_sql::{OutputMode, StreamTables, TableSession};
    ///
    /// let words = QueueSource::from_batches([vec!["to".to_owned(), "be".to_owned()]]);
    /// StreamingContext::builder("words", millis(10)).run(move |ssc| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("words", &ssc.queue_stream(&words))?;
    ///     tables.sql("select value, count(*) from words group by value")?.console(OutputMode::Complete)?;
    ///     Ok(())
    /// })?;
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn console(&self, mode: OutputMode) -> Result<()> {
        self.foreach_batch(mode, |time, table| {
            let line = "-".repeat(43);
            writeln!(std::io::stdout().lock(), "{line}\nBatch: {time}\n{line}")?;
            Ok(table.show()?)
        })
    }

    /// Keeps the rows as a table in memory, which `session` has under a name from the first batch on: Spark's memory sink. In mode
    /// [`OutputMode::Append`] rows are added, for ever; in [`OutputMode::Complete`] each batch replaces them. A query sees the table as of
    /// one batch. The table is empty again after a restart.
    ///
    /// # Errors
    /// As [`StreamingDataFrame::foreach_batch`]; and in mode [`OutputMode::Update`], since the table would not know which rows are replaced.
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
    ///     counts.memory(OutputMode::Complete, &memory, "counts")?;
    ///     Ok(())
    /// })?;
    /// assert_eq!(session.sql("select n from counts order by n desc")?.collect::<i64>()?, [2, 1]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "queryName")]
    pub fn memory(&self, mode: OutputMode, session: &TableSession, name: &str) -> Result<()> {
        if mode == OutputMode::Update {
            return Err(SqlError::new(
                &self.query,
                "a table in memory takes mode Append or Complete; use foreach_batch for Update",
            ));
        }
        let (session, name) = (session.clone(), name.to_owned());
        let (schema, mut kept) = (self.rendered()?.schema.clone(), Vec::<RecordBatch>::new());
        self.foreach_batch(mode, move |_, table| {
            if mode == OutputMode::Complete {
                kept.clear();
            }
            kept.extend(table.record_batches()?.into_iter().filter(|batch| batch.num_rows() > 0));
            session.table_of(schema.clone(), kept.clone())?.create_or_replace_temp_view(&name)?;
            Ok(())
        })
    }

    /// Rows as values. Columns that do not fit the type end the job: the engine reports the panic with verb, worker and batch.
    fn typed<T: DeserializeOwned + 'static>(&self) -> Result<impl Fn(Vec<Row>) -> Vec<T> + 'static> {
        let (codec, query, values) = (self.codec()?, self.query.clone(), Values::new());
        Ok(move |rows: Vec<Row>| {
            let batch = codec.decode(rows.iter()).unwrap_or_else(|e| panic!("{query}: {e}"));
            values.read(&batch).unwrap_or_else(|e| panic!("{query}: {e}"))
        })
    }

    pub(super) fn codec(&self) -> Result<Codec> {
        Codec::new(&self.rendered()?.schema).map_err(|e| SqlError::new(&self.query, e))
    }
}

impl fmt::Debug for StreamingDataFrame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamingDataFrame").field("query", &self.query).finish_non_exhaustive()
    }
}
