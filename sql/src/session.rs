//! `TableSession`: the tables of a program by name, and SQL over them.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::catalog::TableProvider;
use datafusion::common::{Column, TableReference};
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::context::{SQLOptions, SessionConfig, SessionContext};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion_spark::SessionStateBuilderSpark;
use serde::{Deserialize, Serialize};

use crate::average;
use crate::data_frame::DataFrame;
use crate::dialect::Spark;
use crate::error::{Result, SqlError};
use crate::functions;
use crate::names::{self, Names};
use crate::overflow::FailOnOverflow;
use crate::planner::{SparkOperators, SparkTypes};
use crate::rows::Columns;
use crate::streaming::{self, Definitions, MemoryTables};
use crate::udf::Function;
use crate::window_names;

/// The tables of a program by name, and SQL over them: Spark's `SparkSession` inside `foreachRDD`.
///
/// A program makes one, and its closures clone it. Clones share their tables. Queries run on the thread that asks, over rows in memory. The
/// SQL is Spark's: a backtick quotes a name, a double quote is a text, `/` of integers is a double, and the case of names does not matter.
///
/// ```
/// use tidemill_sql::TableSession;
///
/// let session = TableSession::new();
/// let words = session.create_data_frame(&[("to", 2), ("be", 2), ("or", 1)])?.to_df(["word", "cnt"])?;
/// words.create_or_replace_temp_view("words")?;
/// let total = session.sql("select SUM(cnt) as total from words")?;
/// assert_eq!(total.collect::<i64>()?, [5]);
/// assert_eq!(total.show_string(20, 20)?, "+-----+\n|total|\n+-----+\n|    5|\n+-----+\n");
/// # Ok::<(), tidemill_sql::SqlError>(())
/// ```
#[doc(alias = "SparkSession")]
#[doc(alias = "SQLContext")]
#[derive(Clone)]
pub struct TableSession(Arc<Shared>);

struct Shared {
    context: SessionContext,
    /// DataFusion's plans are futures. They run here, on the thread that asks.
    runtime: tokio::runtime::Runtime,
    /// Writers give a name from one table to another; readers plan. So a query never falls between.
    naming: RwLock<()>,
    /// The number of tables without a name so far.
    unnamed: AtomicU64,
    /// The queries over streams that programs have declared.
    queries: Definitions,
    /// The tables that jobs write.
    memory: MemoryTables,
    /// The functions of the program.
    functions: Mutex<Vec<Function>>,
}

impl TableSession {
    /// A session without tables.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// assert!(TableSession::new().table("words").is_err());
    /// ```
    #[doc(alias = "builder")]
    pub fn new() -> Self {
        let mut config = SessionConfig::new()
            // The rows of a batch have an order. One partition keeps it.
            .with_target_partitions(1)
            .with_information_schema(false);
        let options = config.options_mut();
        options.sql_parser.enable_ident_normalization = false;
        // Nulls are the least value, as in Spark.
        options.sql_parser.default_null_ordering = "nulls_min".to_owned();
        // 1.5 is a decimal, as in Spark.
        options.sql_parser.parse_float_as_decimal = true;
        // Spark's strings are one type.
        options.sql_parser.map_string_types_to_utf8view = false;
        let mut state = SessionStateBuilder::new().with_config(config).with_default_features().with_spark_features();
        state.scalar_functions().get_or_insert_with(Vec::new).extend(streaming::functions());
        state.expr_planners().get_or_insert_with(Vec::new).insert(0, Arc::new(SparkOperators));
        let state = state.with_type_planner(Arc::new(SparkTypes));
        // These rules take columns of a join by name or by a place that some joins do not have. So a condition on one side of an outer join
        // became one on the other side (DataFusion's pull request 25259, after 54.1), and the columns of an anti join were those of the other
        // side (its issue 23010). The rules of logical plans move conditions and columns, too.
        let mut rules = PhysicalOptimizer::new().rules;
        rules.retain(|rule| !rule.name().starts_with("FilterPushdown") && rule.name() != "ProjectionPushdown");
        rules.push(Arc::new(FailOnOverflow));
        let state = state.with_physical_optimizer_rules(rules);
        let context = SessionContext::new_with_state(state.build());
        functions::all().for_each(|function| context.register_udf(function));
        context.register_udaf(average::average());
        TableSession(Arc::new(Shared {
            context,
            runtime: tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("a runtime without I/O and clock starts no thread"),
            naming: RwLock::default(),
            unnamed: AtomicU64::new(0),
            queries: Definitions::default(),
            memory: MemoryTables::default(),
            functions: Mutex::default(),
        }))
    }

