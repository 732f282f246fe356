//! PostgreSQL: the connection, and the verbs.

use std::collections::HashMap;
use std::iter::once;
use std::time::Duration;

use postgres::types::{ToSql, Type};
use postgres::{Client, Config, NoTls, Statement};

use super::table::{Kind, Table};
use super::values::Value;
use super::{Connection, Database};
use crate::api::dstream::DStream;
use crate::connector::sink::FatalError;
use crate::core::data::{Change, Exchange};
use crate::core::error::BoxError;
use crate::engine::operator_id::OperatorId;

/// How long a connection may take, and how long data may stay without an answer, if the connection string does not say it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many rows a statement may have. Each one waits for the server's answer.
const ROWS: usize = 4_096;
/// How many bytes their texts may have. PostgreSQL takes 1 GiB.
const BYTES: usize = 16 << 20;

impl<T: Exchange> DStream<'_, T> {
    /// Writes each batch to a table of PostgreSQL, in one transaction for each of [`Table::shards`]. Feature `postgres`.
    ///
    /// `url` is a connection string: `postgres://USER:PASSWORD@HOST/DATABASE`, or `host=HOST user=USER dbname=DATABASE`. No error and no log
    /// line shows it. The connection has no TLS.
    ///
    /// The table must exist. At least once by default; [`Table::exactly_once`] writes each row once, whatever is killed, also if a newer run
    /// of the job has begun elsewhere. Columns may be `text`, `varchar`, `smallint`, `integer`, `bigint`, `real`, `double precision`,
    /// `boolean` or `bytea`.
    ///
    /// In a replay, rows go to stdout as JSON; `--replay-into TABLE=OTHER` writes them to another table.
    ///
    /// # Errors
    /// At the start: the server does not answer within 10 seconds, or the table is missing or does not take the rows. The error has the
    /// statement that makes it. Later: a lost connection, a deadlock and the like are retried for the time of `--output-retry` (default: 30
    /// seconds), with a new connection. A row that does not fit the columns, or that a constraint of the table forbids, ends the job at once.
    ///
    /// ```no_run
    /// use tidemill::connector::database::Table;
    /// use tidemill::prelude::*;
    /// StreamingContext::builder("totals", secs(5)).checkpoint("/var/lib/totals").run(|ssc| {
    ///     let words = ssc.text_file_stream("/var/spool/words").oks();
    ///     let totals = words.count_by_value().sum_by_key();
    ///     let table = Table::new("counts").text("word").integer("n").key(["word"]).exactly_once();
    ///     totals.update().to_postgres("postgres://writer@127.0.0.1/app", table);
    ///     Ok(())
    /// }).unwrap();
    /// ```
    #[track_caller]
    pub fn to_postgres(&self, url: impl AsRef<str>, table: Table) {
        let operator = OperatorId::of("to_postgres");
        match Postgres::new(url.as_ref()) {
            Ok(database) => self.rows_to_table(&operator, database, table),
            Err(e) => self.node.graph.report(&operator, e),
        }
    }
}

impl<T: Exchange> DStream<'_, Change<T>> {
    /// Keeps a table of PostgreSQL equal to a view: rows that enter replace those with their key, and rows that leave are deleted. The table
    /// needs a [`key`](Table::key), which must be unique among the rows of the view. Otherwise like [`to_postgres`](DStream::to_postgres).
    /// Feature `postgres`.
    ///
    /// ```no_run
    /// use tidemill::connector::database::Table;
    /// use tidemill::prelude::*;
    /// StreamingContext::builder("top", secs(5)).run(|ssc| {
    ///     let words = ssc.socket_text_stream("127.0.0.1", 9999).oks().count_by_value().sum_by_key();
    ///     let top = words.top_by(10, |(_, n)| *n);
    ///     top.changes().changes_to_postgres("host=127.0.0.1", Table::new("top").text("word").integer("n").key(["word"]));
    ///     Ok(())
    /// }).unwrap();
    /// ```
    #[track_caller]
    pub fn changes_to_postgres(&self, url: impl AsRef<str>, table: Table) {
        let operator = OperatorId::of("changes_to_postgres");
        match Postgres::new(url.as_ref()) {
            Ok(database) => self.changes_to_table(&operator, database, table),
            Err(e) => self.node.graph.report(&operator, e),
        }
    }
}

