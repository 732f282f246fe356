//! `DataFrame`: a table that a query describes, with Spark's verbs. All verbs are SQL over the table before.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::catalog::TableProvider;
use datafusion::datasource::ViewTable;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use serde::de::DeserializeOwned;

use crate::error::{Result, SqlError};
use crate::grouped::GroupedData;
use crate::rows::Values;
use crate::session::TableSession;

/// A table that a query describes: Spark's `DataFrame`. Verbs describe further tables; the rows are computed when they are asked for, each
/// time again.
///
/// Expressions are SQL, as in Spark's `selectExpr` and `filter`.
///
/// ```
/// use tidemill_sql::TableSession;
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Trip { station: String, minutes: i64 }
///
/// let trips = [("Ferry", 12), ("Market", 7), ("Ferry", 30)].map(|(station, minutes)| Trip { station: station.into(), minutes });
/// let session = TableSession::new();
/// let trips = session.create_data_frame(&trips)?;
/// let stations = trips.filter("minutes > 5")?.group_by(["station"])?.agg(["count(*)", "avg(minutes)"])?.order_by(["station"])?;
/// let table = "\
/// +-------+--------+------------+
/// |station|count(1)|avg(minutes)|
/// +-------+--------+------------+
/// |  Ferry|       2|        21.0|
/// | Market|       1|         7.0|
/// +-------+--------+------------+
/// ";
/// assert_eq!(stations.show_string(20, 20)?, table);
/// # Ok::<(), tidemill_sql::SqlError>(())
/// ```
#[derive(Clone, Debug)]
pub struct DataFrame {
    session: TableSession,
    plan: LogicalPlan,
}

impl DataFrame {
    pub(crate) fn new(session: TableSession, plan: LogicalPlan) -> Self {
        DataFrame { session, plan }
    }

    /// Gives this table a name for [`TableSession::sql`]. A table that had the name loses it.
    ///
    /// # Errors
    /// If the name is one that no table can have, such as an empty one.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// let session = TableSession::new();
    /// session.create_data_frame(&[3, 1, 4])?.create_or_replace_temp_view("numbers")?;
    /// assert_eq!(session.sql("select max(value) from numbers")?.collect::<i32>()?, [4]);
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    #[doc(alias = "createOrReplaceTempView")]
    #[doc(alias = "registerTempTable")]
    pub fn create_or_replace_temp_view(&self, name: &str) -> Result<()> {
        if name.trim().is_empty() {
            return Err(SqlError::new("create_or_replace_temp_view", "the name is empty; give one that a query can use"));
        }
        self.session.register(name, self.provider())
    }

