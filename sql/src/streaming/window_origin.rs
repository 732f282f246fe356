//! Where a key of a GROUP BY comes from: from `window(..)`, perhaps in a query below, or from windows that are closed.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};

use super::grouped_window::behind;
use super::render::Result;
use super::time_window::call;

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin<'p> {
    /// A window of `window(..)`, which no aggregate has closed yet.
    Window,
    /// A window that this aggregate below groups by: all of its rows leave that aggregate at once.
    Closed(&'p Aggregate),
    Other,
}

/// Where an expression over the rows of a plan comes from.
pub(super) fn origin<'p>(expr: &Expr, plan: &'p LogicalPlan) -> Origin<'p> {
    match expr {
        _ if call(expr).is_some() => Origin::Window,
        Expr::Alias(alias) => origin(&alias.expr, plan),
        _ if behind(expr).is_some() => behind(expr).map_or(Origin::Other, |window| origin(window, plan)),
        // The start and the end of a window say which one it is.
        Expr::ScalarFunction(function) if function.name() == "get_field" => {
            function.args.first().map_or(Origin::Other, |window| origin(window, plan))
        }
        Expr::Column(column) => below(column, plan),
        _ => Origin::Other,
    }
}

fn below<'p>(column: &Column, plan: &'p LogicalPlan) -> Origin<'p> {
    let Some(place) = plan.schema().maybe_index_of_column(column) else { return Origin::Other };
    let same = |input: &'p LogicalPlan| input.schema().columns().get(place).map_or(Origin::Other, |c| below(c, input));
    match plan {
        LogicalPlan::Projection(projection) => origin(&projection.expr[place], &projection.input),
        LogicalPlan::SubqueryAlias(alias) => same(&alias.input),
        LogicalPlan::Filter(filter) => same(&filter.input),
        LogicalPlan::Aggregate(aggregate) => match aggregate.group_expr.get(place).map(|key| origin(key, &aggregate.input)) {
            Some(Origin::Window) => Origin::Closed(aggregate),
            Some(closed @ Origin::Closed(_)) => closed,
            _ => Origin::Other,
        },
        _ => Origin::Other,
    }
}

/// The same aggregate with `window(..)` among its own keys, if the query below it has computed it.
pub(super) fn inlined(aggregate: &Aggregate) -> Result<Aggregate> {
    let mut aggregate = aggregate.clone();
    while aggregate.group_expr.iter().any(|e| call(e).is_none() && origin(e, &aggregate.input) == Origin::Window) {
        let input = aggregate.input.clone();
        let (next, expressions): (Arc<LogicalPlan>, Vec<Expr>) = match input.as_ref() {
            LogicalPlan::Projection(projection) => (projection.input.clone(), projection.expr.clone()),
            LogicalPlan::SubqueryAlias(alias) => {
                (alias.input.clone(), alias.input.schema().columns().into_iter().map(Expr::Column).collect())
            }
            _ => break,
        };
        let replaced = |expr: Expr| {
            expr.transform(|part| {
                let Expr::Column(column) = &part else { return Ok(Transformed::no(part)) };
                Ok(match input.schema().maybe_index_of_column(column) {
                    Some(place) => Transformed::yes(expressions[place].clone().unalias_nested().data),
                    None => Transformed::no(part),
                })
            })
        };
        aggregate.group_expr = aggregate.group_expr.into_iter().map(|e| Ok(replaced(e)?.data)).collect::<Result<_>>()?;
        aggregate.aggr_expr = aggregate.aggr_expr.into_iter().map(|e| Ok(replaced(e)?.data)).collect::<Result<_>>()?;
        aggregate.input = next;
    }
    Ok(aggregate)
}