    /// A table of rows, in order. Its columns are the fields of a struct; `_1`, `_2` and so on for a tuple; `value` for any other type. No
    /// rows are a table with columns and no rows. [`ToTable`](crate::ToTable) does it for a batch.
    ///
    /// # Errors
    /// If the columns cannot be known from the type alone, as those of a map with keys that are not texts, or if a row does not fit
    /// them.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Word { word: String, cnt: Option<i64> }
    ///
    /// let session = TableSession::new();
    /// let none: [Word; 0] = [];
    /// assert_eq!(session.create_data_frame(&none)?.columns(), ["word", "cnt"]);
    /// assert_eq!(session.create_data_frame(&[1.5, 2.5])?.columns(), ["value"]);
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    #[doc(alias = "createDataFrame")]
    pub fn create_data_frame<T: Serialize + Deserialize<'static>>(&self, rows: &[T]) -> Result<DataFrame> {
        let columns = Columns::of::<T>()?;
        let batch = columns.batch(rows)?;
        self.table_of(columns.schema().clone(), vec![batch])
    }

    /// A table of record batches of Arrow, in order.
    ///
    /// # Errors
    /// If a batch has other columns than the schema.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tidemill_sql::{TableSession, arrow};
    /// use arrow::array::{Int64Array, RecordBatch};
    /// let column = Arc::new(Int64Array::from(vec![3, 1, 4])) as _;
    /// let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
    /// let table = TableSession::new().table_of(batch.schema(), vec![batch])?;
    /// assert_eq!(table.filter("n > 1")?.collect::<i64>()?, [3, 4]);
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    pub fn table_of(&self, schema: Arc<Schema>, batches: Vec<RecordBatch>) -> Result<DataFrame> {
        let fault = |e: DataFusionError| SqlError::of("a table of record batches", &e);
        let table = MemTable::try_new(schema, vec![batches]).map_err(fault)?;
        let plan = self.0.context.read_table(Arc::new(table)).map_err(fault)?.logical_plan().clone();
        Ok(DataFrame::new(self.clone(), plan))
    }

    /// The rows of a query over the tables of this session: SELECT with all that belongs to it, or EXPLAIN. Nothing runs until the result is
    /// asked for.
    ///
    /// # Errors
    /// If it is not one query, or uses an unknown name. A fault of a row, such as a cast of the text `x` to a number, is an error of
    /// [`DataFrame::collect`].
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// let session = TableSession::new();
    /// assert_eq!(session.sql("select 7 / 2, 7 div 2")?.collect::<(f64, i64)>()?, [(3.5, 3)]);
    /// let error = session.sql("drop table words").unwrap_err().to_string();
    /// assert!(error.contains("only queries"), "{error}");
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    pub fn sql(&self, text: &str) -> Result<DataFrame> {
        Ok(DataFrame::new(self.clone(), self.plan(text, text)?))
    }

    /// A table that has a name.
    ///
    /// # Errors
    /// If no table has it.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// let session = TableSession::new();
    /// session.create_data_frame(&["to", "be"])?.create_or_replace_temp_view("words")?;
    /// assert_eq!(session.table("words")?.count()?, 2);
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    pub fn table(&self, name: &str) -> Result<DataFrame> {
        let plan = self.plan(name, &format!("select * from `{}`", name.replace('`', "``")))?;
        Ok(DataFrame::new(self.clone(), plan))
    }

    /// Forgets a table. Says whether there was one.
    ///
    /// ```
    /// # use tidemill_sql::TableSession;
    /// let session = TableSession::new();
    /// session.sql("select 1 as one")?.create_or_replace_temp_view("ones")?;
    /// assert!(session.drop_temp_view("ones") && !session.drop_temp_view("ones"));
    /// # Ok::<(), tidemill_sql::SqlError>(())
    /// ```
    #[doc(alias = "dropTempView")]
    pub fn drop_temp_view(&self, name: &str) -> bool {
        let _alone = self.0.naming.write().unwrap_or_else(PoisonError::into_inner);
        self.removed(&names::table(name))
    }

    /// Takes a name away. The caller holds the lock.
    fn removed(&self, name: &str) -> bool {
        self.0.context.deregister_table(TableReference::bare(name)).is_ok_and(|table| table.is_some())
    }

    pub(crate) fn add_function(&self, function: Function) {
        match function.clone() {
            Function::Scalar(scalar) => self.0.context.register_udf(scalar),
            Function::Aggregate(aggregate) => self.0.context.register_udaf(aggregate),
        }
        self.0.functions.lock().unwrap_or_else(PoisonError::into_inner).push(function);
    }

    /// Another session with the tables and functions that this one has now.
    pub(crate) fn copied(&self) -> TableSession {
        let copy = TableSession::new();
        let functions = self.0.functions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        functions.into_iter().for_each(|function| copy.add_function(function));
        let tables = self.0.context.catalog("datafusion").and_then(|catalog| catalog.schema("public"));
        for name in tables.iter().flat_map(|schema| schema.table_names()) {
            // A table that another thread has just dropped is not there.
            if let Ok(provider) = self.block_on(self.0.context.table_provider(TableReference::bare(name.as_str()))) {
                copy.register(&name, provider).expect("a table of another session has a name that a table can have");
            }
        }
        copy
    }

    /// Gives a name to a table. A table that had the name loses it.
    pub(crate) fn register(&self, name: &str, table: Arc<dyn TableProvider>) -> Result<()> {
        self.register_all(vec![(name.to_owned(), table)])
    }

    /// The same for several tables: a query sees all of them, or none.
    pub(crate) fn register_all(&self, tables: Vec<(String, Arc<dyn TableProvider>)>) -> Result<()> {
        let _alone = self.0.naming.write().unwrap_or_else(PoisonError::into_inner);
        for (name, table) in tables {
            let name = names::table(&name);
            self.removed(&name);
            self.0.context.register_table(TableReference::bare(name.as_str()), table).map_err(|e| SqlError::of(&name, &e))?;
        }
        Ok(())
    }

    /// Plans SQL that names a table as `this`.
    pub(crate) fn plan_over(&self, thing: &str, tables: &[(&str, Arc<dyn TableProvider>)], sql: &str) -> Result<LogicalPlan> {
        let number = self.0.unnamed.fetch_add(1, Ordering::Relaxed);
        let mut text = sql.to_owned();
        let mut named = Vec::new();
        for (name, table) in tables {
            let unique = format!("__{name}_{number}");
            text = text.replace(&format!("{{{name}}}"), &unique);
            self.register(&unique, table.clone())?;
            named.push(unique);
        }
        let plan = self.plan(thing, &text);
        named.iter().for_each(|name| {
            self.drop_temp_view(name);
        });
        plan
    }

    /// Plans one query. Errors call it `thing`.
    fn plan(&self, thing: &str, sql: &str) -> Result<LogicalPlan> {
        let fault = |e: DataFusionError| SqlError::of(thing, &e);
        let state = self.0.context.state();
        let mut statement = statement(sql).map_err(|reason| SqlError::new(thing, reason))?;
        let _unchanged = self.0.naming.read().unwrap_or_else(PoisonError::into_inner);
        let names = self.names(&state, &statement).map_err(fault)?;
        let query = match &mut statement {
            Statement::Statement(statement) => Some(statement.as_mut()),
            Statement::Explain(explain) => match explain.statement.as_mut() {
                Statement::Statement(statement) => Some(statement.as_mut()),
                _ => None,
            },
            _ => None,
        };
        let mut written = None;
        if let Some(query) = query {
            written = names::written(query);
            window_names::resolve(query);
            names.resolve(query);
        }
        let plan = self.block_on(state.statement_to_plan(statement)).map_err(fault)?;
        let only_queries = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        only_queries.verify_plan(&plan).map_err(|_| SqlError::new(thing, "only queries run here: SELECT, VALUES or EXPLAIN"))?;
        match written {
            Some(names) if !matches!(plan, LogicalPlan::Explain(_)) => renamed(plan, &names).map_err(fault),
            _ => Ok(plan),
        }
    }

    /// The tables that a query names, in lower case.
    #[cfg(feature = "cli")]
    pub(crate) fn tables_of(&self, sql: &str) -> Result<Vec<String>> {
        let statement = statement(sql).map_err(|reason| SqlError::new(sql, reason))?;
        let tables = self.0.context.state().resolve_table_references(&statement).map_err(|e| SqlError::of(sql, &e))?;
        let name = |table: TableReference| match table {
            TableReference::Bare { table } => Ok(names::table(&table)),
            other => Err(SqlError::new(sql, format!("{other}: a name with a dot goes in backticks"))),
        };
        tables.into_iter().map(name).collect()
    }

    /// The columns of the tables that a statement names.
    fn names(&self, state: &SessionState, statement: &Statement) -> Result<Names, DataFusionError> {
        let mut names = Names::default();
        for table in state.resolve_table_references(statement)? {
            // A table that is missing is a fault of the plan.
            let reference = TableReference::bare(names::table(table.table()));
            let provider = self.block_on(self.0.context.table_provider(reference));
            for field in provider.iter().flat_map(|p| p.schema().fields().iter().cloned().collect::<Vec<_>>()) {
                names.add(field.name());
            }
        }
        Ok(names)
    }

    /// Waits for a future of DataFusion, on this thread.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.runtime.block_on(future)
    }

    pub(crate) fn memory_tables(&self) -> &MemoryTables {
        &self.0.memory
    }

    pub(crate) fn definitions(&self) -> &Definitions {
        &self.0.queries
    }

    pub(crate) fn context(&self) -> &SessionContext {
        &self.0.context
    }
}

