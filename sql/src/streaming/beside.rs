//! What a `StreamingDataFrame` has beside its rows: late rows, rows that cannot be computed, and what it keeps.

use std::rc::Rc;

use datafusion::arrow::array::RecordBatch;
use tidemill::prelude::{BadRecord, DStream};

use super::batches::{Batches, Late, Source};
use super::codec::Codec;
use super::frame::StreamingDataFrame;
use super::join_time::Pairs;
use super::render::Windows;
use crate::error::{Result, SqlError};

/// Rows of a part that a watermark lets forget, with the late ones.
pub(super) struct WithLate<'s> {
    pub rows: Batches<'s>,
    pub late: Late<'s>,
    /// The pairs that the rows were made of, if they are those of a join by time.
    pub pairs: Option<Rc<dyn Pairs<'s> + 's>>,
}

impl<'s> Source<'s> for WithLate<'s> {
    fn batches(&self) -> DStream<'s, RecordBatch> {
        self.rows.batches()
    }

    fn pairs(&self) -> Option<Rc<dyn Pairs<'s> + 's>> {
        self.pairs.clone()
    }

    fn late(&self) -> Option<Late<'s>> {
        Some(self.late.clone())
    }
}

impl<'s> StreamingDataFrame<'s> {
    /// The rows of each batch that came too late for the query: behind the watermark, so that the part of the query that needed them had
    /// forgotten what they belong to. The result is not changed by them. Take it after the output that it belongs to.
    ///
    /// | part | its late rows |
    /// |---|---|
    /// | GROUP BY `window(..)` or `session_window(..)` | what they would have added: for each window and key, the result of these rows alone. Columns are those of GROUP BY, and the aggregates. Of several windows of a row it is the last one |
    /// | a join with a range of times | the columns `left_side` and `right_side`: structs with the columns that the query reads of the left and of the right stream. The one of the other stream is null |
    /// | [`drop_duplicates_within_watermark`](StreamingDataFrame::drop_duplicates_within_watermark) | the rows |
    ///
    /// If a query has several such parts, it has those of the part that is nearest to the result. Late rows that no output reads are counted
    /// and logged, as bad records are.
    ///
    /// # Errors
    /// If the query has no such part.
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
    /// // A row that nothing can match any more, of a join and of its left side.
    /// check([vec![20_i64], vec![3]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("times", &stream.map(|at| (at * 1_000_000, at))).unwrap();
    ///     tables.with_watermark("times", "_1", "0 seconds").unwrap();
    ///     let pairs = tables.sql("select a._2 from times a join times b on a._2 = b._2 and b._1 between a._1 and a._1 + interval '5' second");
    ///     let late = pairs.unwrap().late().unwrap().select(["left_side._2 as l", "right_side._2 as r"]).unwrap();
    ///     late.stream::<(Option<i64>, Option<i64>)>().unwrap().sort_by(|row| *row)
    /// }, [vec![], vec![(None, Some(3)), (Some(3), None)]]);
    /// ```
    #[doc(alias = "sideOutputLateData")]
    pub fn late(&self) -> Result<StreamingDataFrame<'s>> {
        if self.late.borrow().is_none() {
            self.rendered(Windows::Final)?;
        }
        let Some((schema, stream)) = self.late.borrow().clone() else {
            let reason = "no row is late, since the query forgets nothing by a watermark; use with_watermark, and group by window(..), \
                          join by a range of times, or drop_duplicates_within_watermark";
            return Err(SqlError::new(&self.query, reason));
        };
        let codec = Rc::new(Codec::new(&schema).map_err(|e| SqlError::new(&self.query, e))?);
        let thing = format!("late rows of {}", self.query);
        let (of, watermarks) = (("late rows", self.frame.logical_plan()), self.notes.borrow().watermarks.clone());
        self.tables.of_source(&thing, of, watermarks, schema, Rc::new(Batches::encoded(&stream, codec)))
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
