//! SQLite: the connection, and the verbs. SQLite itself is compiled into the program.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Error as SqliteError, ErrorCode, params_from_iter};

use super::table::{Kind, Table};
use super::values::Value;
use super::{Connection, Database};
use crate::api::dstream::DStream;
use crate::core::data::{Change, Exchange};
use crate::core::error::BoxError;
use crate::engine::operator_id::OperatorId;

/// How long a statement waits while another program writes to the file.
const BUSY: Duration = Duration::from_secs(5);
/// How many rows a statement may have. Each number is another statement to prepare.
const ROWS: [usize; 4] = [512, 64, 8, 1];
/// How many values a statement may have: SQLite takes 32,766.
const VALUES: usize = 32_000;

impl<T: Exchange> DStream<'_, T> {
    /// Writes each batch to a table of a SQLite file, in one transaction for each of [`Table::shards`]. Feature `sqlite`.
    ///
    /// The file and the table must exist. At least once by default; [`Table::exactly_once`] writes each row once, whatever is killed. One
    /// process writes at a time, so give such a job one process.
    ///
    /// In a replay, rows go to stdout as JSON; `--replay-into TABLE=OTHER` writes them to another table.
    ///
    /// # Errors
    /// At the start: the table is missing or does not take the rows. The error has the statement that makes it. Later: a locked file is
    /// retried for the time of `--output-retry` (default: 30 seconds). A row that does not fit the columns, or that a constraint of the table
    /// forbids, ends the job at once.
    ///
    /// ```
    /// use tidemill::connector::database::Table;
    /// use tidemill::prelude::*;
    ///
    /// let path = std::env::temp_dir().join(format!("tidemill-doc-sqlite-{}", std::process::id()));
    /// let database = rusqlite::Connection::open(&path).unwrap();
    /// database.execute_batch("CREATE TABLE counts (word TEXT PRIMARY KEY, n INTEGER)").unwrap();
    ///
    /// let words = QueueSource::from_batches([vec!["to", "be"], vec!["to"]]);
    /// let file = path.clone();
    /// StreamingContext::builder("totals", millis(5)).run(move |ssc| {
    ///     let totals = ssc.queue_stream(&words).map(String::from).count_by_value().sum_by_key();
    ///     totals.update().to_sqlite(&file, Table::new("counts").text("word").integer("n").key(["word"]));
    ///     Ok(())
    /// })?;
    ///
    /// let n = |word| database.query_row("SELECT n FROM counts WHERE word = ?", [word], |row| row.get::<_, i64>(0)).unwrap();
    /// assert_eq!((n("to"), n("be")), (2, 1));
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn to_sqlite(&self, path: impl AsRef<Path>, table: Table) {
        self.rows_to_table(&OperatorId::of("to_sqlite"), Sqlite(path.as_ref().into()), table);
    }
}

impl<T: Exchange> DStream<'_, Change<T>> {
    /// Keeps a table of a SQLite file equal to a view: rows that enter replace those with their key, and rows that leave are deleted. The
    /// table needs a [`key`](Table::key), which must be unique among the rows of the view. Otherwise like
    /// [`to_sqlite`](DStream::to_sqlite). Feature `sqlite`.
    ///
    /// ```
    /// use tidemill::connector::database::Table;
    /// use tidemill::prelude::*;
    ///
    /// let path = std::env::temp_dir().join(format!("tidemill-doc-sqlite-changes-{}", std::process::id()));
    /// let database = rusqlite::Connection::open(&path).unwrap();
    /// database.execute_batch("CREATE TABLE top (n INTEGER PRIMARY KEY)").unwrap();
    ///
    /// let numbers = QueueSource::from_batches([vec![3, 1, 4], vec![1, 5]]);
    /// let file = path.clone();
    /// StreamingContext::builder("top", millis(5)).run(move |ssc| {
    ///     let top = ssc.queue_stream(&numbers).accumulate().top(2);
    ///     top.changes().changes_to_sqlite(&file, Table::new("top").integer("n").key(["n"]));
    ///     Ok(())
    /// })?;
    ///
    /// let rows: Vec<i64> = database.prepare("SELECT n FROM top ORDER BY n").unwrap()
    ///     .query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    /// assert_eq!(rows, [4, 5]);
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn changes_to_sqlite(&self, path: impl AsRef<Path>, table: Table) {
        self.changes_to_table(&OperatorId::of("changes_to_sqlite"), Sqlite(path.as_ref().into()), table);
    }
}

