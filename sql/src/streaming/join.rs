//! Joins of two results, by the verbs of views.

use std::rc::Rc;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::Schema;
use datafusion::common::{JoinType, NullEquality};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, Join, LogicalPlan};
use tidemill::prelude::View;

use super::batches::{Asked, Batches, Source};
use super::changing::mapped;
use super::codec::{Codec, Row};
use super::conditional_join::{takes_back, unknown};
use super::explain::Kept;
use super::narrow::{Narrow, evaluate, physical, with_columns};
use super::render::{Rendered, Renderer, Result};
use super::static_join::static_join;
use super::within::{Times, times};

/// The key of a row in a join. A key with a null equals none of the other side, so the second part says which side it is of.
pub(crate) type JoinKey = (Row, u8);

/// The rows of both sides that belong together.
pub(super) type Sides = (Option<Row>, Option<Row>);

/// The rows of a side that never change: a source, after some steps.
pub(super) type Side<'s> = (Rc<dyn Source<'s> + 's>, Narrow);

impl<'s> Renderer<'_, 's> {
    pub(super) fn join(&self, join: &Join) -> Result<Rendered<'s>> {
        let (left, right) = (self.streams_in(&join.left)?, self.streams_in(&join.right)?);
        if left != right {
            return self.static_join(join, left);
        }
        let (a, b) = (self.inner().render(&join.left)?, self.inner().render(&join.right)?);
        let outer = matches!(join.join_type, JoinType::Left | JoinType::Right | JoinType::Full);
        let times = match times(join) {
            Some(times) if self.known(join, &times)? => Some(times),
            _ => None,
        };
        let (a, b) = match (a, b, times) {
            (Rendered::Growing(a, x), Rendered::Growing(b, y), Some(times))
                if join.join_type == JoinType::Inner || (outer && times.only()) =>
            {
                return self.within(join, &times, ((a, x), (b, y)));
            }
            (Rendered::Growing(a, x), Rendered::Growing(b, y), _) if self.closed_together(join) => {
                return self.join_of_batches(join, ((a, x), (b, y)));
            }
            (Rendered::Growing(a, x), Rendered::Growing(b, y), _) if join.join_type == JoinType::Inner => {
                return self.join_of_streams(join, ((a, x), (b, y)));
            }
            (a, b, _) => (a, b),
        };
        let ((a, x), (b, y)) = (self.viewed(a, &join.left)?, self.viewed(b, &join.right)?);
        let alone = if join.on.is_empty() { "; without equal columns on one worker" } else { "" };
        let verb = format!("{} join", join.join_type);
        self.keeps(&verb, Kept::of(&format!("all rows of both sides, arranged by key{alone}"), "every row"));
        // A row of a side that is taken back may take another one with it.
        let back = match takes_back(join.join_type) {
            Some(_) if join.null_aware => self.part(&["NOT", "IN"]),
            Some(words) => self.part(words),
            None => x.or(y),
        };
        let simple = join.filter.is_none() && !matches!(join.join_type, JoinType::LeftMark | JoinType::RightMark);
        let rows = match join.join_type {
            _ if join.null_aware => self.not_in(join, &a, &b)?,
            _ if simple => joined(&self.asked(), self.state, join, &a, &b)?,
            _ => self.conditional_join(join, &a, &b)?,
        };
        Ok(Rendered::Changing(rows, back))
    }

    /// Whether the watermark of both columns is known.
    fn known(&self, join: &Join, times: &Times) -> Result<bool> {
        let [left, right] = times.columns().map(|column| Expr::Column(column.clone()));
        Ok(self.time_of(&left, &join.left)?.is_some() && self.time_of(&right, &join.right)?.is_some())
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
            return self.refused(
                &text,
                &["JOIN"],
                "which of them never match is known only when the stream ends; keep the rows of the stream",
            );
        }
        let (side, static_side) = if stream_is_left { (&join.left, &join.right) } else { (&join.right, &join.left) };
        let file = self.file_in(static_side)?;
        let table = file.as_ref().map_or("a table of the session".to_owned(), |(name, _)| {
            format!("the file {name} as of each batch, which does not correct rows that are out")
        });
        self.keeps(&format!("{} join with {table}", join.join_type), Kept::NOTHING);
        let Rendered::Growing(source, narrow) = self.render(side)? else {
            return self.refused(
                "a join of a static table with a result that changes",
                &["JOIN"],
                "join the stream first, and aggregate then",
            );
        };
        let step = static_join(self.session, join, stream_is_left, file.as_ref().map(|(name, _)| name.clone()))?;
        match file {
            None => Ok(Rendered::Growing(source, narrow.batch(Rc::new(move |batch| step(batch, None))))),
            Some((_, file)) => {
                let rows = self.batches(&source, narrow);
                Ok(Rendered::Growing(Rc::new(Batches(self.with_file(&rows, &file, step))), Narrow::default()))
            }
        }
    }
}

