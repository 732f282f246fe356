//! Whole numbers that overflow are faults of their rows, as in Spark. Those of DataFusion wrap round.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, Operator};
use datafusion::physical_expr::expressions::BinaryExpr;
use datafusion::physical_expr::projection::ProjectionExpr;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, PhysicalGroupBy};
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;

/// An expression that can be evaluated, whose `+`, `-` and `*` fail where they overflow.
pub(crate) fn physical(state: &SessionState, expr: Expr, input: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
    failing(state.create_physical_expr(expr, input)?)
}

fn failing(expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
    Arithmetic::default().failing(&expr)
}

/// Whether expressions have some.
#[derive(Default)]
struct Arithmetic(bool);

impl Arithmetic {
    /// The expression with `+`, `-` and `*` that fail.
    fn failing(&mut self, expr: &Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let failing = expr.clone().transform_up(|expr| {
            let arithmetic = match expr.downcast_ref::<BinaryExpr>() {
                Some(binary) if matches!(binary.op(), Operator::Plus | Operator::Minus | Operator::Multiply) => {
                    BinaryExpr::new(binary.left().clone(), *binary.op(), binary.right().clone()).with_fail_on_overflow(true)
                }
                _ => return Ok(Transformed::no(expr)),
            };
            Ok(Transformed::yes(Arc::new(arithmetic) as Arc<dyn PhysicalExpr>))
        })?;
        self.0 |= failing.transformed;
        Ok(failing.data)
    }

    fn all<'e>(&mut self, all: impl IntoIterator<Item = &'e Arc<dyn PhysicalExpr>>) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
        all.into_iter().map(|expr| self.failing(expr)).collect()
    }

    fn named(&mut self, all: &[(Arc<dyn PhysicalExpr>, String)]) -> Result<Vec<(Arc<dyn PhysicalExpr>, String)>> {
        all.iter().map(|(expr, name)| Ok((self.failing(expr)?, name.clone()))).collect()
    }

    fn condition(&mut self, filter: Option<&JoinFilter>) -> Result<Option<JoinFilter>> {
        let condition = |filter: &JoinFilter| {
            let expression = self.failing(filter.expression())?;
            Ok(JoinFilter::new(expression, filter.column_indices().to_vec(), filter.schema().clone()))
        };
        filter.map(condition).transpose()
    }
}

/// The same in a query of one batch. It is the last rule, since the others compare expressions. Window functions are left out: most of those of
/// DataFusion take no other arguments.
#[derive(Debug)]
pub(crate) struct FailOnOverflow;

impl PhysicalOptimizerRule for FailOnOverflow {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan.transform_up(|plan| match node(plan.as_ref())? {
            Some(failing) => Ok(Transformed::yes(failing)),
            None => Ok(Transformed::no(plan)),
        });
        Ok(plan?.data)
    }

    fn name(&self) -> &str {
        "fail_on_overflow"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The node with expressions that fail, if it has arithmetic.
fn node(plan: &dyn ExecutionPlan) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let mut found = Arithmetic::default();
    let failing: Arc<dyn ExecutionPlan> = if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let mut failing = |e: &ProjectionExpr| Ok(ProjectionExpr { expr: found.failing(&e.expr)?, alias: e.alias.clone() });
        let expressions = projection.expr().iter().map(&mut failing).collect::<Result<Vec<_>>>()?;
        Arc::new(ProjectionExec::try_new(expressions, projection.input().clone())?)
    } else if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        Arc::new(FilterExecBuilder::from(filter).with_predicate(found.failing(filter.predicate())?).build()?)
    } else if let Some(sort) = plan.downcast_ref::<SortExec>() {
        let mut failing = |e: &PhysicalSortExpr| Ok(PhysicalSortExpr::new(found.failing(&e.expr)?, e.options));
        let order = sort.expr().iter().map(&mut failing).collect::<Result<Vec<_>>>()?;
        let Some(order) = LexOrdering::new(order) else { return Ok(None) };
        let failing = SortExec::new(order, sort.input().clone()).with_preserve_partitioning(sort.preserve_partitioning());
        Arc::new(failing.with_fetch(sort.fetch()))
    } else if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        Arc::new(groups(aggregate, &mut found)?)
    } else if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        let mut equal = |(a, b): &(Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>)| Ok((found.failing(a)?, found.failing(b)?));
        let on = join.on().iter().map(&mut equal).collect::<Result<Vec<_>>>()?;
        let condition = found.condition(join.filter())?;
        Arc::new(join.builder().with_on(on).with_filter(condition).build()?)
    } else if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        Arc::new(NestedLoopJoinExecBuilder::from(join).with_filter(found.condition(join.filter())?).build()?)
    } else {
        return Ok(None);
    };
    Ok(found.0.then_some(failing))
}