#[derive(Clone)]
pub(super) struct Sqlite(pub PathBuf);

impl Database for Sqlite {
    type Connection = rusqlite::Connection;

    fn word(&self) -> &'static str {
        "SQLite"
    }

    fn connect(&self) -> Result<rusqlite::Connection, BoxError> {
        // A file that is missing has no table.
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = rusqlite::Connection::open_with_flags(&self.0, flags)?;
        connection.busy_timeout(BUSY)?;
        Ok(connection)
    }
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Bool(v) => ValueRef::Integer((*v).into()),
            Value::Int(v) => ValueRef::Integer(*v),
            Value::Float(v) => ValueRef::Real(*v),
            Value::Text(v) => ValueRef::Text(v.as_bytes()),
            Value::Bytes(v) => ValueRef::Blob(v),
        }))
    }
}

impl Connection for rusqlite::Connection {
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const LOCK: &'static str = "";

    fn type_of(kind: Kind) -> &'static str {
        match kind {
            Kind::Text => "TEXT",
            Kind::Integer => "INTEGER",
            Kind::Float => "REAL",
            Kind::Boolean => "BOOLEAN",
            Kind::Bytes => "BLOB",
        }
    }

    fn run(&mut self, sql: &str) -> Result<(), BoxError> {
        Ok(self.execute_batch(sql)?)
    }

    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<(), BoxError> {
        self.prepare_cached(sql)?.execute(params_from_iter(values))?;
        Ok(())
    }

    fn at_once(rows: &[&[Value]]) -> usize {
        let columns = rows.first().map_or(0, |row| row.len());
        ROWS.into_iter().find(|n| *n <= rows.len() && n * columns <= VALUES).unwrap_or(1)
    }

    fn insert(&mut self, table: &Table, rows: &[&[Value]]) -> Result<(), BoxError> {
        self.prepare_cached(&table.insert(rows.len()))?.execute(params_from_iter(rows.iter().copied().flatten()))?;
        Ok(())
    }

    fn delete(&mut self, table: &Table, rows: &[&[Value]]) -> Result<(), BoxError> {
        let mut statement = self.prepare_cached(&table.delete())?;
        for row in rows {
            statement.execute(params_from_iter(table.key_places().map(|at| &row[at])))?;
        }
        Ok(())
    }

    fn first(&mut self, sql: &str, values: &[Value]) -> Result<Option<Vec<Value>>, BoxError> {
        let mut statement = self.prepare_cached(sql)?;
        let columns = statement.column_count();
        let mut rows = statement.query(params_from_iter(values))?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let value = |at| match row.get_ref(at)? {
            ValueRef::Integer(n) => Ok(Value::Int(n)),
            ValueRef::Text(text) => Ok(Value::Text(String::from_utf8_lossy(text).into_owned())),
            _ => Ok(Value::Null),
        };
        (0..columns).map(value).collect::<Result<_, SqliteError>>().map(Some).map_err(Into::into)
    }

    fn check(&mut self, table: &Table) -> Result<(), BoxError> {
        self.prepare(&table.insert(1))?;
        if table.has_key() {
            self.prepare(&table.delete())?;
        }
        Ok(())
    }

    fn is_lasting(e: &BoxError) -> bool {
        let code = e.downcast_ref::<SqliteError>().and_then(SqliteError::sqlite_error_code);
        matches!(code, Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::Unknown))
    }

    fn is_violation(e: &BoxError) -> bool {
        let code = e.downcast_ref::<SqliteError>().and_then(SqliteError::sqlite_error_code);
        matches!(code, Some(ErrorCode::ConstraintViolation))
    }
}
