//! `GroupedData`: the groups of `group_by`, and what is computed of each.

use crate::data_frame::DataFrame;
use crate::error::Result;

/// The groups of [`DataFrame::group_by`]. A verb computes one row of each.
///
/// ```
/// use tidemill_sql::TableSession;
/// let words = TableSession::new().create_data_frame(&[("to", 2), ("be", 3), ("to", 4)])?.to_df(["word", "cnt"])?;
/// let rows = words.group_by(["word"])?.agg(["sum(cnt) as total", "max(cnt)"])?.order_by(["word"])?;
/// assert_eq!(rows.columns(), ["word", "total", "max(cnt)"]);
/// assert_eq!(rows.collect::<(String, i64, i32)>()?, [("be".to_owned(), 3, 3), ("to".to_owned(), 6, 4)]);
/// # Ok::<(), tidemill_sql::SqlError>(())
/// ```
#[derive(Clone, Debug)]
pub struct GroupedData {
    table: DataFrame,
    keys: Vec<String>,
}

impl GroupedData {
    pub(crate) fn new(table: DataFrame, keys: Vec<String>) -> Self {
        GroupedData { table, keys }
    }

    /// The keys of each group, and a column for each expression with aggregates: `"count(*)"`, `"sum(cnt) as total"`. Spark's
    /// `agg({"*": "count"})` is `agg(["count(*)"])`.
    ///
    /// # Errors
    /// If an expression is not valid SQL, or uses an unknown name.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// let numbers = TableSession::new().create_data_frame(&[3, 1, 4])?;
    /// assert_eq!(numbers.group_by([])?.agg(["count(*)", "avg(value)"])?.columns(), ["count(1)", "avg(value)"]);
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    pub fn agg<const N: usize>(&self, expressions: [&str; N]) -> Result<DataFrame> {
        let list = self.keys.iter().map(String::as_str).chain(expressions).collect::<Vec<_>>().join(", ");
        let groups = match self.keys.is_empty() {
            true => String::new(),
            false => format!(" group by {}", self.keys.join(", ")),
        };
        self.table.query("agg", &format!("select {list} from {{this}}{groups}"))
    }

    /// The keys of each group, and how many rows it has, as the column `count`.
    ///
    /// # Errors
    /// None today.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// let words = TableSession::new().create_data_frame(&["to", "to"].map(String::from))?;
    /// assert_eq!(words.group_by(["value"])?.count()?.columns(), ["value", "count"]);
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    pub fn count(&self) -> Result<DataFrame> {
        self.agg(["count(*) as count"])
    }
}
