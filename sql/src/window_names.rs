//! The column `window` of a query that groups by `window(..)`: Spark gives that name to it.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, GroupByExpr, Ident, ObjectName,
    OrderByKind, Query, Select, SelectItem, SetExpr, Statement, VisitMut, VisitorMut, visit_expressions_mut,
};

/// Gives `window`, `window.start` and `window.end` their meaning in each query that groups by `window(..)` or `session_window(..)`.
pub(crate) fn resolve(statement: &mut Statement) {
    let _ = statement.visit(&mut Queries);
}

struct Queries;

impl VisitorMut for Queries {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let SetExpr::Select(select) = query.body.as_ref()
            && let Some(windows) = windows(select)
            && let Some(order) = &mut query.order_by
            && let OrderByKind::Expressions(keys) = &mut order.kind
        {
            keys.iter_mut().for_each(|key| replaced(&mut key.expr, &windows));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let Some(windows) = windows(select) else { return ControlFlow::Continue(()) };
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) = item {
                // The column keeps the name that the query has.
                let name = match expr {
                    Expr::Identifier(name) => Some(name.value.clone()),
                    Expr::CompoundIdentifier(parts) => parts.last().map(|part| part.value.clone()),
                    _ => None,
                };
                let before = expr.clone();
                replaced(expr, &windows);
                if let Some(name) = name.filter(|_| before != *expr) {
                    *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('`', name) };
                }
            } else if let SelectItem::ExprWithAlias { expr, .. } = item {
                replaced(expr, &windows);
            }
        }
        for expr in select.having.iter_mut().chain(&mut select.qualify) {
            replaced(expr, &windows);
        }
        ControlFlow::Continue(())
    }
}

/// The windows that a query groups by: the name of their column, and the call.
fn windows(select: &Select) -> Option<(String, Expr)> {
    let GroupByExpr::Expressions(keys, _) = &select.group_by else { return None };
    keys.iter().find_map(|key| {
        let Expr::Function(function) = key else { return None };
        let name = function.name.to_string().to_lowercase();
        matches!(name.as_str(), "window" | "session_window").then(|| (name, key.clone()))
    })
}

fn replaced(expr: &mut Expr, (name, call): &(String, Expr)) {
    let _: ControlFlow<()> = visit_expressions_mut(expr, |part| {
        match part {
            Expr::Identifier(column) if column.value.eq_ignore_ascii_case(name) => *part = call.clone(),
            Expr::CompoundIdentifier(parts) => {
                if let [window, field] = parts.as_slice()
                    && window.value.eq_ignore_ascii_case(name)
                {
                    *part = field_of(call, &field.value.to_lowercase());
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    });
}

/// `get_field(window, 'start')`.
fn field_of(window: &Expr, field: &str) -> Expr {
    let text = Expr::value(datafusion::sql::sqlparser::ast::Value::SingleQuotedString(field.to_owned()));
    let args = [window.clone(), text].map(|e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e)));
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new("get_field")]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.to_vec(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
