//! Subqueries as values, such as `WHERE n > (SELECT avg(n) FROM t)`: the optimiser makes joins of them, which have one row on a side.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::render::Result;
use crate::session::TableSession;

/// The state of a session whose optimiser makes joins of all subqueries: a subquery over a stream has another value after each batch.
pub(super) fn joining(session: &TableSession) -> SessionState {
    let mut state = session.context().state();
    state.config_mut().options_mut().optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    state
}

/// Fails if a subquery as a value may have more than one row.
pub(super) fn single(plan: &LogicalPlan) -> Result<()> {
    let mut wrong = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Expr::ScalarSubquery(subquery) = part {
                    wrong |= !has_one_row(&subquery.subquery);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    if !wrong {
        return Ok(());
    }
    let reason = "a subquery as a value may have more than one row; use an aggregate without GROUP BY, such as max(..)";
    Err(DataFusionError::Plan(reason.to_owned()))
}

/// Whether a plan is an aggregate of all rows, after expressions of its row.
fn has_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => has_one_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => has_one_row(&alias.input),
        LogicalPlan::Filter(filter) => has_one_row(&filter.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        _ => false,
    }
}
