//! Tables of databases as outputs: features `sqlite` and `postgres`.
//!
//! `table.rs` has the table and its statements, `values.rs` turns rows into values, and `sink.rs` writes them in transactions, with the
//! progress of the job if each row is written once. `sqlite.rs` and `postgres.rs` have the two connections, and nothing else.

#[cfg(feature = "postgres")]
mod postgres;
mod sink;
#[cfg(feature = "sqlite")]
mod sqlite;
mod table;
mod values;

use self::table::Kind;
pub use self::table::Table;
use self::values::Value;
use crate::core::error::BoxError;

/// A database to which a stream is written.
trait Database: Clone + Send + 'static {
    type Connection: Connection;

    /// The word for it in the names of sinks. It holds no secret.
    fn word(&self) -> &'static str;

    /// Opens a connection. The error holds no secret.
    fn connect(&self) -> Result<Self::Connection, BoxError>;
}

/// A connection, which one thread uses.
trait Connection: Send {
    /// Begins a transaction that may write.
    const BEGIN: &'static str;
    /// Behind a `SELECT` in a transaction that will write the row.
    const LOCK: &'static str;

    /// The type of a column, as statements write it.
    fn type_of(kind: Kind) -> &'static str;

    /// Runs statements without values.
    fn run(&mut self, sql: &str) -> Result<(), BoxError>;

    /// Runs a statement, which the connection keeps for the next time.
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<(), BoxError>;

    /// How many of these rows, from the first on, one call of [`insert`](Self::insert) or [`delete`](Self::delete) takes: at least one.
    fn at_once(rows: &[&[Value]]) -> usize;

    /// Inserts or replaces rows: all of them, or none after an error.
    fn insert(&mut self, table: &Table, rows: &[&[Value]]) -> Result<(), BoxError>;

    /// Deletes the rows that have the keys of these.
    fn delete(&mut self, table: &Table, rows: &[&[Value]]) -> Result<(), BoxError>;

    /// The first row of the answer, or `None`. Its values are texts and integers.
    fn first(&mut self, sql: &str, values: &[Value]) -> Result<Option<Vec<Value>>, BoxError>;

    /// Checks that the table takes rows, without writing one.
    fn check(&mut self, table: &Table) -> Result<(), BoxError>;

    /// Whether an error will be the same at the next try, as that of a constraint.
    fn is_lasting(e: &BoxError) -> bool;

    /// Whether an error is that of a row that violates a constraint of the table.
    fn is_violation(e: &BoxError) -> bool;
}
