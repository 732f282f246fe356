//! A SELECT as verbs, the language of `tidemill add`. docs/guide/live.md says what each part becomes; all else is an error.
//!
//! Rows keep the columns that verbs give them until the end. Only there a `map` puts those of the SELECT in order. So a name of SQL always
//! is one column of the rows, whatever subqueries and joins have called it.

mod columns;
mod condition;
mod from;
mod groups;

use std::fmt::Display;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, LimitClause, OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr, Spanned,
    Statement as SqlStatement, Value,
};

use crate::session::statement;
use columns::{Column, Part, Scope};
pub(super) use columns::{Rows, View};
use condition::filters;
use groups::Groups;

const ONE_SELECT: &str = "`tidemill add` takes one SELECT; `tidemill sql FILE` runs all of SQL as a job of its own";

/// The verbs of a SELECT over these views.
///
/// # Errors
/// Verbs do not have a part of it. The error names the part, its place where it is known, and the remedy.
pub(super) fn verbs(sql: &str, views: &[View]) -> Result<String, String> {
    let Statement::Statement(statement) = statement(sql)? else { return Err(ONE_SELECT.into()) };
    let SqlStatement::Query(select) = statement.as_ref() else { return Err(ONE_SELECT.into()) };
    let (mut verbs, scope) = query(views, select)?;
    if !scope.is_whole {
        let columns = scope.star()?;
        let paths = columns.iter().map(Column::path).collect::<Result<Vec<_>, _>>()?;
        verbs.push(format!("map {}", paths.join(", ")));
    }
    Ok(verbs.join(" | "))
}

/// A part of the statement that verbs do not have: its text, its place, and why or what to write.
fn refused(part: &(impl Display + Spanned), why: &str) -> String {
    let start = part.span().start;
    let place = if start.line > 0 { format!(" (line {}, column {})", start.line, start.column) } else { String::new() };
    format!("{part}{place}: {why}")
}

/// Whether a part of the statement is this text, apart from blanks. Parts of it that nobody has looked at are in its text, too.
fn is_same(part: &impl Display, text: &str) -> bool {
    let squeezed = |text: &str| text.split_whitespace().collect::<String>();
    squeezed(&part.to_string()) == squeezed(text)
}

/// A column of a SELECT.
struct Item<'q> {
    expr: &'q Expr,
    /// Its alias, or the name of the column; empty if it has none.
    name: String,
}

/// The verbs of a query, and its result.
fn query(views: &[View], query: &Query) -> Result<(Vec<String>, Scope), String> {
    let select = only_select(query)?;
    let (mut verbs, scope) = from::from(views, select)?;
    if let Some(condition) = &select.selection {
        verbs.extend(filters(condition, &|expr| scope.column(expr))?);
    }
    let items = items(select)?;
    let groups = Groups::of(select, items.as_deref(), order(query)?, &scope)?;
    verbs.extend(groups.iter().map(Groups::verb));
    let result = Selected::new(scope, groups, items.as_deref())?;
    if let Some(condition) = &select.having {
        if result.groups.is_none() {
            return Err(refused(condition, "HAVING is for groups; write WHERE"));
        }
        verbs.extend(filters(condition, &|expr| result.named(expr))?);
    }
    verbs.extend(top(query, &result)?);
    Ok((verbs, result.scope()))
}

/// The SELECT of a query that has nothing else than what is read here.
fn only_select(query: &Query) -> Result<&Select, String> {
    if query.with.is_some() {
        return Err("WITH: write the query where its name is, as FROM (SELECT ..) name".into());
    }
    let SetExpr::Select(select) = query.body.as_ref() else {
        return Err(refused(query, ONE_SELECT));
    };
    let mut rest = query.clone();
    (rest.order_by, rest.limit_clause) = (None, None);
    if let SetExpr::Select(select) = rest.body.as_mut() {
        (select.distinct, select.selection, select.having) = (None, None, None);
        select.group_by = GroupByExpr::Expressions(Vec::new(), Vec::new());
        select.projection.clear();
        select.from.clear();
    }
    // What is left nobody reads, so it must not be there.
    match is_same(&rest, "SELECT") {
        true => Ok(select),
        false => Err(format!("{}: verbs do not have it; leave it out", rest.to_string().trim_start_matches("SELECT").trim())),
    }
}

