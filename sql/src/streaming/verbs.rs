//! The verbs of a `StreamingDataFrame`: those of a `DataFrame`, over streams.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use tidemill::prelude::{BadRecord, DStream};

use super::batches::{Source, Stepped};
use super::frame::StreamingDataFrame;
use super::render::{Rendered, Windows};
use super::tables::stamped;
use super::watermark::Watermark;
use crate::data_frame::DataFrame;
use crate::error::{Result, SqlError};
use crate::grouped::GroupedData;

impl<'s> StreamingDataFrame<'s> {
    fn with(&self, frame: DataFrame) -> Self {
        StreamingDataFrame::new(&self.query, &self.tables, frame, self.bad_sources.clone())
    }

    /// A frame of these rows, which are made of the rows of this one.
    pub(super) fn over(&self, step: &str, schema: Arc<Schema>, source: Rc<dyn Source<'s> + 's>) -> Result<Self> {
        let (of, watermarks) = ((step, self.frame.logical_plan()), self.notes.borrow().watermarks.clone());
        let mut frame = self.tables.of_source(&self.query, of, watermarks, schema, source)?;
        frame.bad_sources = self.bad_sources.clone();
        Ok(frame)
    }

    /// The table with the columns of these expressions. As [`DataFrame::select`].
    ///
    /// # Errors
    /// If an expression is not valid SQL, or uses an unknown name.
    ///
    /// ```
    /// # use tidemill::testing::check;
    /// # use tidemill_sql::{StreamTables, TableSession};
    /// check([vec![3, 1], vec![4]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("numbers", stream).unwrap();
    ///     tables.table("numbers").unwrap().select(["value * 2 as n"]).unwrap().stream::<i64>().unwrap()
    /// }, [vec![6, 2], vec![8]]);
    /// ```
    #[doc(alias = "selectExpr")]
    pub fn select<const N: usize>(&self, expressions: [&str; N]) -> Result<Self> {
        Ok(self.with(self.frame.select(expressions)?))
    }

    /// The rows for which a condition is true. As [`DataFrame::filter`].
    ///
    /// # Errors
    /// If the condition is not valid SQL, or uses an unknown name.
    ///
    /// ```
    /// # use tidemill::testing::check;
    /// # use tidemill_sql::{StreamTables, TableSession};
    /// check([vec![3, 1], vec![4]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("numbers", stream).unwrap();
    ///     tables.table("numbers").unwrap().filter("value > 1").unwrap().stream::<i32>().unwrap()
    /// }, [vec![3], vec![4]]);
    /// ```
    #[doc(alias = "where")]
    pub fn filter(&self, condition: &str) -> Result<Self> {
        Ok(self.with(self.frame.filter(condition)?))
    }

    /// The table with a column more, or another one of this name. As [`DataFrame::with_column`].
    ///
    /// # Errors
    /// If the expression is not valid SQL, or uses an unknown name.
    ///
    /// ```
    /// # use tidemill::testing::check;
    /// # use tidemill_sql::{StreamTables, TableSession};
    /// check([vec![3]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("numbers", stream).unwrap();
    ///     tables.table("numbers").unwrap().with_column("odd", "value % 2 = 1").unwrap().stream::<(i32, bool)>().unwrap()
    /// }, [vec![(3, true)]]);
    /// ```
    #[doc(alias = "withColumn")]
    pub fn with_column(&self, name: &str, expression: &str) -> Result<Self> {
        Ok(self.with(self.frame.with_column(name, expression)?))
    }

    /// The table without these columns. As [`DataFrame::drop`].
    ///
    /// # Errors
    /// If no column is left.
    ///
    /// ```
    /// # use tidemill::testing::check;
    /// # use tidemill_sql::{StreamTables, TableSession};
    /// check([vec![(3, 'a')]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("pairs", stream).unwrap();
    ///     tables.table("pairs").unwrap().drop(["_1"]).unwrap().stream::<char>().unwrap()
    /// }, [vec!['a']]);
    /// ```
    pub fn drop<const N: usize>(&self, names: [&str; N]) -> Result<Self> {
        Ok(self.with(self.frame.drop(names)?))
    }

