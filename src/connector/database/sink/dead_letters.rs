//! Rows that violate a constraint go to another table, in the transaction of the others.
//!
//! Rows are inserted many at a time. If some of them are refused, the statement is undone by a savepoint, and each half is tried, until a
//! single row is refused. So a batch without faults costs one savepoint a statement.

use serde_json::{Map, json};

use super::super::Connection;
use super::super::table::Table;
use super::super::values::Value;
use crate::core::error::BoxError;

/// Inserts rows, or what is refused of them into the table of dead letters.
pub(super) fn insert<C: Connection>(table: &Table, connection: &mut C, rows: &[&[Value]]) -> Result<(), BoxError> {
    connection.run("SAVEPOINT tidemill")?;
    let refused = match connection.insert(table, rows) {
        Ok(()) => return connection.run("RELEASE SAVEPOINT tidemill"),
        Err(e) if C::is_violation(&e) => e,
        Err(e) => return Err(e),
    };
    connection.run("ROLLBACK TO SAVEPOINT tidemill")?;
    connection.run("RELEASE SAVEPOINT tidemill")?;
    match rows {
        [row] => {
            let text = |text: String| Value::Text(text);
            let values = [text(table.name.clone()), text(described(table, row)), text(refused.to_string())];
            connection.execute(&table.insert_dead_letter(), &values)
        }
        rows => {
            let (one, other) = rows.split_at(rows.len() / 2);
            insert(table, connection, one)?;
            insert(table, connection, other)
        }
    }
}

/// The row as JSON, by the names of its columns. Bytes are hexadecimal.
fn described(table: &Table, row: &[Value]) -> String {
    let value = |value: &Value| match value {
        Value::Null => json!(null),
        Value::Bool(b) => json!(b),
        Value::Int(n) => json!(n),
        Value::Float(x) if x.is_finite() => json!(x),
        Value::Float(x) => json!(x.to_string()),
        Value::Text(text) => json!(text),
        Value::Bytes(bytes) => json!(bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()),
    };
    let fields: Map<_, _> = table.columns.iter().zip(row).map(|(c, v)| (c.name.clone(), value(v))).collect();
    serde_json::Value::Object(fields).to_string()
}
