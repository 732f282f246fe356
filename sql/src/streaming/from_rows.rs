//! Aggregates that do not add up: computed from all rows of their group, for the groups that changed.
//!
//! A group keeps the rows of the arguments, in the order of the ORDER BY of the aggregate. DataFusion's accumulator gets them from the first
//! one, so its result does not depend on batches and workers.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, UInt32Array, new_empty_array};
use datafusion::arrow::compute::{SortOptions, cast, take};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::row::SortField;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::{AggregateFunction, NullTreatment};
use datafusion::physical_expr::PhysicalSortExpr;
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};

use super::accumulator::Part;
use super::codec::{Codec, Row};
use super::render::Result;
use crate::overflow;

/// An aggregate of all rows of a group.
pub(crate) struct FromRows {
    aggregate: Arc<AggregateFunctionExpr>,
    /// How many columns of a row are of the ORDER BY. They come first.
    ordered: usize,
    /// Copies of a row do not count.
    once: bool,
    codec: Codec,
}

impl FromRows {
    pub fn new(
        state: &SessionState,
        expr: &Expr,
        function: &AggregateFunction,
        input: &DFSchema,
        output: &Field,
    ) -> Result<Self> {
        let (name, params) = (function.func.name(), &function.params);
        if matches!(name, "first_value" | "last_value" | "nth_value") && params.order_by.is_empty() {
            let call = expr.schema_name().to_string();
            let remedy = "write min_by(value, time) or max_by(value, time), or first_value(value ORDER BY time)";
            return Err(DataFusionError::Plan(format!("{call} over a stream has no order, so no row is the first; {remedy}")));
        }
        let physical = |e: &Expr| overflow::physical(state, e.clone(), input);
        let args = params.args.iter().map(physical).collect::<Result<Vec<_>>>()?;
        let mut order = Vec::new();
        for sort in &params.order_by {
            order.push(PhysicalSortExpr::new(physical(&sort.expr)?, SortOptions::new(!sort.asc, sort.nulls_first)));
        }
        let aggregate = AggregateExprBuilder::new(function.func.clone(), args.clone())
            .schema(input.inner().clone())
            .alias(output.name())
            .order_by(order.clone())
            .with_distinct(params.distinct)
            .with_ignore_nulls(params.null_treatment == Some(NullTreatment::IgnoreNulls))
            .build()?;
        let mut fields = Vec::new();
        for sort in &order {
            fields.push(SortField::new_with_options(sort.expr.data_type(input.as_arrow())?, sort.options));
        }
        for arg in &args {
            fields.push(SortField::new(arg.data_type(input.as_arrow())?));
        }
        let kinds = order.iter().map(|s| &s.expr).chain(&args).map(|e| e.data_type(input.as_arrow()));
        let columns = kinds.map(|kind| Ok(Field::new("column", kind?, true))).collect::<Result<Vec<_>>>()?;
        let codec = Codec::sorted(&Arc::new(Schema::new(columns)), fields)?;
        let once = params.distinct || matches!(name, "approx_distinct" | "collect_set");
        Ok(FromRows { aggregate: Arc::new(aggregate), ordered: order.len(), once, codec })
    }

    /// Whether copies of a row do not count, so that a group keeps one.
    pub fn once(&self) -> bool {
        self.once
    }

    /// The contributions of rows. `columns` are the arguments, and then the expressions of the ORDER BY.
    pub fn parts(&self, columns: &[ArrayRef], kept: impl Fn(usize) -> bool, groups: &[usize], n: usize) -> Result<Vec<Part>> {
        let (args, order) = columns.split_at(columns.len() - self.ordered);
        let encoded = self.codec.encode(&[order, args].concat(), groups.len())?;
        let mut parts = vec![BTreeMap::new(); n];
        for ((row, group), encoded) in groups.iter().enumerate().zip(encoded) {
            if kept(row) {
                let count = parts[*group].entry(encoded).or_insert(0_i64);
                *count = if self.once { 1 } else { *count + 1 };
            }
        }
        Ok(parts.into_iter().map(Part::Rows).collect())
    }

    /// The result of the rows of a group.
    pub fn result(&self, rows: &BTreeMap<Row, i64>) -> Result<ScalarValue> {
        let batch = self.codec.decode(rows.keys().collect::<Vec<_>>().into_iter())?;
        let mut columns = batch.columns().to_vec();
        if !self.once && rows.values().any(|n| *n > 1) {
            let places =
                (0..).zip(rows.values()).flat_map(|(place, n)| std::iter::repeat_n(place, usize::try_from(*n).unwrap_or(0)));
            let places: UInt32Array = places.collect();
            columns = columns.iter().map(|column| Ok(take(column, &places, None)?)).collect::<Result<_>>()?;
        }
        let order = columns.drain(..self.ordered).collect::<Vec<_>>();
        if !self.aggregate.order_bys().is_empty() {
            columns.extend(order);
        }
        let mut accumulator = self.aggregate.create_accumulator()?;
        accumulator.update_batch(&columns)?;
        accumulator.evaluate()
    }

    /// The column of the results of some groups.
    pub fn column(&self, results: Vec<ScalarValue>, kind: &DataType) -> Result<ArrayRef> {
        if results.is_empty() {
            return Ok(new_empty_array(kind));
        }
        let column = ScalarValue::iter_to_array(results)?;
        if column.data_type() == kind { Ok(column) } else { Ok(cast(&column, kind)?) }
    }
}
