//! Windows that GROUP BY has made: conditions on them stay above it.
//!
//! DataFusion's optimiser puts a condition on a key of a GROUP BY below it, where `window(..)` would be a value of each row. A row is in several
//! windows that overlap, and a session is not known there. So the optimiser sees another column above the GROUP BY: a function that it must not move.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Column;
use datafusion::common::tree_node::Transformed;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    Aggregate, ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

use super::time_window::call;
use super::window_origin::{Origin, origin};

/// The name of the function.
const NAME: &str = "grouped_window";

/// The same plan; what it does with windows of a GROUP BY is done above it.
pub(super) fn kept_above(plan: &LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.clone().transform_up_with_subqueries(|plan| match &plan {
        LogicalPlan::Aggregate(aggregate) => above(aggregate).map(|above| above.map_or(Transformed::no(plan), Transformed::yes)),
        _ => Ok(Transformed::no(plan)),
    })?;
    Ok(plan.data)
}

/// The window behind the function.
pub(super) fn behind(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::ScalarFunction(function) if function.name() == NAME => function.args.first(),
        _ => None,
    }
}

/// The columns of an aggregate, with its windows behind the function. `None`: it has none that a condition could be wrong on.
fn above(aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
    let is_kept = |key: &Expr| {
        let of_each_row = call(key).is_some_and(|call| call.is_ok_and(|(shape, _)| shape.is_tumbling()));
        origin(key, &aggregate.input) == Origin::Window && !of_each_row
    };
    if !aggregate.group_expr.iter().any(is_kept) {
        return Ok(None);
    }
    let function = Arc::new(ScalarUDF::from(GroupedWindow { signature: Signature::any(1, Volatility::Volatile) }));
    let column = |(place, column): (usize, Column)| {
        let (relation, name) = (column.relation.clone(), column.name.clone());
        let column = Expr::Column(column);
        match aggregate.group_expr.get(place).is_some_and(is_kept) {
            true => function.call(vec![column]).alias_qualified(relation, name),
            false => column,
        }
    };
    let columns: Vec<Expr> = aggregate.schema.columns().into_iter().enumerate().map(column).collect();
    LogicalPlanBuilder::from(LogicalPlan::Aggregate(aggregate.clone())).project(columns)?.build().map(Some)
}

/// The window that it is given. It is said to be volatile, because no optimiser moves such a function.
#[derive(Debug, PartialEq, Eq, Hash)]
struct GroupedWindow {
    signature: Signature,
}

impl ScalarUDFImpl for GroupedWindow {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        kinds.first().cloned().ok_or_else(|| DataFusionError::Plan(format!("{NAME} takes a window")))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        args.arg_fields.first().cloned().ok_or_else(|| DataFusionError::Plan(format!("{NAME} takes a window")))
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(args.args.swap_remove(0))
    }
}
