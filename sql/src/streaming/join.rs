//! Joins of two results, by the verbs of views.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::Schema;
use datafusion::common::{JoinType, NullEquality};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, Join, LogicalPlan};
use tidemill::prelude::View;

use super::changing::mapped;
use super::codec::{Codec, Row};
use super::narrow::{evaluate, physical, with_columns};

type Result<T> = std::result::Result<T, DataFusionError>;

/// The key of a row in a join. A key with a null equals none of the other side, so the second part says which side it is of.
type JoinKey = (Row, u8);

/// The rows of both sides that belong together, kept up to date. Each side is a view, so both keep all of their rows.
pub(crate) fn joined<'s>(
    query: &str,
    state: &SessionState,
    join: &Join,
    left: &View<'s, Row>,
    right: &View<'s, Row>,
) -> Result<View<'s, Row>> {
    let (lefts, rights): (Vec<Expr>, Vec<Expr>) = join.on.iter().cloned().unzip();
    let left = keyed(query, state, &join.left, &lefts, left, (1, join.null_equality))?;
    let right = keyed(query, state, &join.right, &rights, right, (2, join.null_equality))?;
    let rows = Rows {
        left: side(&join.left)?,
        right: side(&join.right)?,
        output: Codec::new(join.schema.inner())?,
        query: query.to_owned(),
    };
    let both = |l, r| (Some(l), Some(r));
    Ok(match join.join_type {
        JoinType::Inner => rows.of(&left.join(&right).map(move |(_, (l, r))| both(l, r))),
        JoinType::Left => rows.of(&left.left_outer_join(&right).map(|(_, (l, r))| (Some(l), r))),
        JoinType::Right => rows.of(&left.right_outer_join(&right).map(|(_, (l, r))| (l, Some(r)))),
        JoinType::Full => rows.of(&left.full_outer_join(&right).map(|(_, pair)| pair)),
        JoinType::LeftSemi => left.semi_join(&right).map(|(_, row)| row),
        JoinType::LeftAnti => left.anti_join(&right).map(|(_, row)| row),
        JoinType::RightSemi => right.semi_join(&left).map(|(_, row)| row),
        JoinType::RightAnti => right.anti_join(&left).map(|(_, row)| row),
        other => {
            return Err(DataFusionError::Plan(format!(
                "a {other} join cannot be kept up to date over a stream; use LEFT SEMI JOIN"
            )));
        }
    })
}

fn side(plan: &LogicalPlan) -> Result<Codec> {
    Ok(Codec::new(plan.schema().inner())?)
}

/// The rows of a side with their keys.
fn keyed<'s>(
    query: &str,
    state: &SessionState,
    plan: &LogicalPlan,
    on: &[Expr],
    rows: &View<'s, Row>,
    (this, nulls): (u8, NullEquality),
) -> Result<View<'s, (JoinKey, Row)>> {
    let expressions = physical(state, on, plan.schema())?;
    let fields = expressions.iter().map(|e| e.return_field(plan.schema().as_arrow())).collect::<Result<Vec<_>>>()?;
    let keys = Codec::new(&Arc::new(Schema::new(fields)))?;
    let key = move |batch: &RecordBatch| -> Result<Vec<JoinKey>> {
        let columns = evaluate(&expressions, batch)?;
        let alone = |row| nulls == NullEquality::NullEqualsNothing && columns.iter().any(|c: &ArrayRef| c.is_null(row));
        let tags = (0..batch.num_rows()).map(|row| if alone(row) { this } else { 0 }).collect::<Vec<_>>();
        Ok(keys.encode(&columns, batch.num_rows())?.into_iter().zip(tags).collect())
    };
    mapped(query, rows, plan.schema().inner(), move |batch, rows| Ok(key(&batch)?.into_iter().zip(rows).map(Some).collect()))
}

/// Makes one row of two.
struct Rows {
    left: Codec,
    right: Codec,
    output: Codec,
    query: String,
}

impl Rows {
    fn of<'s>(self, pairs: &View<'s, (Option<Row>, Option<Row>)>) -> View<'s, Row> {
        pairs.map_vectorized(move |pairs| {
            let rows = self.rows(&pairs).unwrap_or_else(|e| panic!("{}: {}", self.query, e.strip_backtrace()));
            rows.into_iter().map(Some).collect()
        })
    }

    fn rows(&self, pairs: &[(Option<Row>, Option<Row>)]) -> Result<Vec<Row>> {
        let mut columns = self.left.decode_with_nulls(&pairs.iter().map(|(l, _)| l.as_ref()).collect::<Vec<_>>())?;
        columns.extend(self.right.decode_with_nulls(&pairs.iter().map(|(_, r)| r.as_ref()).collect::<Vec<_>>())?);
        let batch = with_columns(self.output.schema(), columns, pairs.len())?;
        Ok(self.output.encode(batch.columns(), batch.num_rows())?)
    }
}
