//! A logical plan as verbs of streams and views.
//!
//! A scan, conditions and expressions are steps over the record batches of a stream. An aggregate folds what they give by key, and all above it
//! are verbs of a view. Nothing runs here that DataFusion keeps: it evaluates expressions, and state is the library's.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::{SortOptions, nullif};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::row::SortField;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, JoinType};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Aggregate, Expr, FetchType, Join, LogicalPlan, SkipType, Sort, SortExpr};
use datafusion::physical_expr::PhysicalExpr;
use tidemill::prelude::{DStream, View};

use super::accumulator::{Accumulator, Part, function};
use super::changing::mapped;
use super::codec::{Codec, Row};
use super::join::joined;
use super::narrow::{Narrow, evaluate, physical, with_columns};
use super::static_join::static_join;
use super::tables::{Encoded, Source, Streams};
use super::unnest::unnested;
use crate::session::TableSession;

type Result<T> = std::result::Result<T, DataFusionError>;

/// The rows of a plan.
pub(crate) enum Rendered<'s> {
    /// Rows that only grow: a stream's, after some steps.
    Growing(Rc<dyn Source<'s> + 's>, Narrow),
    /// A result that is kept up to date.
    Changing(View<'s, Row>),
}

/// Renders the plans of one query.
pub(crate) struct Renderer<'a, 's> {
    pub query: &'a str,
    pub session: &'a TableSession,
    pub state: &'a SessionState,
    pub streams: &'a Streams<'s>,
}

fn refused<T>(part: &str, remedy: &str) -> Result<T> {
    Err(DataFusionError::Plan(format!("{part} cannot be kept up to date over a stream; {remedy}")))
}

fn schema(plan: &LogicalPlan) -> Arc<Schema> {
    plan.schema().inner().clone()
}

