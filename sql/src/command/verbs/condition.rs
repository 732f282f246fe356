//! WHERE, HAVING and ON as `filter`: one comparison after the other. A comparison with null is not true in SQL, and may be in verbs.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, Value};

use super::refused;

/// The conditions that all must hold.
pub(super) fn conjuncts(condition: &Expr) -> Vec<&Expr> {
    match condition {
        Expr::Nested(inner) => conjuncts(inner),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => [conjuncts(left), conjuncts(right)].concat(),
        one => vec![one],
    }
}

/// The verbs that keep the rows for which a condition is true. `column`: what verbs call a column.
pub(super) fn filters(condition: &Expr, column: &dyn Fn(&Expr) -> Result<String, String>) -> Result<Vec<String>, String> {
    let mut verbs = Vec::new();
    for one in conjuncts(condition) {
        match one {
            Expr::IsNull(of) => verbs.push(format!("filter {} = null", column(of)?)),
            Expr::IsNotNull(of) => verbs.push(format!("filter {} != null", column(of)?)),
            Expr::Between { expr, negated: false, low, high } => {
                verbs.extend(comparison(one, (expr, ">=", low), column)?);
                verbs.extend(comparison(one, (expr, "<=", high), column)?);
            }
            Expr::BinaryOp { op: BinaryOperator::Or, .. } => {
                return Err(refused(one, "verbs have no OR; add a computation for each side"));
            }
            Expr::BinaryOp { left, op, right } => {
                let sign = sign(op).ok_or_else(|| refused(one, CONDITION))?;
                verbs.extend(comparison(one, (left, sign, right), column)?);
            }
            _ => return Err(refused(one, CONDITION)),
        }
    }
    Ok(verbs)
}

const CONDITION: &str = "a condition of verbs is a comparison of a column (=, <>, <, <=, >, >=), BETWEEN, IS NULL or IS NOT NULL";

fn sign(op: &BinaryOperator) -> Option<&'static str> {
    Some(match op {
        BinaryOperator::Eq => "=",
        BinaryOperator::NotEq => "!=",
        BinaryOperator::Lt => "<",
        BinaryOperator::LtEq => "<=",
        BinaryOperator::Gt => ">",
        BinaryOperator::GtEq => ">=",
        _ => return None,
    })
}

/// A comparison, and what leaves out the nulls for which the verb holds and SQL does not.
fn comparison(
    whole: &Expr,
    (left, sign, right): (&Expr, &str, &Expr),
    column: &dyn Fn(&Expr) -> Result<String, String>,
) -> Result<Vec<String>, String> {
    let operand = |expr: &Expr| match literal(expr)? {
        Some(value) => Ok((value, false)),
        None => Ok::<_, String>((column(expr)?, true)),
    };
    let ((left, is_column), (right, is_other_column)) = (operand(left)?, operand(right)?);
    let columns: Vec<&String> =
        [(&left, is_column), (&right, is_other_column)].into_iter().filter(|o| o.1).map(|o| o.0).collect();
    let may_be_null = match (sign, columns.as_slice()) {
        (_, []) => return Err(refused(whole, "it compares no column; leave it out")),
        // Null is not equal to anything, so it passes.
        ("!=", columns) => columns,
        // Two nulls are equal.
        ("=" | "<=" | ">=", [first, _]) => std::slice::from_ref(first),
        _ => &[],
    };
    let comparison = format!("filter {left} {sign} {right}");
    Ok([comparison].into_iter().chain(may_be_null.iter().map(|column| format!("filter {column} != null"))).collect())
}

/// The JSON of a literal. `None`: it is none.
fn literal(expr: &Expr) -> Result<Option<String>, String> {
    let number = |text: &str| number(text).ok_or_else(|| refused(expr, "verbs have numbers of 64 bits"));
    Ok(Some(match expr {
        Expr::Nested(inner) => return literal(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } => match inner.as_ref() {
            Expr::Value(value) => match &value.value {
                Value::Number(text, _) => number(&format!("-{text}"))?,
                _ => return Ok(None),
            },
            _ => return Ok(None),
        },
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => number(text)?,
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => {
                serde_json::Value::from(text.as_str()).to_string()
            }
            Value::Boolean(is) => is.to_string(),
            Value::Null => return Err(refused(expr, "no comparison with NULL is true; write IS NULL or IS NOT NULL")),
            _ => return Err(refused(expr, "a value is a number, a text, TRUE or FALSE")),
        },
        _ => return Ok(None),
    }))
}

/// A number as JSON, with all of its digits.
fn number(text: &str) -> Option<String> {
    match text.parse::<i128>() {
        Ok(n) => (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&n).then(|| n.to_string()),
        Err(_) => serde_json::Number::from_f64(text.parse().ok()?).map(|x| x.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_json() {
        for (text, json) in
            [("007", "7"), ("-0.50", "-0.5"), (".5", "0.5"), ("1e3", "1000.0"), ("18446744073709551615", "18446744073709551615")]
        {
            assert_eq!(number(text).as_deref(), Some(json));
        }
        assert_eq!((number("18446744073709551616"), number("1e999"), number("x")), (None, None, None));
    }
}
