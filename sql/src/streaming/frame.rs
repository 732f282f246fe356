//! `StreamingDataFrame`: the result of a query over streams, and where it goes.

use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::error::DataFusionError;
use serde::de::DeserializeOwned;
use tidemill::connector::sink::Distribution;
use tidemill::prelude::{BadRecord, BatchTime, BoxError, DStream, Data, Key, View};

use super::batches::{Asked, Late, each};
use super::codec::{Codec, Row};
use super::explain::Notes;
use super::grouped_window::kept_above;
use super::identity::{identity, known};
use super::output_modes::{OutputMode, remedy};
use super::render::{Rendered, Renderer, Windows};
use super::scalar_subquery::{joining, single};
use super::sink::TableSink;
use super::tables::{StreamTables, stable};
use crate::data_frame::DataFrame;
use crate::error::{Result, SqlError};
use crate::rows::Values;

/// The result of a query over streams: the rows that the query has over all rows so far, kept up to date. A batch costs what it changes.
///
/// It leaves as typed rows, by [`stream`](Self::stream) and [`view`](Self::view), and so through every output of the library; or as a table
/// of each batch, by [`foreach_batch`](Self::foreach_batch) and what stands on it.
///
/// A query that groups by `window(..)` of a column with a watermark has three forms. In mode [`OutputMode::Append`] and as a
/// [`stream`](Self::stream), a row leaves once, when its window is final. In mode [`OutputMode::Update`] and as
/// [`open_windows`](Self::open_windows), it forgets a window that is final. In mode [`OutputMode::Complete`] and as a [`view`](Self::view)
/// it keeps all windows.
pub struct StreamingDataFrame<'s> {
    pub(super) query: String,
    pub(super) tables: StreamTables<'s>,
    pub(super) frame: DataFrame,
    /// Bad rows of the source, if it can have some.
    pub(super) bad_sources: Option<DStream<'s, BadRecord>>,
    /// The rows before the last verb and its expressions, if that is `order_by`: `limit` takes the first of them.
    pub(super) ordered: Option<(DataFrame, String)>,
    schema: Arc<Schema>,
    /// By what becomes of windows: final ones, open ones, all.
    pub(super) rendered: [OnceCell<Rc<Rendering<'s>>>; 3],
    pub(super) late: RefCell<Option<Late<'s>>>,
    pub(super) notes: RefCell<Notes>,
    /// Of the rendering before the next output, and of the frames that this one is made of.
    pub(super) errors: RefCell<Vec<DStream<'s, BadRecord>>>,
}

/// The rows of a result, with their columns.
pub(super) struct Rendering<'s> {
    pub schema: Arc<Schema>,
    pub rows: Rows<'s>,
    /// The operators that make the watermarks behind them.
    pub watermarks: Vec<usize>,
}