impl<'s> Renderer<'_, 's> {
    pub fn render(&self, plan: &LogicalPlan) -> Result<Rendered<'s>> {
        match plan {
            LogicalPlan::TableScan(scan) => {
                let name = scan.table_name.table();
                let Some(source) = self.streams.get(name) else {
                    return refused(
                        &format!("the table {name}, which is no stream,"),
                        "register a stream, or ask the session for it",
                    );
                };
                if scan.fetch.is_some() {
                    return refused("a LIMIT of a stream", "add ORDER BY, so that it says which rows");
                }
                let mut narrow = Narrow::default();
                if let Some(places) = &scan.projection {
                    narrow = narrow.columns(places);
                }
                let mut rendered = Rendered::Growing(source.clone(), narrow.named(scan.projected_schema.inner()));
                for filter in &scan.filters {
                    rendered = self.filter(rendered, filter, &scan.projected_schema)?;
                }
                Ok(rendered)
            }
            LogicalPlan::SubqueryAlias(alias) => self.render(&alias.input),
            LogicalPlan::Filter(filter) => self.filter(self.render(&filter.input)?, &filter.predicate, filter.input.schema()),
            LogicalPlan::Projection(projection) => {
                let (input, output) = (projection.input.schema(), projection.schema.inner());
                let narrow = Narrow::default().project(self.state, &projection.expr, input, output)?;
                self.stepped(self.render(&projection.input)?, narrow, &schema(&projection.input), output)
            }
            LogicalPlan::Unnest(unnest) => match self.render(&unnest.input)? {
                Rendered::Growing(source, narrow) => Ok(Rendered::Growing(source, narrow.batch(unnested(unnest)?))),
                Rendered::Changing(_) => refused("explode of a result that changes", "explode the rows of the stream"),
            },
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Sort(sort) => self.sort(sort),
            LogicalPlan::Limit(limit) => match (limit.get_skip_type()?, limit.get_fetch_type()?, limit.input.as_ref()) {
                (SkipType::Literal(0), FetchType::Literal(Some(n)), LogicalPlan::Sort(sort)) if sort.fetch == Some(n) => {
                    self.render(&limit.input)
                }
                _ => refused("LIMIT without ORDER BY, and OFFSET,", "add ORDER BY, so that the query says which rows"),
            },
            LogicalPlan::Union(union) => {
                let output = union.schema.inner();
                let codec = Rc::new(Codec::new(output)?);
                let mut both = None;
                for input in &union.inputs {
                    let Rendered::Growing(source, narrow) = self.render(input)? else {
                        return refused("UNION of a result that changes", "aggregate after the union");
                    };
                    let rows = self.rows(&source, narrow.named(output), &codec);
                    both = Some(match both {
                        None => rows,
                        Some(others) => rows.union(&others),
                    });
                }
                let stream = both.expect("a union has inputs");
                Ok(Rendered::Growing(Rc::new(Encoded { stream, codec }), Narrow::default()))
            }
            other => {
                let node = other.display().to_string();
                let name = node.split([':', ' ', '(']).next().unwrap_or_default();
                refused(name, "this version renders SELECT with WHERE, GROUP BY, HAVING, UNION ALL, DISTINCT, ORDER BY and LIMIT")
            }
        }
    }

    /// Rows of a stream as bytes.
    pub fn rows(&self, source: &Rc<dyn Source<'s> + 's>, narrow: Narrow, codec: &Rc<Codec>) -> DStream<'s, Row> {
        let codec = codec.clone();
        source.rows(
            self.query,
            Rc::new(move |batch| {
                let batch = narrow.run(batch)?;
                Ok(codec.encode(batch.columns(), batch.num_rows())?)
            }),
        )
    }

    fn filter(&self, input: Rendered<'s>, condition: &Expr, schema: &DFSchema) -> Result<Rendered<'s>> {
        match input {
            Rendered::Growing(source, narrow) => Ok(Rendered::Growing(source, narrow.filter(self.state, condition, schema)?)),
            Rendered::Changing(view) => {
                let condition = self.state.create_physical_expr(condition.clone(), schema)?;
                let kept = mapped(self.query, &view, schema.inner(), move |batch, rows| {
                    let keep = condition.evaluate(&batch)?.into_array(batch.num_rows())?;
                    let kept = rows.into_iter().zip(keep.as_boolean());
                    Ok(kept.map(|(row, keep)| (keep == Some(true)).then_some(row)).collect())
                })?;
                Ok(Rendered::Changing(kept))
            }
        }
    }

    /// A result after expressions that make one row of each.
    fn stepped(&self, input: Rendered<'s>, step: Narrow, from: &Arc<Schema>, to: &Arc<Schema>) -> Result<Rendered<'s>> {
        match input {
            Rendered::Growing(source, narrow) => Ok(Rendered::Growing(source, narrow.then(step))),
            Rendered::Changing(view) => {
                let encode = Codec::new(to)?;
                let results = mapped(self.query, &view, from, move |batch, _| {
                    let batch = step.run(batch)?;
                    Ok(encode.encode(batch.columns(), batch.num_rows())?.into_iter().map(Some).collect())
                })?;
                Ok(Rendered::Changing(results))
            }
        }
    }

    fn aggregate(&self, aggregate: &Aggregate) -> Result<Rendered<'s>> {
        if let Some(set) = aggregate.group_expr.iter().find(|e| matches!(e, Expr::GroupingSet(_))) {
            return refused(&set.to_string(), "write one query for each grouping");
        }
        let groups = Rc::new(Groups::new(self.state, aggregate)?);
        let merge = |a: Vec<Part>, b: Vec<Part>| a.into_iter().zip(b).map(|(a, b)| a.merge(b)).collect::<Vec<_>>();
        let by_key = match self.render(&aggregate.input)? {
            Rendered::Growing(source, narrow) => {
                let of = groups.clone();
                let parts = source.parts(self.query, Rc::new(move |batch| of.parts(&narrow.run(batch)?)));
                // The state of a group is one contribution, whatever has come so far.
                parts
                    .reduce_by_key(merge)
                    .fold_by_key(Vec::new(), move |old, new| if old.is_empty() { new } else { merge(old, new) })
            }
            Rendered::Changing(view) => {
                let of = groups.clone();
                let parts = move |batch, _| Ok(of.each(&batch)?.into_iter().map(Some).collect());
                let pairs = mapped(self.query, &view, &schema(&aggregate.input), parts)?;
                // Rows may leave, so a group is computed again from those that it has.
                pairs.reduce_by_key(merge)
            }
        };
        let (codec, query) = (Codec::new(aggregate.schema.inner())?, self.query.to_owned());
        let results = by_key.map_vectorized(move |rows: Vec<(Row, Vec<Part>)>| {
            let results = groups.results(&rows).and_then(|batch| Ok(codec.encode(batch.columns(), batch.num_rows())?));
            results.unwrap_or_else(|e| panic!("{query}: {}", e.strip_backtrace())).into_iter().map(Some).collect()
        });
        Ok(Rendered::Changing(results))
    }

    fn join(&self, join: &Join) -> Result<Rendered<'s>> {
        let (left, right) = (self.streams_in(&join.left)?, self.streams_in(&join.right)?);
        if left != right {
            return self.static_join(join, left);
        }
        if join.null_aware {
            return refused("NOT IN", "use NOT EXISTS, which takes a null for a value that is not there");
        }
        if join.on.is_empty() {
            return refused("a join without equal columns", "join by a column that both have: ON a.id = b.id");
        }
        if join.filter.is_some() && join.join_type != JoinType::Inner {
            let text = format!("a {} join with a condition beside its equal columns", join.join_type);
            return refused(&text, "put the condition into a query of that side");
        }
        let rows = |plan: &LogicalPlan| -> Result<View<'s, Row>> {
            Ok(match self.render(plan)? {
                Rendered::Changing(view) => view,
                Rendered::Growing(source, narrow) => {
                    self.rows(&source, narrow, &Rc::new(Codec::new(&schema(plan))?)).accumulate()
                }
            })
        };
        let joined = Rendered::Changing(joined(self.query, self.state, join, &rows(&join.left)?, &rows(&join.right)?)?);
        match &join.filter {
            Some(condition) => self.filter(joined, condition, &join.schema),
            None => Ok(joined),
        }
    }

    /// A stream with a static table: DataFusion joins each record batch.
    fn static_join(&self, join: &Join, stream_is_left: bool) -> Result<Rendered<'s>> {
        let kept = match join.join_type {
            JoinType::Inner => true,
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti => stream_is_left,
            JoinType::Right | JoinType::RightSemi | JoinType::RightAnti => !stream_is_left,
            _ => false,
        };
        if !kept {
            let text = format!("a {} join that keeps rows of a static table", join.join_type);
            return refused(&text, "which of them never match is known only when the stream ends; keep the rows of the stream");
        }
        let side = if stream_is_left { &join.left } else { &join.right };
        let Rendered::Growing(source, narrow) = self.render(side)? else {
            return refused("a join of a static table with a result that changes", "join the stream first, and aggregate then");
        };
        let step = static_join(self.session, join, stream_is_left)?;
        Ok(Rendered::Growing(source, narrow.batch(Rc::new(step))))
    }

    /// Whether a plan reads a stream.
    fn streams_in(&self, plan: &LogicalPlan) -> Result<bool> {
        plan.exists(|node| Ok(matches!(node, LogicalPlan::TableScan(scan) if self.streams.contains_key(scan.table_name.table()))))
    }

    fn sort(&self, sort: &Sort) -> Result<Rendered<'s>> {
        let Rendered::Changing(view) = self.render(&sort.input)? else {
            return refused("ORDER BY of a stream", "a stream has no last row: aggregate first, or add LIMIT to a result");
        };
        let order = Order::new(self.state, &sort.expr, sort.input.schema())?;
        let keyed = mapped(self.query, &view, &schema(&sort.input), move |batch, rows| {
            Ok(order.keys(&batch)?.into_iter().zip(rows).map(Some).collect())
        })?;
        let ordered = match sort.fetch {
            // Rows with equal keys are taken in the order of their values, so that the result does not depend on the number of workers.
            Some(n) => keyed.top_by(n, |pair: &(Row, Row)| Reverse(pair.clone())),
            None => keyed.sort_by(|pair: &(Row, Row)| pair.clone()),
        };
        Ok(Rendered::Changing(ordered.map(|(_, row)| row)))
    }
}

