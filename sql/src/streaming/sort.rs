//! ORDER BY of a result, and the first rows of it or of a stream.

use std::cmp::Reverse;
use std::rc::Rc;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::row::SortField;
use datafusion::common::DFSchema;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, FetchType, Limit, LogicalPlan, SkipType, Sort, SortExpr};
use datafusion::physical_expr::PhysicalExpr;
use tidemill::prelude::{DStream, View};

use super::batches::{Batches, Source, each};
use super::changing::mapped;
use super::codec::{Codec, Row};
use super::explain::Kept;
use super::narrow::{Narrow, evaluate, physical};
use super::render::{Rendered, Renderer, Result, Windows, schema};

/// A row behind its place in the order. Rows at the same place are in the order of their values, so that a result does not depend on the
/// number of workers.
type Placed = (Row, Row);

/// How many rows an ORDER BY takes, perhaps below expressions that make one row of each.
fn fetched(plan: &LogicalPlan) -> Option<usize> {
    match plan {
        LogicalPlan::Sort(sort) => sort.fetch,
        LogicalPlan::Projection(projection) => fetched(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => fetched(&alias.input),
        _ => None,
    }
}

/// The plan with this LIMIT right above its ORDER BY.
fn lowered(plan: &LogicalPlan, limit: &Limit) -> LogicalPlan {
    match plan.clone() {
        LogicalPlan::Projection(mut projection) => {
            projection.input = Arc::new(lowered(&projection.input, limit));
            LogicalPlan::Projection(projection)
        }
        LogicalPlan::SubqueryAlias(mut alias) => {
            alias.input = Arc::new(lowered(&alias.input, limit));
            LogicalPlan::SubqueryAlias(alias)
        }
        sort => LogicalPlan::Limit(Limit { input: Arc::new(sort), ..limit.clone() }),
    }
}

impl<'s> Renderer<'_, 's> {
    pub(super) fn sort(&self, sort: &Sort) -> Result<Rendered<'s>> {
        self.ordered(sort, 0)
    }

    /// LIMIT and OFFSET of rows that an ORDER BY has put in order.
    pub(super) fn limit(&self, limit: &Limit) -> Result<Rendered<'s>> {
        let (SkipType::Literal(skip), FetchType::Literal(fetch)) = (limit.get_skip_type()?, limit.get_fetch_type()?) else {
            return self.refused("LIMIT of an expression", &["LIMIT"], "write a number");
        };
        match (fetch, fetched(&limit.input), limit.input.as_ref()) {
            (None, ..) => self.refused(
                "OFFSET without LIMIT",
                &["OFFSET"],
                "add LIMIT, or number the rows with row_number() and filter by the number",
            ),
            // The ORDER BY takes no more rows than LIMIT and OFFSET need: DataFusion's optimiser has told it.
            (Some(n), Some(taken), input) if taken <= skip.saturating_add(n) => match input {
                input if skip == 0 => self.node(input),
                LogicalPlan::Sort(sort) => self.ordered(sort, skip),
                input => self.node(&lowered(input, limit)),
            },
            _ => self.refused("LIMIT without ORDER BY", &["LIMIT"], "add ORDER BY, so that the query says which rows"),
        }
    }

    /// The rows of an ORDER BY without the first `skip` ones.
    fn ordered(&self, sort: &Sort, skip: usize) -> Result<Rendered<'s>> {
        let list = sort.expr.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let verb = match sort.fetch {
            Some(n) if skip > 0 => format!("top_by {n} of {list}, without the first {skip}"),
            Some(n) => format!("top_by {n} of {list}"),
            None => format!("sort_by {list}"),
        };
        let from = schema(&sort.input);
        let rows = match self.inner().render(&sort.input)? {
            // Final windows leave one by one, in no order. The other modes have all windows, and an order.
            rows if sort.fetch.is_none() && self.windows == Windows::Final && self.notes.borrow().has_watermark => {
                Rendered::Changing(self.viewed(rows, &sort.input)?.0, None)
            }
            rows => rows,
        };
        let order = Order::new(self.state, &sort.expr, sort.input.schema())?;
        let codec = Rc::new(Codec::new(&from)?);
        let placed = match (rows, sort.fetch) {
            (Rendered::Growing(source, narrow), fetch) if self.windows == Windows::Batch => {
                self.keeps(&verb, Kept::NOTHING);
                let placed = self.placed(&source, narrow, order, codec.clone());
                let rows = match fetch {
                    Some(n) => together(&placed, n).flat_map(move |((), mut rows)| {
                        first(&mut rows, n);
                        rows.into_iter().skip(skip)
                    }),
                    None => placed,
                };
                let rows = rows.sort_by(Placed::clone);
                let rows = Batches::encoded(&rows.map(|(_, row)| row), codec);
                return Ok(Rendered::Growing(Rc::new(rows), Narrow::default()));
            }
            (Rendered::Growing(source, narrow), Some(n)) => {
                self.keeps(&verb, Kept::of(&format!("the first {n} rows"), "LIMIT and OFFSET, not with the stream"));
                first_of_stream(&self.placed(&source, narrow, order, codec), n, skip)
            }
            (Rendered::Growing(..), None) => {
                return self.refused(
                    "ORDER BY of a stream",
                    &["ORDER", "BY"],
                    "a stream has no last row: add LIMIT, or aggregate first, and use mode Complete or Update",
                );
            }
            (Rendered::Changing(view, _), fetch) => {
                self.keeps(&verb, Kept::of("the rows of the result in order", "the rows of the result"));
                let placed = mapped(&self.asked(), &view, &from, move |batch, rows| {
                    Ok(order.keys(&batch)?.into_iter().zip(rows).map(Some).collect())
                })?;
                match fetch {
                    Some(n) => first_of_view(&placed, n, skip),
                    None => placed.sort_by(Placed::clone),
                }
            }
        };
        Ok(Rendered::Changing(placed.map(|(_, row)| row), self.part(&["ORDER", "BY"])))
    }

    /// The rows of a source, with their places in the order.
    fn placed(&self, source: &Rc<dyn Source<'s> + 's>, narrow: Narrow, order: Order, codec: Rc<Codec>) -> DStream<'s, Placed> {
        each(source, &self.asked(), move |batch: RecordBatch| {
            let batch = narrow.run(batch)?;
            let rows = codec.encode(batch.columns(), batch.num_rows())?;
            Ok(order.keys(&batch)?.into_iter().zip(rows).collect())
        })
    }
}