/// The rows of a result.
pub(super) enum Rows<'s> {
    /// Rows that never change, as columns.
    Growing(DStream<'s, RecordBatch>),
    /// The same of a query that keeps them all anyway, and their result, if an output wants it.
    Kept(DStream<'s, RecordBatch>, OnceCell<View<'s, Row>>),
    /// A result as bytes, and the part of the query that takes rows back; `None`: none does.
    Changing(View<'s, Row>, Option<String>),
}

impl<'s> StreamingDataFrame<'s> {
    pub(super) fn new(
        query: &str,
        tables: &StreamTables<'s>,
        frame: DataFrame,
        bad_sources: Option<DStream<'s, BadRecord>>,
    ) -> Self {
        StreamingDataFrame {
            query: query.to_owned(),
            tables: tables.clone(),
            schema: frame.schema(),
            frame,
            bad_sources,
            ordered: None,
            rendered: Default::default(),
            late: RefCell::default(),
            notes: RefCell::default(),
            errors: RefCell::default(),
        }
    }

    /// What a source needs to know of the query.
    pub(super) fn asked(&self) -> Asked<'_, 's> {
        Asked { query: &self.query, errors: &self.errors }
    }

    /// Fails if the query cannot be kept up to date.
    pub(super) fn checked(self) -> Result<Self> {
        self.rendered(Windows::Final)?;
        Ok(self)
    }

    /// The columns, with their watermarks.
    pub(super) fn marked_schema(&self) -> Result<Arc<Schema>> {
        let state = joining(&self.tables.session);
        let plan = kept_above(self.frame.logical_plan()).and_then(|plan| state.optimize(&plan));
        let plan = plan.map_err(|e| SqlError::of(&self.query, &e))?;
        Ok(plan.schema().inner().clone())
    }

    /// The rows of the plan as they are rendered, and their columns.
    pub(super) fn render(&self, windows: Windows) -> Result<(Rendered<'s>, Arc<Schema>)> {
        let fault = |e: DataFusionError| SqlError::of(&self.query, &e);
        stable(&self.query, self.frame.logical_plan())?;
        let session = &self.tables.session;
        single(self.frame.logical_plan()).map_err(fault)?;
        let state = joining(session);
        let plan = kept_above(self.frame.logical_plan()).and_then(|plan| state.optimize(&plan)).map_err(fault)?;
        self.notes.replace(Notes::default());
        self.errors.replace(Vec::new());
        let (streams, watermarks) = (self.tables.streams.borrow(), self.tables.watermarks.borrow());
        let renderer = Renderer {
            query: &self.query,
            session,
            state: &state,
            streams: &streams,
            watermarks: &watermarks,
            context: self.tables.context.get(),
            windows,
            notes: &self.notes,
            late: &self.late,
            errors: &self.errors,
            built: &RefCell::default(),
        };
        Ok((renderer.render(&plan).map_err(fault)?, plan.schema().inner().clone()))
    }

    pub(super) fn rendered(&self, windows: Windows) -> Result<Rc<Rendering<'s>>> {
        let cell = |windows| &self.rendered[windows as usize];
        if let Some(rows) = cell(windows).get() {
            return Ok(rows.clone());
        }
        let (rendered, schema) = self.render(windows)?;
        let rows = match rendered {
            Rendered::Changing(view, back) => Rows::Changing(view, back),
            Rendered::Growing(source, narrow) => {
                let kept = source.kept();
                let batches = each(&source, &self.asked(), move |batch| Ok(vec![narrow.run(batch)?]));
                if kept { Rows::Kept(batches, OnceCell::new()) } else { Rows::Growing(batches) }
            }
        };
        let watermarks = self.notes.borrow().watermarks.iter().copied().collect();
        let rows = Rc::new(Rendering { schema, rows, watermarks });
        let _ = cell(windows).set(rows.clone());
        if !self.notes.borrow().has_watermark {
            // No watermark closes a window, so the forms of the result are the same.
            for other in [Windows::Final, Windows::Open, Windows::All] {
                let _ = cell(other).set(rows.clone());
            }
        }
        Ok(rows)
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

    /// The plan as text.
    #[cfg(feature = "cli")]
    pub(crate) fn explain_text(&self) -> Result<String> {
        self.explain()
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
        if let Rows::Changing(_, Some(part)) = &self.rendered(Windows::Final)?.rows {
            let reason = format!("{part} changes rows of this result, so it is not a stream of rows; use view(){}", remedy(part));
            return Err(SqlError::new(&self.query, reason));
        }
        let (values, query) = (Values::new(), self.query.clone());
        self.columns_leaving(OutputMode::Append, move |batch| values.read(batch).unwrap_or_else(|e| panic!("{query}: {e}")))
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
        self.typed_view(Windows::All)
    }

    /// As [`StreamingDataFrame::view`], of the windows that are open: a row leaves the view in the batch after the watermark has passed the
    /// end of its window. Mode [`OutputMode::Update`] has its new and changed rows. For a query without windows and watermark it is the
    /// same as [`StreamingDataFrame::view`].
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
    /// // Numbers are times in microseconds.
    /// check([vec![2_i64], vec![3], vec![15], vec![]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("times", stream).unwrap();
    ///     tables.with_watermark("times", "value", "0 seconds").unwrap();
    ///     let counts = tables.sql("select count(*) from times group by window(value, '10 microseconds')").unwrap();
    ///     counts.open_windows::<i64>().unwrap().complete()
    /// }, [vec![1], vec![2], vec![1, 2], vec![1]]);
    /// ```
    pub fn open_windows<T: Key>(&self) -> Result<View<'s, T>> {
        self.typed_view(Windows::Open)
    }

    fn typed_view<T: Key>(&self, windows: Windows) -> Result<View<'s, T>> {
        let Some(view) = self.result(windows)? else {
            return Err(SqlError::new(&self.query, "no row of this result ever changes, so a view would keep all; use stream()"));
        };
        let typed = self.typed()?;
        Ok(view.map_vectorized(move |rows| typed(rows).into_iter().map(Some).collect()))
    }

    /// The rows as a result that is kept up to date. `None`: the query would keep them for that alone.
    pub(super) fn result(&self, windows: Windows) -> Result<Option<View<'s, Row>>> {
        let rendering = self.rendered(windows)?;
        let (batches, view) = match &rendering.rows {
            Rows::Growing(_) => return Ok(None),
            Rows::Changing(view, _) => return Ok(Some(view.clone())),
            Rows::Kept(batches, view) => (batches, view),
        };
        let codec = Codec::new(&rendering.schema).map_err(|e| SqlError::new(&self.query, e))?;
        let rows = move |batches: Vec<RecordBatch>| codec.all_encoded(&batches);
        let part = format!("rows of {}", identity(self.frame.logical_plan()));
        let whole = || known(self.tables.context.get(), &part, || batches.map_partitions(rows).accumulate());
        Ok(Some(view.get_or_init(whole).clone()))
    }

    /// Calls `f` with the rows of each batch as a table, in order, as `foreach_batch` of a stream does. The table belongs to the session that the
    /// tables were made with.
    ///
    /// # Errors
    /// If the mode has no meaning for the query: [`OutputMode::Append`] for rows that change, and [`OutputMode::Complete`] for rows that
    /// never do. If two columns have the same name, or a column is called `diff` in mode [`OutputMode::Changes`]. If `f` fails, see [`DStream::foreach_batch`].
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
        let (codec, session) = (self.table_codec(mode)?, self.tables.parent.clone());
        let write = move |time, table: RecordBatch| f(time, session.table_of(table.schema(), vec![table])?);
        self.leaving(mode)?.sink_to(TableSink { codec, write }, Distribution::Gathered);
        Ok(())
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

    /// Rows as values. Columns that do not fit the type end the job: the engine reports the panic with verb, worker and batch.
    fn typed<T: DeserializeOwned + 'static>(&self) -> Result<impl Fn(Vec<Row>) -> Vec<T> + 'static> {
        let (codec, query, values) = (self.codec_in(OutputMode::Append)?, self.query.clone(), Values::new());
        Ok(move |rows: Vec<Row>| {
            let batch = codec.decode(rows.iter()).unwrap_or_else(|e| panic!("{query}: {e}"));
            values.read(&batch).unwrap_or_else(|e| panic!("{query}: {e}"))
        })
    }

    /// The columns of the rows: those of any form of the result that is there.
    pub(super) fn columns(&self) -> Result<Arc<Schema>> {
        match self.rendered.iter().find_map(OnceCell::get) {
            Some(rendered) => Ok(rendered.schema.clone()),
            None => Ok(self.rendered(Windows::Final)?.schema.clone()),
        }
    }
}

impl fmt::Debug for StreamingDataFrame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamingDataFrame").field("query", &self.query).finish_non_exhaustive()
    }
}
