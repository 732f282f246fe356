//! `StreamTables`: the streams of a program as tables, and queries over them.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use serde::{Deserialize, Serialize};
use tidemill::prelude::{Broadcast, DStream, Data, StreamingContext, View};

use super::batches::{Batches, Source, Stepped};
use super::codec::Row;
use super::frame::StreamingDataFrame;
use super::identity::{UNNAMED, unnamed};
use super::narrow::{Narrow, with_columns};
use super::sink::Started;
use super::watermark::Watermark;
use crate::error::{Result, SqlError};
use crate::names;
use crate::rows::Columns;
use crate::session::TableSession;

/// The streams of a program as tables without end, for queries whose results are kept up to date: Spark's Structured Streaming. A program makes it
/// while it builds its graph.
///
/// ```
/// use tidemill::testing::check;
/// use tidemill_sql::{StreamTables, TableSession};
///
/// let words = [vec!["to", "be", "to"], vec!["be"]].map(|batch| batch.into_iter().map(String::from).collect::<Vec<_>>());
/// check(words, |stream| {
///     let tables = StreamTables::new(&TableSession::new());
///     tables.register_stream("words", stream).unwrap();
///     let counts = tables.sql("select value, count(*) from words group by value").unwrap();
///     counts.view::<(String, i64)>().unwrap().complete()
/// }, [
///     vec![("be".to_owned(), 1), ("to".to_owned(), 2)],
///     vec![("be".to_owned(), 2), ("to".to_owned(), 2)],
/// ]);
/// ```
#[derive(Clone)]
pub struct StreamTables<'s> {
    /// The program's session.
    pub(super) parent: TableSession,
    /// Its tables, and the streams.
    pub(super) session: TableSession,
    pub(super) streams: Rc<RefCell<Streams<'s>>>,
    pub(super) watermarks: Rc<RefCell<Watermarks>>,
    /// The queries that were started over them.
    pub(super) started: Started,
    /// Whether one of them is a source whose end is known by its offsets.
    pub(super) has_offsets: Rc<Cell<bool>>,
    /// What the program is built on: that of its first stream.
    pub(super) context: Rc<OnceCell<StreamingContext<'s>>>,
}

/// Streams and views by the name of their table.
pub(crate) type Streams<'s> = HashMap<String, Table<'s>>;

/// The operators that make the watermarks which the rows of a stream have passed, by the name of its table.
pub(crate) type Watermarks = HashMap<String, BTreeSet<usize>>;

