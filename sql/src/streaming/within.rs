//! Joins of streams whose times are near each other: they forget rows that nothing can match any more.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StructArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{Column, DFSchema, ExprSchema, JoinType};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Join, Operator};
use tidemill::prelude::{DStream, Data, EventTimeJoin, EventTimeStream};

use super::batches::{Batches, Late, Tagged, each};
use super::beside::WithLate;
use super::codec::{Codec, Row};
use super::explain::Kept;
use super::join::{JoinKey, Rows, Side, Sides, keys, side_codec};
use super::join_time::{Pairs, TimeOf};
use super::narrow::Narrow;
use super::render::{Rendered, Renderer, Result};
use super::span::{duration, of_scalar};
use super::time_window::stamps;
use super::windowed::watermark;

/// By how much the time of a right row differs from that of a left row, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    least: i64,
    most: i64,
}

/// What a join says about times.
pub(super) struct Times {
    left: Column,
    right: Column,
    range: Range,
    /// All of the other conditions hold if the range does.
    only: bool,
}

/// A column, and what is added to it.
fn shifted(expr: &Expr) -> Option<(&Column, i64)> {
    match expr {
        Expr::Column(column) => Some((column, 0)),
        Expr::Cast(cast) => shifted(&cast.expr),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let sign = match op {
                Operator::Plus => 1,
                Operator::Minus => -1,
                _ => return None,
            };
            let Expr::Literal(value, _) = right.as_ref() else { return None };
            let (column, by) = shifted(left)?;
            Some((column, by + sign * of_scalar(value).ok()?))
        }
        _ => None,
    }
}

fn is_micros(schema: &DFSchema, column: &Column) -> bool {
    let field = schema.field_from_column(column);
    field.is_ok_and(|f| !matches!(f.data_type(), DataType::Timestamp(TimeUnit::Nanosecond, _)))
}

/// The range of times that a join asks for, of columns with a watermark.
pub(super) fn times(join: &Join) -> Option<Times> {
    let (lefts, rights) = (join.left.schema(), join.right.schema());
    let mut known: Option<(Column, Column)> = None;
    let (mut least, mut most, mut only) = (None::<i64>, None::<i64>, true);
    for condition in split_conjunction(join.filter.as_ref()?) {
        let bound = || {
            let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return None };
            let ((a, x), (b, y)) = (shifted(left)?, shifted(right)?);
            let of = |c: &Column, side: &DFSchema| watermark(&Expr::Column(c.clone()), side).is_some();
            // As right - left OP distance.
            let (l, r, op, distance) = if of(a, lefts) && of(b, rights) {
                (a, b, op.swap()?, x - y)
            } else if of(a, rights) && of(b, lefts) {
                (b, a, *op, y - x)
            } else {
                return None;
            };
            Some((l.clone(), r.clone(), op, distance))
        };
        let Some((l, r, op, distance)) = bound() else {
            only = false;
            continue;
        };
        if known.get_or_insert((l.clone(), r.clone())) != &(l, r) {
            only = false;
            continue;
        }
        let (low, high) = match op {
            Operator::GtEq => (Some(distance), None),
            Operator::Gt => (Some(distance + 1), None),
            Operator::LtEq => (None, Some(distance)),
            Operator::Lt => (None, Some(distance - 1)),
            Operator::Eq => (Some(distance), Some(distance)),
            _ => {
                only = false;
                continue;
            }
        };
        least = least.max(low);
        most = [most, high].into_iter().flatten().min();
    }
    let ((left, right), range) = (known?, Range { least: least?, most: most? });
    // The verb joins rows from a time before to a time after, so the range has to hold zero.
    let exact = range.least <= 0 && range.most >= 0 && is_micros(lefts, &left) && is_micros(rights, &right);
    Some(Times { left, right, range, only: only && exact })
}

impl Times {
    /// How much earlier the time of a column of either side may be than that of its pair, which is the later of both.
    pub fn behind(&self, column: &Column) -> Option<Duration> {
        match column {
            column if *column == self.left => Some(duration(self.range.most.max(0))),
            column if *column == self.right => Some(duration((-self.range.least).max(0))),
            _ => None,
        }
    }

    /// The columns of both sides.
    pub fn columns(&self) -> [&Column; 2] {
        [&self.left, &self.right]
    }

    /// Whether the join has no other condition.
    pub fn only(&self) -> bool {
        self.only
    }
}

/// What a join makes of its streams.
struct Joined<'s> {
    rows: DStream<'s, RecordBatch>,
    pairs: Rc<dyn Pairs<'s> + 's>,
    /// The operator that makes their watermark.
    watermark: usize,
    /// Each has one side.
    late: DStream<'s, Sides>,
}

impl<'s> Joined<'s> {
    fn of<P: Data>(
        join: &EventTimeJoin<'s, JoinKey, Row, Row, P>,
        sides: impl Fn(P) -> Sides + 'static,
        rows: Rows,
    ) -> Joined<'s> {
        let pairs: &EventTimeStream<'s, (JoinKey, P)> = join;
        let late = join.late().map(|late| late.row.1);
        Joined {
            rows: pairs.timestamped().map(move |t| sides(t.row.1)).map_partitions(move |pairs: Vec<Sides>| [rows.joined(&pairs)]),
            pairs: Rc::new(pairs.clone()),
            watermark: pairs.watermark_operator(),
            late,
        }
    }
}

