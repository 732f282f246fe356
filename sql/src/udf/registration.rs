//! `session.udf()`: a program gives names to its functions.

use std::fmt;

use datafusion::logical_expr::AggregateUDF;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tidemill::prelude::{BoxError, Exchange};

use super::{Function, UserAggregate, aggregate, scalar};
use crate::error::{Result, SqlError};
use crate::session::TableSession;

/// The functions of a session that a program has given to it: [`TableSession::udf`].
///
/// ```
/// use tidemill_sql::TableSession;
///
/// let session = TableSession::new();
/// session.udf().register("shout", |word: String| word.to_uppercase() + "!")?;
/// assert_eq!(session.sql("select SHOUT('tide')")?.collect::<String>()?, ["TIDE!"]);
/// # Ok::<(), tidemill_sql::SqlError>(())
/// ```
#[doc(alias = "UDFRegistration")]
pub struct UdfRegistration<'a> {
    session: &'a TableSession,
}

impl TableSession {
    /// The functions that queries call by name, beside those of SQL.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// let session = TableSession::new();
    /// session.udf().register("plus", |(a, b): (i64, i64)| a + b)?;
    /// assert_eq!(session.sql("select plus(3, 4)")?.collect::<i64>()?, [7]);
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    pub fn udf(&self) -> UdfRegistration<'_> {
        UdfRegistration { session: self }
    }
}

impl UdfRegistration<'_> {
    /// Gives a name to a function of values of a row: of one value, or of several as a tuple or a struct. Its types are those of columns, as for
    /// [`TableSession::create_data_frame`], and a query converts a column where nothing is lost. The case of the name does not matter. A
    /// function that had the name loses it, in later queries.
    ///
    /// If an argument is null and its type is not an `Option`, the result is null and the function is not called. The function has
    /// the same result for the same values each time: the rows of a result are computed again when they leave it. A panic ends the
    /// job.
    ///
    /// # Errors
    /// If the name is empty, or a type cannot be a column.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// let session = TableSession::new();
    /// session.udf().register("or_zero", |n: Option<i64>| n.unwrap_or(0))?;
    /// session.udf().register("next", |n: i64| n + 1)?;
    /// session.udf().register("product", |(a, b): (i64, i64)| a * b)?;
    /// assert_eq!(session.sql("select product(3, 4)")?.collect::<i64>()?, [12]);
    /// let rows = session.sql("select or_zero(n), next(n) from (values (7), (null)) t(n)")?;
    /// assert_eq!(rows.collect::<(i64, Option<i64>)>()?, [(7, Some(8)), (0, None)]);
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    pub fn register<A, R>(&self, name: &str, f: impl Fn(A) -> R + Send + Sync + 'static) -> Result<()>
    where
        A: DeserializeOwned + 'static,
        R: Serialize + Deserialize<'static> + 'static,
    {
        self.session.add_function(Function::Scalar(scalar::function::<A, R>(&named(name)?, move |row| Ok(f(row)))?));
        Ok(())
    }

    /// As [`UdfRegistration::register`], for a function that may fail. A row for which it fails is a bad record of a stream, and the others
    /// go on: [`StreamingDataFrame::errors`](crate::StreamingDataFrame::errors) has it. In a query over tables it is an error of
    /// [`DataFrame::collect`](crate::DataFrame::collect).
    ///
    /// # Errors
    /// As [`UdfRegistration::register`].
    ///
    /// ```
    /// use tidemill::testing::check;
    /// use tidemill_sql::{StreamTables, TableSession};
    /// check([vec!["7", "x"]], |stream| {
    ///     let session = TableSession::new();
    ///     session.udf().try_register("of_hex", |text: String| Ok(i64::from_str_radix(&text, 16)?)).unwrap();
    ///     let tables = StreamTables::new(&session);
    ///     tables.register_stream("texts", &stream.map(String::from)).unwrap();
    ///     let numbers = tables.sql("select of_hex(value) from texts").unwrap();
    ///     numbers.stream::<i64>().unwrap().map(|n| n.to_string()).union(&numbers.errors().unwrap().map(|bad| bad.reason))
    /// }, [vec![
    ///     "7".to_owned(),
    ///     "select of_hex(value) from texts: Execution error: of_hex: invalid digit found in string; the row is value: x".to_owned(),
    /// ]]);
    /// ```
    pub fn try_register<A, R>(&self, name: &str, f: impl Fn(A) -> Result<R, BoxError> + Send + Sync + 'static) -> Result<()>
    where
        A: DeserializeOwned + 'static,
        R: Serialize + Deserialize<'static> + 'static,
    {
        self.session.add_function(Function::Scalar(scalar::function::<A, R>(&named(name)?, f)?));
        Ok(())
    }

    /// Gives a name to an aggregate: Spark's `Aggregator`. A group begins with `zero`. `reduce` adds the values of a row to it, as those of
    /// [`UdfRegistration::register`]. `merge` makes one state of two; `zero` changes nothing there. `finish` makes the result of a state. The result must not
    /// depend on the order of rows, since they have none.
    ///
    /// A row with a null whose type is not an `Option` is left out. Over a stream, a group keeps its state, and not its rows.
    ///
    /// # Errors
    /// As [`UdfRegistration::register`].
    ///
    /// ```
    /// use tidemill::testing::check;
    /// use tidemill_sql::{StreamTables, TableSession};
    /// check([vec![('a', 1), ('b', 6)], vec![('a', 3)]], |stream| {
    ///     let session = TableSession::new();
    ///     // The range of values.
    ///     let widen = |(least, most): (i64, i64), n: i64| (least.min(n), most.max(n));
    ///     let merge = |a: (i64, i64), b: (i64, i64)| (a.0.min(b.0), a.1.max(b.1));
    ///     session.udf().register_aggregate("spread", (i64::MAX, i64::MIN), widen, merge, |(least, most)| most - least).unwrap();
    ///     let tables = StreamTables::new(&session);
    ///     tables.register_stream("pairs", stream).unwrap();
    ///     tables.sql("select _1, spread(_2) from pairs group by _1").unwrap().view::<(char, i64)>().unwrap().update()
    /// }, [vec![('a', 0), ('b', 0)], vec![('a', 2)]]);
    /// ```
    #[doc(alias = "Aggregator")]
    #[doc(alias = "udaf")]
    pub fn register_aggregate<A, B, R>(
        &self,
        name: &str,
        zero: B,
        reduce: impl Fn(B, A) -> B + Send + Sync + 'static,
        merge: impl Fn(B, B) -> B + Send + Sync + 'static,
        finish: impl Fn(B) -> R + Send + Sync + 'static,
    ) -> Result<()>
    where
        A: DeserializeOwned + 'static,
        B: Exchange + Sync,
        R: Serialize + Deserialize<'static> + 'static,
    {
        let folds = aggregate::folds::<A, B, R>(zero, reduce, merge, finish)?;
        let aggregate = AggregateUDF::from(UserAggregate::new(&named(name)?, folds));
        self.session.add_function(Function::Aggregate(aggregate));
        Ok(())
    }
}

/// The name that a function is known by: DataFusion looks for lower case.
fn named(name: &str) -> Result<String> {
    match name.trim() {
        "" => Err(SqlError::new("udf().register", "the name is empty; give one that a query can call")),
        name => Ok(name.to_lowercase()),
    }
}

impl fmt::Debug for UdfRegistration<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdfRegistration").finish_non_exhaustive()
    }
}