/// What a table has its rows of.
#[derive(Clone)]
pub(crate) enum Table<'s> {
    /// A stream: rows never leave.
    Stream(Rc<dyn Source<'s> + 's>),
    /// A view of the program.
    View(View<'s, Row>),
    /// A file that every worker has, as of the batch.
    File(Broadcast<'s, RecordBatch>),
}

impl<'s> StreamTables<'s> {
    /// No streams. Queries also see the tables that the session has now.
    pub fn new(session: &TableSession) -> Self {
        StreamTables {
            parent: session.clone(),
            session: session.copied(),
            streams: Rc::default(),
            watermarks: Rc::default(),
            started: Started::default(),
            has_offsets: Rc::default(),
            context: Rc::default(),
        }
    }

    /// Gives a name to a stream. Its columns are those of [`TableSession::create_data_frame`].
    ///
    /// # Errors
    /// If the columns cannot be known from the type of the rows.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// use tidemill_sql::{StreamTables, TableSession};
    /// check([vec![(1, 'a'), (2, 'b')]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("pairs", stream).unwrap();
    ///     tables.sql("select _2 from pairs where _1 > 1").unwrap().stream::<char>().unwrap()
    /// }, [vec!['b']]);
    /// ```
    #[doc(alias = "createOrReplaceTempView")]
    pub fn register_stream<T: Data + Serialize + Deserialize<'static>>(&self, name: &str, stream: &DStream<'s, T>) -> Result<()> {
        let columns = Columns::of::<T>()?;
        let schema = columns.schema().clone();
        self.context.get_or_init(|| stream.context());
        self.add(name, schema, Rc::new(Batches::of(stream, move |rows| Ok(columns.batch(rows)?))))
    }

    /// Gives a name to a stream of record batches, whose rows are those of the table. It costs no conversion of rows.
    ///
    /// # Errors
    /// If the name is one that no table can have.
    ///
    /// # Panics
    /// While the job runs, if the columns of a record batch are not those of `schema`, in this order and with these types.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tidemill::testing::check;
    /// use tidemill_sql::arrow::array::{Int64Array, RecordBatch};
    /// use tidemill_sql::arrow::datatypes::{DataType, Field, Schema};
    /// use tidemill_sql::{StreamTables, TableSession};
    /// check([vec![1, 2], vec![3]], |stream| {
    ///     let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    ///     let columns = schema.clone();
    ///     let batches = stream.map_partitions(move |rows: Vec<i64>| {
    ///         [RecordBatch::try_new(columns.clone(), vec![Arc::new(Int64Array::from(rows))]).unwrap()]
    ///     });
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_batches("numbers", &schema, &batches).unwrap();
    ///     tables.sql("select n * 10 from numbers where n > 1").unwrap().stream::<i64>().unwrap()
    /// }, [vec![20], vec![30]]);
    /// ```
    pub fn register_batches(&self, name: &str, schema: &Arc<Schema>, stream: &DStream<'s, RecordBatch>) -> Result<()> {
        self.context.get_or_init(|| stream.context());
        let (columns, table) = (schema.clone(), name.to_owned());
        let checked = stream.map(move |batch| {
            let (rows, all) = (batch.num_rows(), batch.columns().to_vec());
            with_columns(&columns, all, rows).unwrap_or_else(|e| panic!("a record batch of {table}: {}", e.strip_backtrace()))
        });
        self.add(name, schema.clone(), Rc::new(Batches(checked)))
    }

    /// A query over all rows of the streams so far, and over the tables of the session. It is one SELECT. What cannot be kept up to
    /// date is an error here, before the job starts.
    ///
    /// # Errors
    /// If it is not one query, uses an unknown name, or has a part that cannot be kept up to date. The error names that part.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// use tidemill_sql::{StreamTables, TableSession};
    /// check([vec![3, 1, 4], vec![5]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("numbers", stream).unwrap();
    ///     tables.sql("select sum(value), max(value) from numbers").unwrap().view::<(i64, i32)>().unwrap().update()
    /// }, [vec![(8, 4)], vec![(13, 5)]]);
    /// ```
    pub fn sql(&self, text: &str) -> Result<StreamingDataFrame<'s>> {
        StreamingDataFrame::new(text, self, self.session.sql(text)?, None).checked()
    }

    /// Says which column of a stream has the time of a row, and how late rows may come: `"10 seconds"`, or a [`Watermark`] with more
    /// options. `GROUP BY window(column, '10 minutes')` then forgets windows that are over.
    ///
    /// The column is a timestamp or a date. A column of integers is taken for microseconds since 1970, and one of texts is read as
    /// RFC 3339; for all queries it is a timestamp from now on. A row without a valid time is in no window. It is counted and logged, as bad
    /// records are.
    ///
    /// # Errors
    /// If no stream has this name, or it has no such column, or it is not a time, or the delay is wrong.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// use tidemill_sql::{StreamTables, TableSession};
    /// // A word and its time in seconds.
    /// check([vec![("to", 1)], vec![("to", 7)], vec![("or", 21)]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     let words = stream.map(|(word, second)| (word.to_owned(), second * 1_000_000_i64));
    ///     tables.register_stream("words", &words).unwrap();
    ///     tables.with_watermark("words", "_2", "10 seconds").unwrap();
    ///     let counts = tables.sql("select _1, count(*) from words group by window(_2, '10 seconds'), _1").unwrap();
    ///     counts.stream::<(String, i64)>().unwrap()
    /// }, [vec![], vec![], vec![("to".to_owned(), 2)]]);
    /// ```
    #[doc(alias = "withWatermark")]
    pub fn with_watermark<W: TryInto<Watermark>>(&self, name: &str, column: &str, watermark: W) -> Result<()>
    where
        SqlError: From<W::Error>,
    {
        let watermark = watermark.try_into()?;
        let thing = format!("with_watermark({name}, {column})");
        let table = self.streams.borrow().get(&names::table(name)).cloned();
        let Some(Table::Stream(source)) = table else {
            let mut known: Vec<String> = self.streams.borrow().keys().cloned().collect();
            known.sort();
            return Err(SqlError::new(
                &thing,
                format!("{name} is not a stream; register it first. Streams: {}", known.join(", ")),
            ));
        };
        let schema = self.session.table(name)?.schema();
        let (schema, step) = stamped(&schema, column, watermark).map_err(|reason| SqlError::new(&thing, reason))?;
        self.add(name, schema, Rc::new(Stepped { source, step }))
    }

    /// The rows of a source that has no name of its own. It has what a step makes of the rows of a plan. `watermarks`: the operators that make
    /// those of the plan and the step.
    pub(super) fn of_source(
        &self,
        thing: &str,
        (step, plan): (&str, &LogicalPlan),
        watermarks: BTreeSet<usize>,
        schema: Arc<Schema>,
        source: Rc<dyn Source<'s> + 's>,
    ) -> Result<StreamingDataFrame<'s>> {
        // The count is not borrowed any more when the stream is added.
        let name = unnamed(self.streams.borrow().len(), step, plan);
        self.watermarks.borrow_mut().insert(names::table(&name), watermarks);
        self.frame_of(thing, &name, schema, source)
    }

    /// The rows of a source, to which this name is given.
    pub(super) fn frame_of(
        &self,
        thing: &str,
        name: &str,
        schema: Arc<Schema>,
        source: Rc<dyn Source<'s> + 's>,
    ) -> Result<StreamingDataFrame<'s>> {
        self.add(name, schema, source)?;
        Ok(StreamingDataFrame::new(thing, self, self.session.table(name)?, None))
    }

    /// A stream or table that has a name.
    ///
    /// # Errors
    /// If none has it. An asserting example is at [`StreamingDataFrame::select`].
    pub fn table(&self, name: &str) -> Result<StreamingDataFrame<'s>> {
        Ok(StreamingDataFrame::new(name, self, self.session.table(name)?, None))
    }

    /// Gives a name to a query over the streams and tables: a view, which each query that names it computes by itself.
    ///
    /// # Errors
    /// If it is not one query, or uses an unknown name.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// use tidemill_sql::{StreamTables, TableSession};
    /// check([vec![3, 1, 4]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("numbers", stream).unwrap();
    ///     tables.create_view("large", "select value from numbers where value > 2").unwrap();
    ///     tables.sql("select value * 10 from large").unwrap().stream::<i64>().unwrap()
    /// }, [vec![30, 40]]);
    /// ```
    pub fn create_view(&self, name: &str, query: &str) -> Result<()> {
        self.session.sql(query)?.create_or_replace_temp_view(name)
    }

    /// A name that no other stream has.
    pub(super) fn unnamed(&self) -> String {
        format!("{UNNAMED}{}", self.streams.borrow().len())
    }

    /// Gives a name to a source of rows with these columns.
    pub(super) fn add(&self, name: &str, schema: Arc<Schema>, source: Rc<dyn Source<'s> + 's>) -> Result<()> {
        self.session.register(name, Arc::new(EmptyTable::new(schema)))?;
        self.streams.borrow_mut().insert(names::table(name), Table::Stream(source));
        Ok(())
    }
}

