//! A logical plan as verbs of streams and views.
//!
//! A scan, conditions and expressions are steps over the record batches of a stream. An aggregate folds what they give by key, and all above it
//! are verbs of a view. Nothing runs here that DataFusion keeps: it evaluates expressions, and state is the library's. Each other node has a
//! file of its own, with what it keeps.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Schema;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::logical_plan::builder::UNNAMED_TABLE;
use datafusion::logical_expr::{Expr, LogicalPlan};
use tidemill::prelude::{BadRecord, DStream, StreamingContext, View};

use super::batches::{Asked, Batches, Late, Source, each};
use super::changing::mapped;
use super::codec::{Codec, Row};
use super::explain::{Kept, Notes};
use super::identity::{identity, known};
use super::narrow::Narrow;
use super::place::place;
use super::recursive::is_work_table;
use super::tables::{Streams, Table, Watermarks};
use super::unnest::unnested;
use crate::overflow;
use crate::session::TableSession;

pub(super) type Result<T> = std::result::Result<T, DataFusionError>;

/// The rows of a plan.
#[derive(Clone)]
pub(crate) enum Rendered<'s> {
    /// Rows that only grow: a stream's, after some steps.
    Growing(Rc<dyn Source<'s> + 's>, Narrow),
    /// A result that is kept up to date. The text names the part that takes rows back, and its place; `None`: none does.
    Changing(View<'s, Row>, Option<String>),
}

/// What becomes of windows by a watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Windows {
    /// Rows leave once, when their window is final.
    Final,
    /// The result has the windows that are open, and forgets the others.
    Open,
    /// The result has all windows.
    All,
    /// Nothing lasts longer than a batch: each has a result of its own.
    Batch,
}

/// Renders the plans of one query.
#[derive(Clone, Copy)]
pub(crate) struct Renderer<'a, 's> {
    pub query: &'a str,
    pub session: &'a TableSession,
    pub state: &'a SessionState,
    pub streams: &'a Streams<'s>,
    /// Of the streams that a watermark has passed.
    pub watermarks: &'a Watermarks,
    pub context: Option<&'a StreamingContext<'s>>,
    pub windows: Windows,
    pub notes: &'a RefCell<Notes>,
    /// The late rows of the part that is nearest to the result, of those that a watermark lets forget.
    pub late: &'a RefCell<Option<Late<'s>>>,
    pub errors: &'a RefCell<Vec<DStream<'s, BadRecord>>>,
    /// The parts of the query that keep state, as they were built.
    pub built: &'a RefCell<Vec<Built<'s>>>,
}

/// A part of a query with its rows, and what becomes of its windows.
pub(crate) type Built<'s> = (Windows, LogicalPlan, Rendered<'s>);

pub(super) fn schema(plan: &LogicalPlan) -> Arc<Schema> {
    plan.schema().inner().clone()
}

