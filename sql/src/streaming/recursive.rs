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
use tidemill::prelude::{LoopView, View};

use super::codec::{Codec, Row};
use super::explain::Kept;
use super::join::{JoinKey, Rows, keys};
use super::narrow::{Narrow, with_columns};
use super::render::{Rendered, Renderer, Result, schema};

/// Whether a scan has the rows of the previous round of a recursive query.
pub(super) fn is_work_table(scan: &TableScan) -> bool {
    source_as_provider(&scan.source).is_ok_and(|provider| provider.downcast_ref::<CteWorkTable>().is_some())
}

/// A function of one row.
type OfRow<U> = Rc<dyn Fn(Row) -> U>;

/// What a loop makes of the rows of a round.
enum Step<'s> {
    /// The rows of the round.
    Work,
    /// Rows that are the same in each round.
    Rows(View<'s, Row>),
    Each(Box<Step<'s>>, OfRow<Option<Row>>),
    Join([Box<Step<'s>>; 2], [OfRow<JoinKey>; 2], Rc<dyn Fn(Row, Row) -> Row>),
    Union(Vec<Step<'s>>),
    Distinct(Box<Step<'s>>),
}

impl<'s> Step<'s> {
    fn of<'i>(&self, work: &LoopView<'i, Row>) -> LoopView<'i, Row> {
        match self {
            Step::Work => work.clone(),
            Step::Rows(view) => work.enter(view),
            Step::Each(input, f) => {
                let f = f.clone();
                input.of(work).flat_map(move |row| f(row))
            }
            Step::Join([left, right], [left_key, right_key], pair) => {
                let keyed = |side: &Step<'s>, key: &OfRow<JoinKey>| {
                    let key = key.clone();
                    side.of(work).map(move |row: Row| (key(row.clone()), row))
                };
                let pair = pair.clone();
                keyed(left, left_key).join(&keyed(right, right_key)).map(move |(_, (l, r))| pair(l, r))
            }
            Step::Union(inputs) => {
                let all = inputs.iter().map(|input| input.of(work)).reduce(|a, b| a.union(&b));
                all.expect("a union has inputs")
            }
            Step::Distinct(input) => input.of(work).distinct(),
        }
    }
}

impl<'s> Renderer<'_, 's> {
    pub(super) fn recursive(&self, recursive: &RecursiveQuery) -> Result<Rendered<'s>> {
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
        let (once, entered) = (recursive.is_distinct, base.clone());
        let rows = base.iterate(move |work| {
            let all = work.enter(&entered).union(&step.of(work));
            if once { all.distinct() } else { all }
        });
        // A loop does not know whether a row that has come stays.
        Ok(Rendered::Changing(rows, self.part(&["RECURSIVE"])))
    }

    fn is_work(&self, node: &LogicalPlan, name: &str) -> bool {
        matches!(node, LogicalPlan::TableScan(scan) if scan.table_name.table() == name && is_work_table(scan))
    }

    /// The recursive part of a query, of verbs that a loop has.
    fn step(&self, plan: &LogicalPlan, name: &str) -> Result<Step<'s>> {
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
                Step::Union(inputs.collect::<Result<_>>()?)
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

    fn joined_step(&self, join: &Join, name: &str) -> Result<Step<'s>> {
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

    fn row_key(&self, plan: &LogicalPlan, on: &[Expr], side: (u8, datafusion::common::NullEquality)) -> Result<OfRow<JoinKey>> {
        let (codec, key) = (Codec::new(&schema(plan))?, keys(self.state, plan, on, side)?);
        self.of_row(codec, move |batch, _| Ok(key(&batch)?.into_iter().next()), |key| key.expect("a row has a key"))
    }

    /// A function of a row as columns.
    fn of_row<U: 'static, V: 'static>(
        &self,
        codec: Codec,
        f: impl Fn(RecordBatch, &Row) -> Result<U> + 'static,
        made: impl Fn(U) -> V + 'static,
    ) -> Result<OfRow<V>> {
        let query = self.query.to_owned();
        Ok(Rc::new(move |row| {
            let batch = codec.decode(std::iter::once(&row));
            let result = batch.map_err(Into::into).and_then(|batch| f(batch, &row));
            made(result.unwrap_or_else(|e: datafusion::error::DataFusionError| panic!("{query}: {}", e.strip_backtrace())))
        }))
    }

    fn each(&self, input: Step<'s>, from: &Arc<Schema>, narrow: Narrow, to: &Arc<Schema>) -> Result<Step<'s>> {
        let (encode, to) = (Codec::new(to)?, to.clone());
        let step = move |batch: RecordBatch, _: &Row| {
            let batch = narrow.run(batch)?;
            let batch = with_columns(&to, batch.columns().to_vec(), batch.num_rows())?;
            Ok(encode.encode(batch.columns(), batch.num_rows())?.into_iter().next())
        };
        Ok(Step::Each(Box::new(input), self.of_row(Codec::new(from)?, step, |row| row)?))
    }

    /// The rows for which a condition holds.
    fn kept(&self, input: Step<'s>, condition: &Expr, plan: &LogicalPlan) -> Result<Step<'s>> {
        let condition = self.state.create_physical_expr(condition.clone(), plan.schema())?;
        let step = move |batch: RecordBatch, row: &Row| {
            let keep = condition.evaluate(&batch)?.into_array(1)?;
            Ok(keep.as_boolean().iter().next().flatten().unwrap_or(false).then(|| row.clone()))
        };
        Ok(Step::Each(Box::new(input), self.of_row(Codec::new(&schema(plan))?, step, |row| row)?))
    }
}
