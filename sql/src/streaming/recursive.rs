//! WITH RECURSIVE: a loop over the rows that the recursive term makes of those before.

use std::rc::Rc;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Schema;
use datafusion::common::JoinType;
use datafusion::common::tree_node::TreeNode;
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Distinct, Expr, Join, LogicalPlan, RecursiveQuery, TableScan};
use tidemill::prelude::{BoxError, Key, LoopView, View};

use super::bad_rows::attempt;
use super::codec::{Codec, Row};
use super::explain::Kept;
use super::join::{JoinKey, Rows, keys};
use super::narrow::{Narrow, with_columns};
use super::render::{Rendered, Renderer, Result as Planned, schema};
use crate::overflow;

/// Whether a scan has the rows of the previous round of a recursive query.
pub(super) fn is_work_table(scan: &TableScan) -> bool {
    source_as_provider(&scan.source).is_ok_and(|provider| provider.downcast_ref::<CteWorkTable>().is_some())
}

/// A function of one row, or why it cannot be computed.
type OfRow<U> = Rc<dyn Fn(Row) -> Result<U, String>>;

/// The results of a function of one row. The reasons of bad rows are added to `bad`.
fn tried<'i, U: Key>(
    rows: &LoopView<'i, Row>,
    f: impl Fn(Row) -> Result<Option<U>, String> + 'static,
    bad: &mut Vec<LoopView<'i, String>>,
) -> LoopView<'i, U> {
    let all = rows.flat_map(move |row| f(row).transpose());
    bad.push(all.flat_map(Result::err));
    all.flat_map(Result::ok)
}

