//! Spark's rules for names: case does not matter, a column keeps the case of its definition, and a result column without a name is
//! called as Spark calls it. DataFusion compares names exactly, so a statement is rewritten before it is planned.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    CastKind, Cte, DataType, DuplicateTreatment, ExactNumberInfo, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    ObjectName, Query, Select, SelectItem, SetExpr, Statement, TableFactor, UnaryOperator, Value, ValueWithSpan, VisitMut,
    VisitorMut,
};

use crate::spark_aggregates;

/// The names that a statement may use, by their lower case.
#[derive(Default)]
pub(crate) struct Names(HashMap<String, BTreeSet<String>>);

impl Names {
    /// A column of a table, or a name that the statement itself gives.
    pub(crate) fn add(&mut self, name: &str) {
        self.0.entry(name.to_lowercase()).or_default().insert(name.to_owned());
    }

    /// The spelling that a name was defined with. A name that was defined in two spellings stays as the statement has it.
    fn spelling(&self, name: &str) -> Option<&str> {
        let spellings = self.0.get(&name.to_lowercase())?;
        match spellings.len() {
            1 => spellings.first().map(String::as_str),
            _ => None,
        }
    }

    /// Gives every name of a statement the spelling of its definition, and a name to each result column.
    pub(crate) fn resolve(mut self, statement: &mut Statement) {
        // Nothing breaks off: the visitors return Continue everywhere.
        let _ = statement.visit(&mut Collect(&mut self));
        let _ = statement.visit(&mut Rewrite(&self));
    }
}

/// The names of the result's columns as the query has them, where it has one: Spark keeps the case of the query, not that of the table.
/// `None`: a column is a wildcard, so the places are not known.
pub(crate) fn written(statement: &Statement) -> Option<Vec<Option<String>>> {
    let Statement::Query(query) = statement else { return None };
    let mut body = query.body.as_ref();
    // The first query of a union names the columns.
    while let SetExpr::SetOperation { left, .. } = body {
        body = left;
    }
    let SetExpr::Select(select) = body else { return None };
    let name = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(Some(name.value.clone())),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => Some(parts.last().map(|p| p.value.clone())),
        SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. } => Some(None),
        _ => None,
    };
    select.projection.iter().map(name).collect()
}

/// The name under which a table is registered: lower case, since case does not matter.
pub(crate) fn table(name: &str) -> String {
    name.to_lowercase()
}

/// Finds the names that a statement gives to columns and tables, and names its result columns.
struct Collect<'n>(&'n mut Names);

/// Gives the first rows of WITH RECURSIVE the names of its columns: DataFusion would give them to the result, and not to the rows of a round.
fn name_first_rows(table: &mut Cte) {
    let mut body = table.query.body.as_mut();
    while let SetExpr::SetOperation { left, .. } = body {
        body = left;
    }
    let SetExpr::Select(select) = body else { return };
    let named = |item: &SelectItem| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. });
    if select.projection.len() != table.alias.columns.len() || !select.projection.iter().all(named) {
        return;
    }
    for (item, column) in select.projection.iter_mut().zip(table.alias.columns.drain(..)) {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: column.name };
        }
    }
}

impl VisitorMut for Collect<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        for table in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            table.alias.name.value = table_name(&table.alias.name);
            table.alias.columns.iter().for_each(|c| self.0.add(&c.name.value));
        }
        if let Some(with) = query.with.as_mut().filter(|with| with.recursive) {
            with.cte_tables.iter_mut().for_each(name_first_rows);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) = item
                && !matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
            {
                let alias = Ident::with_quote('`', result_name(expr));
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            }
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                self.0.add(&alias.value);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } = factor {
            alias.name.value = table_name(&alias.name);
            alias.columns.iter().for_each(|c| self.0.add(&c.name.value));
        }
        ControlFlow::Continue(())
    }
}

/// Gives names the spelling of their definition.
struct Rewrite<'n>(&'n Names);

impl VisitorMut for Rewrite<'_> {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        for part in &mut relation.0 {
            if let datafusion::sql::sqlparser::ast::ObjectNamePart::Identifier(name) = part {
                name.value = table_name(name);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) => self.column(name),
            // A number with an exponent is a double in Spark; without one, a decimal.
            Expr::Value(ValueWithSpan { value: Value::Number(text, _), .. }) if text.contains(['e', 'E']) => {
                let text = Expr::value(Value::SingleQuotedString(text.to_string()));
                *expr = Expr::Cast {
                    kind: CastKind::Cast,
                    expr: Box::new(text),
                    data_type: DataType::Double(ExactNumberInfo::None),
                    array: false,
                    format: None,
                };
            }
            // DataFusion's planner knows Spark's explode by the name of the SQL standard.
            Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("explode") => {
                function.name = ObjectName::from(vec![Ident::new("unnest")]);
            }
            Expr::CompoundIdentifier(parts) => {
                if let Some((last, tables)) = parts.split_last_mut() {
                    tables.iter_mut().for_each(|t| t.value = table_name(t));
                    self.column(last);
                }
            }
            Expr::Function(function) => spark_aggregates::rewrite(function),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl Rewrite<'_> {
    fn column(&self, name: &mut Ident) {
        if let Some(spelling) = self.0.spelling(&name.value) {
            name.value = spelling.to_owned();
        }
    }
}

fn table_name(name: &Ident) -> String {
    table(&name.value)
}

/// The name that Spark gives to a result column without one: `count(1)`, `sum(cnt)`, `(a + b)`.
fn result_name(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(name) => name.value.clone(),
        Expr::CompoundIdentifier(parts) => parts.last().map(|p| p.value.clone()).unwrap_or_default(),
        Expr::Nested(inner) => result_name(inner),
        Expr::BinaryOp { left, op, right } => format!("({} {op} {})", result_name(left), result_name(right)),
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => format!("(NOT {})", result_name(expr)),
        Expr::UnaryOp { op, expr } => format!("({op} {})", result_name(expr)),
        Expr::IsNull(inner) => format!("({} IS NULL)", result_name(inner)),
        Expr::IsNotNull(inner) => format!("({} IS NOT NULL)", result_name(inner)),
        Expr::Cast { expr, data_type, .. } => format!("CAST({} AS {data_type})", result_name(expr)),
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => text.clone(),
            Value::Null => "NULL".to_owned(),
            other => other.to_string(),
        },
        Expr::Function(function) if function.over.is_none() => {
            let name = function.name.to_string().to_lowercase();
            // Spark's column of windows.
            if matches!(name.as_str(), "window" | "session_window") {
                return name;
            }
            if name == "explode" {
                return "col".to_owned();
            }
            let FunctionArguments::List(list) = &function.args else { return format!("{name}()") };
            let distinct = if list.duplicate_treatment == Some(DuplicateTreatment::Distinct) { "DISTINCT " } else { "" };
            let args = list.args.iter().map(|arg| match arg {
                // Spark counts rows as count(1).
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => "1".to_owned(),
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => result_name(expr),
                other => other.to_string(),
            });
            format!("{name}({distinct}{})", args.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}