/// Where the server is. It holds the password, so it cannot be shown.
#[derive(Clone)]
struct Postgres(Config);

impl Postgres {
    /// Reads a connection string. The error does not show it.
    fn new(url: &str) -> Result<Self, &'static str> {
        let mut config: Config = url.parse().map_err(|_| {
            "the connection string cannot be read: write postgres://USER:PASSWORD@HOST/DATABASE, or host=HOST user=USER dbname=DATABASE"
        })?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(PATIENCE);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(PATIENCE);
        }
        Ok(Postgres(config))
    }
}

impl Database for Postgres {
    type Connection = Connected;

    fn word(&self) -> &'static str {
        "PostgreSQL"
    }

    fn connect(&self) -> Result<Connected, BoxError> {
        Ok(Connected { client: self.0.connect(NoTls).map_err(failed)?, statements: HashMap::new() })
    }
}

/// A connection, and the statements that it has prepared.
struct Connected {
    client: Client,
    statements: HashMap<String, Statement>,
}

impl Connected {
    fn statement(&mut self, sql: &str) -> Result<Statement, BoxError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).map_err(failed)?;
        self.statements.insert(sql.into(), statement.clone());
        Ok(statement)
    }

    /// Runs a statement over these columns of rows, each of which is an array. `sql` makes it for the types of the columns.
    fn run_arrays(
        &mut self,
        table: &Table,
        columns: &[usize],
        rows: &[&[Value]],
        sql: fn(&Table, &[&str]) -> String,
    ) -> Result<(), BoxError> {
        let one = self.statement(&table.insert(1))?;
        let types: Vec<&Type> = columns.iter().map(|at| &one.params()[*at]).collect();
        let statement = self.statement(&sql(table, &types.iter().map(|of| of.name()).collect::<Vec<_>>()))?;
        let array = |(at, of): (&usize, &&Type)| parameter(rows.iter().map(|row| &row[*at]), of, true);
        let arrays: Vec<Parameter<'_>> = columns.iter().zip(&types).map(array).collect::<Result<_, _>>()?;
        self.client.execute(&statement, &borrowed(&arrays)).map(drop).map_err(failed)
    }
}

/// What the server or the connection says.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Failed {
    text: String,
    lasting: bool,
    violation: bool,
}

fn failed(e: postgres::Error) -> BoxError {
    let Some(said) = e.as_db_error() else {
        let cause = std::error::Error::source(&e).map_or(String::new(), |cause| format!(": {cause}"));
        let text = e.to_string();
        let text = if text.ends_with(&cause) { text } else { format!("{text}{cause}") };
        return Failed { text, lasting: false, violation: false }.into();
    };
    let detail = said.detail().map_or(String::new(), |detail| format!(" ({detail})"));
    // Classes of SQLSTATE: unsupported, data, constraints, schemas, syntax and names.
    let lasting = ["0A", "22", "23", "3F", "42"].iter().any(|class| said.code().code().starts_with(class));
    let violation = said.code().code().starts_with("23");
    Failed { text: format!("{}{detail}", said.message()), lasting, violation }.into()
}

type Parameter<'a> = Box<dyn ToSql + Sync + 'a>;

/// Values as the type of their column wants them: an array of all, or one value.
fn parameter<'a>(values: impl Iterator<Item = &'a Value>, column: &Type, array: bool) -> Result<Parameter<'a>, BoxError> {
    fn all<'a, V: ToSql + Sync + 'a>(
        values: impl Iterator<Item = &'a Value>,
        column: &Type,
        array: bool,
        read: impl Fn(&'a Value) -> Option<Option<V>>,
    ) -> Result<Parameter<'a>, BoxError> {
        let read = |value| read(value).ok_or_else(|| wrong(value, column));
        let mut found: Vec<Option<V>> = values.map(read).collect::<Result<_, BoxError>>()?;
        let parameter: Parameter<'a> = if array { Box::new(found) } else { Box::new(found.pop().flatten()) };
        Ok(parameter)
    }
    match *column {
        Type::INT2 => all(values, column, array, whole::<i16>),
        Type::INT4 => all(values, column, array, whole::<i32>),
        Type::INT8 => all(values, column, array, whole::<i64>),
        Type::FLOAT4 => all(values, column, array, |value| Some(float(value)?.map(|x| x as f32))),
        Type::FLOAT8 => all(values, column, array, float),
        Type::BOOL => all(values, column, array, boolean),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME => all(values, column, array, text),
        Type::BYTEA => all(values, column, array, bytes),
        _ => all(values, column, array, |_| None::<Option<bool>>),
    }
}