impl fmt::Debug for StreamTables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<String> = self.streams.borrow().keys().cloned().collect();
        names.sort();
        f.debug_struct("StreamTables").field("streams", &names).finish_non_exhaustive()
    }
}

/// The columns of a table with a watermark, and the step that makes the column a timestamp.
pub(super) fn stamped(schema: &Arc<Schema>, column: &str, watermark: Watermark) -> Result<(Arc<Schema>, Narrow), String> {
    let Some(place) = schema.fields().iter().position(|f| f.name().eq_ignore_ascii_case(column)) else {
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        return Err(format!("there is no column {column}; columns are {}", names.join(", ")));
    };
    let field = schema.field(place);
    let kind = match field.data_type() {
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => field.data_type().clone(),
        DataType::Int64 | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            DataType::Timestamp(TimeUnit::Microsecond, None)
        }
        other => {
            return Err(format!("a column of type {other} is not a time; use a timestamp, or an i64 of microseconds since 1970"));
        }
    };
    let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
    fields[place] = Arc::new(watermark.mark(field.clone().with_data_type(kind.clone()).with_nullable(true)));
    let marked = Arc::new(Schema::new(fields));
    let to = marked.clone();
    let step = move |batch: RecordBatch| {
        let mut columns = batch.columns().to_vec();
        // A text that is not a time becomes null.
        columns[place] = cast(&columns[place], &kind)?;
        with_columns(&to, columns, batch.num_rows())
    };
    Ok((marked, Narrow::default().batch(Rc::new(step))))
}

/// No function of a plan may have another value each time.
pub(super) fn stable(query: &str, plan: &LogicalPlan) -> Result<()> {
    match unstable(plan).map_err(|e| SqlError::of(query, &e))? {
        None => Ok(()),
        Some(name) => {
            let reason = "has another value each time, so its rows could not be taken back; add it to the rows of the stream";
            Err(SqlError::new(query, format!("{name}() {reason}")))
        }
    }
}

/// A function of the plan that does not depend on its arguments alone, such as `now` or `random`.
fn unstable(plan: &LogicalPlan) -> Result<Option<String>, DataFusionError> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Expr::ScalarFunction(call) = part
                    && call.func.signature().volatility != Volatility::Immutable
                {
                    found = Some(call.name().to_owned());
                    return Ok(TreeNodeRecursion::Stop);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}