/// The columns of a SELECT; `None`: all, by `*`.
fn items(select: &Select) -> Result<Option<Vec<Item<'_>>>, String> {
    if let [SelectItem::Wildcard(options)] = select.projection.as_slice()
        && options.to_string().is_empty()
    {
        return Ok(None);
    }
    select.projection.iter().map(item).collect::<Result<_, _>>().map(Some)
}

fn item(item: &SelectItem) -> Result<Item<'_>, String> {
    match item {
        SelectItem::UnnamedExpr(expr) => Ok(Item { expr, name: last_name(expr) }),
        SelectItem::ExprWithAlias { expr, alias } => Ok(Item { expr, name: alias.value.clone() }),
        other => Err(refused(other, "name the columns; * stands alone")),
    }
}

fn last_name(expr: &Expr) -> String {
    match expr {
        Expr::Nested(inner) => last_name(inner),
        Expr::Identifier(name) => name.value.clone(),
        Expr::CompoundIdentifier(names) => names.last().map(|name| name.value.clone()).unwrap_or_default(),
        _ => String::new(),
    }
}

/// What a SELECT gives, before its `map`.
struct Selected {
    scope: Scope,
    groups: Option<Groups>,
    /// Its columns. `Err`: why they are not known.
    columns: Result<Vec<Column>, &'static str>,
    is_whole: bool,
}

impl Selected {
    fn new(scope: Scope, groups: Option<Groups>, items: Option<&[Item]>) -> Result<Self, String> {
        let mut selected = Selected { scope, groups, columns: Ok(Vec::new()), is_whole: false };
        selected.columns = match (items, &selected.groups) {
            (Some(items), _) => {
                let column = |item: &Item| Ok::<_, String>(Column::new(&item.name, &selected.column(item.expr)?));
                Ok(items.iter().map(column).collect::<Result<_, _>>()?)
            }
            (None, Some(groups)) => Ok(groups.star()?),
            (None, None) => match selected.scope.parts.iter().find_map(|part| part.columns.as_ref().err()) {
                Some(why) => Err(*why),
                None => Ok(selected.scope.star()?),
            },
        };
        let rows = selected.groups.as_ref().map_or_else(|| selected.scope.rows.clone(), Groups::rows);
        let all = items.is_none() && selected.groups.is_none() && selected.scope.is_whole;
        selected.is_whole = all || selected.columns.as_ref().is_ok_and(|columns| rows.are(columns));
        selected.scope.rows = rows;
        Ok(selected)
    }

    /// What verbs call a column of the rows, or of the groups.
    fn column(&self, expr: &Expr) -> Result<String, String> {
        self.groups.as_ref().map_or_else(|| self.scope.column(expr), |groups| groups.column(expr))
    }

    /// The same, where the names of the result count first.
    fn named(&self, expr: &Expr) -> Result<String, String> {
        let is = |column: &&Column| matches!(expr, Expr::Identifier(name) if name.value.eq_ignore_ascii_case(&column.name));
        match self.columns.iter().flatten().find(is) {
            Some(column) => column.path().map(str::to_owned),
            None => self.column(expr),
        }
    }

    /// The rows that it gives.
    fn scope(self) -> Scope {
        let part =
            Part { name: self.scope.parts.first().map(|part| part.name.clone()).unwrap_or_default(), columns: self.columns };
        Scope { parts: vec![part], rows: self.scope.rows, is_whole: self.is_whole }
    }
}