/// Keeps the first `n` rows, in order.
fn first(rows: &mut Vec<Placed>, n: usize) {
    rows.sort_unstable();
    rows.truncate(n);
}

/// The first `n` rows of each batch on one worker, and perhaps some more.
fn together<'s>(rows: &DStream<'s, Placed>, n: usize) -> DStream<'s, ((), Vec<Placed>)> {
    let some = move |mut a: Vec<Placed>, b: Vec<Placed>| {
        a.extend(b);
        // A few more may wait, so that most calls need not sort.
        if a.len() > n.saturating_mul(2).saturating_add(8) {
            first(&mut a, n);
        }
        a
    };
    rows.map(|placed| ((), vec![placed])).reduce_by_key(some)
}

/// The first `n` of all rows of a stream so far, without the first `skip` ones. No more than `n` rows are kept.
fn first_of_stream<'s>(rows: &DStream<'s, Placed>, n: usize, skip: usize) -> View<'s, Placed> {
    let exactly = move |mut all: Vec<Placed>, more: Vec<Placed>| {
        all.extend(more);
        first(&mut all, n);
        all
    };
    let kept = together(rows, n).fold_by_key(Vec::new(), exactly);
    kept.flat_map(move |((), rows): ((), Vec<Placed>)| rows.into_iter().skip(skip)).sort_by(Placed::clone)
}

/// The first `n` rows of a result, without the first `skip` ones.
fn first_of_view<'s>(rows: &View<'s, Placed>, n: usize, skip: usize) -> View<'s, Placed> {
    let first = rows.top_by(n, |placed| Reverse(placed.clone()));
    if skip == 0 {
        return first;
    }
    let together = first.map(|placed| ((), vec![placed])).reduce_by_key(|mut a, b| {
        a.extend(b);
        a
    });
    let others = together.flat_map(move |((), mut rows): ((), Vec<Placed>)| {
        rows.sort_unstable();
        rows.into_iter().skip(skip)
    });
    others.sort_by(Placed::clone)
}

/// The expressions of an ORDER BY.
pub(super) struct Order {
    expressions: Vec<Arc<dyn PhysicalExpr>>,
    codec: Codec,
}

impl Order {
    pub(super) fn new(state: &SessionState, sort: &[SortExpr], input: &DFSchema) -> Result<Self> {
        let expressions: Vec<Expr> = sort.iter().map(|s| s.expr.clone()).collect();
        let expressions = physical(state, &expressions, input)?;
        let kinds = expressions.iter().map(|e| e.data_type(input.as_arrow())).collect::<Result<Vec<DataType>>>()?;
        let fields: Vec<Field> = kinds.iter().map(|kind| Field::new("key", kind.clone(), true)).collect();
        let options = sort.iter().map(|s| SortOptions { descending: !s.asc, nulls_first: s.nulls_first });
        let sorted = kinds.into_iter().zip(options).map(|(kind, options)| SortField::new_with_options(kind, options)).collect();
        Ok(Order { expressions, codec: Codec::sorted(&Arc::new(Schema::new(fields)), sorted)? })
    }

    pub(super) fn keys(&self, batch: &RecordBatch) -> Result<Vec<Row>> {
        Ok(self.codec.encode(&evaluate(&self.expressions, batch)?, batch.num_rows())?)
    }
}
