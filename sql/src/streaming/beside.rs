//! What a `StreamingDataFrame` has beside its rows: late rows, rows that cannot be computed, and what it keeps.

use std::rc::Rc;

use tidemill::prelude::{BadRecord, DStream};

use super::codec::Codec;
use super::frame::StreamingDataFrame;
use super::render::Windows;
use super::tables::Columnar;
use crate::error::{Result, SqlError};

impl<'s> StreamingDataFrame<'s> {
    /// What the late rows of each batch would have added to their windows: for each window and key, the result of these rows alone. Its
    /// columns are those of GROUP BY, and the aggregates. The window had closed before the batch, and is not changed. Of several windows of
    /// a row it is the last one. Take it after the output that it belongs to.
    ///
    /// If no output reads late rows, they are counted and logged, as bad records are.
    ///
    /// # Errors
    /// If the query has no windows that a watermark closes.
    ///
    /// # Panics
    /// While the job runs, if the columns do not fit the type.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// use tidemill_sql::{StreamTables, TableSession};
    /// check([vec![2_i64], vec![15], vec![3, 4]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("times", stream).unwrap();
    ///     tables.with_watermark("times", "value", "0 seconds").unwrap();
    ///     let counts = tables.sql("select window, count(*) as n from times group by window(value, '10 microseconds')").unwrap();
    ///     counts.late().unwrap().to_df(["window", "n"]).unwrap().select(["n"]).unwrap().stream::<i64>().unwrap()
    /// }, [vec![], vec![], vec![2]]);
    /// ```
    #[doc(alias = "sideOutputLateData")]
    pub fn late(&self) -> Result<StreamingDataFrame<'s>> {
        if self.late.borrow().is_none() {
            self.rendered(Windows::Final)?;
        }
        let Some((schema, stream)) = self.late.borrow().clone() else {
            let reason =
                "no watermark closes a window of this query, so no row is late; use with_watermark, and group by window(..)";
            return Err(SqlError::new(&self.query, reason));
        };
        let codec = Rc::new(Codec::new(&schema).map_err(|e| SqlError::new(&self.query, e))?);
        let thing = format!("late rows of {}", self.query);
        let (of, watermarks) = (("late rows", self.frame.logical_plan()), self.notes.borrow().watermarks.clone());
        self.tables.of_source(&thing, of, watermarks, schema, Rc::new(Columnar::encoded(stream, codec)))
    }

    /// The rows that could not be computed: those in which a cast failed, a number was divided by zero, or a whole number overflowed. Also rows
    /// without a valid time, where the query needs one. The reason has the values of the row. Take it after the output that it belongs to.
    ///
    /// A row of a result that cannot be computed is one when it comes: behind an aggregate, in the condition of a join, or in a round of WITH
    /// RECURSIVE. If no output reads them, they are counted and logged. A result of an aggregate that cannot be computed ends the job.
    ///
    /// # Errors
    /// If the query cannot be kept up to date.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// use tidemill_sql::{StreamTables, TableSession};
    /// check([vec!["7", "x", "9"]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("texts", &stream.map(String::from)).unwrap();
    ///     let numbers = tables.sql("select cast(value as int) from texts").unwrap();
    ///     numbers.stream::<i32>().unwrap().map(|n| n.to_string()).union(&numbers.errors().unwrap().map(|bad| bad.reason))
    /// }, [vec!["7".to_owned(), "9".to_owned(),
    ///     "select cast(value as int) from texts: Arrow error: Cast error: Cannot cast string 'x' to value of Int32 type; the row is value: x".to_owned()]]);
    /// ```
    pub fn errors(&self) -> Result<DStream<'s, BadRecord>> {
        // Rows of a source that do not fit are known without the query.
        if self.bad_sources.is_none() && self.rendered.iter().all(|cell| cell.get().is_none()) {
            self.rendered(Windows::Final)?;
        }
        let all = self.bad_sources.iter().chain(&*self.errors.borrow()).cloned().reduce(|a, b| a.union(&b));
        all.ok_or_else(|| SqlError::new(&self.query, "no row of this query is computed"))
    }

    /// The query as verbs, from the result to the streams: what each of them keeps from batch to batch, and what makes it grow.
    ///
    /// # Errors
    /// If the query cannot be kept up to date.
    ///
    /// ```
    /// # use tidemill::testing::check;
    /// # use tidemill_sql::{StreamTables, TableSession};
    /// # check([vec![1]], |stream| {
    /// # let tables = StreamTables::new(&TableSession::new());
    /// # tables.register_stream("numbers", stream).unwrap();
    /// let text = tables.sql("select value, count(*) from numbers where value > 1 group by value").unwrap().explain().unwrap();
    /// assert!(text.contains("keeps a result for each group; grows with the groups"), "{text}");
    /// # stream.map(|_| ())
    /// # }, [vec![()]]);
    /// ```
    pub fn explain(&self) -> Result<String> {
        self.rendered(Windows::Final)?;
        Ok(self.notes.borrow().text())
    }
}