/// The number of a column, as in ORDER BY 2.
fn ordinal(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => text.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

/// What ORDER BY orders by.
fn order(query: &Query) -> Result<&[OrderByExpr], String> {
    match &query.order_by {
        None => Ok(&[]),
        Some(order) => match &order.kind {
            OrderByKind::Expressions(keys) if order.interpolate.is_none() => Ok(keys),
            _ => Err(format!("{order}: write ORDER BY column DESC")),
        },
    }
}

/// ORDER BY column DESC LIMIT n.
fn top(query: &Query, result: &Selected) -> Result<Option<String>, String> {
    let Some(limit) = &query.limit_clause else {
        return match order(query)? {
            [] => Ok(None),
            [key, ..] => Err(refused(
                key,
                "ORDER BY needs LIMIT, because rows of a view have no order; `tidemill query --top 10` prints the largest first",
            )),
        };
    };
    let limit_text = limit.to_string().trim().to_owned();
    let [key, more @ ..] = order(query)? else {
        return Err(format!("{limit_text}: LIMIT needs ORDER BY column DESC, or any rows would do"));
    };
    if let Some(second) = more.first() {
        return Err(refused(second, "verbs order by one column; leave it out, and of equal rows the first by their text stay"));
    }
    if key.options.asc != Some(false) || key.options.nulls_first == Some(true) || key.with_fill.is_some() {
        return Err(refused(key, "verbs keep the largest; write DESC"));
    }
    let n = match limit {
        LimitClause::LimitOffset { limit: Some(limit), offset: None, limit_by } if limit_by.is_empty() => ordinal(limit),
        _ => None,
    };
    let n = n.ok_or_else(|| format!("{limit_text}: LIMIT takes a number here, and no OFFSET"))?;
    let by = match ordinal(&key.expr) {
        None => result.named(&key.expr)?,
        Some(n) => {
            let column = result.columns.as_ref().ok().and_then(|columns| columns.get(n.checked_sub(1)?));
            column.ok_or_else(|| refused(key, "SELECT has no column with this number"))?.path()?.to_owned()
        }
    };
    Ok(Some(format!("top {n} by {by}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sql: &str) -> Result<String, String> {
        let view = |name: &str, rows| View { name: name.into(), rows };
        let fields = ["length", "word", "two words"].map(String::from).to_vec();
        verbs(
            sql,
            &[
                view("counts", Rows::Tuple(2)),
                view("my.Words", Rows::Struct(fields)),
                view("numbers", Rows::Value),
                view("none", Rows::of(&[])),
            ],
        )
    }

    /// Whether the job reads a text of verbs.
    fn is_read(text: &str) -> bool {
        let reader = tidemill::testing::TARGETS.iter().find(|target| target.name == "added").unwrap();
        (reader.run)(text.as_bytes())
    }

    #[test]
    fn a_select_is_verbs() {
        assert!(is_read("a | top 3") && !is_read("a | top"));
        for (sql, text) in [
            ("select * from counts", "counts"),
            ("select _1, _2 from counts", "counts"),
            ("select _2, _1 from counts", "counts | map _2, _1"),
            ("select c._1 as word from Counts c where 3 < c._2", "counts | filter 3 < _2 | map _1"),
            ("select value from numbers", "numbers"),
            ("select * from none", "none"),
            ("select _1._2, _2 from counts", "counts | map _1._2, _2"),
            ("select LENGTH, `my.words`.word from `my.words`", "my.Words | map length, word"),
            // What is compared.
            (
                "select * from `my.Words` where word >= 'a \"b\"' and (length = -1.5 and length between 1 and 2)",
                r#"my.Words | filter word >= "a \"b\"" | filter length = -1.5 | filter length >= 1 | filter length <= 2"#,
            ),
            ("select * from counts where _1 <> 3", "counts | filter _1 != 3 | filter _1 != null"),
            ("select * from counts where _1 = _2", "counts | filter _1 = _2 | filter _1 != null"),
            ("select * from counts where _1 < _2", "counts | filter _1 < _2"),
            ("select * from counts where _1 != _2", "counts | filter _1 != _2 | filter _1 != null | filter _2 != null"),
            ("select * from numbers where value is not null", "numbers | filter _1 != null"),
            // Groups.
            ("select count(*) from none", "none | count"),
            ("select sum(_2) as total from counts", "counts | sum _2"),
            ("select _1, COUNT(1) from counts group by _1", "counts | count by _1"),
            (
                "select word, count(*) n from `my.Words` where length > 3 group by word",
                "my.Words | filter length > 3 | count by word",
            ),
            (
                "select count(*) as n, _1 from counts group by _1 having n > 3",
                "counts | count by _1 | filter _2 > 3 | map _2, _1",
            ),
            ("select _1 as k from counts group by k having sum(_2) > 3", "counts | sum _2 by _1 | filter _2 > 3 | map _1"),
            ("select _2, _1, sum(_2) from counts group by 1, 2", "counts | sum _2 by _2, _1"),
            ("select distinct length from `my.Words`", "my.Words | count by length | map _1"),
            ("select distinct * from counts", "counts | count by _1, _2 | map _1, _2"),
            // The largest.
            ("select * from counts order by _2 desc limit 3", "counts | top 3 by _2"),
            ("select _1 from counts order by _2 desc limit 3", "counts | top 3 by _2 | map _1"),
            (
                "select word, count(*) from `my.Words` group by word order by 2 desc limit 10",
                "my.Words | count by word | top 10 by _2",
            ),
            (
                "select _1 from counts group by _1 order by sum(_2) desc nulls last limit 10",
                "counts | sum _2 by _1 | top 10 by _2 | map _1",
            ),
            // Subqueries.
            ("select count(*) from (select distinct _1 from counts)", "counts | count by _1 | count"),
            (
                "select n, count(*) from (select _1, count(*) as n from counts group by _1) c where c.n > 1 group by n",
                "counts | count by _1 | filter _2 > 1 | count by _2",
            ),
            ("select * from (select _2 as a, _1 as b from counts) where a = 1", "counts | filter _2 = 1 | map _2, _1"),
        ] {
            assert_eq!(of(sql).as_deref(), Ok(text), "{sql}");
            assert!(is_read(text), "{text}");
        }
    }

    #[test]
    fn a_join_gives_columns_other_places() {
        for (sql, text) in [
            ("select * from counts a join counts b using (_1)", "counts | join counts by _1"),
            ("select * from counts a join counts b on a._1 = b._1", "counts | join counts by _1 | map _1, _2, _1, _3"),
            (
                "select b._1, a._2 from counts a inner join counts b on a._1 < b._1 and a._2 = b._2",
                "counts | join counts by _2 | filter _1 < _3 | map _3, _2",
            ),
            // A struct is one column.
            (
                "select w.length, sum(c._2) from `my.Words` w join counts c on c._1 = w.word where word <> 'a' group by length",
                "my.Words | join counts by word = _1 | filter _1.word != \"a\" | filter _1.word != null | sum _2 by _1.length",
            ),
            (
                "select _1, _2, length from counts join `my.Words` on _1 = word",
                "counts | join my.Words by _1 = word | map _1, _2, _3.length",
            ),
            ("select value from numbers join `my.Words` on value = length", "numbers | join my.Words by _1 = length | map _1"),
            ("select * from numbers a join numbers b using (value)", "numbers | join numbers by _1"),
            (
                "select n, a._2, b._2 from (select _1, count(*) n from counts group by _1) c join counts a on c._1 = a._1 \
                 join counts b on n = b._2",
                "counts | count by _1 | join counts by _1 | join counts by _2 | map _2, _3, _2",
            ),
        ] {
            assert_eq!(of(sql).as_deref(), Ok(text), "{sql}");
            assert!(is_read(text), "{text}");
        }
    }

    #[test]
    fn what_verbs_do_not_have_is_named_with_its_place_and_the_remedy() {
        for (sql, says) in [
            ("select max(_2) from counts", "max(_2) (line 1, column 8): verbs take columns, count(*) and sum(column)"),
            ("select _2 + 1 from counts", "_2 + 1 (line 1, column 8): verbs take columns"),
            ("select _3 from counts", "_3 (line 1, column 8): there is no such column; columns are _1, _2"),
            ("select *, _1 from counts", "name the columns; * stands alone"),
            ("select `two words` from `my.Words`", "two words: verbs cannot name this column"),
            ("select value from none", "none has no rows as of this batch, so its columns are not known; add it when they are"),
            (
                "select * from counts\nwhere _2 = 3 or _1 = 'a'",
                "(line 2, column 7): verbs have no OR; add a computation for each side",
            ),
            ("select * from counts where not _2 = 3", "a condition of verbs is a comparison of a column"),
            ("select * from counts where _1 like 'a%'", "a condition of verbs is a comparison of a column"),
            ("select * from counts where _1 = null", "no comparison with NULL is true; write IS NULL"),
            ("select * from counts where 1 = 1", "it compares no column; leave it out"),
            ("select * from counts where _2 > 18446744073709551616", "verbs have numbers of 64 bits"),
            ("select _1 from counts having _1 > 3", "HAVING is for groups; write WHERE"),
            ("select _2 from counts group by _1", "it is neither a key of the groups nor count(*) or sum(column)"),
            ("select count(*), sum(_2) from counts", "and count(*) is another one; add a computation for each"),
            ("select count(_2) from counts", "count(_2) (line 1, column 8): verbs have count(*) alone"),
            ("select count(distinct _2) from counts", "verbs have count(*) alone"),
            ("select sum(distinct _2) from counts", "without DISTINCT, FILTER and OVER"),
            ("select sum(_2) over () from counts", "without DISTINCT, FILTER and OVER"),
            ("select sum(_2 * 2) from counts", "_2 * 2 (line 1, column 12): verbs take columns"),
            ("select distinct _1, count(*) from counts group by _1", "DISTINCT: groups have different keys already"),
            ("select _1 from counts group by rollup (_1)", "verbs"),
            ("select * from counts order by _2 desc", "ORDER BY needs LIMIT"),
            ("select * from counts limit 3", "LIMIT 3: LIMIT needs ORDER BY column DESC"),
            ("select * from counts order by _2 limit 3", "verbs keep the largest; write DESC"),
            ("select * from counts order by _2 desc, _1 limit 3", "verbs order by one column; leave it out"),
            ("select * from counts order by _2 desc limit 3 offset 1", "LIMIT takes a number here, and no OFFSET"),
            ("select * from counts order by 3 desc limit 3", "SELECT has no column with this number"),
            ("select * from counts a, counts b", "write JOIN .. ON"),
            ("select * from counts a left join counts b on a._1 = b._1", "verbs have the inner join alone"),
            ("select * from counts a join counts b on a._1 < b._1", "one of a._1, a._2 and one of b._1, b._2"),
            ("select * from counts join counts on _1 = _2", "FROM has this name already; give it an alias"),
            ("select * from counts join none on _1 = _2", "none has no rows as of this batch"),
            ("select * from counts a join (select _1 from counts) b on a._1 = b._1", "add this by a name first, and read that"),
            ("select _1 from counts a join counts b on a._2 = b._2", "several columns are called so; write VIEW.column"),
            ("select * from nowhere", "nowhere (line 1, column 15): no view of the job is queryable by this name"),
            ("select 1", "SELECT without FROM; name a view of the job"),
            ("with c as (select 1) select * from c", "WITH: write the query where its name is"),
            ("select _1 from counts union all select _2 from counts", "`tidemill add` takes one SELECT"),
            ("select * from counts fetch first 3 rows only", "FETCH FIRST 3 ROWS ONLY: verbs do not have it; leave it out"),
            ("drop table counts", "`tidemill add` takes one SELECT"),
            ("selec 1 from counts", "selec"),
        ] {
            let said = of(sql).unwrap_err();
            assert!(said.contains(says), "{sql}: {said}");
        }
    }
}
