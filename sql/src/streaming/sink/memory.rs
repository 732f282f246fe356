//! Tables in memory: Spark's memory sink. The tables of a job change together, so that a query never sees two batches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use datafusion::arrow::array::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use tidemill::connector::sink::{Distribution, Part, Sink, SinkBatch};
use tidemill::prelude::{BatchTime, BoxError};

use super::query::locked;
use super::table_sink::shown;
use crate::error::{Result, SqlError};
use crate::names;
use crate::session::TableSession;
use crate::streaming::OutputMode;
use crate::streaming::codec::{Codec, Row};
use crate::streaming::frame::StreamingDataFrame;

impl StreamingDataFrame<'_> {
    /// Keeps the rows as a table in memory, which `session` has under a name from the first batch on: Spark's memory sink. In mode
    /// [`OutputMode::Append`] and [`OutputMode::Changes`] rows are added, for ever; in [`OutputMode::Complete`] each batch replaces them. The
    /// table is empty again after a restart.
    ///
    /// A query of [`TableSession::sql`] sees all tables in memory that a job writes into the session as of one batch. Tables of two jobs may be
    /// as of different ones.
    ///
    /// # Errors
    /// As [`StreamingDataFrame::foreach_batch`]; if the name is empty; and in mode [`OutputMode::Update`], since the table would not know which
    /// rows are replaced.
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
    ///     tables.sql("select value from words")?.memory(OutputMode::Append, &memory, "seen")?;
    ///     Ok(())
    /// })?;
    /// assert_eq!(session.sql("select n from counts order by n desc")?.collect::<i64>()?, [2, 1]);
    /// // While the job runs this holds, too.
    /// let both = "select a.n - b.n from (select sum(n) as n from counts) a cross join (select count(*) as n from seen) b";
    /// assert_eq!(session.sql(both)?.collect::<i64>()?, [0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "queryName")]
    pub fn memory(&self, mode: OutputMode, session: &TableSession, name: &str) -> Result<()> {
        let fault = |reason: &str| Err(SqlError::new(&self.query, reason));
        if mode == OutputMode::Update {
            return fault("a table in memory takes mode Append, Complete or Changes; use foreach_batch for Update");
        }
        if name.trim().is_empty() {
            return fault("the name of a table in memory is empty; give one that a query can use");
        }
        let rows = self.leaving(mode)?;
        let place = Place::new(session, rows.context().name(), name);
        let table = MemoryTable { codec: self.table_codec(mode)?, mode, kept: Vec::new(), before: 0, last: None, place };
        rows.sink_to(table, Distribution::Gathered);
        Ok(())
    }
}

/// The sink: the rows of a table.
struct MemoryTable {
    codec: Codec,
    mode: OutputMode,
    kept: Vec<RecordBatch>,
    /// How many of them were there before the last batch.
    before: usize,
    last: Option<BatchTime>,
    place: Place,
}

impl Sink<Row> for MemoryTable {
    fn write(&mut self, batch: &SinkBatch, parts: &[Part<Row>]) -> Result<(), BoxError> {
        // A batch may be written again.
        if self.last.replace(batch.time()) != Some(batch.time()) {
            self.before = if self.mode == OutputMode::Complete { 0 } else { self.kept.len() };
        }
        self.kept.truncate(self.before);
        let rows: Vec<&Row> = parts.iter().flat_map(|part| &part.rows).collect();
        if !rows.is_empty() {
            self.kept.push(self.codec.decode(rows.into_iter())?);
        }
        self.place.put(Arc::new(MemTable::try_new(self.codec.schema().clone(), vec![self.kept.clone()])?));
        Ok(())
    }

    /// Called for each batch of the job, also for those that a slower stream does not have.
    fn flush(&mut self, time: BatchTime) -> Result<bool, BoxError> {
        self.place.reached(time)?;
        Ok(true)
    }

    fn shown(&mut self, rows: &[&Row]) -> Option<Vec<String>> {
        shown(&self.codec, rows)
    }
}

/// The tables in memory that jobs write into a session, by job and name.
#[derive(Default)]
pub(crate) struct MemoryTables(Mutex<BTreeMap<(String, String), Written>>);

/// How far a table is written.
#[derive(Default)]
struct Written {
    /// The sinks of this table: each worker makes one, and one of them is used.
    sinks: usize,
    through: Option<BatchTime>,
    /// The table as of that batch, if queries do not see it yet.
    next: Option<Arc<dyn TableProvider>>,
}

/// The place of a table among those of its job, while the sink is there.
struct Place {
    session: TableSession,
    key: (String, String),
}

impl Place {
    fn new(session: &TableSession, job: &str, name: &str) -> Place {
        let key = (job.to_owned(), names::table(name));
        locked(&session.memory_tables().0).entry(key.clone()).or_default().sinks += 1;
        Place { session: session.clone(), key }
    }

    /// The table as of the batch that is being written.
    fn put(&self, table: Arc<dyn TableProvider>) {
        locked(&self.session.memory_tables().0).entry(self.key.clone()).or_default().next = Some(table);
    }

    /// The table is as of this batch. When the last one of the job is, queries see them all.
    fn reached(&self, time: BatchTime) -> Result<()> {
        let mut all = locked(&self.session.memory_tables().0);
        all.entry(self.key.clone()).or_default().through = Some(time);
        if all.iter().any(|((job, _), table)| *job == self.key.0 && table.through < Some(time)) {
            return Ok(());
        }
        let of_job = all.iter_mut().filter(|((job, _), _)| *job == self.key.0);
        let ready = of_job.filter_map(|((_, name), table)| Some((name.clone(), table.next.take()?)));
        self.session.register_all(ready.collect())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = locked(&self.session.memory_tables().0);
        if let Some(table) = all.get_mut(&self.key) {
            table.sinks = table.sinks.saturating_sub(1);
            if table.sinks == 0 {
                all.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::datasource::empty::EmptyTable;

    use super::*;

    #[test]
    fn tables_of_a_job_change_together() {
        let session = TableSession::new();
        // The second worker's sinks are not used.
        let places = || ["a", "b"].map(|name| Place::new(&session, "job", name));
        let ([a, b], unused) = (places(), places());
        drop(unused);
        let table = |columns: usize| {
            let fields = (0..columns).map(|n| Field::new(format!("c{n}"), DataType::Int64, true));
            Arc::new(EmptyTable::new(Arc::new(Schema::new(fields.collect::<Vec<_>>()))))
        };
        let columns = || ["a", "b"].map(|name| session.table(name).map(|table| table.columns().len()).unwrap_or(0));
        let at = BatchTime::from_millis;

        a.put(table(1));
        a.reached(at(1)).unwrap();
        assert_eq!(columns(), [0, 0], "b is not written");
        b.put(table(1));
        assert_eq!(columns(), [0, 0]);
        b.reached(at(1)).unwrap();
        assert_eq!(columns(), [1, 1]);

        // A stream that has no rows at a time does not hold the others up.
        a.put(table(2));
        a.reached(at(2)).unwrap();
        assert_eq!(columns(), [1, 1]);
        b.reached(at(2)).unwrap();
        assert_eq!(columns(), [2, 1]);

        // Another job, and a sink that is gone.
        let c = Place::new(&session, "other", "c");
        a.put(table(3));
        a.reached(at(3)).unwrap();
        drop(b);
        a.reached(at(4)).unwrap();
        assert_eq!(columns(), [3, 1]);
        drop((a, c));
        assert!(locked(&session.memory_tables().0).is_empty());
    }
}
