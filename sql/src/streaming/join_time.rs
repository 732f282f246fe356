//! The watermark of a join of streams, for the times of its columns: a pair may be older by one of them than by the later one.

use std::time::Duration;

use datafusion::common::Column;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::{Expr, Join, LogicalPlan};
use tidemill::prelude::{DStream, EventTimeStream};

use super::batches::Tagged;
use super::groups::Timed;
use super::render::{Renderer, Result};
use super::within::times;

/// Where the watermark of a column of times comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeOf {
    /// From the rows of a stream.
    Stream,
    /// From the pairs of a join of streams, whose time in the column may be this much earlier than that of the pair.
    Pairs(Duration),
}

/// The pairs of a join, with their watermark.
pub(crate) trait Pairs<'s> {
    /// Parts of groups that were made of the pairs, with their times.
    fn timed(&self, parts: &DStream<'s, Timed>, behind: Duration) -> EventTimeStream<'s, Timed>;
    /// Rows with a key that were made of the pairs, with their times.
    fn tagged(&self, rows: &DStream<'s, Tagged>, behind: Duration) -> EventTimeStream<'s, Tagged>;
}

impl<'s, X: 'static> Pairs<'s> for EventTimeStream<'s, X> {
    fn timed(&self, parts: &DStream<'s, Timed>, behind: Duration) -> EventTimeStream<'s, Timed> {
        parts.event_time_of(|(time, _)| *time, self, behind)
    }

    fn tagged(&self, rows: &DStream<'s, Tagged>, behind: Duration) -> EventTimeStream<'s, Tagged> {
        rows.event_time_of(|(time, _)| *time, self, behind)
    }
}

impl Renderer<'_, '_> {
    /// Where the watermark of an expression over the rows of a plan comes from. `None`: nobody knows how late its rows may be.
    pub(super) fn time_of(&self, expr: &Expr, plan: &LogicalPlan) -> Result<Option<TimeOf>> {
        if !plan.exists(|node| if let LogicalPlan::Join(join) = node { self.joins_streams(join) } else { Ok(false) })? {
            return Ok(Some(TimeOf::Stream));
        }
        match expr {
            Expr::Alias(alias) => self.time_of(&alias.expr, plan),
            Expr::Cast(cast) => self.time_of(&cast.expr, plan),
            Expr::Column(column) => self.time_of_column(column, plan),
            _ => Ok(None),
        }
    }

    fn time_of_column(&self, column: &Column, plan: &LogicalPlan) -> Result<Option<TimeOf>> {
        let Some(place) = plan.schema().maybe_index_of_column(column) else { return Ok(None) };
        let same = |place: usize, input: &LogicalPlan| match input.schema().columns().into_iter().nth(place) {
            Some(column) => self.time_of(&Expr::Column(column), input),
            None => Ok(None),
        };
        match plan {
            LogicalPlan::Projection(projection) => self.time_of(&projection.expr[place], &projection.input),
            LogicalPlan::SubqueryAlias(alias) => same(place, &alias.input),
            LogicalPlan::Filter(filter) => same(place, &filter.input),
            LogicalPlan::Join(join) => {
                // Joins that have the columns of both sides have those of the left one first.
                let lefts = join.left.schema().fields().len();
                let both = plan.schema().fields().len() == lefts + join.right.schema().fields().len();
                let (side, place) = match place.checked_sub(lefts) {
                    Some(place) if both => (&join.right, place),
                    None if both => (&join.left, place),
                    _ => return Ok(None),
                };
                match self.joins_streams(join)? {
                    true => {
                        let column = side.schema().columns().into_iter().nth(place);
                        Ok(times(join).zip(column).and_then(|(times, column)| times.behind(&column)).map(TimeOf::Pairs))
                    }
                    false if self.streams_in(side)? => same(place, side),
                    false => Ok(None),
                }
            }
            _ => Ok(None),
        }
    }

    fn joins_streams(&self, join: &Join) -> Result<bool> {
        Ok(self.streams_in(&join.left)? && self.streams_in(&join.right)?)
    }
}