/// The rows of both sides that belong together, kept up to date. Each side is a view, so both keep all of their rows.
fn joined<'s>(
    asked: &Asked<'_, 's>,
    state: &SessionState,
    join: &Join,
    left: &View<'s, Row>,
    right: &View<'s, Row>,
) -> Result<View<'s, Row>> {
    let (lefts, rights): (Vec<Expr>, Vec<Expr>) = join.on.iter().cloned().unzip();
    let left = keyed(asked, state, &join.left, &lefts, left, (1, join.null_equality))?;
    let right = keyed(asked, state, &join.right, &rights, right, (2, join.null_equality))?;
    let rows = Rc::new(Rows::new(join, asked.query)?);
    let both = |l, r| (Some(l), Some(r));
    Ok(match join.join_type {
        JoinType::Inner => Rows::of(&rows, &left.join(&right).map(move |(_, (l, r))| both(l, r))),
        JoinType::Left => Rows::of(&rows, &left.left_outer_join(&right).map(|(_, (l, r))| (Some(l), r))),
        JoinType::Right => Rows::of(&rows, &left.right_outer_join(&right).map(|(_, (l, r))| (l, Some(r)))),
        JoinType::Full => Rows::of(&rows, &left.full_outer_join(&right).map(|(_, pair)| pair)),
        JoinType::LeftSemi => left.semi_join(&right).map(|(_, row)| row),
        JoinType::LeftAnti => left.anti_join(&right).map(|(_, row)| row),
        JoinType::RightSemi => right.semi_join(&left).map(|(_, row)| row),
        JoinType::RightAnti => right.anti_join(&left).map(|(_, row)| row),
        other => unknown(other)?,
    })
}

/// The codec of the rows of a side.
pub(super) fn side_codec(plan: &LogicalPlan) -> Result<Codec> {
    Ok(Codec::new(plan.schema().inner())?)
}

/// The keys of the rows of a side.
pub(super) fn keys(
    state: &SessionState,
    plan: &LogicalPlan,
    on: &[Expr],
    (this, nulls): (u8, NullEquality),
) -> Result<impl Fn(&RecordBatch) -> Result<Vec<JoinKey>> + 'static> {
    let expressions = physical(state, on, plan.schema())?;
    let fields = expressions.iter().map(|e| e.return_field(plan.schema().as_arrow())).collect::<Result<Vec<_>>>()?;
    let keys = Codec::new(&Arc::new(Schema::new(fields)))?;
    Ok(move |batch: &RecordBatch| {
        let columns = evaluate(&expressions, batch)?;
        let alone = |row| nulls == NullEquality::NullEqualsNothing && columns.iter().any(|c: &ArrayRef| c.is_null(row));
        let tags = (0..batch.num_rows()).map(|row| if alone(row) { this } else { 0 }).collect::<Vec<_>>();
        Ok(keys.encode(&columns, batch.num_rows())?.into_iter().zip(tags).collect())
    })
}

/// The rows of a side with their keys.
pub(super) fn keyed<'s>(
    asked: &Asked<'_, 's>,
    state: &SessionState,
    plan: &LogicalPlan,
    on: &[Expr],
    rows: &View<'s, Row>,
    side: (u8, NullEquality),
) -> Result<View<'s, (JoinKey, Row)>> {
    let key = keys(state, plan, on, side)?;
    mapped(asked, rows, plan.schema().inner(), move |batch, rows| Ok(key(&batch)?.into_iter().zip(rows).map(Some).collect()))
}

/// Makes one row of two.
pub(super) struct Rows {
    left: Codec,
    right: Codec,
    output: Codec,
    pub query: String,
}

impl Rows {
    pub fn new(join: &Join, query: &str) -> Result<Self> {
        let output = Codec::new(join.schema.inner())?;
        Ok(Rows { left: side_codec(&join.left)?, right: side_codec(&join.right)?, output, query: query.to_owned() })
    }

    pub fn of<'s>(rows: &Rc<Rows>, pairs: &View<'s, Sides>) -> View<'s, Row> {
        let make = rows.clone();
        pairs.map_vectorized(move |pairs| {
            let rows = make.rows(&pairs).unwrap_or_else(|e| panic!("{}: {}", make.query, e.strip_backtrace()));
            rows.into_iter().map(Some).collect()
        })
    }

    pub fn rows(&self, pairs: &[Sides]) -> Result<Vec<Row>> {
        let batch = self.batch(pairs)?;
        Ok(self.output.encode(batch.columns(), batch.num_rows())?)
    }

    /// The rows of pairs as columns. A fault of the query ends the job.
    pub fn joined(&self, pairs: &[Sides]) -> RecordBatch {
        self.batch(pairs).unwrap_or_else(|e| panic!("{}: {}", self.query, e.strip_backtrace()))
    }

    fn batch(&self, pairs: &[Sides]) -> Result<RecordBatch> {
        let mut columns = self.left.decode_with_nulls(&pairs.iter().map(|(l, _)| l.as_ref()).collect::<Vec<_>>())?;
        columns.extend(self.right.decode_with_nulls(&pairs.iter().map(|(_, r)| r.as_ref()).collect::<Vec<_>>())?);
        with_columns(self.output.schema(), columns, pairs.len())
    }
}