impl<'s> Renderer<'_, 's> {
    pub fn render(&self, plan: &LogicalPlan) -> Result<Rendered<'s>> {
        self.notes.borrow_mut().enter();
        let rendered = known(self.context, &identity(plan), || self.node(plan));
        self.notes.borrow_mut().leave();
        rendered
    }

    /// A part of a query that keeps state is built once, however often the query has it.
    pub(super) fn node(&self, plan: &LogicalPlan) -> Result<Rendered<'s>> {
        self.by_batch(plan)?;
        if !matches!(plan, LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) | LogicalPlan::Join(_)) {
            return self.verbs(plan);
        }
        let same = |(windows, other, _): &&Built<'s>| *windows == self.windows && other == plan;
        if let Some((_, _, rendered)) = self.built.borrow().iter().find(same) {
            self.keeps(&format!("{}, which is above", plan.display()), Kept::NOTHING);
            return Ok(rendered.clone());
        }
        let rendered = self.verbs(plan)?;
        self.built.borrow_mut().push((self.windows, plan.clone(), rendered.clone()));
        Ok(rendered)
    }

    fn verbs(&self, plan: &LogicalPlan) -> Result<Rendered<'s>> {
        match plan {
            LogicalPlan::TableScan(scan) => {
                let name = scan.table_name.table();
                let Some(table) = self.streams.get(name) else {
                    // A table of rows has no name of its own, but the query has one for it.
                    let known = self.notes.borrow().name.clone();
                    let name = known.filter(|_| name == UNNAMED_TABLE).unwrap_or_else(|| name.to_owned());
                    return self.refused(
                        &format!("the table {name}, which is not a stream,"),
                        &[&name],
                        "register a stream, or ask the session for it",
                    );
                };
                if scan.fetch.is_some() {
                    return self.refused(
                        "a LIMIT of a stream",
                        &["LIMIT"],
                        "add ORDER BY to a result, so that it says which rows",
                    );
                }
                let mut narrow = Narrow::default();
                if let Some(places) = &scan.projection {
                    narrow = narrow.columns(places);
                }
                let mut rendered = match table {
                    Table::Stream(source) => {
                        self.keeps(&format!("the stream {name}"), Kept::NOTHING);
                        self.notes.borrow_mut().watermarks.extend(self.watermarks.get(name).into_iter().flatten());
                        if let Some(late) = source.late() {
                            self.late.borrow_mut().get_or_insert(late);
                        }
                        Rendered::Growing(source.clone(), narrow.named(scan.projected_schema.inner()))
                    }
                    Table::File(_) => {
                        return self.refused(
                            &format!("the file {name}, which is read again when it changes,"),
                            &[name],
                            "join it with a stream, or read it as a view: reload = 'view', or file_view; without reload it is a table of the session",
                        );
                    }
                    Table::View(view) => {
                        self.keeps(&format!("the view {name}"), Kept::NOTHING);
                        let rows = Rendered::Changing(view.clone(), Some(format!("the view {name}")));
                        let narrow = narrow.named(scan.projected_schema.inner());
                        self.stepped(rows, narrow, &scan.source.schema(), scan.projected_schema.inner())?
                    }
                };
                for filter in &scan.filters {
                    rendered = self.filter(rendered, filter, &scan.projected_schema)?;
                }
                Ok(rendered)
            }
            LogicalPlan::SubqueryAlias(alias) => {
                // The innermost name is that of the table; the others are those of the query, and those of verbs.
                let name = alias.alias.table();
                if !name.starts_with("__") {
                    self.notes.borrow_mut().name = Some(name.to_owned());
                }
                // The names are those of the query from here on.
                let step = Narrow::default().named(alias.schema.inner());
                Ok(match self.node(&alias.input)? {
                    Rendered::Growing(source, narrow) => Rendered::Growing(source, narrow.then(step)),
                    changing => changing,
                })
            }
            LogicalPlan::Filter(filter) => {
                self.keeps(&format!("filter {}", filter.predicate), Kept::NOTHING);
                self.filter(self.render(&filter.input)?, &filter.predicate, filter.input.schema())
            }
            LogicalPlan::Projection(projection) => {
                let list = projection.expr.iter().map(|e| e.schema_name().to_string()).collect::<Vec<_>>().join(", ");
                self.keeps(&format!("select {list}"), Kept::NOTHING);
                let (input, output) = (projection.input.schema(), projection.schema.inner());
                let narrow = Narrow::default().project(self.state, &projection.expr, input, output)?;
                self.stepped(self.render(&projection.input)?, narrow, &schema(&projection.input), output)
            }
            LogicalPlan::Unnest(unnest) => {
                self.keeps("explode", Kept::NOTHING);
                match self.render(&unnest.input)? {
                    Rendered::Growing(source, narrow) => Ok(Rendered::Growing(source, narrow.batch(unnested(unnest)?))),
                    Rendered::Changing(..) => {
                        self.refused("explode of a result that changes", &["explode"], "explode the rows of the stream")
                    }
                }
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Window(window) => self.over(window),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Sort(sort) => self.sort(sort),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::EmptyRelation(empty) if !empty.produce_one_row => self.empty(empty),
            LogicalPlan::RecursiveQuery(recursive) => self.recursive(recursive),
            LogicalPlan::Limit(limit) => self.limit(limit),
            other => {
                let node = other.display().to_string();
                let name = node.split([':', ' ', '(']).next().unwrap_or_default();
                self.refused(
                    name,
                    &[],
                    "write it with SELECT, WHERE, GROUP BY, HAVING, JOIN, UNION, EXCEPT, INTERSECT, OVER, ORDER BY and LIMIT",
                )
            }
        }
    }

    /// The same query where its rows are the input of a part that keeps state.
    pub(super) fn inner(&self) -> Self {
        let windows = if self.windows == Windows::Open { Windows::All } else { self.windows };
        Renderer { windows, ..*self }
    }

    /// Notes for `explain` what the current node is and keeps.
    pub(super) fn keeps(&self, verb: &str, kept: Kept) {
        self.notes.borrow_mut().set(verb, kept);
    }

    /// What a source needs to know of the query.
    pub(super) fn asked(&self) -> Asked<'_, 's> {
        Asked { query: self.query, errors: self.errors }
    }

    /// An error that names a part of the query, its place by its words, and the remedy.
    pub(super) fn refused<T>(&self, part: &str, words: &[&str], remedy: &str) -> Result<T> {
        let place = place(self.query, words).map(|at| format!(" ({at})")).unwrap_or_default();
        let cannot = match self.windows {
            Windows::Batch => "cannot be computed for each batch on all workers",
            _ => "cannot be kept up to date over a stream",
        };
        Err(DataFusionError::Plan(format!("{part}{place} {cannot}; {remedy}")))
    }

    /// A part of the query with its place, as the reason why rows are taken back.
    pub(super) fn part(&self, words: &[&str]) -> Option<String> {
        let place = place(self.query, words).map(|at| format!(" ({at})")).unwrap_or_default();
        Some(format!("{}{place}", words.join(" ")))
    }

    /// Rows of a stream after steps.
    pub(super) fn batches(&self, source: &Rc<dyn Source<'s> + 's>, narrow: Narrow) -> DStream<'s, RecordBatch> {
        each(source, &self.asked(), move |batch| Ok(vec![narrow.run(batch)?]))
    }

    /// The same as bytes.
    pub fn rows(&self, source: &Rc<dyn Source<'s> + 's>, narrow: Narrow, codec: &Rc<Codec>) -> DStream<'s, Row> {
        let codec = codec.clone();
        each(source, &self.asked(), move |batch| {
            let batch = narrow.run(batch)?;
            Ok(codec.encode(batch.columns(), batch.num_rows())?)
        })
    }

    /// A result of which no row ever leaves is a stream of rows again, whose groups keep less than those of rows that may leave.
    pub(super) fn growing(&self, rows: Rendered<'s>, plan: &LogicalPlan) -> Result<Rendered<'s>> {
        Ok(match rows {
            Rendered::Changing(view, None) => {
                let codec = Rc::new(Codec::new(&schema(plan))?);
                Rendered::Growing(Rc::new(Batches::encoded(&view.append(), codec)), Narrow::default())
            }
            rows => rows,
        })
    }

    /// The rows of a plan as a view, and the part that takes some back: of a stream, all of its rows.
    pub(super) fn as_view(&self, plan: &LogicalPlan) -> Result<(View<'s, Row>, Option<String>)> {
        self.viewed(self.inner().render(plan)?, plan)
    }

    /// The same of rows that are rendered.
    pub(super) fn viewed(&self, rows: Rendered<'s>, plan: &LogicalPlan) -> Result<(View<'s, Row>, Option<String>)> {
        Ok(match rows {
            Rendered::Changing(view, back) => (view, back),
            Rendered::Growing(source, narrow) => {
                (self.rows(&source, narrow, &Rc::new(Codec::new(&schema(plan))?)).accumulate(), None)
            }
        })
    }

    pub(super) fn filter(&self, input: Rendered<'s>, condition: &Expr, schema: &DFSchema) -> Result<Rendered<'s>> {
        match input {
            Rendered::Growing(source, narrow) => Ok(Rendered::Growing(source, narrow.filter(self.state, condition, schema)?)),
            Rendered::Changing(view, back) => {
                let condition = overflow::physical(self.state, condition.clone(), schema)?;
                let kept = mapped(&self.asked(), &view, schema.inner(), move |batch, rows| {
                    let keep = condition.evaluate(&batch)?.into_array(batch.num_rows())?;
                    let kept = rows.into_iter().zip(keep.as_boolean());
                    Ok(kept.map(|(row, keep)| (keep == Some(true)).then_some(row)).collect())
                })?;
                Ok(Rendered::Changing(kept, back))
            }
        }
    }

    /// A result after expressions that make one row of each.
    pub(super) fn stepped(
        &self,
        input: Rendered<'s>,
        step: Narrow,
        from: &Arc<Schema>,
        to: &Arc<Schema>,
    ) -> Result<Rendered<'s>> {
        match input {
            Rendered::Growing(source, narrow) => Ok(Rendered::Growing(source, narrow.then(step))),
            Rendered::Changing(view, back) => {
                let encode = Codec::new(to)?;
                let results = mapped(&self.asked(), &view, from, move |batch, _| {
                    let batch = step.run(batch)?;
                    Ok(encode.encode(batch.columns(), batch.num_rows())?.into_iter().map(Some).collect())
                })?;
                Ok(Rendered::Changing(results, back))
            }
        }
    }

    /// Whether a plan reads a stream.
    pub(super) fn streams_in(&self, plan: &LogicalPlan) -> Result<bool> {
        plan.exists(|node| {
            let LogicalPlan::TableScan(scan) = node else { return Ok(false) };
            let table = self.streams.get(scan.table_name.table());
            Ok(!is_work_table(scan) && matches!(table, Some(Table::Stream(_) | Table::View(_))))
        })
    }
}