/// Late rows as two structs: the columns of the left and of the right side, of which one is null.
fn late<'s>(join: &Join, query: &str, late: &DStream<'s, Sides>) -> Result<Late<'s>> {
    let (left, right) = (side_codec(&join.left)?, side_codec(&join.right)?);
    let field = |name, codec: &Codec| Field::new(name, DataType::Struct(codec.schema().fields().clone()), true);
    let schema = Arc::new(Schema::new(vec![field("left_side", &left), field("right_side", &right)]));
    let (output, query) = (Codec::new(&schema)?, query.to_owned());
    let encoded = move |sides: Vec<Sides>| {
        let lefts = structs(&left, &sides.iter().map(|(row, _)| row.as_ref()).collect::<Vec<_>>());
        let rights = structs(&right, &sides.iter().map(|(_, row)| row.as_ref()).collect::<Vec<_>>());
        let rows = lefts.and_then(|lefts| output.encode(&[lefts, rights?], sides.len()));
        rows.unwrap_or_else(|e| panic!("{query}: {e}"))
    };
    Ok((schema, late.map_partitions(encoded)))
}

/// Rows as a column of structs.
fn structs(codec: &Codec, rows: &[Option<&Row>]) -> std::result::Result<ArrayRef, ArrowError> {
    let there: NullBuffer = rows.iter().map(Option::is_some).collect();
    let columns = codec.decode_with_nulls(rows)?;
    Ok(Arc::new(StructArray::try_new(codec.schema().fields().clone(), columns, Some(there))?))
}

impl<'s> Renderer<'_, 's> {
    /// The join of two streams by keys and a range of times.
    pub(super) fn within(&self, join: &Join, times: &Times, (left, right): (Side<'s>, Side<'s>)) -> Result<Rendered<'s>> {
        let (lefts, rights): (Vec<Expr>, Vec<Expr>) = join.on.iter().cloned().unzip();
        let (before, after) = (duration(-times.range.least), duration(times.range.most));
        let verb = format!("{} join_within {before:?} before and {after:?} after", join.join_type);
        self.keeps(
            &verb,
            Kept::of("the rows of both sides that a later row may match", "the rows within the range and the delay"),
        );
        let left = self.events(join, &lefts, &times.left, left, 1)?;
        let right = self.events(join, &rights, &times.right, right, 2)?;
        let rows = Rows::new(join, self.query)?;
        let joined = match join.join_type {
            JoinType::Inner => Joined::of(&left.join_within(&right, before, after), |(a, b)| (Some(a), Some(b)), rows),
            JoinType::Left => Joined::of(&left.left_outer_join_within(&right, before, after), |(a, b)| (Some(a), b), rows),
            JoinType::Right => Joined::of(&left.right_outer_join_within(&right, before, after), |(a, b)| (a, Some(b)), rows),
            _ => Joined::of(&left.full_outer_join_within(&right, before, after), |pair| pair, rows),
        };
        self.notes.borrow_mut().watermarks.insert(joined.watermark);
        let late = late(join, self.query, &joined.late)?;
        *self.late.borrow_mut() = Some(late.clone());
        let source = WithLate { rows: Batches(joined.rows), late, pairs: Some(joined.pairs) };
        let joined = Rendered::Growing(Rc::new(source), Narrow::default());
        match &join.filter {
            // Outer joins have no other condition.
            Some(condition) if join.join_type == JoinType::Inner && !times.only => self.filter(joined, condition, &join.schema),
            _ => Ok(joined),
        }
    }

    /// The rows of a side with their key and time.
    fn events(
        &self,
        join: &Join,
        on: &[Expr],
        time: &Column,
        (source, narrow): Side<'s>,
        side: u8,
    ) -> Result<EventTimeStream<'s, (JoinKey, Row)>> {
        let plan = if side == 1 { &join.left } else { &join.right };
        let at = plan.schema().index_of_column(time)?;
        let mark = watermark(&Expr::Column(time.clone()), plan.schema()).expect("the column of a range has a watermark");
        let (key, row) = (keys(self.state, plan, on, (side, join.null_equality))?, side_codec(plan)?);
        let step = move |batch: RecordBatch| -> Result<Vec<Tagged>> {
            let batch = narrow.run(batch)?;
            let times = stamps(batch.column(at))?;
            Ok(times.iter().zip(key(&batch)?.into_iter().zip(row.encoded(&batch))).collect())
        };
        let timed = each(&source, &self.asked(), step);
        let events = match self.time_of(&Expr::Column(time.clone()), plan)? {
            Some(TimeOf::Pairs(behind)) => source.pairs().expect("rows of a join by time have pairs").tagged(&timed, behind),
            _ => timed.event_time(|(time, _)| *time, mark.strategy()),
        };
        self.errors.borrow_mut().push(events.errors());
        Ok(events.map(|(_, pair)| pair))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::common::ScalarValue;
    use datafusion::logical_expr::{col, lit};

    use super::*;

    #[test]
    fn a_column_may_be_shifted_by_intervals() {
        let hour = || lit(ScalarValue::Utf8(Some("1 hour".into())));
        let (column, by) = (Column::from_name("at"), 3_600_000_000);
        assert_eq!(shifted(&(col("at") - hour())), Some((&column, -by)));
        assert_eq!(shifted(&(col("at") + hour() + hour())), Some((&column, 2 * by)));
        assert_eq!(shifted(&(col("at") * lit(2))), None);
    }
}
