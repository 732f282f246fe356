//! A `DataFrame` as text: Spark's `show` and `printSchema`.

use std::io::Write;

use datafusion::arrow::datatypes::DataType;

use crate::data_frame::DataFrame;
use crate::error::{Result, SqlError};
use crate::show;

impl DataFrame {
    /// Prints the first 20 rows as Spark does, with cells of at most 20 characters.
    ///
    /// # Errors
    /// If a row cannot be computed, or stdout is closed.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// TableSession::new().sql("select 1 as one")?.show()?;
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    pub fn show(&self) -> Result<()> {
        let text = self.show_string(20, 20)?;
        writeln!(std::io::stdout().lock(), "{text}").map_err(|e| SqlError::new("show", format!("stdout: {e}")))
    }

    /// What `show(n, truncate)` prints, without the last line break: at most `n` rows, and cells of at most `truncate` characters. With 0 none
    /// is cut, and cells are aligned to the left.
    ///
    /// # Errors
    /// If a row cannot be computed.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// let numbers = TableSession::new().create_data_frame(&[3, 1, 4])?;
    /// assert_eq!(numbers.show_string(1, 0)?, "+-----+\n|value|\n+-----+\n|3    |\n+-----+\nonly showing top 1 row");
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    pub fn show_string(&self, n: usize, truncate: usize) -> Result<String> {
        // One more row tells whether there are more.
        let batches = self.limit(n.saturating_add(1))?.record_batches()?;
        show::table(&self.schema(), &batches, n, truncate).map_err(|e| SqlError::new("show", e))
    }

    /// The columns and their types as text: Spark's `printSchema`.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// let words = TableSession::new().create_data_frame(&[("to".to_owned(), 2_i64)])?.to_df(["word", "cnt"])?;
    /// assert_eq!(words.schema_string(), "root\n |-- word: string (nullable = false)\n |-- cnt: long (nullable = false)\n");
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    #[doc(alias = "printSchema")]
    pub fn schema_string(&self) -> String {
        let mut text = "root\n".to_owned();
        for field in self.schema().fields() {
            let kind = spark_type(field.data_type());
            text.push_str(&format!(" |-- {}: {kind} (nullable = {})\n", field.name(), field.is_nullable()));
        }
        text
    }
}

/// Spark's name of a type.
fn spark_type(kind: &DataType) -> String {
    match kind {
        DataType::Boolean => "boolean".into(),
        DataType::Int8 => "byte".into(),
        DataType::Int16 => "short".into(),
        DataType::Int32 => "integer".into(),
        DataType::Int64 => "long".into(),
        DataType::Float32 => "float".into(),
        DataType::Float64 => "double".into(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "binary".into(),
        DataType::Date32 | DataType::Date64 => "date".into(),
        DataType::Timestamp(_, Some(_)) => "timestamp".into(),
        DataType::Timestamp(_, None) => "timestamp_ntz".into(),
        DataType::Decimal128(p, s) => format!("decimal({p},{s})"),
        DataType::List(_) | DataType::LargeList(_) => "array".into(),
        DataType::Struct(_) => "struct".into(),
        DataType::Map(..) => "map".into(),
        other => other.to_string(),
    }
}