/// What a loop makes of the rows of a round.
enum Step<'s> {
    /// The rows of the round.
    Work,
    /// Rows that are the same in each round.
    Rows(View<'s, Row>),
    Each(Box<Step<'s>>, OfRow<Option<Row>>),
    Join([Box<Step<'s>>; 2], [OfRow<Option<JoinKey>>; 2], Rc<dyn Fn(Row, Row) -> Row>),
    Union(Vec<Step<'s>>),
    Distinct(Box<Step<'s>>),
}

impl<'s> Step<'s> {
    fn of<'i>(&self, work: &LoopView<'i, Row>, bad: &mut Vec<LoopView<'i, String>>) -> LoopView<'i, Row> {
        match self {
            Step::Work => work.clone(),
            Step::Rows(view) => work.enter(view),
            Step::Each(input, f) => {
                let f = f.clone();
                tried(&input.of(work, bad), move |row| f(row), bad)
            }
            Step::Join([left, right], [left_key, right_key], pair) => {
                let mut keyed = |side: &Step<'s>, key: &OfRow<Option<JoinKey>>| {
                    let key = key.clone();
                    let keyed = move |row: Row| key(row.clone()).map(|key| Some((key?, row)));
                    tried(&side.of(work, bad), keyed, bad)
                };
                let (left, right, pair) = (keyed(left, left_key), keyed(right, right_key), pair.clone());
                left.join(&right).map(move |(_, (l, r))| pair(l, r))
            }
            Step::Union(inputs) => {
                let all = inputs.iter().map(|input| input.of(work, bad)).reduce(|a, b| a.union(&b));
                all.expect("a union has inputs")
            }
            Step::Distinct(input) => input.of(work, bad).distinct(),
        }
    }
}

impl<'s> Renderer<'_, 's> {
    pub(super) fn recursive(&self, recursive: &RecursiveQuery) -> Planned<Rendered<'s>> {
        let (name, term) = (recursive.name.as_str(), recursive.recursive_term.as_ref());
        let mut uses = 0;
        term.apply_with_subqueries(|node| {
            uses += usize::from(self.is_work(node, name));
            Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
        })?;
        if uses != 1 {
            return self.refused(
                &format!("the query {name}, whose recursive part names it {uses} times,"),
                &["RECURSIVE"],
                "name it once: SQL gives that part only the rows of the previous round",
            );
        }
        let base = self.as_view(&recursive.static_term)?.0;
        let step = self.step(term, name)?;
        self.keeps(
            &format!("recursive {name}"),
            Kept::of(
                "the rows of each round, and all rows of both sides of its joins",
                "the rows of all rounds; not in checkpoints",
            ),
        );
        // Reasons of bad rows leave the loop beside its rows.
        let (once, base) = (recursive.is_distinct, base.map(Ok::<Row, String>));
        let entered = base.clone();
        let tried = base.iterate(move |work| {
            let mut bad = Vec::new();
            let rows = step.of(&work.flat_map(Result::ok), &mut bad).map(Ok::<Row, String>);
            let rows = bad.into_iter().fold(rows, |all, bad| all.union(&bad.map(Err::<Row, String>)));
            let all = work.enter(&entered).union(&rows);
            if once { all.distinct() } else { all }
        });
        let good = |rows: Vec<Result<Row, String>>| rows.into_iter().map(|row| Some(row.map_err(BoxError::from))).collect();
        let (rows, errors) = tried.try_map_vectorized(good);
        self.errors.borrow_mut().push(errors);
        // A loop does not know whether a row that has come stays.
        Ok(Rendered::Changing(rows, self.part(&["RECURSIVE"])))
    }

    fn is_work(&self, node: &LogicalPlan, name: &str) -> bool {
        matches!(node, LogicalPlan::TableScan(scan) if scan.table_name.table() == name && is_work_table(scan))
    }

    /// The recursive part of a query, of verbs that a loop has.
    fn step(&self, plan: &LogicalPlan, name: &str) -> Planned<Step<'s>> {
        if !plan.exists(|node| Ok(self.is_work(node, name)))? {
            return Ok(Step::Rows(self.as_view(plan)?.0));
        }
        Ok(match plan {
            LogicalPlan::TableScan(scan) => {
                let mut rows = Step::Work;
                if let Some(places) = &scan.projection {
                    let from = scan.source.schema();
                    rows = self.each(rows, &from, Narrow::default().columns(places), scan.projected_schema.inner())?;
                }
                for filter in &scan.filters {
                    rows = self.kept(rows, filter, plan)?;
                }
                rows
            }
            LogicalPlan::SubqueryAlias(alias) => self.step(&alias.input, name)?,
            LogicalPlan::Filter(filter) => {
                let input = self.step(&filter.input, name)?;
                self.kept(input, &filter.predicate, &filter.input)?
            }
            LogicalPlan::Projection(projection) => {
                let input = self.step(&projection.input, name)?;
                let output = projection.schema.inner();
                let narrow = Narrow::default().project(self.state, &projection.expr, projection.input.schema(), output)?;
                self.each(input, &schema(&projection.input), narrow, output)?
            }
            LogicalPlan::Union(union) => {
                let inputs = union.inputs.iter().map(|input| self.step(input, name));
                Step::Union(inputs.collect::<Planned<_>>()?)
            }
            LogicalPlan::Distinct(Distinct::All(input)) => Step::Distinct(Box::new(self.step(input, name)?)),
            LogicalPlan::Aggregate(aggregate) if aggregate.aggr_expr.is_empty() => {
                let input = self.step(&aggregate.input, name)?;
                let output = aggregate.schema.inner();
                let narrow = Narrow::default().project(self.state, &aggregate.group_expr, aggregate.input.schema(), output)?;
                Step::Distinct(Box::new(self.each(input, &schema(&aggregate.input), narrow, output)?))
            }
            LogicalPlan::Join(join) if join.join_type == JoinType::Inner => {
                let joined = self.joined_step(join, name)?;
                match &join.filter {
                    Some(condition) => self.kept(joined, condition, plan)?,
                    None => joined,
                }
            }
            other => {
                let node = other.display().to_string();
                let node = node.split([':', '(']).next().unwrap_or_default();
                return self.refused(
                    &format!("{node} in the recursive part of {name}"),
                    &["RECURSIVE"],
                    "write that part with SELECT, WHERE, inner JOIN, UNION and DISTINCT, and the rest behind it",
                );
            }
        })
    }

    fn joined_step(&self, join: &Join, name: &str) -> Planned<Step<'s>> {
        let (lefts, rights): (Vec<Expr>, Vec<Expr>) = join.on.iter().cloned().unzip();
        let left = self.row_key(&join.left, &lefts, (1, join.null_equality))?;
        let right = self.row_key(&join.right, &rights, (2, join.null_equality))?;
        let rows = Rows::new(join, self.query)?;
        let pair = move |l: Row, r: Row| {
            let made = rows.rows(&[(Some(l), Some(r))]).unwrap_or_else(|e| panic!("{}: {}", rows.query, e.strip_backtrace()));
            made.into_iter().next().expect("a pair is a row")
        };
        let sides = [Box::new(self.step(&join.left, name)?), Box::new(self.step(&join.right, name)?)];
        Ok(Step::Join(sides, [left, right], Rc::new(pair)))
    }

    fn row_key(
        &self,
        plan: &LogicalPlan,
        on: &[Expr],
        side: (u8, datafusion::common::NullEquality),
    ) -> Planned<OfRow<Option<JoinKey>>> {
        let (codec, key) = (Codec::new(&schema(plan))?, keys(self.state, plan, on, side)?);
        Ok(self.of_row(codec, move |batch, _| Ok(key(&batch)?.into_iter().next())))
    }

    /// A function of a row as columns, with at most one result.
    fn of_row<U: 'static>(
        &self,
        codec: Codec,
        f: impl Fn(RecordBatch, &Row) -> Planned<Option<U>> + 'static,
    ) -> OfRow<Option<U>> {
        let query = self.query.to_owned();
        Rc::new(move |row| {
            let batch = codec.decode(std::iter::once(&row)).unwrap_or_else(|e| panic!("{query}: {e}"));
            let results = attempt(&query, &|batch: RecordBatch| Ok(f(batch, &row)?.into_iter().collect()), batch);
            results.into_iter().next().transpose()
        })
    }

    fn each(&self, input: Step<'s>, from: &Arc<Schema>, narrow: Narrow, to: &Arc<Schema>) -> Planned<Step<'s>> {
        let (encode, to) = (Codec::new(to)?, to.clone());
        let step = move |batch: RecordBatch, _: &Row| {
            let batch = narrow.run(batch)?;
            let batch = with_columns(&to, batch.columns().to_vec(), batch.num_rows())?;
            Ok(encode.encode(batch.columns(), batch.num_rows())?.into_iter().next())
        };
        Ok(Step::Each(Box::new(input), self.of_row(Codec::new(from)?, step)))
    }

    /// The rows for which a condition holds.
    fn kept(&self, input: Step<'s>, condition: &Expr, plan: &LogicalPlan) -> Planned<Step<'s>> {
        let condition = overflow::physical(self.state, condition.clone(), plan.schema())?;
        let step = move |batch: RecordBatch, row: &Row| {
            let keep = condition.evaluate(&batch)?.into_array(1)?;
            Ok(keep.as_boolean().iter().next().flatten().unwrap_or(false).then(|| row.clone()))
        };
        Ok(Step::Each(Box::new(input), self.of_row(Codec::new(&schema(plan))?, step)))
    }
}