fn wrong(value: &Value, column: &Type) -> BoxError {
    FatalError(format!("a column of type {column} does not take {}", named(value))).into()
}

fn whole<N: TryFrom<i64>>(value: &Value) -> Option<Option<N>> {
    match value {
        Value::Null => Some(None),
        Value::Int(n) => Some(Some(N::try_from(*n).ok()?)),
        _ => None,
    }
}

fn float(value: &Value) -> Option<Option<f64>> {
    match value {
        Value::Null => Some(None),
        Value::Float(x) => Some(Some(*x)),
        Value::Int(n) => Some(Some(*n as f64)),
        _ => None,
    }
}

fn boolean(value: &Value) -> Option<Option<bool>> {
    match value {
        Value::Null => Some(None),
        Value::Bool(b) => Some(Some(*b)),
        _ => None,
    }
}

fn text(value: &Value) -> Option<Option<&str>> {
    match value {
        Value::Null => Some(None),
        Value::Text(text) => Some(Some(text.as_str())),
        _ => None,
    }
}

fn bytes(value: &Value) -> Option<Option<&[u8]>> {
    match value {
        Value::Null => Some(None),
        Value::Bytes(bytes) => Some(Some(bytes.as_slice())),
        _ => None,
    }
}

fn named(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "booleans".into(),
        Value::Int(n) => format!("the integer {n}"),
        Value::Float(_) => "floats".into(),
        Value::Text(_) => "texts".into(),
        Value::Bytes(_) => "bytes".into(),
    }
}

/// The values of a statement, as its columns want them.
fn parameters<'a>(values: &'a [Value], statement: &Statement) -> Result<Vec<Parameter<'a>>, BoxError> {
    values.iter().zip(statement.params()).map(|(value, column)| parameter(once(value), column, false)).collect()
}

