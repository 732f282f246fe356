//! `drop_duplicates` and `drop_duplicates_within_watermark` of a `StreamingDataFrame`.

use std::rc::Rc;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use tidemill::prelude::{DStream, State, StateSpec};

use super::batches::{Batches, Keyed, each};
use super::beside::WithLate;
use super::codec::{Codec, Row};
use super::frame::StreamingDataFrame;
use super::identity::{identity, known};
use super::render::{Rendered, Windows};
use super::time_window::stamps;
use super::watermark::Watermark;
use crate::error::{Result, SqlError};

impl<'s> StreamingDataFrame<'s> {
    /// The first row of all rows with equal values of these columns; without names, of all columns. Rows have no order.
    ///
    /// State: each different value of the columns, for ever. [`StreamingDataFrame::drop_duplicates_within_watermark`] forgets.
    ///
    /// # Errors
    /// If rows of this result change, or there is no such column.
    ///
    /// ```
    /// # use tidemill::testing::check;
    /// # use tidemill_sql::{StreamTables, TableSession};
    /// check([vec![(1, 'a'), (1, 'b')], vec![(2, 'a'), (1, 'c')]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("pairs", stream).unwrap();
    ///     tables.table("pairs").unwrap().drop_duplicates(["_1"]).unwrap().stream::<(i32, char)>().unwrap()
    /// }, [vec![(1, 'a')], vec![(2, 'a')]]);
    /// ```
    #[doc(alias = "dropDuplicates")]
    pub fn drop_duplicates<const N: usize>(&self, columns: [&str; N]) -> Result<Self> {
        let (keyed, codec) = self.keyed("drop_duplicates", &columns, None)?;
        let first = |_, _: &Row, row: Option<Row>, seen: &mut State<()>| {
            if seen.exists() {
                return None;
            }
            seen.update(());
            row
        };
        let step = format!("drop_duplicates {columns:?}");
        let rows = self.known_by(&step, || keyed.map(|(_, pair)| pair).map_with_state(StateSpec::function(first)));
        let stream = rows.map(|row| row);
        let schema = codec.schema().clone();
        self.over(&step, schema, Rc::new(Batches::encoded(&stream, codec)))
    }

    /// As [`StreamingDataFrame::drop_duplicates`], for rows whose times differ by at most the delay of the watermark. So a key is forgotten
    /// when the watermark has passed it by the delay. The result has rows with a column that has a watermark.
    ///
    /// State: each different value of the columns near the watermark. Rows behind the watermark are dropped: [`StreamingDataFrame::late`] has
    /// them. If no output reads it, they are counted and logged.
    ///
    /// # Errors
    /// If rows of this result change, or there is no such column, or no column has a watermark.
    ///
    /// ```
    /// # use tidemill::testing::check;
    /// # use tidemill_sql::{StreamTables, TableSession};
    /// // An order and its second. It may be sent again.
    /// check([vec![(7, 10), (8, 11)], vec![(7, 10)], vec![(7, 60)]], |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     tables.register_stream("orders", &stream.map(|(n, second)| (n, second * 1_000_000_i64))).unwrap();
    ///     tables.with_watermark("orders", "_2", "20 seconds").unwrap();
    ///     let once = tables.table("orders").unwrap().drop_duplicates_within_watermark(["_1"]).unwrap();
    ///     once.select(["_1"]).unwrap().stream::<i32>().unwrap()
    /// }, [vec![7, 8], vec![], vec![7]]);
    /// ```
    #[doc(alias = "dropDuplicatesWithinWatermark")]
    pub fn drop_duplicates_within_watermark<const N: usize>(&self, columns: [&str; N]) -> Result<Self> {
        let verb = "drop_duplicates_within_watermark";
        let marked = |schema: &Schema| {
            let fields = (0..).zip(schema.fields());
            fields.filter_map(|(place, field)| Some((place, Watermark::of(field)?))).next()
        };
        let Some((place, mark)) = marked(self.marked_schema()?.as_ref()) else {
            return Err(SqlError::new(
                &self.query,
                format!("{verb} needs a column with a watermark; call with_watermark before it"),
            ));
        };
        let (keyed, codec) = self.keyed(verb, &columns, Some(place))?;
        let step = format!("{verb} {columns:?}");
        let (stream, late) = self.known_by(&step, || {
            let events = keyed.event_time(|(time, _)| *time, mark.strategy());
            self.asked().errors.borrow_mut().push(events.errors());
            self.notes.borrow_mut().watermarks.insert(events.watermark_operator());
            let once = events.map(|(_, pair)| pair).distinct_within_by(mark.late_by(), |(key, _)| key.clone());
            (once.timestamped().map(|timed| timed.row.1), once.late().map(|timed| timed.row.1))
        });
        let schema = codec.schema().clone();
        let late = (schema.clone(), late);
        self.over(&step, schema, Rc::new(WithLate { rows: Batches::encoded(&stream, codec), late, pairs: None }))
    }

    /// Builds a step whose states are known by it and by this plan.
    fn known_by<R>(&self, step: &str, build: impl FnOnce() -> R) -> R {
        known(self.tables.context.get(), &format!("{step} of {}", identity(self.frame.logical_plan())), build)
    }

    /// Rows with the key of these columns, and the time of the column at `place`.
    fn keyed(&self, verb: &str, columns: &[&str], place: Option<usize>) -> Result<(DStream<'s, Keyed>, Rc<Codec>)> {
        let fault = |e: &dyn std::fmt::Display| SqlError::new(&self.query, e);
        let (Rendered::Growing(source, narrow), schema) = self.render(Windows::Final)? else {
            return Err(SqlError::new(
                &self.query,
                format!("{verb} of rows that change; call it before the aggregate, or use distinct()"),
            ));
        };
        let mut keys = Vec::new();
        for column in columns {
            let found = schema.fields().iter().position(|f| f.name().eq_ignore_ascii_case(column));
            let names = || schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>().join(", ");
            keys.push(found.ok_or_else(|| fault(&format!("{verb}: there is no column {column}; columns are {}", names())))?);
        }
        if keys.is_empty() {
            keys = (0..schema.fields().len()).collect();
        }
        let codec = Rc::new(Codec::new(&schema).map_err(|e| fault(&e))?);
        let key = Codec::new(&Arc::new(schema.project(&keys).map_err(|e| fault(&e))?)).map_err(|e| fault(&e))?;
        let encode = codec.clone();
        let step = move |batch| {
            let batch: RecordBatch = narrow.run(batch)?;
            let by = key.encode(batch.project(&keys)?.columns(), batch.num_rows())?;
            let rows = encode.encode(batch.columns(), batch.num_rows())?;
            let times = match place {
                Some(place) => stamps(batch.column(place))?.iter().collect(),
                None => vec![None; batch.num_rows()],
            };
            Ok(times.into_iter().zip(by.into_iter().zip(rows)).collect())
        };
        Ok((each(&source, &self.asked(), step), codec))
    }
}