/// The plan with these names of its columns, where there are some.
fn renamed(plan: LogicalPlan, names: &[Option<String>]) -> Result<LogicalPlan, DataFusionError> {
    let columns = plan.schema().columns();
    let others = |(column, name): (&Column, &Option<String>)| name.as_ref().is_some_and(|n| *n != column.name);
    if columns.len() != names.len() || !columns.iter().zip(names).any(others) {
        return Ok(plan);
    }
    let renamed = columns.into_iter().zip(names).map(|(column, name)| match name {
        Some(name) => Expr::Column(column).alias(name),
        None => Expr::Column(column),
    });
    LogicalPlanBuilder::from(plan).project(renamed.collect::<Vec<_>>())?.build()
}

/// The one statement of a text.
pub(crate) fn statement(sql: &str) -> Result<Statement, String> {
    let parsed = DFParserBuilder::new(sql).with_dialect(&Spark).build().and_then(|mut parser| parser.parse_statements());
    let mut statements = parsed.map_err(|e| e.strip_backtrace())?;
    match (statements.pop_front(), statements.len()) {
        (Some(statement), 0) => Ok(statement),
        (None, _) => Err("the text has no query".to_owned()),
        (_, more) => Err(format!("this text has {} statements; give them one by one", more + 1)),
    }
}

impl Default for TableSession {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TableSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableSession").finish_non_exhaustive()
    }
}
