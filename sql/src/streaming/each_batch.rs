//! `stream.sql`: a query over each batch by itself, on all workers. It is rendered as one over a stream is, without state: a GROUP BY combines rows
//! where they are, and exchanges what is left by key.

use datafusion::arrow::array::RecordBatch;
use datafusion::logical_expr::LogicalPlan;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tidemill::prelude::{DStream, Data};

use super::batches::each;
use super::frame::StreamingDataFrame;
use super::render::{Rendered, Renderer, Windows};
use super::tables::StreamTables;
use crate::error::{Result, SqlError};
use crate::rows::Values;
use crate::session::TableSession;

/// What else computes a query that is refused here.
const REMEDY: &str = "use foreach_batch and batch.to_table(), which gather the batch";

/// `sql` of a [`DStream`].
pub trait BatchSql<'s> {
    /// The rows of a query over each batch, which it names `name`. The result of a batch is that of the same query over the table that
    /// [`ToTable::to_table`](crate::ToTable::to_table) makes of it, but the batch is not gathered: each worker computes its rows, and only GROUP
    /// BY, DISTINCT and ORDER BY exchange some. Columns and types go together as for [`DataFrame::collect`](crate::DataFrame::collect).
    ///
    /// The query has SELECT, WHERE, `explode`, GROUP BY, HAVING, DISTINCT, UNION, ORDER BY, and LIMIT with ORDER BY. ORDER BY without LIMIT gathers the
    /// result. No state is kept. A row that cannot be computed is a bad record: it is counted and logged.
    ///
    /// # Errors
    /// If it is not one query, uses an unknown name, or has a part that needs the whole batch in one place: a join of the batch with itself, a
    /// subquery over it, EXCEPT, INTERSECT, a window function.
    ///
    /// # Panics
    /// While the job runs, if the columns do not fit the type.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// use tidemill_sql::BatchSql;
    /// check([vec!["to", "be", "to"], vec![]], |stream| {
    ///     let words = stream.map(String::from);
    ///     words.sql::<(String, i64)>("batch", "select value, count(*) from batch group by value order by value").unwrap()
    /// }, [vec![("be".to_owned(), 1), ("to".to_owned(), 2)], vec![]]);
    /// ```
    fn sql<U: Data + DeserializeOwned>(&self, name: &str, query: &str) -> Result<DStream<'s, U>> {
        self.sql_with(&TableSession::new(), name, query)
    }

    /// The same with the tables and functions that a session has now. The batch joins its tables.
    ///
    /// # Errors
    /// As [`BatchSql::sql`]. A join that keeps rows of a table is refused, too.
    ///
    /// # Panics
    /// While the job runs, if the columns do not fit the type.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// use tidemill_sql::{BatchSql, TableSession};
    /// check([vec!["Ferry", "Ryland"], vec!["Ferry"]], |stream| {
    ///     let session = TableSession::new();
    ///     let towns = session.create_data_frame(&[("Ferry", "San Francisco")]).unwrap();
    ///     towns.create_or_replace_temp_view("towns").unwrap();
    ///     let trips = stream.map(String::from);
    ///     let query = "select _2, count(*) from trips left join towns on value = _1 group by _2 order by 1";
    ///     trips.sql_with::<(Option<String>, i64)>(&session, "trips", query).unwrap()
    /// }, [vec![(None, 1), (Some("San Francisco".to_owned()), 1)], vec![(Some("San Francisco".to_owned()), 1)]]);
    /// ```
    fn sql_with<U: Data + DeserializeOwned>(&self, session: &TableSession, name: &str, query: &str) -> Result<DStream<'s, U>>;
}

impl<'s, T: Data + Serialize + Deserialize<'static>> BatchSql<'s> for DStream<'s, T> {
    fn sql_with<U: Data + DeserializeOwned>(&self, session: &TableSession, name: &str, query: &str) -> Result<DStream<'s, U>> {
        let tables = StreamTables::new(session);
        tables.register_stream(name, self)?;
        let result = StreamingDataFrame::new(query, &tables, tables.session.sql(query)?, None);
        let (rendered, _) = result.render(Windows::Batch)?;
        let Rendered::Growing(source, narrow) = rendered else {
            return Err(SqlError::new(query, format!("a part of it keeps rows of several batches; {REMEDY}")));
        };
        let batches = each(&source, &result.asked(), move |batch| Ok(vec![narrow.run(batch)?]));
        let (values, query) = (Values::new(), query.to_owned());
        Ok(batches.map_partitions(move |batches: Vec<RecordBatch>| {
            let typed = |batch| values.read(batch).unwrap_or_else(|e| panic!("{query}: {e}"));
            batches.iter().flat_map(typed).collect::<Vec<_>>()
        }))
    }
}

impl Renderer<'_, '_> {
    /// Fails if a node needs the whole batch in one place, and the query is one over each batch.
    pub(super) fn by_batch(&self, plan: &LogicalPlan) -> super::render::Result<()> {
        if self.windows != Windows::Batch {
            return Ok(());
        }
        match plan {
            LogicalPlan::Window(_) => self.refused("a window function", &["OVER"], REMEDY),
            LogicalPlan::RecursiveQuery(_) => self.refused("WITH RECURSIVE", &["RECURSIVE"], REMEDY),
            LogicalPlan::Join(join) if self.streams_in(&join.left)? && self.streams_in(&join.right)? => {
                self.refused("a join of the batch with itself, as by JOIN, IN, EXISTS, EXCEPT or INTERSECT,", &[], REMEDY)
            }
            _ => Ok(()),
        }
    }
}
