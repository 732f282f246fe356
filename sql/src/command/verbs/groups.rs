//! GROUP BY, DISTINCT and aggregates as `count` and `sum`: a row has the keys of its group, and then the aggregate.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, OrderByExpr, Select,
    visit_expressions,
};

use super::columns::{Column, Rows, Scope, at};
use super::{Item, ordinal, refused};

/// The groups of a SELECT.
pub(super) struct Groups {
    /// The rows that are grouped.
    scope: Scope,
    /// What verbs call the keys in these rows.
    keys: Vec<String>,
    aggregate: Aggregate,
}

#[derive(Clone, Debug, PartialEq)]
enum Aggregate {
    Count,
    Sum(String),
}

impl Groups {
    /// The groups of a SELECT that has some. `items`: its columns, if they are not `*`.
    pub fn of(select: &Select, items: Option<&[Item]>, order: &[OrderByExpr], scope: &Scope) -> Result<Option<Groups>, String> {
        let calls = calls(select, order);
        let keys = match &select.group_by {
            GroupByExpr::Expressions(keys, modifiers) if modifiers.is_empty() => keys,
            other => return Err(format!("{other}: verbs group by columns; name them")),
        };
        let is_distinct = match &select.distinct {
            None => false,
            Some(Distinct::Distinct) => true,
            Some(other) => return Err(format!("{other}: write SELECT DISTINCT, or leave it out")),
        };
        if !is_distinct && keys.is_empty() && calls.is_empty() {
            return Ok(None);
        }
        if is_distinct && (!keys.is_empty() || !calls.is_empty() || select.having.is_some()) {
            return Err("DISTINCT: groups have different keys already; leave it out, or group in a subquery of FROM".into());
        }
        let mut found: Vec<(&Expr, Aggregate)> = Vec::new();
        for call in &calls {
            found.push((call, aggregate(call, scope)?));
        }
        if let [(first, one), ..] = found.as_slice()
            && let Some((other, _)) = found.iter().find(|(_, other)| other != one)
        {
            let why = format!("verbs have one aggregate, and {first} is another one; add a computation for each");
            return Err(refused(*other, &why));
        }
        let aggregate = found.pop().map_or(Aggregate::Count, |(_, aggregate)| aggregate);
        let all = if is_distinct { distinct(items, scope)? } else { named_keys(keys, items, scope)? };
        let mut keys: Vec<String> = Vec::new();
        for key in all {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        Ok(Some(Groups { scope: scope.clone(), keys, aggregate }))
    }

    pub fn verb(&self) -> String {
        let verb = match &self.aggregate {
            Aggregate::Count => "count".to_owned(),
            Aggregate::Sum(column) => format!("sum {column}"),
        };
        if self.keys.is_empty() { verb } else { format!("{verb} by {}", self.keys.join(", ")) }
    }

    /// The rows of the result.
    pub fn rows(&self) -> Rows {
        if self.keys.is_empty() { Rows::Value } else { Rows::Tuple(self.keys.len() + 1) }
    }

    /// What verbs call a key or the aggregate in the result.
    pub fn column(&self, expr: &Expr) -> Result<String, String> {
        match expr {
            Expr::Nested(inner) => self.column(inner),
            // There is one aggregate.
            call if is_aggregate(call) => Ok(at(self.keys.len() + 1)),
            column => {
                let path = self.scope.column(column)?;
                self.key(&path).ok_or_else(|| refused(column, "it is neither a key of the groups nor count(*) or sum(column)"))
            }
        }
    }

    /// The columns of `*`.
    pub fn star(&self) -> Result<Vec<Column>, String> {
        let mut columns = Vec::new();
        for column in self.scope.star()? {
            let path = self.key(column.path()?).ok_or("*: with GROUP BY name the columns")?;
            columns.push(Column::new(&column.name, &path));
        }
        Ok(columns)
    }

    /// What the result calls a column of the rows that are grouped, if it is a key or a part of one.
    fn key(&self, path: &str) -> Option<String> {
        self.keys.iter().zip(1..).find_map(|(key, n)| {
            let rest = path.strip_prefix(key.as_str())?;
            (rest.is_empty() || rest.starts_with('.')).then(|| format!("{}{rest}", at(n)))
        })
    }
}

/// The keys of DISTINCT: all columns.
fn distinct(items: Option<&[Item]>, scope: &Scope) -> Result<Vec<String>, String> {
    match items {
        Some(items) => items.iter().map(|item| scope.column(item.expr)).collect(),
        None => scope.star()?.iter().map(|column| column.path().map(str::to_owned)).collect(),
    }
}

/// The keys of GROUP BY: a column, or a column of the SELECT by its alias or its number.
fn named_keys(keys: &[Expr], items: Option<&[Item]>, scope: &Scope) -> Result<Vec<String>, String> {
    let items = items.unwrap_or_default();
    let key = |key: &Expr| {
        if let Some(n) = ordinal(key) {
            let item = n.checked_sub(1).and_then(|n| items.get(n));
            return scope.column(item.ok_or_else(|| refused(key, "SELECT has no column with this number"))?.expr);
        }
        let is_alias = |item: &&Item| matches!(key, Expr::Identifier(name) if item.name.eq_ignore_ascii_case(&name.value));
        scope.column(key).or_else(|why| items.iter().find(is_alias).map_or(Err(why), |item| scope.column(item.expr)))
    };
    keys.iter().map(key).collect()
}

/// The aggregates of a SELECT, wherever they are.
fn calls(select: &Select, order: &[OrderByExpr]) -> Vec<Expr> {
    let mut calls: Vec<Expr> = Vec::new();
    let mut add = |expr: &Expr| {
        if is_aggregate(expr) {
            calls.push(expr.clone());
        }
        ControlFlow::<()>::Continue(())
    };
    let _ = visit_expressions(&select.projection, &mut add);
    let _ = visit_expressions(&select.having, &mut add);
    order.iter().for_each(|key| _ = visit_expressions(&key.expr, &mut add));
    calls
}

fn is_aggregate(expr: &Expr) -> bool {
    matches!(expr, Expr::Function(function) if ["count", "sum"].contains(&name(function).as_str()))
}

fn name(function: &Function) -> String {
    function.name.to_string().to_lowercase()
}

fn aggregate(call: &Expr, scope: &Scope) -> Result<Aggregate, String> {
    let Expr::Function(function) = call else { return Err(refused(call, "it is not an aggregate")) };
    let text = function.to_string().to_lowercase();
    if name(function) == "count" {
        // count(1) is Spark's other way to say it.
        return match text.as_str() {
            "count(*)" | "count(1)" => Ok(Aggregate::Count),
            _ => Err(refused(
                call,
                "verbs have count(*) alone; WHERE column IS NOT NULL leaves nulls out, and a subquery with DISTINCT equal values",
            )),
        };
    }
    if let FunctionArguments::List(list) = &function.args
        && let [FunctionArg::Unnamed(FunctionArgExpr::Expr(column))] = list.args.as_slice()
        // Nothing else is there: no DISTINCT, FILTER or OVER.
        && text == format!("sum({column})").to_lowercase()
    {
        return scope.column(column).map(Aggregate::Sum);
    }
    Err(refused(call, "verbs have sum(column) alone, without DISTINCT, FILTER and OVER"))
}
