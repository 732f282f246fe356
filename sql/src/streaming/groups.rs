//! The keys and aggregates of a GROUP BY, over record batches.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::Schema;
use datafusion::common::DFSchema;
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;
use foldhash::fast::RandomState;
use tidemill::prelude::{Key, View};

use super::accumulator::{Accumulator, Part, function};
use super::codec::{Codec, Encoded, Row};
use super::held::Held;
use super::narrow::{evaluate, physical, with_columns};
use super::render::Result;
use super::time_window::{Shape, column, stamps};
use crate::overflow;
use crate::udf::Folds;

/// The contributions of a group, with its time.
pub(crate) type Timed = (Option<i64>, (Row, Vec<Part>));

/// The keys and aggregates of a GROUP BY.
pub(crate) struct Groups {
    keys: Vec<Arc<dyn PhysicalExpr>>,
    codec: Codec,
    aggregates: Vec<Call>,
    output: Arc<Schema>,
    /// The time and the windows of rows, if these are one of the keys, and its place among them. `keys` does not have it.
    window: Option<(usize, Arc<dyn PhysicalExpr>, Shape)>,
}

/// An aggregate over arguments, of the rows that its FILTER leaves.
struct Call {
    /// The arguments, and the expressions of its ORDER BY.
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    accumulator: Accumulator,
}

/// Joins two contributions to the same group.
#[derive(Clone)]
pub(crate) struct Merge(Rc<[Option<Arc<dyn Folds>>]>);

impl Merge {
    pub fn of(&self, a: Vec<Part>, b: Vec<Part>) -> Vec<Part> {
        a.into_iter().zip(b).zip(self.0.iter()).map(|((a, b), user)| a.merge(b, user.as_deref())).collect()
    }

    /// Of this many aggregates, none of which is one of the program.
    #[cfg(test)]
    pub fn plain(aggregates: usize) -> Self {
        Merge(vec![None; aggregates].into())
    }

    /// The contributions to each key of a view as one, kept up to date as rows come and leave. `last`: they are not joined with others.
    pub fn by_key<'s, K: Key>(&self, pairs: &View<'s, (K, Vec<Part>)>, last: bool) -> View<'s, (K, Vec<Part>)> {
        let users = self.0.clone();
        let parts = move |_: &K, group: &Vec<Held>| {
            group.iter().zip(users.iter()).map(|(held, user)| held.part(user.as_deref(), last)).collect::<Vec<Part>>()
        };
        pairs.aggregate_by_key(Vec::new(), Held::add_all, parts)
    }

    /// The same as a function, also of nothing and the first contribution.
    pub fn folded(&self) -> impl Fn(Vec<Part>, Vec<Part>) -> Vec<Part> + Clone + 'static {
        let merge = self.clone();
        move |old: Vec<Part>, new| if old.is_empty() { new } else { merge.of(old, new) }
    }

    /// The same as a function.
    pub fn reduced(&self) -> impl Fn(Vec<Part>, Vec<Part>) -> Vec<Part> + Clone + 'static {
        let merge = self.clone();
        move |a, b| merge.of(a, b)
    }
}

impl Groups {
    /// `keys` and `calls` are over `input`. `window`: the place among the keys that windows have, with the time and their shape.
    pub fn new(
        state: &SessionState,
        (keys, calls): (&[Expr], &[Expr]),
        input: &DFSchema,
        output: &Arc<Schema>,
        window: Option<(usize, Expr, Shape)>,
    ) -> Result<Self> {
        let place = window.as_ref().map(|(place, ..)| *place);
        let others: Vec<Expr> = (0..).zip(keys).filter(|(i, _)| Some(*i) != place).map(|(_, key)| key.clone()).collect();
        let fields = (0..).zip(&output.fields()[..keys.len()]).filter(|(i, _)| Some(*i) != place);
        let codec = Codec::new(&Arc::new(Schema::new(fields.map(|(_, f)| f.clone()).collect::<Vec<_>>())))?;
        let mut aggregates = Vec::new();
        for (expr, field) in calls.iter().zip(&output.fields()[keys.len()..]) {
            let function = function(expr)?;
            let arguments = function.params.args.iter().chain(function.params.order_by.iter().map(|sort| &sort.expr));
            let arguments = physical(state, &arguments.cloned().collect::<Vec<_>>(), input)?;
            let filter =
                function.params.filter.as_ref().map(|f| overflow::physical(state, f.as_ref().clone(), input)).transpose()?;
            let accumulator = Accumulator::of(state, expr, input, field)?;
            aggregates.push(Call { arguments, filter, accumulator });
        }
        let window = window.map(|(place, time, shape)| {
            Ok::<_, datafusion::error::DataFusionError>((place, overflow::physical(state, time, input)?, shape))
        });
        Ok(Groups {
            keys: physical(state, &others, input)?,
            codec,
            aggregates,
            output: output.clone(),
            window: window.transpose()?,
        })
    }

    /// What joins two contributions to a group.
    pub fn merge(&self) -> Merge {
        Merge(self.aggregates.iter().map(|call| call.accumulator.user()).collect())
    }