    /// The table with other names of its columns. As [`DataFrame::to_df`].
    ///
    /// # Errors
    /// If there are more or fewer names than columns.
    ///
    /// ```
    /// # use tidemill::testing::check;
    /// # use tidemill_sql::{StreamTables, TableSession};
    /// check([vec![(3, 'a')]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("pairs", stream).unwrap();
    ///     let named = tables.table("pairs").unwrap().to_df(["n", "letter"]).unwrap();
    ///     named.select(["letter"]).unwrap().stream::<char>().unwrap()
    /// }, [vec!['a']]);
    /// ```
    #[doc(alias = "toDF")]
    pub fn to_df<const N: usize>(&self, names: [&str; N]) -> Result<Self> {
        Ok(self.with(self.frame.to_df(names)?))
    }

    /// Groups of rows with equal values of these expressions, such as `window(at, '10 minutes', '5 minutes')`.
    ///
    /// # Errors
    /// If an expression is not valid SQL, or uses an unknown name.
    ///
    /// ```
    /// # use tidemill::testing::check;
    /// # use tidemill_sql::{StreamTables, TableSession};
    /// check([vec![("to", 2)], vec![("to", 4)], vec![("be", 21)]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     let words = stream.map(|(word, second)| (word.to_owned(), second * 1_000_000_i64));
    ///     tables.register_stream("words", &words).unwrap();
    ///     let words = tables.table("words").unwrap().to_df(["word", "at"]).unwrap().with_watermark("at", "10 seconds").unwrap();
    ///     let counts = words.group_by(["window(at, '10 seconds')", "word"]).unwrap().count().unwrap();
    ///     counts.select(["word", "count"]).unwrap().stream::<(String, i64)>().unwrap()
    /// }, [vec![], vec![], vec![("to".to_owned(), 2)]]);
    /// ```
    #[doc(alias = "groupBy")]
    pub fn group_by<const N: usize>(&self, expressions: [&str; N]) -> Result<StreamingGroupedData<'s>> {
        Ok(StreamingGroupedData { frame: self.with(self.frame.clone()), groups: self.frame.group_by(expressions)? })
    }

    /// Each different row once.
    ///
    /// # Errors
    /// None today.
    ///
    /// ```
    /// # use tidemill::testing::check;
    /// # use tidemill_sql::{StreamTables, TableSession};
    /// check([vec![3, 3], vec![3, 4]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("numbers", stream).unwrap();
    ///     tables.table("numbers").unwrap().distinct().unwrap().stream::<i32>().unwrap()
    /// }, [vec![3], vec![4]]);
    /// ```
    pub fn distinct(&self) -> Result<Self> {
        Ok(self.with(self.frame.distinct()?))
    }

    /// The rows in an order: for a result that changes. As [`DataFrame::order_by`].
    ///
    /// # Errors
    /// If an expression is not valid SQL, or uses an unknown name.
    ///
    /// ```
    /// # use tidemill::testing::check;
    /// # use tidemill_sql::{StreamTables, TableSession};
    /// check([vec!["be", "to", "be"]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("words", &stream.map(String::from)).unwrap();
    ///     let counts = tables.table("words").unwrap().group_by(["value"]).unwrap().count().unwrap();
    ///     let top = counts.order_by(["count desc"]).unwrap().limit(1).unwrap();
    ///     top.view::<(String, i64)>().unwrap().complete()
    /// }, [vec![("be".to_owned(), 2)]]);
    /// ```
    #[doc(alias = "orderBy")]
    pub fn order_by<const N: usize>(&self, expressions: [&str; N]) -> Result<Self> {
        let mut sorted = self.with(self.frame.order_by(expressions)?);
        sorted.ordered = Some((self.frame.clone(), expressions.join(", ")));
        Ok(sorted)
    }

    /// The first `n` rows of a table with an order.
    ///
    /// # Errors
    /// None today. An output says if the table has no order.
    ///
    /// ```
    /// # use tidemill::testing::check;
    /// # use tidemill_sql::{StreamTables, TableSession};
    /// check([vec![3]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("numbers", stream).unwrap();
    ///     let error = tables.table("numbers").unwrap().limit(1).unwrap().stream::<i32>().map(|_| ()).unwrap_err();
    ///     assert!(error.to_string().contains("add ORDER BY"), "{error}");
    ///     stream.map(|_| ())
    /// }, [vec![()]]);
    /// ```
    pub fn limit(&self, n: usize) -> Result<Self> {
        let Some((rows, order)) = &self.ordered else { return Ok(self.with(self.frame.limit(n)?)) };
        let n = n.min(i64::MAX as usize);
        Ok(self.with(rows.query("limit", &format!("select * from {{this}} order by {order} limit {n}"))?))
    }

    /// The rows of both tables. As [`DataFrame::union`].
    ///
    /// # Errors
    /// If they have not the same columns.
    ///
    /// ```
    /// # use tidemill::testing::check;
    /// # use tidemill_sql::{StreamTables, TableSession};
    /// check([vec![3]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("numbers", stream).unwrap();
    ///     let numbers = tables.table("numbers").unwrap();
    ///     numbers.union(&numbers).unwrap().stream::<i32>().unwrap()
    /// }, [vec![3, 3]]);
    /// ```
    #[doc(alias = "unionAll")]
    pub fn union(&self, other: &StreamingDataFrame<'s>) -> Result<Self> {
        let mut both = self.with(self.frame.union(&other.frame)?);
        both.bad_sources = both_errors(self, other);
        Ok(both)
    }

    /// Pairs of rows with equal columns. As [`DataFrame::join`].
    ///
    /// # Errors
    /// As [`DataFrame::join`].
    ///
    /// ```
    /// # use tidemill::testing::check;
    /// # use tidemill_sql::{StreamTables, TableSession};
    /// check([vec![(1, 7)], vec![(1, 8)]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("pairs", stream).unwrap();
    ///     let pairs = tables.table("pairs").unwrap().to_df(["n", "m"]).unwrap();
    ///     let others = pairs.filter("m < 8").unwrap().to_df(["n", "other"]).unwrap();
    ///     pairs.join(&others, ["n"], "inner").unwrap().select(["m", "other"]).unwrap().stream::<(i32, i32)>().unwrap()
    /// }, [vec![(7, 7)], vec![(8, 7)]]);
    /// ```
    pub fn join<const N: usize>(&self, other: &StreamingDataFrame<'s>, on: [&str; N], how: &str) -> Result<Self> {
        let mut both = self.with(self.frame.join(&other.frame, on, how)?);
        both.bad_sources = both_errors(self, other);
        Ok(both)
    }

    /// As [`DataFrame::join`], with a table of the session. It keeps no rows of the stream.
    ///
    /// # Errors
    /// As there.
    pub fn join_table<const N: usize>(&self, table: &DataFrame, on: [&str; N], how: &str) -> Result<Self> {
        Ok(self.with(self.frame.join(table, on, how)?))
    }

    /// Gives the result a name for [`StreamTables::sql`](crate::StreamTables::sql). A table that had the name loses it.
    ///
    /// # Errors
    /// If the name is one that no table can have, such as an empty one.
    ///
    /// ```
    /// # use tidemill::testing::check;
    /// # use tidemill_sql::{StreamTables, TableSession};
    /// check([vec![3, 1]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("numbers", stream).unwrap();
    ///     tables.table("numbers").unwrap().filter("value > 1").unwrap().create_or_replace_temp_view("large").unwrap();
    ///     tables.sql("select sum(value) from large").unwrap().view::<i64>().unwrap().complete()
    /// }, [vec![3]]);
    /// ```
    #[doc(alias = "createOrReplaceTempView")]
    pub fn create_or_replace_temp_view(&self, name: &str) -> Result<()> {
        self.frame.create_or_replace_temp_view(name)
    }

    /// Says which column has the time of a row, and how late rows may come. As
    /// [`StreamTables::with_watermark`](crate::StreamTables::with_watermark).
    ///
    /// # Errors
    /// If rows of this result change, or the column or the delay is wrong.
    ///
    /// ```
    /// # use tidemill::testing::check;
    /// # use tidemill_sql::{StreamTables, TableSession};
    /// check([vec![2], vec![3], vec![15]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("times", stream).unwrap();
    ///     let times = tables.table("times").unwrap().select(["timestamp_micros(value) as at"]).unwrap();
    ///     let times = times.with_watermark("at", "0 seconds").unwrap();
    ///     let counts = times.group_by(["window(at, '10 microseconds')"]).unwrap().agg(["count(*) as n"]).unwrap();
    ///     counts.select(["n"]).unwrap().stream::<i64>().unwrap()
    /// }, [vec![], vec![], vec![2]]);
    /// ```
    #[doc(alias = "withWatermark")]
    pub fn with_watermark<W: TryInto<Watermark>>(&self, column: &str, watermark: W) -> Result<Self>
    where
        SqlError: From<W::Error>,
    {
        let watermark = watermark.try_into()?;
        let thing = format!("with_watermark({column})");
        let (Rendered::Growing(source, narrow), schema) = self.render(Windows::Final)? else {
            return Err(SqlError::new(&thing, "rows of this result change; set the watermark before the aggregate"));
        };
        let (schema, step) = stamped(&schema, column, watermark).map_err(|reason| SqlError::new(&thing, reason))?;
        self.over(&thing, schema, Rc::new(Stepped { source, step: narrow.then(step) }))
    }
}

