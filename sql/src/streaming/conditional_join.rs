//! Joins that keep or leave out rows by a condition: the pairs for which it holds, and then the rows of a side that are in one of them, or in none.

use std::rc::Rc;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use datafusion::common::{JoinType, NullEquality};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, Join, LogicalPlan};
use tidemill::prelude::{BoxError, View};

use super::bad_rows::attempt;
use super::changing::mapped;
use super::codec::{Codec, Row};
use super::explain::Kept;
use super::join::{JoinKey, Rows, keyed};
use super::narrow::with_columns;
use super::render::{Renderer, Result, schema};
use crate::overflow;

/// Rows of both sides that belong together.
type Pairs<'s> = View<'s, (Row, Row)>;

impl<'s> Renderer<'_, 's> {
    /// The rows of a join with a condition beside its equal columns, or with none of them.
    pub(super) fn conditional_join(&self, join: &Join, left: &View<'s, Row>, right: &View<'s, Row>) -> Result<View<'s, Row>> {
        let pairs = self.pairs(join, left, right)?;
        let rows = Rc::new(Rows::new(join, self.query)?);
        let both = |rows: &Rc<Rows>| Rows::of(rows, &pairs.map(|(l, r)| (Some(l), Some(r))));
        let lefts = Matched { side: left.map(|row| (row, ())), keys: pairs.map(|(l, _)| (l, ())) };
        let rights = Matched { side: right.map(|row| (row, ())), keys: pairs.map(|(_, r)| (r, ())) };
        let alone = |rows: &Rc<Rows>| Rows::of(rows, &lefts.none().map(|row| (Some(row), None)));
        let alone_right = |rows: &Rc<Rows>| Rows::of(rows, &rights.none().map(|row| (None, Some(row))));
        Ok(match join.join_type {
            JoinType::Inner => both(&rows),
            JoinType::Left => both(&rows).union(&alone(&rows)),
            JoinType::Right => both(&rows).union(&alone_right(&rows)),
            JoinType::Full => both(&rows).union(&alone(&rows)).union(&alone_right(&rows)),
            JoinType::LeftSemi => lefts.some(),
            JoinType::LeftAnti => lefts.none(),
            JoinType::RightSemi => rights.some(),
            JoinType::RightAnti => rights.none(),
            JoinType::LeftMark => self.marked(join, &join.left, &lefts)?,
            JoinType::RightMark => self.marked(join, &join.right, &rights)?,
        })
    }

    /// The pairs with equal columns for which the condition holds.
    fn pairs(&self, join: &Join, left: &View<'s, Row>, right: &View<'s, Row>) -> Result<Pairs<'s>> {
        let (lefts, rights): (Vec<Expr>, Vec<Expr>) = join.on.iter().cloned().unzip();
        let left = keyed(&self.asked(), self.state, &join.left, &lefts, left, (1, join.null_equality))?;
        let right = keyed(&self.asked(), self.state, &join.right, &rights, right, (2, join.null_equality))?;
        let pairs = left.join(&right).map(|(_, pair)| pair);
        let Some(condition) = &join.filter else { return Ok(pairs) };
        // A condition sees the columns of both sides, also where the result has those of one.
        let both = Arc::new(join.left.schema().join(join.right.schema())?);
        let condition = overflow::physical(self.state, condition.clone(), &both)?;
        let (left, right) = (Codec::new(&schema(&join.left))?, Codec::new(&schema(&join.right))?);
        let query = self.query.to_owned();
        // A pair whose condition cannot be computed is a bad record, and left out.
        let (kept, errors) = pairs.try_map_vectorized(move |pairs: Vec<(Row, Row)>| {
            let columns = || -> Result<RecordBatch> {
                let mut columns = left.decode(pairs.iter().map(|(l, _)| l))?.columns().to_vec();
                columns.extend(right.decode(pairs.iter().map(|(_, r)| r))?.columns().iter().cloned());
                with_columns(both.inner(), columns, pairs.len())
            };
            let holds = |batch: RecordBatch| -> Result<Vec<bool>> {
                let holds = condition.evaluate(&batch)?.into_array(batch.num_rows())?;
                Ok(holds.as_boolean().iter().map(|holds| holds == Some(true)).collect())
            };
            let batch = columns().unwrap_or_else(|e| panic!("{query}: {}", e.strip_backtrace()));
            let all = pairs.into_iter().zip(attempt(&query, &holds, batch));
            let kept = all.map(|(pair, holds)| match holds {
                Ok(holds) => holds.then_some(Ok(pair)),
                Err(reason) => Some(Err(BoxError::from(reason))),
            });
            kept.collect()
        });
        self.errors.borrow_mut().push(errors);
        Ok(kept)
    }

    /// All rows of a side, with a column that says whether they are in a pair.
    fn marked(&self, join: &Join, side: &LogicalPlan, rows: &Matched<'s>) -> Result<View<'s, Row>> {
        let with_mark = |rows: View<'s, Row>, mark: bool| -> Result<View<'s, Row>> {
            let (to, codec) = (join.schema.inner().clone(), Codec::new(join.schema.inner())?);
            mapped(&self.asked(), &rows, &schema(side), move |batch, rows| {
                let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
                columns.push(Arc::new(BooleanArray::from(vec![mark; rows.len()])));
                let batch = with_columns(&to, columns, rows.len())?;
                Ok(codec.encode(batch.columns(), batch.num_rows())?.into_iter().map(Some).collect())
            })
        };
        Ok(with_mark(rows.some(), true)?.union(&with_mark(rows.none(), false)?))
    }

    /// NOT IN: a row whose value is not among those of the other side. A null may be any value, so a row with a null is there only if the
    /// other side is empty, and no row is there if the other side has a null.
    pub(super) fn not_in(&self, join: &Join, left: &View<'s, Row>, right: &View<'s, Row>) -> Result<View<'s, Row>> {
        if join.filter.is_some() || join.join_type != JoinType::LeftAnti {
            return self.refused("NOT IN with a condition of both sides", &["NOT", "IN"], "use NOT EXISTS");
        }
        let (lefts, rights): (Vec<Expr>, Vec<Expr>) = join.on.iter().cloned().unzip();
        let nulls = NullEquality::NullEqualsNothing;
        let left = keyed(&self.asked(), self.state, &join.left, &lefts, left, (1, nulls))?;
        let right = keyed(&self.asked(), self.state, &join.right, &rights, right, (2, nulls))?;
        self.keeps(
            "NOT IN",
            Kept::of("all rows of both sides, arranged by key; the result once more on one worker", "every row"),
        );
        // All of these have the same key, so that one row of them hides the whole side.
        let absent = left.anti_join(&right);
        let nulls = right.filter(|((_, side), _): &(JoinKey, Row)| *side == 2).map(|_| ((), ())).distinct();
        let any = right.map(|_| ((), ())).distinct();
        let hidden = |null: bool, by: &View<'s, ((), ())>| {
            let rows = absent.filter(move |((_, side), _): &(JoinKey, Row)| (*side == 1) == null);
            rows.map(|(_, row)| ((), row)).anti_join(by).map(|((), row)| row)
        };
        Ok(hidden(false, &nulls).union(&hidden(true, &any)))
    }
}

/// The rows of a side, and those that are in a pair.
struct Matched<'s> {
    side: View<'s, (Row, ())>,
    keys: View<'s, (Row, ())>,
}

impl<'s> Matched<'s> {
    fn some(&self) -> View<'s, Row> {
        self.side.semi_join(&self.keys).map(|(row, ())| row)
    }

    fn none(&self) -> View<'s, Row> {
        self.side.anti_join(&self.keys).map(|(row, ())| row)
    }
}

/// Whether the rows of a join of this kind may be taken back, though no row of its sides is.
pub(super) fn takes_back(kind: JoinType) -> Option<&'static [&'static str]> {
    match kind {
        JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi => None,
        JoinType::LeftAnti | JoinType::RightAnti => Some(&["NOT", "EXISTS"]),
        _ => Some(&["JOIN"]),
    }
}

/// The error of a kind of join that is not there.
pub(super) fn unknown<T>(kind: JoinType) -> Result<T> {
    Err(DataFusionError::Plan(format!("a {kind} join cannot be kept up to date over a stream; use LEFT SEMI JOIN")))
}
