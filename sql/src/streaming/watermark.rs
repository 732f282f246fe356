//! `Watermark`: how late rows of a stream may come.

use std::convert::Infallible;
use std::time::Duration;

use datafusion::arrow::datatypes::Field;
use tidemill::prelude::WatermarkStrategy;

use super::span;
use crate::error::SqlError;

/// How late the rows of a stream may come: of [`StreamTables::with_watermark`](crate::StreamTables::with_watermark).
///
/// ```
/// use tidemill::prelude::*;
/// use tidemill_sql::Watermark;
/// let watermark = Watermark::delay(secs(10)).idle_after(mins(5)).max_ahead(hours(1)).allowed_lateness(mins(30));
/// assert_ne!(watermark, Watermark::try_from("10 seconds")?);
/// assert_eq!(Watermark::delay(secs(10)), Watermark::try_from("10 seconds")?);
/// # Ok::<(), tidemill_sql::SqlError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    delay: Duration,
    idle: Duration,
    ahead: Option<Duration>,
    lateness: Duration,
}

/// Where the field of a column has its watermark.
const KEY: &str = "tidemill.watermark";

impl Watermark {
    /// A row may come after rows that are later by this. The watermark is the largest time so far, less this.
    ///
    /// ```
    /// # use tidemill_sql::Watermark;
    /// assert_eq!(Watermark::delay(std::time::Duration::from_secs(60)), Watermark::try_from("1 minute")?);
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    pub const fn delay(delay: Duration) -> Self {
        Watermark { delay, idle: Duration::from_secs(60), ahead: None, lateness: Duration::ZERO }
    }

    /// A source partition without rows for this long does not hold the watermark. Default: one minute of batches with rows.
    ///
    /// ```
    /// # use tidemill_sql::Watermark;
    /// let watermark = Watermark::try_from("10 seconds")?.idle_after(std::time::Duration::from_secs(300));
    /// # assert_ne!(watermark, Watermark::try_from("10 seconds")?);
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    pub const fn idle_after(self, idle: Duration) -> Self {
        Watermark { idle, ..self }
    }

    /// A row that is further ahead of its batch than this is a bad record, and does not move the watermark. Default: none is.
    ///
    /// ```
    /// # use tidemill_sql::Watermark;
    /// let watermark = Watermark::try_from("10 seconds")?.max_ahead(std::time::Duration::from_secs(3600));
    /// # assert_ne!(watermark, Watermark::try_from("10 seconds")?);
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    pub const fn max_ahead(self, ahead: Duration) -> Self {
        Watermark { ahead: Some(ahead), ..self }
    }

    /// Windows of `window(..)` close later by this, so a late row corrects its window until then. Default: zero.
    ///
    /// ```
    /// # use tidemill_sql::Watermark;
    /// let watermark = Watermark::try_from("10 seconds")?.allowed_lateness(std::time::Duration::from_secs(3600));
    /// # assert_ne!(watermark, Watermark::try_from("10 seconds")?);
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    #[doc(alias = "allowedLateness")]
    pub const fn allowed_lateness(self, lateness: Duration) -> Self {
        Watermark { lateness, ..self }
    }

    pub(crate) fn strategy(&self) -> WatermarkStrategy {
        let strategy = WatermarkStrategy::max_out_of_orderness(self.delay).idle_after(self.idle);
        self.ahead.map_or(strategy, |ahead| strategy.max_ahead(ahead))
    }

    pub(crate) fn lateness(&self) -> Duration {
        self.lateness
    }

    pub(crate) fn late_by(&self) -> Duration {
        self.delay
    }

    /// The column with this watermark.
    pub(crate) fn mark(&self, field: Field) -> Field {
        let part = |d: Duration| d.as_micros().to_string();
        let ahead = self.ahead.map(part).unwrap_or_default();
        let text = [part(self.delay), part(self.idle), ahead, part(self.lateness)].join(" ");
        let mut metadata = field.metadata().clone();
        metadata.insert(KEY.to_owned(), text);
        field.with_metadata(metadata)
    }

    /// The watermark of a column. Projections keep it.
    pub(crate) fn of(field: &Field) -> Option<Watermark> {
        let text = field.metadata().get(KEY)?;
        let mut parts = text.split(' ').map(|part| part.parse().ok().map(Duration::from_micros));
        let (delay, idle, ahead, lateness) = (parts.next()??, parts.next()??, parts.next()?, parts.next()??);
        Some(Watermark { delay, idle, ahead, lateness })
    }
}

/// Spark's words: `10 seconds`, `1 hour 30 minutes`.
impl TryFrom<&str> for Watermark {
    type Error = SqlError;

    fn try_from(delay: &str) -> Result<Self, SqlError> {
        match span::micros(delay) {
            Ok(micros) if micros >= 0 => Ok(Watermark::delay(span::duration(micros))),
            Ok(_) => {
                Err(SqlError::new("with_watermark", format!("the delay '{delay}' is negative; a watermark is behind its rows")))
            }
            Err(e) => Err(SqlError::new("with_watermark", e)),
        }
    }
}

impl From<Infallible> for SqlError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::DataType;

    use super::*;

    #[test]
    fn a_column_keeps_its_watermark() {
        let field = Field::new("at", DataType::Int64, true);
        for watermark in
            [Watermark::delay(Duration::from_secs(3)), Watermark::delay(Duration::ZERO).max_ahead(Duration::from_secs(9))]
        {
            assert_eq!(Watermark::of(&watermark.mark(field.clone())), Some(watermark));
        }
        assert_eq!(Watermark::of(&field), None);
    }
}