    /// What each group keeps, and what makes it grow. `leave`: its rows may leave.
    pub fn keeps(&self, leave: bool) -> (&'static str, &'static str) {
        let all = self.aggregates.iter().map(|call| call.accumulator.keeps(leave));
        // The kind that grows fastest comes first in this list.
        let rank = |kind: &(&str, &str)| ["rows", "values", "a result"].iter().position(|k| *k == kind.0);
        all.min_by_key(rank).unwrap_or(("its key", "the groups"))
    }

    /// What the rows of a record batch contribute, by key.
    pub fn parts(&self, batch: &RecordBatch) -> Result<Vec<(Row, Vec<Part>)>> {
        let encoded = self.encoded(batch)?;
        let (groups, keys) = numbered(encoded.iter());
        self.contributions(batch, &groups, keys.into_iter().map(Row::of).collect())
    }

    /// What no rows contribute to the one group of an aggregate without keys.
    pub fn nothing(&self, input: &Arc<Schema>) -> Result<Vec<(Row, Vec<Part>)>> {
        self.contributions(&RecordBatch::new_empty(input.clone()), &[], self.codec.encode(&[], 1)?)
    }

    /// What each row contributes by itself.
    pub fn each(&self, batch: &RecordBatch) -> Result<Vec<(Row, Vec<Part>)>> {
        let keys = self.encoded(batch)?.kept();
        self.contributions(batch, &(0..keys.len()).collect::<Vec<_>>(), keys)
    }

    /// The same as [`Self::each`], with the times of rows.
    pub fn timed(&self, batch: &RecordBatch) -> Result<Vec<Timed>> {
        let times = self.times(batch)?;
        Ok(times.into_iter().zip(self.each(batch)?).collect())
    }

    /// What the rows of a record batch contribute, by key and pane, with the largest time of each.
    pub fn panes(&self, batch: &RecordBatch) -> Result<Vec<Timed>> {
        let (times, shape) = (self.times(batch)?, self.window.as_ref().map(|w| w.2));
        let encoded = self.encoded(batch)?;
        let pane = |time: &Option<i64>| time.map(|time| shape.map_or(time, |shape| shape.pane_of(time)));
        let (groups, keys) = numbered(times.iter().map(pane).zip(encoded.iter()));
        let mut largest = vec![None; keys.len()];
        for (time, group) in times.iter().zip(&groups) {
            largest[*group] = largest[*group].max(*time);
        }
        let parts = self.contributions(batch, &groups, keys.into_iter().map(|(_, key)| Row::of(key)).collect())?;
        Ok(largest.into_iter().zip(parts).collect())
    }

    fn times(&self, batch: &RecordBatch) -> Result<Vec<Option<i64>>> {
        let Some((_, time, _)) = &self.window else { return Ok(vec![None; batch.num_rows()]) };
        Ok(stamps(&time.evaluate(batch)?.into_array(batch.num_rows())?)?.iter().collect())
    }

    fn encoded(&self, batch: &RecordBatch) -> Result<Encoded> {
        Ok(self.codec.bytes(&evaluate(&self.keys, batch)?, batch.num_rows())?)
    }

    fn contributions(&self, batch: &RecordBatch, groups: &[usize], keys: Vec<Row>) -> Result<Vec<(Row, Vec<Part>)>> {
        let mut parts: Vec<(Row, Vec<Part>)> =
            keys.into_iter().map(|key| (key, Vec::with_capacity(self.aggregates.len()))).collect();
        for Call { arguments, filter, accumulator } in &self.aggregates {
            let columns = evaluate(arguments, batch)?;
            let keep = filter.as_ref().map(|f| f.evaluate(batch)?.into_array(batch.num_rows())).transpose()?;
            let keep = keep.as_ref().map(|keep| keep.as_boolean());
            let contributed = accumulator.parts(&columns, keep, groups, parts.len())?;
            for ((_, list), part) in parts.iter_mut().zip(contributed) {
                list.push(part);
            }
        }
        Ok(parts)
    }

    /// The rows of groups: their keys and results. `windows` has those of the groups, if they are a key.
    pub fn results(&self, groups: &[(&Row, &Vec<Part>)], windows: &[Option<(i64, i64)>]) -> Result<RecordBatch> {
        let mut columns =
            self.codec.decode(groups.iter().map(|(key, _)| *key).collect::<Vec<_>>().into_iter())?.columns().to_vec();
        if let Some((place, ..)) = &self.window {
            columns.insert(*place, column(windows, self.output.field(*place).data_type())?);
        }
        for (i, call) in self.aggregates.iter().enumerate() {
            let parts: Vec<&Part> = groups.iter().map(|(_, parts)| &parts[i]).collect();
            let column: ArrayRef = call.accumulator.results(parts.into_iter())?;
            columns.push(column);
        }
        with_columns(&self.output, columns, groups.len())
    }
}

/// The number of the group of each key, and the keys of the groups.
fn numbered<K: std::hash::Hash + Eq + Copy>(keys: impl Iterator<Item = K>) -> (Vec<usize>, Vec<K>) {
    let mut numbers: HashMap<K, usize, RandomState> = HashMap::default();
    let mut all: Vec<K> = Vec::new();
    let groups = keys.map(|key| {
        *numbers.entry(key).or_insert_with(|| {
            all.push(key);
            all.len() - 1
        })
    });
    let groups = groups.collect();
    (groups, all)
}
