//! Joins of streams that need no view: of the rows of a batch, or of all rows so far.

use std::rc::Rc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::{JoinType, NullEquality};
use datafusion::logical_expr::{Expr, Join, LogicalPlan};
use tidemill::prelude::DStream;

use super::batches::{self, Batches, Source, each};
use super::codec::Row;
use super::explain::Kept;
use super::join::{JoinKey, Rows, Side, Sides, keys, side_codec};
use super::narrow::Narrow;
use super::render::{Rendered, Renderer, Result, Windows};
use super::window_origin::{Origin, origin};

/// Rows with the key of a join.
type Keyed<'s> = DStream<'s, (JoinKey, Row)>;

impl<'s> Renderer<'_, 's> {
    /// Whether rows that match leave both sides in the same batch: they are of the same window, which is closed.
    pub(super) fn closed_together(&self, join: &Join) -> bool {
        let same = |(left, right): &(Expr, Expr)| match (origin(left, &join.left), origin(right, &join.right)) {
            (Origin::Closed(a), Origin::Closed(b)) => a == b,
            _ => false,
        };
        self.windows == Windows::Final
            && (join.join_type == JoinType::Inner || (join.join_type.is_outer() && join.filter.is_none()))
            && join.on.iter().any(same)
    }

    /// A join of the rows of each batch, which keeps nothing.
    pub(super) fn join_of_batches(&self, join: &Join, sides: (Side<'s>, Side<'s>)) -> Result<Rendered<'s>> {
        self.keeps(&format!("{} join of windows that are closed", join.join_type), Kept::NOTHING);
        let (left, right) = self.keyed_streams(join, sides)?;
        let pairs = match join.join_type {
            JoinType::Left => left.left_outer_join(&right).map(|(_, (l, r))| (Some(l), r)),
            JoinType::Right => left.right_outer_join(&right).map(|(_, (l, r))| (l, Some(r))),
            JoinType::Full => left.full_outer_join(&right).map(|(_, pair)| pair),
            _ => left.join(&right).map(|(_, (l, r))| (Some(l), Some(r))),
        };
        self.rows_of(join, &pairs, |batches| Rc::new(Batches(batches)))
    }

    /// An inner join of all rows so far. A pair never leaves, so it is a stream again.
    pub(super) fn join_of_streams(&self, join: &Join, sides: (Side<'s>, Side<'s>)) -> Result<Rendered<'s>> {
        let alone = if join.on.is_empty() { "; without equal columns on one worker" } else { "" };
        self.keeps("Inner join", Kept::of(&format!("all rows of both sides, by key{alone}"), "every row"));
        let (left, right) = self.keyed_streams(join, sides)?;
        // All rows have the same time: so each is near every other one, and none is late.
        let [left, right] = [left, right].map(|rows| rows.event_time(|_| 0, Duration::ZERO));
        let pairs = left.join_within(&right, Duration::MAX, Duration::MAX);
        let pairs = pairs.timestamped().map(|pair| (Some(pair.row.1.0), Some(pair.row.1.1)));
        self.rows_of(join, &pairs, |batches| Rc::new(batches::Kept(batches)))
    }

    /// The rows of pairs for which the condition of a join holds.
    fn rows_of(
        &self,
        join: &Join,
        pairs: &DStream<'s, Sides>,
        source: impl Fn(DStream<'s, RecordBatch>) -> Rc<dyn Source<'s> + 's>,
    ) -> Result<Rendered<'s>> {
        let rows = Rows::new(join, self.query)?;
        let batches = pairs.map_partitions(move |pairs: Vec<Sides>| [rows.joined(&pairs)]);
        let joined = Rendered::Growing(source(batches), Narrow::default());
        match &join.filter {
            Some(condition) => self.filter(joined, condition, &join.schema),
            None => Ok(joined),
        }
    }

    /// The rows of both sides with their keys.
    fn keyed_streams(&self, join: &Join, (left, right): (Side<'s>, Side<'s>)) -> Result<(Keyed<'s>, Keyed<'s>)> {
        let (lefts, rights): (Vec<Expr>, Vec<Expr>) = join.on.iter().cloned().unzip();
        let left = self.keyed_stream(&join.left, &lefts, left, (1, join.null_equality))?;
        let right = self.keyed_stream(&join.right, &rights, right, (2, join.null_equality))?;
        Ok((left, right))
    }

    /// The rows of a side of a stream with their keys.
    fn keyed_stream(
        &self,
        plan: &LogicalPlan,
        on: &[Expr],
        (source, narrow): Side<'s>,
        side: (u8, NullEquality),
    ) -> Result<Keyed<'s>> {
        let (key, codec) = (keys(self.state, plan, on, side)?, side_codec(plan)?);
        Ok(each(&source, &self.asked(), move |batch| {
            let batch = narrow.run(batch)?;
            Ok(key(&batch)?.into_iter().zip(codec.encoded(&batch)).collect())
        }))
    }
}
