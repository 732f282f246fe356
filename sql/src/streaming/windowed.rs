//! GROUP BY of windows: by the verbs of event time, which forget windows that are over, or over all rows so far.

use std::rc::Rc;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::common::{DFSchema, ExprSchema};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Aggregate, Expr};
use tidemill::prelude::{Slide, View, Windowed, WindowedView};

use super::accumulator::Part;
use super::batches::{Batches, Source, each};
use super::changing::mapped;
use super::codec::{Codec, Row};
use super::explain::Kept;
use super::groups::{Groups, Merge, Timed};
use super::join_time::TimeOf;
use super::narrow::Narrow;
use super::render::{Rendered, Renderer, Result, Windows, schema};
use super::span::duration;
use super::time_window::{Shape, call};
use super::watermark::Watermark;

/// A group in a window: its key, and the start and the end.
type InWindow = (Row, (i64, i64));

/// A session: its start, its end, and what it has.
type Session = (i64, i64, Vec<Part>);

/// The watermark of an expression: of the column that it is.
pub(super) fn watermark(expr: &Expr, input: &DFSchema) -> Option<Watermark> {
    match expr {
        Expr::Alias(alias) => watermark(&alias.expr, input),
        Expr::Cast(cast) => watermark(&cast.expr, input),
        Expr::Column(column) => input.field_from_column(column).ok().and_then(|field| Watermark::of(field)),
        _ => None,
    }
}

impl<'s> Renderer<'_, 's> {
    /// An aggregate that has windows among its keys. `None`: it has none, or each row is in one that is a key as any other.
    pub(super) fn windowed(&self, plan: &Aggregate, output: &Arc<Schema>) -> Result<Option<Rendered<'s>>> {
        let mut calls = (0..).zip(&plan.group_expr).filter_map(|(place, e)| Some((place, call(e)?)));
        let Some((place, found)) = calls.next() else { return Ok(None) };
        if calls.next().is_some() {
            return self.refused(
                "GROUP BY with two windows",
                &["GROUP", "BY"],
                "group by one window, and its result by the other",
            );
        }
        let (shape, time) = found?;
        // Rows of a join of streams may be older than a watermark of their own times.
        let mark = watermark(time, plan.input.schema()).zip(self.time_of(time, &plan.input)?);
        self.notes.borrow_mut().has_watermark |= mark.is_some();
        let forgets = mark.is_some() && self.windows != Windows::All;
        if shape.is_tumbling() && !forgets {
            return Ok(None);
        }
        let of = (plan.group_expr.as_slice(), plan.aggr_expr.as_slice());
        let groups = Groups::new(self.state, of, plan.input.schema(), output, Some((place, time.clone(), shape)))?;
        let groups = Rc::new(groups);
        let verb = plan.group_expr[place].schema_name().to_string();
        match (self.inner().render(&plan.input)?, mark) {
            (Rendered::Growing(source, narrow), Some(mark)) if forgets => {
                let each = if matches!(shape, Shape::Session { .. }) { "session" } else { "pane" };
                let open = format!("{} for each group and {each} of an open window", groups.keeps(false).0);
                self.keeps(&verb, Kept::of(&open, "the rows that the watermark has not passed"));
                self.by_watermark(&source, narrow, groups, (shape, mark), output).map(Some)
            }
            (rendered, _) => {
                let (kind, grows) = groups.keeps(matches!(rendered, Rendered::Changing(..)));
                self.keeps(&verb, Kept::of(&format!("{kind} for each group and window, for ever"), grows));
                self.all_windows(rendered, groups, shape, plan, output).map(Some)
            }
        }
    }

    /// Windows that the watermark closes.
    fn by_watermark(
        &self,
        source: &Rc<dyn Source<'s> + 's>,
        narrow: Narrow,
        groups: Rc<Groups>,
        (shape, (mark, of_time)): (Shape, (Watermark, TimeOf)),
        output: &Arc<Schema>,
    ) -> Result<Rendered<'s>> {
        let of = groups.clone();
        let step = move |batch: RecordBatch| -> Result<Vec<Timed>> {
            let batch = narrow.run(batch)?;
            if matches!(shape, Shape::Session { .. }) { of.timed(&batch) } else { of.panes(&batch) }
        };
        let timed = each(source, &self.asked(), step);
        let events = match of_time {
            TimeOf::Stream => timed.event_time(|(time, _)| *time, mark.strategy()),
            TimeOf::Pairs(behind) => source.pairs().expect("rows of a join by time have pairs").timed(&timed, behind),
        };
        self.errors.borrow_mut().push(events.errors());
        self.notes.borrow_mut().watermarks.insert(events.watermark_operator());
        let events = events.map(|(_, pair)| pair);
        let windows: WindowedView<'s, (Row, Vec<Part>)> = match shape {
            Shape::Session { gap } => events.session(duration(gap)).reduce_by_key(groups.merge().reduced()),
            Shape::Every { length, slide, offset } => {
                let every = Slide::every(duration(slide)).offset(duration(offset));
                events.sliding(duration(length), every).allowed_lateness(mark.lateness()).reduce_by_key(groups.merge().reduced())
            }
        };
        let make = |query: &str| {
            let (groups, query) = (groups.clone(), query.to_owned());
            move |rows: Vec<Windowed<(Row, Vec<Part>)>>| {
                let all: Vec<(&Row, &Vec<Part>, (i64, i64))> =
                    rows.iter().map(|w| (&w.row.0, &w.row.1, (w.start, w.end))).collect();
                results(&query, &groups, &all)
            }
        };
        let (late, codec) = (make(self.query), Codec::new(output)?);
        let late =
            windows.late().map_partitions(move |rows| codec.encoded(&late(rows.into_iter().map(|late| late.window).collect())));
        *self.late.borrow_mut() = Some((output.clone(), late));
        let rows = make(self.query);
        Ok(match self.windows {
            Windows::Final => {
                let stream = windows.append().map_partitions(move |closed| [rows(closed)]);
                Rendered::Growing(Rc::new(Batches(stream)), Narrow::default())
            }
            _ => {
                let codec = Codec::new(output)?;
                let view = windows.view().map_vectorized(move |open| codec.encoded(&rows(open)).into_iter().map(Some).collect());
                Rendered::Changing(view, self.part(&["GROUP", "BY"]))
            }
        })
    }

    /// All windows of all rows so far.
    fn all_windows(
        &self,
        input: Rendered<'s>,
        groups: Rc<Groups>,
        shape: Shape,
        plan: &Aggregate,
        output: &Arc<Schema>,
    ) -> Result<Rendered<'s>> {
        let from = schema(&plan.input);
        let (of, merge) = (groups.clone(), groups.merge());
        let joined = {
            let merge = merge.clone();
            move |a, b| joined(&merge, a, b)
        };
        let by_window: View<'s, (InWindow, Vec<Part>)> = match shape {
            Shape::Session { gap } => {
                let one = move |(time, (key, parts)): Timed| time.map(|time| (key, vec![(time, time + gap, parts)]));
                let sessions = match input {
                    Rendered::Growing(source, narrow) => {
                        let timed = each(&source, &self.asked(), move |batch| of.timed(&narrow.run(batch)?));
                        timed.flat_map(one).reduce_by_key(joined.clone()).fold_by_key(Vec::new(), joined)
                    }
                    Rendered::Changing(view, _) => {
                        let each = move |batch: RecordBatch, _| Ok(of.timed(&batch)?.into_iter().map(one).collect());
                        mapped(&self.asked(), &view, &from, each)?.reduce_by_key(joined)
                    }
                };
                sessions.flat_map(|(key, sessions): (Row, Vec<Session>)| {
                    sessions.into_iter().map(move |(start, end, parts)| ((key.clone(), (start, end)), parts))
                })
            }
            Shape::Every { .. } => {
                let one = move |(time, (key, parts)): Timed| time.map(|time| ((key, shape.pane_of(time)), parts));
                let panes = match input {
                    Rendered::Growing(source, narrow) => {
                        let timed = each(&source, &self.asked(), move |batch| of.panes(&narrow.run(batch)?));
                        timed.flat_map(one).reduce_by_key(merge.reduced()).fold_by_key(Vec::new(), merge.folded())
                    }
                    Rendered::Changing(view, _) => {
                        let each = move |batch: RecordBatch, _| Ok(of.timed(&batch)?.into_iter().map(one).collect());
                        merge.by_key(&mapped(&self.asked(), &view, &from, each)?, false)
                    }
                };
                let windows = panes.flat_map(move |((key, pane), parts): ((Row, i64), Vec<Part>)| {
                    shape.windows_of(pane).into_iter().map(move |window| ((key.clone(), window), parts.clone()))
                });
                merge.by_key(&windows, true)
            }
        };
        let (codec, query) = (Codec::new(output)?, self.query.to_owned());
        let view = by_window.map_vectorized(move |rows: Vec<(InWindow, Vec<Part>)>| {
            let all: Vec<_> = rows.iter().map(|((key, window), parts)| (key, parts, *window)).collect();
            codec.encoded(&results(&query, &groups, &all)).into_iter().map(Some).collect()
        });
        Ok(Rendered::Changing(view, self.part(&["GROUP", "BY"])))
    }
}

