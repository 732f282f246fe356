//! The verbs of a `StreamingDataFrame`: those of a DataFrame, over streams.

use tidemill::prelude::{BadRecord, DStream};

use super::frame::StreamingDataFrame;
use crate::data_frame::DataFrame;
use crate::error::{Result, SqlError};
use crate::grouped::GroupedData;

impl<'s> StreamingDataFrame<'s> {
    /// What a verb of DataFrames makes of this.
    fn then(&self, verb: &str, frame: DataFrame) -> Self {
        StreamingDataFrame::new(&format!("{}, {verb}", self.query), &self.tables, frame, self.errors.clone())
    }

    /// Rows that a source could not read, with their path and byte. Without an output of them they are counted and logged.
    ///
    /// # Errors
    /// If the source has no bad rows: [`register_stream`](crate::StreamTables::register_stream), `rate` and `kafka`.
    pub fn errors(&self) -> Result<DStream<'s, BadRecord>> {
        let none = || SqlError::new(&self.query, "this source has no bad rows; those of a stream are errors() of its own verbs");
        self.errors.clone().ok_or_else(none)
    }

    /// Gives this table a name for [`StreamTables::sql`](crate::StreamTables::sql).
    ///
    /// # Errors
    /// If the name is one that no table can have, such as an empty one.
    #[doc(alias = "createOrReplaceTempView")]
    pub fn create_or_replace_temp_view(&self, name: &str) -> Result<()> {
        self.frame.create_or_replace_temp_view(name)
    }

    /// As [`DataFrame::select`].
    ///
    /// # Errors
    /// As there.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// use tidemill_sql::{StreamTables, TableSession};
    /// check([vec![3, 1, 4]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("numbers", stream).unwrap();
    ///     let numbers = tables.table("numbers").unwrap().filter("value > 2").unwrap();
    ///     numbers.select(["value * 10"]).unwrap().stream::<i64>().unwrap()
    /// }, [vec![30, 40]]);
    /// ```
    pub fn select<const N: usize>(&self, expressions: [&str; N]) -> Result<Self> {
        Ok(self.then("select", self.frame.select(expressions)?))
    }

    /// As [`DataFrame::filter`].
    ///
    /// # Errors
    /// As there.
    #[doc(alias = "where")]
    pub fn filter(&self, condition: &str) -> Result<Self> {
        Ok(self.then("filter", self.frame.filter(condition)?))
    }

    /// As [`DataFrame::with_column`].
    ///
    /// # Errors
    /// As there.
    #[doc(alias = "withColumn")]
    pub fn with_column(&self, name: &str, expression: &str) -> Result<Self> {
        Ok(self.then("with_column", self.frame.with_column(name, expression)?))
    }

    /// As [`DataFrame::drop`].
    ///
    /// # Errors
    /// As there.
    pub fn drop<const N: usize>(&self, names: [&str; N]) -> Result<Self> {
        Ok(self.then("drop", self.frame.drop(names)?))
    }

    /// As [`DataFrame::to_df`].
    ///
    /// # Errors
    /// As there.
    #[doc(alias = "toDF")]
    pub fn to_df<const N: usize>(&self, names: [&str; N]) -> Result<Self> {
        Ok(self.then("to_df", self.frame.to_df(names)?))
    }

    /// As [`DataFrame::distinct`]: keeps each different row.
    ///
    /// # Errors
    /// As there.
    pub fn distinct(&self) -> Result<Self> {
        Ok(self.then("distinct", self.frame.distinct()?))
    }

    /// As [`DataFrame::order_by`].
    ///
    /// # Errors
    /// As there.
    #[doc(alias = "orderBy")]
    pub fn order_by<const N: usize>(&self, expressions: [&str; N]) -> Result<Self> {
        Ok(self.then("order_by", self.frame.order_by(expressions)?))
    }

    /// As [`DataFrame::limit`], behind [`order_by`](Self::order_by).
    ///
    /// # Errors
    /// As there.
    pub fn limit(&self, n: usize) -> Result<Self> {
        Ok(self.then("limit", self.frame.limit(n)?))
    }

    /// As [`DataFrame::union`].
    ///
    /// # Errors
    /// As there.
    pub fn union(&self, other: &Self) -> Result<Self> {
        let mut both = self.then("union", self.frame.union(&other.frame)?);
        both.errors = both_errors(self, other);
        Ok(both)
    }

    /// As [`DataFrame::join`], with another result over streams. Both sides keep all of their rows.
    ///
    /// # Errors
    /// As there.
    pub fn join<const N: usize>(&self, other: &Self, on: [&str; N], how: &str) -> Result<Self> {
        let mut both = self.then("join", self.frame.join(&other.frame, on, how)?);
        both.errors = both_errors(self, other);
        Ok(both)
    }

    /// As [`DataFrame::join`], with a table of the session. It keeps no rows of the stream.
    ///
    /// # Errors
    /// As there.
    pub fn join_table<const N: usize>(&self, table: &DataFrame, on: [&str; N], how: &str) -> Result<Self> {
        Ok(self.then("join", self.frame.join(table, on, how)?))
    }

    /// As [`DataFrame::group_by`].
    ///
    /// # Errors
    /// As there.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// use tidemill_sql::{StreamTables, TableSession};
    /// let words = [vec!["to", "be", "to"], vec!["be"]].map(|batch| batch.into_iter().map(String::from).collect::<Vec<_>>());
    /// check(words, |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("words", stream).unwrap();
    ///     let counts = tables.table("words").unwrap().group_by(["value"]).unwrap().count().unwrap();
    ///     counts.view::<(String, i64)>().unwrap().update()
    /// }, [vec![("be".to_owned(), 1), ("to".to_owned(), 2)], vec![("be".to_owned(), 2)]]);
    /// ```
    #[doc(alias = "groupBy")]
    pub fn group_by<const N: usize>(&self, expressions: [&str; N]) -> Result<StreamingGroupedData<'s>> {
        Ok(StreamingGroupedData { groups: self.frame.group_by(expressions)?, of: self.then("group_by", self.frame.clone()) })
    }
}

fn both_errors<'s>(a: &StreamingDataFrame<'s>, b: &StreamingDataFrame<'s>) -> Option<DStream<'s, BadRecord>> {
    match (&a.errors, &b.errors) {
        (Some(a), Some(b)) => Some(a.union(b)),
        (one, other) => one.clone().or_else(|| other.clone()),
    }
}

/// The groups of [`StreamingDataFrame::group_by`]. A verb computes one row of each.
#[must_use = "a verb computes a row of each group"]
pub struct StreamingGroupedData<'s> {
    groups: GroupedData,
    of: StreamingDataFrame<'s>,
}

impl<'s> StreamingGroupedData<'s> {
    /// As [`GroupedData::agg`]. It keeps a result for each group.
    ///
    /// # Errors
    /// As there.
    pub fn agg<const N: usize>(&self, expressions: [&str; N]) -> Result<StreamingDataFrame<'s>> {
        Ok(self.of.then("agg", self.groups.agg(expressions)?))
    }

    /// As [`GroupedData::count`].
    ///
    /// # Errors
    /// As there.
    pub fn count(&self) -> Result<StreamingDataFrame<'s>> {
        Ok(self.of.then("count", self.groups.count()?))
    }
}