    /// The rows, as values of a type: a struct by the names of its fields, a tuple by the order of the columns, another type of the
    /// one column.
    ///
    /// # Errors
    /// If the columns do not fit the type, or a row cannot be computed.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// let session = TableSession::new();
    /// let pairs = session.sql("select 'a' as letter, 1 as n union all select 'b', null order by letter")?;
    /// assert_eq!(pairs.collect::<(String, Option<i64>)>()?, [("a".to_owned(), Some(1)), ("b".to_owned(), None)]);
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    #[doc(alias = "collectAsList")]
    #[doc(alias = "toLocalIterator")]
    pub fn collect<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        let values = Values::new();
        let mut rows = Vec::new();
        for batch in self.record_batches()? {
            rows.extend(values.read(&batch)?);
        }
        Ok(rows)
    }

    /// The rows, as record batches of Arrow.
    ///
    /// # Errors
    /// If a row cannot be computed.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// let batches = TableSession::new().sql("select 1 as n")?.record_batches()?;
    /// assert_eq!(batches.iter().map(|b| b.num_rows()).sum::<usize>(), 1);
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    pub fn record_batches(&self) -> Result<Vec<RecordBatch>> {
        let query = datafusion::dataframe::DataFrame::new(self.session.context().state(), self.plan.clone());
        self.session.block_on(query.collect()).map_err(|e| SqlError::of("a query", &e))
    }

    /// How many rows there are.
    ///
    /// # Errors
    /// If a row cannot be computed.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// assert_eq!(TableSession::new().create_data_frame(&[3, 1, 4])?.count()?, 3);
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    pub fn count(&self) -> Result<usize> {
        Ok(self.record_batches()?.iter().map(RecordBatch::num_rows).sum())
    }

    /// The columns and their types, by Arrow's names.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// let table = TableSession::new().sql("select 1 as n, 'a' as letter")?;
    /// assert_eq!(table.schema().field(0).name(), "n");
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    pub fn schema(&self) -> Arc<Schema> {
        self.plan.schema().inner().clone()
    }

    /// The names of the columns.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// assert_eq!(TableSession::new().sql("select 1 as n, count(*)")?.columns(), ["n", "count(1)"]);
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    pub fn columns(&self) -> Vec<String> {
        self.schema().fields().iter().map(|f| f.name().clone()).collect()
    }

    /// The same rows with other names of the columns, in order.
    ///
    /// # Errors
    /// If there are more or fewer names than columns.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// let pairs = TableSession::new().create_data_frame(&[(1, 2)])?;
    /// assert_eq!(pairs.to_df(["a", "b"])?.columns(), ["a", "b"]);
    /// assert!(pairs.to_df(["a"]).unwrap_err().to_string().contains("2 columns (_1, _2), and 1 name"));
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    #[doc(alias = "toDF")]
    pub fn to_df<const N: usize>(&self, names: [&str; N]) -> Result<Self> {
        let columns = self.columns();
        if columns.len() != N {
            let are = format!(
                "there are {} columns ({}), and {N} name{}",
                columns.len(),
                columns.join(", "),
                if N == 1 { "" } else { "s" }
            );
            return Err(SqlError::new("to_df", format!("{are}; give a name for each column")));
        }
        let list = columns.iter().zip(names).map(|(c, n)| format!("{} as {}", quoted(c), quoted(n))).collect::<Vec<_>>();
        self.query("to_df", &format!("select {} from {{this}}", list.join(", ")))
    }

    /// A column for each expression: `"word"`, `"cnt + 1 as next"`, `"*"`.
    ///
    /// # Errors
    /// If an expression is not valid SQL, or uses an unknown name.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// let numbers = TableSession::new().create_data_frame(&[3, 1])?;
    /// assert_eq!(numbers.select(["value", "value * 10 as tens"])?.collect::<(i32, i64)>()?, [(3, 30), (1, 10)]);
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    #[doc(alias = "selectExpr")]
    pub fn select<const N: usize>(&self, expressions: [&str; N]) -> Result<Self> {
        self.query("select", &format!("select {} from {{this}}", expressions.join(", ")))
    }

    /// The rows for which a condition is true.
    ///
    /// # Errors
    /// If the condition is not valid SQL, or uses an unknown name.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// let numbers = TableSession::new().create_data_frame(&[3, 1, 4])?;
    /// assert_eq!(numbers.filter("VALUE > 2")?.collect::<i32>()?, [3, 4]);
    /// let error = numbers.filter("size > 2").unwrap_err().to_string();
    /// assert!(error.starts_with("filter size > 2: ") && error.contains("value"), "{error}");
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    #[doc(alias = "where")]
    pub fn filter(&self, condition: &str) -> Result<Self> {
        self.query(&format!("filter {condition}"), &format!("select * from {{this}} where {condition}"))
    }

    /// The table with one more column, or with another value in a column that is there.
    ///
    /// # Errors
    /// If the expression is not valid SQL, or uses an unknown name.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// let numbers = TableSession::new().create_data_frame(&[3, 1])?.to_df(["n"])?;
    /// assert_eq!(numbers.with_column("twice", "n * 2")?.collect::<(i32, i64)>()?, [(3, 6), (1, 2)]);
    /// assert_eq!(numbers.with_column("n", "n * 2")?.collect::<i64>()?, [6, 2]);
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    #[doc(alias = "withColumn")]
    pub fn with_column(&self, name: &str, expression: &str) -> Result<Self> {
        let same = |c: &String| c.eq_ignore_ascii_case(name);
        let mut list: Vec<String> =
            self.columns().iter().map(|c| if same(c) { format!("{expression} as {}", quoted(c)) } else { quoted(c) }).collect();
        if !self.columns().iter().any(same) {
            list.push(format!("{expression} as {}", quoted(name)));
        }
        self.query(&format!("with_column {name}"), &format!("select {} from {{this}}", list.join(", ")))
    }

    /// The table without some columns. A name that is not there changes nothing, as in Spark.
    ///
    /// # Errors
    /// If no column is left.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// let pairs = TableSession::new().create_data_frame(&[(1, 2)])?;
    /// assert_eq!(pairs.drop(["_2", "other"])?.columns(), ["_1"]);
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    pub fn drop<const N: usize>(&self, names: [&str; N]) -> Result<Self> {
        let gone = |c: &String| names.iter().any(|n| n.eq_ignore_ascii_case(c));
        let list: Vec<String> = self.columns().iter().filter(|c| !gone(c)).map(|c| quoted(c)).collect();
        if list.is_empty() {
            return Err(SqlError::new("drop", format!("no column is left of {}", self.columns().join(", "))));
        }
        self.query("drop", &format!("select {} from {{this}}", list.join(", ")))
    }

    /// Groups of rows that have the same values of some expressions. Without expressions, all rows are one group.
    ///
    /// # Errors
    /// If an expression is not valid SQL, or uses an unknown name.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// let words = TableSession::new().create_data_frame(&["to", "be", "to"].map(String::from))?;
    /// let counts = words.group_by(["value"])?.count()?.order_by(["value"])?;
    /// assert_eq!(counts.collect::<(String, i64)>()?, [("be".to_owned(), 1), ("to".to_owned(), 2)]);
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    #[doc(alias = "groupBy")]
    pub fn group_by<const N: usize>(&self, expressions: [&str; N]) -> Result<GroupedData> {
        // A fault is reported here, where it is.
        if N > 0 {
            self.query("group_by", &format!("select {} from {{this}}", expressions.join(", ")))?;
        }
        Ok(GroupedData::new(self.clone(), expressions.map(str::to_owned).to_vec()))
    }

    /// The rows in order of some expressions: `"cnt desc"`, `"word"`. Nulls are first in an ascending order, as in Spark.
    ///
    /// # Errors
    /// If an expression is not valid SQL, or uses an unknown name.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// let numbers = TableSession::new().create_data_frame(&[Some(3), None, Some(4)])?;
    /// assert_eq!(numbers.order_by(["value"])?.collect::<Option<i32>>()?, [None, Some(3), Some(4)]);
    /// assert_eq!(numbers.order_by(["value desc"])?.collect::<Option<i32>>()?, [Some(4), Some(3), None]);
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    #[doc(alias = "orderBy")]
    #[doc(alias = "sort")]
    pub fn order_by<const N: usize>(&self, expressions: [&str; N]) -> Result<Self> {
        self.query("order_by", &format!("select * from {{this}} order by {}", expressions.join(", ")))
    }

    /// The first `n` rows.
    ///
    /// # Errors
    /// None today.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// assert_eq!(TableSession::new().create_data_frame(&[3, 1, 4])?.limit(2)?.collect::<i32>()?, [3, 1]);
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    pub fn limit(&self, n: usize) -> Result<Self> {
        // Right above the plan: the order of a query inside of another one is lost.
        let plan = LogicalPlanBuilder::from(self.plan.clone()).limit(0, Some(n)).and_then(LogicalPlanBuilder::build);
        Ok(DataFrame::new(self.session.clone(), plan.map_err(|e| SqlError::of("limit", &e))?))
    }

    /// Each row once.
    ///
    /// # Errors
    /// None today.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// assert_eq!(TableSession::new().create_data_frame(&[3, 1, 3])?.distinct()?.count()?, 2);
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    pub fn distinct(&self) -> Result<Self> {
        self.query("distinct", "select distinct * from {this}")
    }

    /// These rows, and then those of another table with as many columns. Doubles stay, as in Spark.
    ///
    /// # Errors
    /// If the tables do not have the same number of columns, or types that do not go together.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// let session = TableSession::new();
    /// let (a, b) = (session.create_data_frame(&[3, 1])?, session.create_data_frame(&[1, 4])?);
    /// assert_eq!(a.union(&b)?.collect::<i32>()?, [3, 1, 1, 4]);
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    #[doc(alias = "unionAll")]
    pub fn union(&self, other: &DataFrame) -> Result<Self> {
        self.query_with("union", other, "select * from {this} union all select * from {other}")
    }

    /// Pairs of rows that have the same values in some columns. `how` is one of Spark's words: `inner`, `left`, `right`, `full`, `left_semi`,
    /// `left_anti`. The columns of the join are there once.
    ///
    /// # Errors
    /// If a table lacks one of the columns, or `how` is another word.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// let session = TableSession::new();
    /// let counts = session.create_data_frame(&[("to", 2), ("be", 1)])?.to_df(["word", "cnt"])?;
    /// let codes = session.create_data_frame(&[("to", 'a')])?.to_df(["word", "code"])?;
    /// let joined = counts.join(&codes, ["word"], "left")?.order_by(["word"])?;
    /// assert_eq!(joined.columns(), ["word", "cnt", "code"]);
    /// assert_eq!(joined.collect::<(String, i32, Option<char>)>()?, [("be".to_owned(), 1, None), ("to".to_owned(), 2, Some('a'))]);
    /// assert_eq!(counts.join(&codes, ["word"], "left_anti")?.collect::<(String, i32)>()?, [("be".to_owned(), 1)]);
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    pub fn join<const N: usize>(&self, other: &DataFrame, on: [&str; N], how: &str) -> Result<Self> {
        // Of a column of the join, the side that always has it.
        let (kind, key) = match how {
            "inner" => ("inner", "l.{k}"),
            "left" | "left_outer" => ("left", "l.{k}"),
            "right" | "right_outer" => ("right", "r.{k}"),
            "full" | "outer" | "full_outer" => ("full", "coalesce(l.{k}, r.{k})"),
            "semi" | "left_semi" => ("left semi", "l.{k}"),
            "anti" | "left_anti" => ("left anti", "l.{k}"),
            _ => {
                let words = "inner, left, right, full, left_semi, left_anti";
                return Err(SqlError::new("join", format!("the kind of join {how} is unknown; use one of {words}")));
            }
        };
        if N == 0 {
            return Err(SqlError::new("join", "the list of columns is empty; give a column that both tables have"));
        }
        let others = |side: &str, table: &DataFrame| {
            let rest = table.columns().into_iter().filter(|c| !on.iter().any(|k| k.eq_ignore_ascii_case(c)));
            rest.map(|c| format!("{side}.{}", quoted(&c))).collect::<Vec<_>>()
        };
        let mut list: Vec<String> = on.iter().map(|k| format!("{} as {}", key.replace("{k}", &quoted(k)), quoted(k))).collect();
        list.extend(others("l", self));
        if !matches!(kind, "left semi" | "left anti") {
            list.extend(others("r", other));
        }
        let on = on.map(|k| format!("l.{0} = r.{0}", quoted(k))).join(" and ");
        let sql = format!("select {} from {{this}} l {kind} join {{other}} r on {on}", list.join(", "));
        self.query_with("join", other, &sql)
    }

    /// How the rows will be computed, as text: the plan after optimisation.
    ///
    /// # Errors
    /// If the plan cannot be made.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// let numbers = TableSession::new().create_data_frame(&[3, 1])?.filter("value > 2")?;
    /// assert!(numbers.explain()?.contains("Filter"), "{}", numbers.explain()?);
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    pub fn explain(&self) -> Result<String> {
        let plan = self.session.context().state().optimize(&self.plan).map_err(|e| SqlError::of("explain", &e))?;
        Ok(plan.display_indent().to_string())
    }

    /// A query over this table, which it names `{this}`.
    pub(crate) fn query(&self, thing: &str, sql: &str) -> Result<Self> {
        let plan = self.session.plan_over(thing, &[("this", self.provider())], sql)?;
        Ok(DataFrame::new(self.session.clone(), plan))
    }

    /// A query over this table and another one, which it names `{other}`.
    fn query_with(&self, thing: &str, other: &DataFrame, sql: &str) -> Result<Self> {
        let plan = self.session.plan_over(thing, &[("this", self.provider()), ("other", other.provider())], sql)?;
        Ok(DataFrame::new(self.session.clone(), plan))
    }

    pub(crate) fn logical_plan(&self) -> &LogicalPlan {
        &self.plan
    }

    fn provider(&self) -> Arc<dyn TableProvider> {
        Arc::new(ViewTable::new(self.plan.clone(), None))
    }
}

/// A name in backticks.
pub(crate) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
