//! `broadcast_file` and `file_view`: a file as a table, read again when it changes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::empty::EmptyTable;
use datafusion::logical_expr::LogicalPlan;
use tidemill::prelude::{Broadcast, DStream, StreamingContext};

use super::bad_rows::{Tried, attempt, parted};
use super::codec::Codec;
use super::render::{Renderer, Result as Planned};
use super::tables::{StreamTables, Table};
use crate::error::{Result, SqlError};
use crate::files::read::DataFrameReader;
use crate::names;

impl<'s> StreamTables<'s> {
    /// Gives a name to the table of one file, which every worker has, and which is read again when the file changes. A stream joins it: the
    /// rows of a batch meet the version that the batch saw, also when the batch runs again after a failure. Rows that are out are not
    /// corrected when the file changes later, and the stream keeps no state. [`StreamTables::file_view`] corrects them.
    ///
    /// `reader` says the format, the options and perhaps the schema. Without a schema, each process reads the columns from the file at
    /// the start. When and how the file is read, and its constraints, are those of [`StreamingContext::broadcast_file`]: at most 16 MiB, moved
    /// into place. A version that does not fit the columns is not taken: the previous one stays, and
    /// [`Statistics::trouble`](tidemill::metrics::Statistics::trouble) says why.
    ///
    /// # Errors
    /// If the format or an option is unknown, or the columns are to be read from a file that is not there.
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("tidemill-doc-broadcast-table-{}", std::process::id()));
    /// # std::fs::create_dir_all(&dir).unwrap();
    /// # let path = dir.join("docks.csv");
    /// use tidemill::prelude::*;
    /// use tidemill_sql::{StreamTables, TableSession};
    ///
    /// std::fs::write(&path, "station,docks\nFerry,27\n").unwrap();
    /// let (trips, seen) = (QueueSource::from_batches([vec!["Ferry".to_owned(), "Market".to_owned()]]), MemorySink::new());
    /// let (file, out) = (path.clone(), seen.clone());
    /// StreamingContext::builder("docks", millis(100)).without_checkpoint().run(move |ssc| {
    ///     let session = TableSession::new();
    ///     let tables = StreamTables::new(&session);
    ///     tables.register_stream("trips", &ssc.queue_stream(&trips))?;
    ///     let docks = session.read().format("csv").schema("station STRING, docks INT").option("header", true);
    ///     tables.broadcast_file(ssc, "docks", &docks, &file)?;
    ///     let joined = tables.sql("select value, docks from trips left join docks on value = station")?;
    ///     joined.stream::<(String, Option<i32>)>()?.to_memory(&out);
    ///     Ok(())
    /// })?;
    /// assert_eq!(seen.rows(), [("Ferry".to_owned(), Some(27)), ("Market".to_owned(), None)]);
    /// # std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn broadcast_file(
        &self,
        ssc: &StreamingContext<'s>,
        name: &str,
        reader: &DataFrameReader,
        path: impl AsRef<Path>,
    ) -> Result<()> {
        let place = path.as_ref().to_owned();
        let schema = reader.content(&place)?.schema().clone();
        // Workers and the planner decode, each with a reader of its own.
        let reader = reader.clone().with_columns(schema.clone());
        let file = ssc.broadcast_file(path, move |bytes| Ok(reader.content(&place)?.table(bytes)?));
        self.session.register(name, Arc::new(EmptyTable::new(schema)))?;
        self.streams.borrow_mut().insert(names::table(name), Table::File(file));
        Ok(())
    }

    /// As [`StreamTables::broadcast_file`], as a view: when the file changes, rows leave the table and others enter it, and all results are
    /// corrected. So results change, and a join keeps all rows of the stream.
    ///
    /// # Errors
    /// As there.
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("tidemill-doc-file-view-table-{}", std::process::id()));
    /// # std::fs::create_dir_all(&dir).unwrap();
    /// # let path = dir.join("docks.csv");
    /// use tidemill::prelude::*;
    /// use tidemill_sql::{StreamTables, TableSession};
    ///
    /// std::fs::write(&path, "station,docks\nFerry,27\n").unwrap();
    /// let (trips, seen) = (QueueSource::from_batches([vec!["Ferry".to_owned(), "Market".to_owned()]]), MemorySink::new());
    /// let (file, out) = (path.clone(), seen.clone());
    /// StreamingContext::builder("docks", millis(100)).without_checkpoint().run(move |ssc| {
    ///     let session = TableSession::new();
    ///     let tables = StreamTables::new(&session);
    ///     tables.register_stream("trips", &ssc.queue_stream(&trips))?;
    ///     let docks = session.read().format("csv").schema("station STRING, docks INT").option("header", true);
    ///     tables.file_view(ssc, "docks", &docks, &file)?;
    ///     let joined = tables.sql("select value, docks from trips join docks on value = station")?;
    ///     // The file may change: the rows are not a stream.
    ///     assert!(joined.stream::<(String, i32)>().is_err());
    ///     joined.view::<(String, i32)>()?.complete().to_memory(&out);
    ///     Ok(())
    /// })?;
    /// assert_eq!(seen.rows(), [("Ferry".to_owned(), 27)]);
    /// # std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn file_view(
        &self,
        ssc: &StreamingContext<'s>,
        name: &str,
        reader: &DataFrameReader,
        path: impl AsRef<Path>,
    ) -> Result<()> {
        let place = path.as_ref().to_owned();
        let schema = reader.content(&place)?.schema().clone();
        Codec::new(&schema).map_err(|e| SqlError::new(name, e))?;
        let (reader, columns) = (reader.clone().with_columns(schema.clone()), schema.clone());
        let rows = ssc.file_view(path, move |bytes| {
            let table = reader.content(&place)?.table(bytes)?;
            Ok(Codec::new(&columns)?.encode(table.columns(), table.num_rows())?)
        });
        self.context.get_or_init(|| rows.context());
        self.session.register(name, Arc::new(EmptyTable::new(schema)))?;
        self.streams.borrow_mut().insert(names::table(name), Table::View(rows));
        Ok(())
    }
}

