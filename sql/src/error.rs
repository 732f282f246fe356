//! Why a table could not be made, or a query not planned or run.

use std::fmt;

use datafusion::error::DataFusionError;

/// The result of everything here that can fail.
pub type Result<T, E = SqlError> = std::result::Result<T, E>;

/// Why a table could not be made, or a query not planned or run. It names the query or the row type, and what is wrong with it.
///
/// ```
/// use tidemill_sql::TableSession;
/// let session = TableSession::new();
/// let error = session.sql("select 1 from nowhere").unwrap_err();
/// assert!(error.to_string().starts_with("select 1 from nowhere: "), "{error}");
/// assert!(error.to_string().contains("create_or_replace_temp_view"), "{error}");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SqlError(String);

impl SqlError {
    /// An error about a thing, such as a query or a type.
    pub(crate) fn new(thing: &str, reason: impl fmt::Display) -> Self {
        SqlError(format!("{thing}: {reason}"))
    }

    /// What DataFusion says of a thing, with the remedy where it is known.
    pub(crate) fn of(thing: &str, error: &DataFusionError) -> Self {
        let reason = error.strip_backtrace();
        let reason = ["Error during planning: ", "Schema error: "]
            .iter()
            .fold(reason.as_str(), |text, kind| text.trim_start_matches(kind));
        // A table that is missing is the one fault that DataFusion's message has no remedy for.
        match reason.split_once("table '").and_then(|(_, rest)| rest.split_once("' not found")) {
            Some((table, _)) => {
                let table = table.rsplit('.').next().unwrap_or(table);
                Self::new(
                    thing,
                    format!("the table {table} is unknown; give a table this name by create_or_replace_temp_view(\"{table}\")"),
                )
            }
            None => Self::new(thing, reason),
        }
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The same sentence as `Display`, so that a program whose `main` returns it ends with readable words.
impl fmt::Debug for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SqlError {}

/// The error of a job, for a program whose `main` returns one of this crate.
impl From<tidemill::Error> for SqlError {
    fn from(error: tidemill::Error) -> Self {
        SqlError(error.to_string())
    }
}