fn both_errors<'s>(a: &StreamingDataFrame<'s>, b: &StreamingDataFrame<'s>) -> Option<DStream<'s, BadRecord>> {
    match (&a.bad_sources, &b.bad_sources) {
        (Some(a), Some(b)) => Some(a.union(b)),
        (one, other) => one.clone().or_else(|| other.clone()),
    }
}

/// The groups of [`StreamingDataFrame::group_by`]. A verb computes one row of each, and keeps it up to date.
///
/// ```
/// use tidemill::testing::check;
/// use tidemill_sql::{StreamTables, TableSession};
/// check([vec![(1, 3), (2, 4)], vec![(1, 5)]], |stream| {
///     let tables = StreamTables::new(&TableSession::new());
///     tables.register_stream("pairs", stream).unwrap();
///     let sums = tables.table("pairs").unwrap().group_by(["_1"]).unwrap().agg(["sum(_2) as total"]).unwrap();
///     sums.view::<(i32, i64)>().unwrap().update()
/// }, [vec![(1, 3), (2, 4)], vec![(1, 8)]]);
/// ```
pub struct StreamingGroupedData<'s> {
    frame: StreamingDataFrame<'s>,
    groups: GroupedData,
}

impl<'s> StreamingGroupedData<'s> {
    /// The keys of each group, and a column for each expression with aggregates. As [`GroupedData::agg`].
    ///
    /// # Errors
    /// If an expression is not valid SQL, or uses an unknown name.
    ///
    /// ```
    /// # use tidemill::testing::check;
    /// # use tidemill_sql::{StreamTables, TableSession};
    /// check([vec![3, 1]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("numbers", stream).unwrap();
    ///     let all = tables.table("numbers").unwrap().group_by([]).unwrap();
    ///     all.agg(["count(*)", "max(value)"]).unwrap().view::<(i64, i32)>().unwrap().complete()
    /// }, [vec![(2, 3)]]);
    /// ```
    pub fn agg<const N: usize>(&self, expressions: [&str; N]) -> Result<StreamingDataFrame<'s>> {
        Ok(self.frame.with(self.groups.agg(expressions)?))
    }

    /// The keys of each group, and how many rows it has, as the column `count`.
    ///
    /// # Errors
    /// If a key is not valid SQL, or uses an unknown name.
    ///
    /// ```
    /// # use tidemill::testing::check;
    /// # use tidemill_sql::{StreamTables, TableSession};
    /// check([vec![3, 1, 3]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("numbers", stream).unwrap();
    ///     let counts = tables.table("numbers").unwrap().group_by(["value"]).unwrap().count().unwrap();
    ///     counts.view::<(i32, i64)>().unwrap().complete()
    /// }, [vec![(1, 1), (3, 2)]]);
    /// ```
    pub fn count(&self) -> Result<StreamingDataFrame<'s>> {
        Ok(self.frame.with(self.groups.count()?))
    }
}

impl fmt::Debug for StreamingGroupedData<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamingGroupedData").field("query", &self.frame.query).finish_non_exhaustive()
    }
}
