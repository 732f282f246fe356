//! Whole numbers that overflow are faults of their rows, as in Spark. Those of DataFusion wrap round.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::BinaryExpr;
use datafusion::physical_expr::projection::ProjectionExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;

/// An expression that can be evaluated, whose `+`, `-` and `*` fail where they overflow.
pub(crate) fn physical(state: &SessionState, expr: Expr, input: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
    failing(state.create_physical_expr(expr, input)?)
}

fn failing(expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
    let failing = expr.transform_up(|expr| {
        let arithmetic = match expr.downcast_ref::<BinaryExpr>() {
            Some(binary) if matches!(binary.op(), Operator::Plus | Operator::Minus | Operator::Multiply) => {
                BinaryExpr::new(binary.left().clone(), *binary.op(), binary.right().clone()).with_fail_on_overflow(true)
            }
            _ => return Ok(Transformed::no(expr)),
        };
        Ok(Transformed::yes(Arc::new(arithmetic) as Arc<dyn PhysicalExpr>))
    });
    Ok(failing?.data)
}

/// The same for what a query of one batch selects.
#[derive(Debug)]
pub(crate) struct FailOnOverflow;

impl PhysicalOptimizerRule for FailOnOverflow {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan.transform_up(|plan| {
            let Some(projection) = plan.downcast_ref::<ProjectionExec>() else { return Ok(Transformed::no(plan)) };
            let failing = |e: &ProjectionExpr| Ok(ProjectionExpr { expr: failing(e.expr.clone())?, alias: e.alias.clone() });
            let expressions = projection.expr().iter().map(failing).collect::<Result<Vec<_>>>()?;
            let failing = ProjectionExec::try_new(expressions, projection.input().clone())?;
            Ok(Transformed::yes(Arc::new(failing) as Arc<dyn ExecutionPlan>))
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