fn groups(aggregate: &AggregateExec, found: &mut Arithmetic) -> Result<AggregateExec> {
    let by = aggregate.group_expr();
    let keys =
        PhysicalGroupBy::new(found.named(by.expr())?, by.null_expr().to_vec(), by.groups().to_vec(), by.has_grouping_set());
    let mut calls = Vec::new();
    for call in aggregate.aggr_expr() {
        let all = call.all_expressions();
        let failing = call.with_new_expressions(found.all(&all.args)?, found.all(&all.order_by_exprs)?);
        calls.push(failing.map_or_else(|| call.clone(), Arc::new));
    }
    let filters = aggregate.filter_expr().iter().map(|filter| filter.as_ref().map(|f| found.failing(f)).transpose());
    let filters = filters.collect::<Result<Vec<_>>>()?;
    let failing =
        AggregateExec::try_new(*aggregate.mode(), keys, calls, filters, aggregate.input().clone(), aggregate.input_schema())?;
    Ok(failing.with_limit_options(aggregate.limit_options()))
}

#[cfg(test)]
mod tests {
    use tidemill::prelude::DStream;
    use tidemill::testing::check;

    use crate::{StreamTables, TableSession};

    #[test]
    fn whole_numbers_do_not_wrap_round() {
        let session = TableSession::new();
        session.create_data_frame(&[i64::MAX, 1]).unwrap().create_or_replace_temp_view("numbers").unwrap();
        for sql in ["select value + 1 from numbers", "select value * 2 from numbers", "select -5 - value from numbers"] {
            let error = session.sql(sql).unwrap().collect::<i64>().unwrap_err().to_string();
            assert!(error.to_lowercase().contains("overflow"), "{sql}: {error}");
        }
        assert_eq!(session.sql("select value - 1 from numbers").unwrap().collect::<i64>().unwrap(), [i64::MAX - 1, 0]);
    }

    #[test]
    fn nor_do_they_in_any_other_part_of_a_query() {
        let session = TableSession::new();
        session.create_data_frame(&[i64::MAX, 1]).unwrap().create_or_replace_temp_view("numbers").unwrap();
        // With 0 in the place of N no row overflows.
        for sql in [
            "select value from numbers where value + N > 0",
            "select max(value * (N + 1)) from numbers",
            "select count(*) filter (where value + N > 0) from numbers",
            "select first_value(value order by value + N) from numbers",
            "select count(*) from numbers group by value + N",
            "select count(*) from numbers group by rollup (value + N)",
            "select value from numbers order by value + N",
            "select value from numbers order by value + N desc limit 1",
            "select a.value from numbers a join numbers b on a.value + N = b.value",
            "select a.value from numbers a left join numbers b on a.value = b.value and a.value + N > b.value * 1",
            "select a.value from numbers a join numbers b on a.value + N > b.value",
            "select value from numbers where value in (select value + N from numbers)",
        ] {
            let of = |n: &str| session.sql(&sql.replace('N', n)).unwrap().record_batches();
            of("0").unwrap_or_else(|e| panic!("{sql}: {e}"));
            let error = of("5").unwrap_err().to_string();
            assert!(error.to_lowercase().contains("overflow"), "{sql}: {error}");
        }
    }

    fn numbers<'s>(stream: &DStream<'s, i64>, sql: &str) -> DStream<'s, i64> {
        let tables = StreamTables::new(&TableSession::new());
        tables.register_stream("numbers", stream).unwrap();
        tables.sql(sql).unwrap().stream::<i64>().unwrap()
    }

    #[test]
    fn a_row_of_a_stream_that_overflows_is_a_bad_record() {
        check([vec![i64::MAX, 1]], |s| numbers(s, "select value + 1 from numbers"), [vec![2]]);
        check([vec![i64::MAX, 1]], |s| numbers(s, "select value from numbers where value * 3 = 3"), [vec![1]]);
    }
}
