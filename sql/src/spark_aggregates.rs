//! Functions of Spark that DataFusion has under another name, or as a form of another one.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments, Ident, ObjectName,
    OrderByExpr, OrderByOptions,
};

/// Names of Spark and of DataFusion for the same function.
const SAME: [(&str, &str); 15] = [
    ("approx_count_distinct", "approx_distinct"),
    ("approx_percentile", "approx_percentile_cont"),
    ("percentile_approx", "approx_percentile_cont"),
    ("percentile", "percentile_cont"),
    ("variance", "var"),
    ("var_samp", "var"),
    ("std", "stddev"),
    ("stddev_samp", "stddev"),
    ("every", "bool_and"),
    ("some", "bool_or"),
    ("first", "first_value"),
    ("last", "last_value"),
    ("any_value", "first_value"),
    ("timestamp_micros", "to_timestamp_micros"),
    ("timestamp_millis", "to_timestamp_millis"),
];

/// Gives a call of Spark's the form that DataFusion has for it.
pub(crate) fn rewrite(function: &mut Function) {
    let name = function.name.to_string().to_lowercase();
    if let Some((_, same)) = SAME.iter().find(|(spark, _)| *spark == name) {
        rename(function, same);
        return;
    }
    let FunctionArguments::List(list) = &mut function.args else { return };
    let argument = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    match (name.as_str(), list.args.as_slice()) {
        // count_if(c) is count(*) FILTER (WHERE c).
        ("count_if", [condition]) => {
            let Some(condition) = argument(condition) else { return };
            list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Wildcard)];
            also(function, condition);
            rename(function, "count");
        }
        // max_by(value, key) is last_value(value ORDER BY key), of the rows that have a key.
        ("max_by" | "min_by", [value, key]) => {
            let (value, Some(key)) = (value.clone(), argument(key)) else { return };
            list.args = vec![value];
            let order = OrderByExpr { expr: key.clone(), options: OrderByOptions::default(), with_fill: None };
            list.clauses.push(FunctionArgumentClause::OrderBy(vec![order]));
            also(function, Expr::IsNotNull(Box::new(key)));
            rename(function, if name == "max_by" { "last_value" } else { "first_value" });
        }
        _ => {}
    }
}

fn rename(function: &mut Function, name: &str) {
    function.name = ObjectName::from(vec![Ident::new(name)]);
}

/// Adds a condition to the FILTER of a call.
fn also(function: &mut Function, condition: Expr) {
    let condition = Expr::Nested(Box::new(condition));
    function.filter = Some(Box::new(match function.filter.take() {
        None => condition,
        Some(other) => Expr::BinaryOp { left: other, op: BinaryOperator::And, right: Box::new(condition) },
    }));
}
