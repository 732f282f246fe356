//! Where Spark's expressions mean something else than DataFusion's.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::functions::core::get_field;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr, TypePlanner};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, GetFieldAccess, Operator, cast};
use datafusion::sql::sqlparser::ast::{BinaryOperator, DataType as TypeName, TimezoneInfo};

use crate::files::ddl;
use crate::functions::as_text;

/// Types that Spark has by another name than DataFusion, or with another meaning: those of a schema.
#[derive(Debug)]
pub(crate) struct SparkTypes;

impl TypePlanner for SparkTypes {
    fn plan_type_field(&self, name: &TypeName) -> Result<Option<FieldRef>> {
        Ok(match name {
            // DataFusion's counts nanoseconds, which end in the year 2262.
            TypeName::Timestamp(None, TimezoneInfo::None) => Some(Arc::new(Field::new("", ddl::timestamp(), true))),
            TypeName::Binary(None) | TypeName::Dec(_) | TypeName::Custom(..) => {
                // One that a schema does not have either stays DataFusion's, whose error names it.
                ddl::parsed_type(&name.to_string()).ok().map(|kind| Arc::new(Field::new("", kind, true)))
            }
            _ => None,
        })
    }
}

/// `/` of integers is a double, as in Spark. DataFusion's is an integer, as in PostgreSQL. `||` makes texts of numbers and times.
#[derive(Debug)]
pub(crate) struct SparkOperators;

impl ExprPlanner for SparkOperators {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        if expr.op == BinaryOperator::Divide {
            let (left, right) = (expr.left.get_type(schema)?, expr.right.get_type(schema)?);
            if left.is_integer() && right.is_integer() {
                let double = |e: Expr| cast(e, DataType::Float64);
                return Ok(PlannerResult::Planned(binary(double(expr.left), Operator::Divide, double(expr.right))));
            }
        }
        if expr.op == BinaryOperator::StringConcat {
            let (left, right) = (expr.left.get_type(schema)?, expr.right.get_type(schema)?);
            // Beside a list a value is an item of it.
            if !left.is_nested() && !right.is_nested() {
                let text = |e: Expr, kind: DataType| match as_text(&kind) {
                    wanted if wanted == kind => e,
                    wanted => cast(e, wanted),
                };
                let (left, right) = (text(expr.left, left), text(expr.right, right));
                return Ok(PlannerResult::Original(RawBinaryExpr { left, right, op: expr.op }));
            }
        }
        // DIV is the integer's division, which DataFusion writes as `/`.
        if expr.op == BinaryOperator::MyIntegerDivide {
            return Ok(PlannerResult::Planned(cast(binary(expr.left, Operator::Divide, expr.right), DataType::Int64)));
        }
        Ok(PlannerResult::Original(expr))
    }

    /// `map['key']` and `struct['field']`.
    fn plan_field_access(&self, expr: RawFieldAccessExpr, _: &DFSchema) -> Result<PlannerResult<RawFieldAccessExpr>> {
        match expr.field_access {
            GetFieldAccess::NamedStructField { name } => {
                Ok(PlannerResult::Planned(get_field().call(vec![expr.expr, Expr::Literal(name, None)])))
            }
            _ => Ok(PlannerResult::Original(expr)),
        }
    }
}

fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}
