//! GROUP BY and DISTINCT: a result for each group.

use std::rc::Rc;

use datafusion::arrow::array::RecordBatch;
use datafusion::logical_expr::{Aggregate, Expr};
use tidemill::prelude::DStream;

use super::accumulator::Part;
use super::batches::{Batches, each};
use super::changing::mapped;
use super::codec::{Codec, Row};
use super::explain::Kept;
use super::grouping_sets::unioned;
use super::groups::Groups;
use super::narrow::Narrow;
use super::render::{Rendered, Renderer, Result, Windows, schema};
use super::time_window::call;
use super::window_origin::{Origin, inlined, origin};

impl<'s> Renderer<'_, 's> {
    pub(super) fn aggregate(&self, aggregate: &Aggregate) -> Result<Rendered<'s>> {
        if let Some(union) = unioned(aggregate)? {
            return self.render(&union);
        }
        let output = aggregate.schema.inner();
        let plan = inlined(aggregate)?;
        if let Some(windowed) = self.windowed(&plan, output)? {
            return Ok(windowed);
        }
        let list = |exprs: &[Expr]| exprs.iter().map(|e| e.schema_name().to_string()).collect::<Vec<_>>().join(", ");
        let (keys, calls) = (list(&plan.group_expr), list(&plan.aggr_expr));
        let verb = match (calls.is_empty(), keys.is_empty()) {
            (true, _) => format!("distinct {keys}"),
            (false, true) => format!("aggregate {calls}"),
            (false, false) => format!("aggregate {calls} by {keys}"),
        };
        let of = (plan.group_expr.as_slice(), plan.aggr_expr.as_slice());
        let groups = Rc::new(Groups::new(self.state, of, plan.input.schema(), output, None)?);
        let (merge, of_each) = (groups.merge(), groups.clone());
        let kept = move |leave: bool| {
            let (state, grows) = of_each.keeps(leave);
            Kept::of(&format!("{state} for each group"), grows)
        };
        let closed = plan.group_expr.iter().any(|e| matches!(origin(e, &plan.input), Origin::Closed(_)));
        let mut input = self.growing(self.inner().render(&plan.input)?, &plan.input)?;
        for time in plan.group_expr.iter().filter_map(call) {
            // A row without a time is in no window.
            let condition = Expr::IsNotNull(Box::new(time?.1.clone()));
            input = self.filter(input, &condition, plan.input.schema())?;
        }
        let (by_key, back) = match input {
            Rendered::Growing(source, narrow) => {
                let of = groups.clone();
                let parts = each(&source, &self.asked(), move |batch| of.parts(&narrow.run(batch)?));
                let by_batch = self.windows == Windows::Batch;
                if by_batch || closed && self.windows == Windows::Final {
                    // All rows of a window are there in the batch that closes it.
                    self.keeps(&verb, Kept::NOTHING);
                    let parts = match by_batch && plan.group_expr.is_empty() {
                        true => one_group(&parts, groups.nothing(&schema(&plan.input))?),
                        false => parts,
                    };
                    let query = self.query.to_owned();
                    let stream = parts
                        .reduce_by_key(merge.reduced())
                        .map_partitions(move |rows: Vec<(Row, Vec<Part>)>| [results(&query, &groups, &rows)]);
                    return Ok(Rendered::Growing(Rc::new(Batches(stream)), Narrow::default()));
                }
                if plan.aggr_expr.is_empty() {
                    // A group is its row, and stays.
                    self.keeps(&verb, kept(false));
                    let rows = parts.map(|(key, _)| key).accumulate().distinct();
                    return Ok(Rendered::Changing(rows, None));
                }
                // The state of a group is one contribution, whatever has come so far.
                self.keeps(&verb, kept(false));
                let by_key = parts.reduce_by_key(merge.reduced()).fold_by_key(Vec::new(), merge.folded());
                (by_key, self.part(&["GROUP", "BY"]))
            }
            Rendered::Changing(view, back) => {
                let of = groups.clone();
                let parts = move |batch, _| Ok(of.each(&batch)?.into_iter().map(Some).collect());
                let pairs = mapped(&self.asked(), &view, &schema(&plan.input), parts)?;
                let back = if plan.aggr_expr.is_empty() { back } else { self.part(&["GROUP", "BY"]) };
                self.keeps(&verb, kept(true));
                (merge.by_key(&pairs, true), back)
            }
        };
        let (codec, query) = (Codec::new(output)?, self.query.to_owned());
        let results = by_key.map_vectorized(move |rows: Vec<(Row, Vec<Part>)>| {
            codec.encoded(&results(&query, &groups, &rows)).into_iter().map(Some).collect()
        });
        Ok(Rendered::Changing(results, back))
    }
}

/// The contributions to the one group of an aggregate without keys, which has a result in each batch.
fn one_group<'s>(parts: &DStream<'s, (Row, Vec<Part>)>, nothing: Vec<(Row, Vec<Part>)>) -> DStream<'s, (Row, Vec<Part>)> {
    parts.union(&parts.count().flat_map(move |_| nothing.clone()))
}

/// The rows of groups. A result that cannot be computed ends the job: the engine reports the panic with verb, worker and batch.
fn results(query: &str, groups: &Groups, rows: &[(Row, Vec<Part>)]) -> RecordBatch {
    let all: Vec<(&Row, &Vec<Part>)> = rows.iter().map(|(key, parts)| (key, parts)).collect();
    groups.results(&all, &[]).unwrap_or_else(|e| panic!("{query}: {}", e.strip_backtrace()))
}