/// The expressions of an ORDER BY.
struct Order {
    expressions: Vec<Arc<dyn PhysicalExpr>>,
    codec: Codec,
}

impl Order {
    fn new(state: &SessionState, sort: &[SortExpr], input: &DFSchema) -> Result<Self> {
        let expressions: Vec<Expr> = sort.iter().map(|s| s.expr.clone()).collect();
        let expressions = physical(state, &expressions, input)?;
        let kinds = expressions.iter().map(|e| e.data_type(input.as_arrow())).collect::<Result<Vec<DataType>>>()?;
        let fields: Vec<Field> = kinds.iter().map(|kind| Field::new("key", kind.clone(), true)).collect();
        let options = sort.iter().map(|s| SortOptions { descending: !s.asc, nulls_first: s.nulls_first });
        let sorted = kinds.into_iter().zip(options).map(|(kind, options)| SortField::new_with_options(kind, options)).collect();
        Ok(Order { expressions, codec: Codec::sorted(&Arc::new(Schema::new(fields)), sorted)? })
    }

    fn keys(&self, batch: &RecordBatch) -> Result<Vec<Row>> {
        Ok(self.codec.encode(&evaluate(&self.expressions, batch)?, batch.num_rows())?)
    }
}

/// The keys and aggregates of a GROUP BY.
struct Groups {
    keys: Vec<Arc<dyn PhysicalExpr>>,
    codec: Codec,
    aggregates: Vec<Call>,
    output: Arc<Schema>,
}

