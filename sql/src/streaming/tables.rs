//! `StreamTables`: the streams of a program as tables, and queries over them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use serde::{Deserialize, Serialize};
use tidemill::prelude::{DStream, Data};

use super::accumulator::Part;
use super::codec::{Codec, Row};
use super::frame::StreamingDataFrame;
use super::sink::Started;
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
    /// The queries that were started over them.
    pub(super) started: Started,
    /// Whether one of them is a source whose end is known by its offsets.
    pub(super) has_offsets: Rc<Cell<bool>>,
}

/// Streams by the name of their table.
pub(crate) type Streams<'s> = HashMap<String, Rc<dyn Source<'s> + 's>>;

impl<'s> StreamTables<'s> {
    /// No streams. Queries also see the tables that the session has now.
    pub fn new(session: &TableSession) -> Self {
        StreamTables {
            parent: session.clone(),
            session: session.copied(),
            streams: Rc::default(),
            started: Started::default(),
            has_offsets: Rc::default(),
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
        self.add(name, schema, Rc::new(Typed { stream: stream.clone(), columns: Rc::new(columns) }))
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
        let frame = StreamingDataFrame::new(text, self, self.session.sql(text)?, None);
        frame.rendered()?;
        Ok(frame)
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
        format!("__stream_{}", self.streams.borrow().len())
    }

    /// Gives a name to a source of rows with these columns.
    pub(super) fn add(&self, name: &str, schema: Arc<Schema>, source: Rc<dyn Source<'s> + 's>) -> Result<()> {
        self.session.register(name, Arc::new(EmptyTable::new(schema)))?;
        self.streams.borrow_mut().insert(names::table(name), source);
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

/// What a step does with a record batch.
pub(crate) type Step<X> = Rc<dyn Fn(RecordBatch) -> Result<Vec<X>, DataFusionError>>;

/// A stream whose rows come as record batches, a partition of a batch at a time.
pub(crate) trait Source<'s> {
    /// Rows as bytes.
    fn rows(&self, query: &str, step: Step<Row>) -> DStream<'s, Row>;
    /// What each partition contributes to the groups of an aggregate.
    fn parts(&self, query: &str, step: Step<(Row, Vec<Part>)>) -> DStream<'s, (Row, Vec<Part>)>;
}

/// A stream of a program's rows.
struct Typed<'s, T: 'static> {
    stream: DStream<'s, T>,
    columns: Rc<Columns>,
}

impl<'s, T: Data + Serialize> Typed<'s, T> {
    fn each<X: Data>(&self, query: &str, step: Step<X>) -> DStream<'s, X> {
        let (columns, query) = (self.columns.clone(), query.to_owned());
        self.stream.map_partitions(move |rows: Vec<T>| {
            let batch = columns.batch(&rows).unwrap_or_else(|e| panic!("{e}"));
            run(&query, &step, batch)
        })
    }
}

impl<'s, T: Data + Serialize> Source<'s> for Typed<'s, T> {
    fn rows(&self, query: &str, step: Step<Row>) -> DStream<'s, Row> {
        self.each(query, step)
    }

    fn parts(&self, query: &str, step: Step<(Row, Vec<Part>)>) -> DStream<'s, (Row, Vec<Part>)> {
        self.each(query, step)
    }
}

/// The rows of a query, as the source of another step.
pub(crate) struct Encoded<'s> {
    pub stream: DStream<'s, Row>,
    pub codec: Rc<Codec>,
}

impl<'s> Encoded<'s> {
    fn each<X: Data>(&self, query: &str, step: Step<X>) -> DStream<'s, X> {
        let (codec, query) = (self.codec.clone(), query.to_owned());
        self.stream.map_partitions(move |rows: Vec<Row>| {
            let batch = codec.decode(rows.iter()).unwrap_or_else(|e| panic!("{query}: {e}"));
            run(&query, &step, batch)
        })
    }
}

impl<'s> Source<'s> for Encoded<'s> {
    fn rows(&self, query: &str, step: Step<Row>) -> DStream<'s, Row> {
        self.each(query, step)
    }

    fn parts(&self, query: &str, step: Step<(Row, Vec<Part>)>) -> DStream<'s, (Row, Vec<Part>)> {
        self.each(query, step)
    }
}

/// A row that cannot be computed ends the job: the engine reports the panic with verb, worker and batch.
pub(super) fn run<X>(query: &str, step: &Step<X>, batch: RecordBatch) -> Vec<X> {
    step(batch).unwrap_or_else(|e| panic!("{query}: {}", e.strip_backtrace()))
}
