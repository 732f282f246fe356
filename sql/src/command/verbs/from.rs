//! FROM and JOIN: a view or a subquery, and `join` with views.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Join, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, Select, TableFactor,
};

use super::columns::{Part, Scope, View};
use super::condition::{conjuncts, filters};
use super::{is_same, query, refused};
use crate::names;

/// The first verbs of a SELECT, and the rows that they make.
pub(super) fn from(views: &[View], select: &Select) -> Result<(Vec<String>, Scope), String> {
    let (table, more) = select.from.split_first().ok_or("SELECT without FROM; name a view of the job")?;
    if let Some(other) = more.first() {
        return Err(refused(other, "verbs join two views by a column; write JOIN .. ON"));
    }
    let (mut verbs, mut scope) = first(views, &table.relation)?;
    for join in &table.joins {
        scope = joined(views, join, scope, &mut verbs)?;
    }
    Ok((verbs, scope))
}

fn first(views: &[View], factor: &TableFactor) -> Result<(Vec<String>, Scope), String> {
    let (alone, alias) = without_alias(factor)?;
    if let TableFactor::Derived { subquery, .. } = &alone
        && is_same(&alone, &format!("({subquery})"))
    {
        let (verbs, mut scope) = query(views, subquery)?;
        scope.parts.iter_mut().for_each(|part| part.name = alias.clone().unwrap_or_default());
        return Ok((verbs, scope));
    }
    let (view, scope) = view(views, factor)?;
    Ok((vec![view], scope))
}

/// A view by its name.
fn view(views: &[View], factor: &TableFactor) -> Result<(String, Scope), String> {
    let (alone, alias) = without_alias(factor)?;
    let TableFactor::Table { name, .. } = &alone else {
        return Err(refused(factor, "verbs read a view by its name; add this by a name first, and read that"));
    };
    if !is_same(&alone, &name.to_string()) {
        return Err(refused(factor, "verbs read a whole view; write its name alone, or with an alias"));
    }
    let [ObjectNamePart::Identifier(called)] = name.0.as_slice() else {
        return Err(refused(factor, "a name with a dot goes in backticks"));
    };
    let Some(view) = views.iter().find(|view| names::table(&view.name) == names::table(&called.value)) else {
        return Err(refused(factor, "no view of the job is queryable by this name"));
    };
    Ok((view.name.clone(), Scope::view(alias.as_ref().unwrap_or(&view.name), &view.rows)))
}

/// A part of FROM without its alias, and the alias.
fn without_alias(factor: &TableFactor) -> Result<(TableFactor, Option<String>), String> {
    let mut alone = factor.clone();
    let alias = match &mut alone {
        TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. } => alias.take(),
        _ => None,
    };
    if alias.as_ref().is_some_and(|alias| !alias.columns.is_empty()) {
        return Err(refused(factor, "an alias names no columns here; name them by AS in a subquery"));
    }
    Ok((alone, alias.map(|alias| alias.name.value)))
}

fn joined(views: &[View], join: &Join, left: Scope, verbs: &mut Vec<String>) -> Result<Scope, String> {
    let constraint = match &join.join_operator {
        JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) if !join.global => constraint,
        _ => return Err(refused(join, "verbs have the inner join alone; write JOIN .. ON")),
    };
    let (view, right) = view(views, &join.relation)?;
    // Why columns are not known is the better error.
    left.width()?;
    right.width()?;
    let is_called = |name: &str| left.parts.iter().any(|part| part.name.eq_ignore_ascii_case(name));
    if right.parts.iter().any(|part| is_called(&part.name)) {
        return Err(refused(&join.relation, "FROM has this name already; give it an alias"));
    }
    let (mut more, mut is_using) = (Vec::new(), false);
    let (key, other_key) = match constraint {
        JoinConstraint::On(on) => {
            more = conjuncts(on);
            let keys: Vec<_> = more.iter().map(|condition| keys(condition, &left, &right)).collect();
            let first = keys.iter().position(Option::is_some);
            let (n, keys) = first.and_then(|n| Some((n, keys[n].clone()?))).ok_or_else(|| no_keys(on, &left, &right))?;
            more.remove(n);
            keys
        }
        JoinConstraint::Using(columns) => {
            is_using = true;
            using(join, columns, &left, &right)?
        }
        _ => return Err(refused(join, "verbs join by a column; write ON a.column = b.column")),
    };
    verbs.push(match key == other_key {
        true => format!("join {view} by {key}"),
        false => format!("join {view} by {key} = {other_key}"),
    });
    let scope = left.joined(right, &key, &other_key, is_using)?;
    for condition in more {
        verbs.extend(filters(condition, &|expr| scope.column(expr))?);
    }
    Ok(scope)
}

/// The columns of a condition that `join` can check: one of each side.
fn keys(condition: &Expr, left: &Scope, right: &Scope) -> Option<(String, String)> {
    let Expr::BinaryOp { left: a, op: BinaryOperator::Eq, right: b } = condition else { return None };
    let sides = |expr: &Expr| (left.column(expr).ok(), right.column(expr).ok());
    match (sides(a), sides(b)) {
        ((Some(key), None), (None, Some(other))) | ((None, Some(other)), (Some(key), None)) => Some((key, other)),
        _ => None,
    }
}

fn no_keys(on: &Expr, left: &Scope, right: &Scope) -> String {
    let columns = |scope: &Scope| {
        let of = |part: &Part| {
            let columns = part.columns.as_ref().map_or(&[][..], Vec::as_slice);
            columns.iter().map(|column| format!("{}.{}", part.name, column.name)).collect::<Vec<_>>()
        };
        scope.parts.iter().flat_map(of).collect::<Vec<_>>().join(", ")
    };
    refused(on, &format!("ON needs an equal column of each side, one of {} and one of {}", columns(left), columns(right)))
}

/// The keys of USING.
fn using(join: &Join, columns: &[ObjectName], left: &Scope, right: &Scope) -> Result<(String, String), String> {
    let [column] = columns else { return Err(refused(join, "USING takes one column here; write ON, and AND")) };
    let [ObjectNamePart::Identifier(name)] = column.0.as_slice() else {
        return Err(refused(join, "USING takes the name of a column"));
    };
    let column = Expr::Identifier(name.clone());
    Ok((left.column(&column)?, right.column(&column)?))
}
