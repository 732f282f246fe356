//! `to_table`: a batch of a stream as a table.

use serde::{Deserialize, Serialize};
use tidemill::prelude::Batch;

use crate::data_frame::DataFrame;
use crate::error::Result;
use crate::session::TableSession;

/// `to_table` of a [`Batch`].
pub trait ToTable {
    /// The rows of the batch as a table, in order: columns by [`TableSession::create_data_frame`]. An empty batch is a table with columns and
    /// without rows.
    ///
    /// # Errors
    /// As [`TableSession::create_data_frame`].
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use tidemill::prelude::*;
    /// use tidemill_sql::{TableSession, ToTable};
    ///
    /// let words = QueueSource::from_batches([vec!["to", "be", "to"], vec![]]);
    /// let totals = Arc::new(Mutex::new(Vec::new()));
    /// let (session, seen) = (TableSession::new(), totals.clone());
    /// StreamingContext::builder("words", millis(10)).run(move |ssc| {
    ///     let (session, seen) = (session.clone(), seen.clone());
    ///     ssc.queue_stream(&words).map(String::from).count_by_value().foreach_batch(move |batch| {
    ///         batch.to_table(&session)?.to_df(["word", "cnt"])?.create_or_replace_temp_view("words")?;
    ///         let total = session.sql("select sum(cnt) as total from words")?.collect::<Option<i64>>()?;
    ///         seen.lock().unwrap().extend(total);
    ///         Ok(())
    ///     });
    ///     Ok(())
    /// })?;
    /// assert_eq!(*totals.lock().unwrap(), [Some(3), None]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[doc(alias = "toDF")]
    fn to_table(&self, session: &TableSession) -> Result<DataFrame>;
}

impl<T: Serialize + Deserialize<'static>> ToTable for Batch<T> {
    fn to_table(&self, session: &TableSession) -> Result<DataFrame> {
        session.create_data_frame(self.iter().as_slice())
    }
}