/// An aggregate over an argument, of the rows that its FILTER leaves.
struct Call {
    argument: Arc<dyn PhysicalExpr>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    accumulator: Accumulator,
}

impl Groups {
    fn new(state: &SessionState, aggregate: &Aggregate) -> Result<Self> {
        let (input, output) = (aggregate.input.schema(), aggregate.schema.inner());
        let keys = physical(state, &aggregate.group_expr, input)?;
        let key_fields = output.fields()[..keys.len()].to_vec();
        let codec = Codec::new(&Arc::new(Schema::new(key_fields)))?;
        let mut aggregates = Vec::new();
        for (expr, field) in aggregate.aggr_expr.iter().zip(&output.fields()[keys.len()..]) {
            let function = function(expr)?;
            let [argument] = function.params.args.as_slice() else {
                return refused(&expr.schema_name().to_string(), "give the aggregate one argument");
            };
            let argument = state.create_physical_expr(argument.clone(), input)?;
            let filter =
                function.params.filter.as_ref().map(|f| state.create_physical_expr(f.as_ref().clone(), input)).transpose()?;
            let accumulator = Accumulator::of(expr, argument.data_type(input.as_arrow())?, field)?;
            aggregates.push(Call { argument, filter, accumulator });
        }
        Ok(Groups { keys, codec, aggregates, output: output.clone() })
    }

    /// What the rows of a record batch contribute, by key.
    fn parts(&self, batch: &RecordBatch) -> Result<Vec<(Row, Vec<Part>)>> {
        let encoded = self.codec.encode(&evaluate(&self.keys, batch)?, batch.num_rows())?;
        let mut numbers: HashMap<&Row, usize> = HashMap::new();
        let mut keys: Vec<&Row> = Vec::new();
        let groups: Vec<usize> = encoded
            .iter()
            .map(|key| {
                *numbers.entry(key).or_insert_with(|| {
                    keys.push(key);
                    keys.len() - 1
                })
            })
            .collect();
        self.contributions(batch, &groups, keys.into_iter().cloned().collect())
    }

    /// What each row contributes by itself.
    fn each(&self, batch: &RecordBatch) -> Result<Vec<(Row, Vec<Part>)>> {
        let keys = self.codec.encode(&evaluate(&self.keys, batch)?, batch.num_rows())?;
        self.contributions(batch, &(0..keys.len()).collect::<Vec<_>>(), keys)
    }

    fn contributions(&self, batch: &RecordBatch, groups: &[usize], keys: Vec<Row>) -> Result<Vec<(Row, Vec<Part>)>> {
        let mut parts: Vec<(Row, Vec<Part>)> =
            keys.into_iter().map(|key| (key, Vec::with_capacity(self.aggregates.len()))).collect();
        for Call { argument, filter, accumulator } in &self.aggregates {
            let mut values: ArrayRef = argument.evaluate(batch)?.into_array(batch.num_rows())?;
            if let Some(filter) = filter {
                let keep = filter.evaluate(batch)?.into_array(batch.num_rows())?;
                // What the filter leaves out is null, and no aggregate takes a null.
                let drop = keep.as_boolean().iter().map(|keep| Some(keep != Some(true))).collect();
                values = nullif(&values, &drop)?;
            }
            let contributed = accumulator.parts(&values, groups, parts.len())?;
            for ((_, list), part) in parts.iter_mut().zip(contributed) {
                list.push(part);
            }
        }
        Ok(parts)
    }

    /// The rows of groups: their keys and results.
    fn results(&self, groups: &[(Row, Vec<Part>)]) -> Result<RecordBatch> {
        let mut columns =
            self.codec.decode(groups.iter().map(|(key, _)| key).collect::<Vec<_>>().into_iter())?.columns().to_vec();
        for (i, call) in self.aggregates.iter().enumerate() {
            columns.push(call.accumulator.results(groups.iter().map(|(_, parts)| &parts[i]).collect::<Vec<_>>().into_iter())?);
        }
        with_columns(&self.output, columns, groups.len())
    }
}
