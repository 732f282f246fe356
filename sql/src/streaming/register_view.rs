//! `register_view`: a view of the program as a table whose rows may leave.

use std::sync::Arc;

use datafusion::datasource::empty::EmptyTable;
use tidemill::prelude::{Key, View};

use super::codec::{Codec, Row};
use super::tables::{StreamTables, Table};
use crate::error::{Result, SqlError};
use crate::names;
use crate::rows::Columns;

impl<'s> StreamTables<'s> {
    /// Gives a name to a view. Its table has the rows that the view has after each batch, so a row of it may leave. Its columns are those of
    /// [`TableSession::create_data_frame`](crate::TableSession::create_data_frame).
    ///
    /// # Errors
    /// If the columns cannot be known from the type of the rows.
    ///
    /// # Panics
    /// While the job runs, if a row does not fit the columns.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// use tidemill_sql::{StreamTables, TableSession};
    /// // How many of the words that are there have each number of letters. A word comes (1) or leaves (-1).
    /// let batches = [vec![("to", 1_i64), ("be", 1)], vec![("tide", 1), ("be", -1)], vec![("to", -1)]];
    /// check(batches, |stream| {
    ///     let tables = StreamTables::new(&TableSession::new());
    ///     let counts = stream.map(|(word, n)| (word.to_owned(), n)).sum_by_key();
    ///     tables.register_view("words", &counts.filter(|(_, n)| *n > 0)).unwrap();
    ///     let lengths = tables.sql("select length(_1), sum(_2) from words group by length(_1)").unwrap();
    ///     lengths.view::<(i32, i64)>().unwrap().complete()
    /// }, [vec![(2, 2)], vec![(2, 1), (4, 1)], vec![(4, 1)]]);
    /// ```
    #[doc(alias = "createOrReplaceTempView")]
    pub fn register_view<T: Key>(&self, name: &str, view: &View<'s, T>) -> Result<()> {
        let columns = Columns::of::<T>()?;
        let schema = columns.schema().clone();
        let (codec, thing) = (Codec::new(&schema).map_err(|e| SqlError::new(name, e))?, name.to_owned());
        self.context.get_or_init(|| view.context());
        let rows = view.map_vectorized(move |rows: Vec<T>| {
            let encoded = || -> Result<Vec<Row>> {
                let batch = columns.batch(&rows)?;
                codec.encode(batch.columns(), batch.num_rows()).map_err(|e| SqlError::new(&thing, e))
            };
            encoded().unwrap_or_else(|e| panic!("{thing}: {e}")).into_iter().map(Some).collect()
        });
        self.session.register(name, Arc::new(EmptyTable::new(schema)))?;
        self.streams.borrow_mut().insert(names::table(name), Table::View(rows));
        Ok(())
    }
}