/// The rows of groups in windows. A result that cannot be computed ends the job.
fn results(query: &str, groups: &Groups, rows: &[(&Row, &Vec<Part>, (i64, i64))]) -> RecordBatch {
    let of: Vec<(&Row, &Vec<Part>)> = rows.iter().map(|(key, parts, _)| (*key, *parts)).collect();
    let windows: Vec<Option<(i64, i64)>> = rows.iter().map(|row| Some(row.2)).collect();
    groups.results(&of, &windows).unwrap_or_else(|e: DataFusionError| panic!("{query}: {}", e.strip_backtrace()))
}

/// The sessions of two sets of them, in order: those that overlap are one.
fn joined(merge: &Merge, a: Vec<Session>, b: Vec<Session>) -> Vec<Session> {
    let mut all: Vec<Session> = a.into_iter().chain(b).collect();
    all.sort_by_key(|(start, end, _)| (*start, *end));
    let mut joined: Vec<Session> = Vec::with_capacity(all.len());
    for (start, end, parts) in all {
        match joined.last_mut() {
            Some(last) if start < last.1 => {
                last.1 = last.1.max(end);
                last.2 = merge.of(std::mem::take(&mut last.2), parts);
            }
            _ => joined.push((start, end, parts)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_joins_the_sessions_that_it_is_near() {
        let row = |time| vec![(time, time + 5, vec![Part::Count(1)])];
        let all = [10, 16, 30, 13].into_iter().map(row).fold(Vec::new(), |a, b| joined(&Merge::plain(1), a, b));
        assert_eq!(all, [(10, 21, vec![Part::Count(3)]), (30, 35, vec![Part::Count(1)])]);
        assert_eq!(joined(&Merge::plain(1), row(10), row(15)).len(), 2, "a session ends before the row that is a gap later");
    }
}