/// A file by the name of its table.
pub(super) type NamedFile<'s> = (String, Broadcast<'s, RecordBatch>);

impl<'s> Renderer<'_, 's> {
    /// The file that a plan reads, if it reads one.
    pub(super) fn file_in(&self, plan: &LogicalPlan) -> Planned<Option<NamedFile<'s>>> {
        let mut files = BTreeMap::new();
        plan.apply(|node| {
            if let LogicalPlan::TableScan(scan) = node
                && let Some(Table::File(file)) = self.streams.get(scan.table_name.table())
            {
                files.insert(scan.table_name.table().to_owned(), file.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        let first = files.pop_first();
        if let (Some((one, _)), Some((other, _))) = (&first, files.first_key_value()) {
            return self.refused(
                &format!("a join with the files {one} and {other} at once"),
                &["JOIN"],
                "join the stream with one of them, and the result with the other",
            );
        }
        Ok(first)
    }

    /// What a step makes of the rows of each partition and the version of a file.
    pub(super) fn with_file(
        &self,
        rows: &DStream<'s, RecordBatch>,
        file: &Broadcast<'s, RecordBatch>,
        step: impl Fn(RecordBatch, Option<&RecordBatch>) -> Planned<RecordBatch> + 'static,
    ) -> DStream<'s, RecordBatch> {
        let query = self.query.to_owned();
        let each = rows.map_partitions_with_broadcast(file, move |batches: Vec<RecordBatch>, version| {
            let joined = |batch| Ok(vec![step(batch, Some(version))?]);
            batches.into_iter().flat_map(|batch| Tried::all(attempt(&query, &joined, batch))).collect::<Vec<_>>()
        });
        parted(&each, &self.asked())
    }
}