fn borrowed<'p>(parameters: &'p [Parameter<'_>]) -> Vec<&'p (dyn ToSql + Sync)> {
    parameters.iter().map(|p| &**p as &(dyn ToSql + Sync)).collect()
}

impl Connection for Connected {
    const BEGIN: &'static str = "BEGIN";
    const LOCK: &'static str = " FOR UPDATE";

    fn type_of(kind: Kind) -> &'static str {
        match kind {
            Kind::Text => "TEXT",
            Kind::Integer => "BIGINT",
            Kind::Float => "DOUBLE PRECISION",
            Kind::Boolean => "BOOLEAN",
            Kind::Bytes => "BYTEA",
        }
    }

    fn run(&mut self, sql: &str) -> Result<(), BoxError> {
        self.client.batch_execute(sql).map_err(failed)
    }

    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<(), BoxError> {
        let statement = self.statement(sql)?;
        let parameters = parameters(values, &statement)?;
        self.client.execute(&statement, &borrowed(&parameters)).map(drop).map_err(failed)
    }

    fn at_once(rows: &[&[Value]]) -> usize {
        let mut bytes = 0;
        let size = |value: &Value| match value {
            Value::Text(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            _ => 0,
        };
        let fits = |row: &&&[Value]| {
            bytes += row.iter().map(size).sum::<usize>();
            bytes <= BYTES
        };
        rows.iter().take(ROWS).take_while(fits).count().max(1)
    }

    fn insert(&mut self, table: &Table, rows: &[&[Value]]) -> Result<(), BoxError> {
        let all: Vec<usize> = (0..table.columns.len()).collect();
        self.run_arrays(table, &all, rows, Table::insert_arrays)
    }

    fn delete(&mut self, table: &Table, rows: &[&[Value]]) -> Result<(), BoxError> {
        let key: Vec<usize> = table.key_places().collect();
        self.run_arrays(table, &key, rows, Table::delete_arrays)
    }

    fn first(&mut self, sql: &str, values: &[Value]) -> Result<Option<Vec<Value>>, BoxError> {
        let statement = self.statement(sql)?;
        let parameters = parameters(values, &statement)?;
        let Some(row) = self.client.query_opt(&statement, &borrowed(&parameters)).map_err(failed)? else { return Ok(None) };
        let value = |(at, column): (usize, &postgres::Column)| match *column.type_() {
            Type::INT8 => Ok(row.try_get::<_, Option<i64>>(at).map_err(failed)?.map_or(Value::Null, Value::Int)),
            _ => Ok(row.try_get::<_, Option<String>>(at).map_err(failed)?.map_or(Value::Null, Value::Text)),
        };
        row.columns().iter().enumerate().map(value).collect::<Result<_, BoxError>>().map(Some)
    }

    fn check(&mut self, table: &Table) -> Result<(), BoxError> {
        let statement = self.statement(&table.insert(1))?;
        for (column, found) in table.columns.iter().zip(statement.params()) {
            let sample = match column.kind {
                Kind::Text => Value::Text(String::new()),
                Kind::Integer => Value::Int(0),
                Kind::Float => Value::Float(0.0),
                Kind::Boolean => Value::Bool(false),
                Kind::Bytes => Value::Bytes(Vec::new()),
            };
            if parameter(once(&sample), found, false).is_err() {
                return Err(format!("its column \"{}\" is of type {found}", column.name).into());
            }
        }
        // Whether the key is unique shows only in a plan.
        self.run(&format!("EXPLAIN {}", table.insert_with(1, |_| "NULL".into())))
    }

    fn is_lasting(e: &BoxError) -> bool {
        e.downcast_ref::<Failed>().is_some_and(|e| e.lasting)
    }

    fn is_violation(e: &BoxError) -> bool {
        e.downcast_ref::<Failed>().is_some_and(|e| e.violation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_shows_the_connection_string() {
        for url in ["postgres://u:hunter2@h:port/db", "password=hunter2 port=x", "hunter2"] {
            let e = Postgres::new(url).err().unwrap_or_else(|| panic!("{url}"));
            assert!(!e.contains("hunter2") && e.contains("postgres://USER"), "{e}");
        }
        let refused = Postgres::new("postgres://u:hunter2@127.0.0.1:1/db").unwrap().connect().err().unwrap().to_string();
        assert!(refused.contains("refused") && !refused.contains("hunter2"), "{refused}");
    }

    #[test]
    fn values_are_what_columns_want() {
        let takes = |value: Value, column: &Type| parameter(once(&value), column, false).is_ok();
        assert!(
            takes(Value::Int(7), &Type::INT2) && !takes(Value::Int(1 << 40), &Type::INT4) && takes(Value::Int(1), &Type::FLOAT8)
        );
        assert!(takes(Value::Null, &Type::TEXT) && !takes(Value::Text("x".into()), &Type::NUMERIC));
        let e = parameter(once(&Value::Int(1 << 40)), &Type::INT4, false).err().unwrap().to_string();
        assert_eq!(e, "a column of type int4 does not take the integer 1099511627776");
        let e = parameter([Value::Int(1), Value::Bool(true)].iter(), &Type::INT4, true).err().unwrap().to_string();
        assert_eq!(e, "a column of type int4 does not take booleans");
    }

    #[test]
    fn a_statement_takes_rows_by_their_number_and_by_their_bytes() {
        let at_once = |rows: &[Vec<Value>]| Connected::at_once(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>());
        assert_eq!(at_once(&vec![vec![Value::Int(1)]; 5_000]), ROWS);
        assert_eq!(at_once(&vec![vec![Value::Int(1)]; 7]), 7);
        let long = vec![Value::Text("x".repeat(BYTES / 2)), Value::Null];
        assert_eq!(at_once(&vec![long; 3]), 2);
        assert_eq!(at_once(&vec![vec![Value::Bytes(vec![0; BYTES + 1])]; 2]), 1);
    }
}
