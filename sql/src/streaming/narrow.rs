//! What needs one row at a time: conditions and expressions, over a whole record batch.

use std::rc::Rc;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::Schema;
use datafusion::common::DFSchema;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;

use crate::overflow;

/// Makes a record batch of another.
pub(crate) type OfBatch = Rc<dyn Fn(RecordBatch) -> Result<RecordBatch, DataFusionError>>;

/// Steps from one record batch to another.
#[derive(Clone, Default)]
pub(crate) struct Narrow(Vec<Step>);

#[derive(Clone)]
enum Step {
    /// Columns by place.
    Columns(Vec<usize>),
    Filter(Arc<dyn PhysicalExpr>),
    Project(Arc<Schema>, Vec<Arc<dyn PhysicalExpr>>),
    /// The same columns with other names.
    Named(Arc<Schema>),
    /// Any function of a whole batch.
    Batch(OfBatch),
}

impl Narrow {
    pub(crate) fn columns(mut self, places: &[usize]) -> Self {
        self.0.push(Step::Columns(places.to_vec()));
        self
    }

    pub(crate) fn named(mut self, schema: &Arc<Schema>) -> Self {
        self.0.push(Step::Named(schema.clone()));
        self
    }

    pub(crate) fn filter(mut self, state: &SessionState, condition: &Expr, input: &DFSchema) -> Result<Self, DataFusionError> {
        self.0.push(Step::Filter(overflow::physical(state, condition.clone(), input)?));
        Ok(self)
    }

    pub(crate) fn project(
        mut self,
        state: &SessionState,
        expressions: &[Expr],
        input: &DFSchema,
        output: &Arc<Schema>,
    ) -> Result<Self, DataFusionError> {
        self.0.push(Step::Project(output.clone(), physical(state, expressions, input)?));
        Ok(self)
    }

    pub(crate) fn batch(mut self, step: OfBatch) -> Self {
        self.0.push(Step::Batch(step));
        self
    }

    pub(crate) fn then(mut self, more: Narrow) -> Self {
        self.0.extend(more.0);
        self
    }

    pub(crate) fn run(&self, batch: RecordBatch) -> Result<RecordBatch, DataFusionError> {
        self.0.iter().try_fold(batch, |batch, step| {
            Ok(match step {
                Step::Columns(places) => batch.project(places)?,
                Step::Named(schema) => with_columns(schema, batch.columns().to_vec(), batch.num_rows())?,
                Step::Filter(condition) => {
                    let keep = condition.evaluate(&batch)?.into_array(batch.num_rows())?;
                    // A condition that is null keeps no row.
                    filter_record_batch(&batch, keep.as_boolean())?
                }
                Step::Batch(step) => step(batch)?,
                Step::Project(schema, expressions) => with_columns(schema, evaluate(expressions, &batch)?, batch.num_rows())?,
            })
        })
    }
}

/// Expressions that can be evaluated over the columns of a schema.
pub(crate) fn physical(
    state: &SessionState,
    expressions: &[Expr],
    input: &DFSchema,
) -> Result<Vec<Arc<dyn PhysicalExpr>>, DataFusionError> {
    expressions.iter().map(|e| overflow::physical(state, e.clone().unalias_nested().data, input)).collect()
}

pub(crate) fn evaluate(expressions: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch) -> Result<Vec<ArrayRef>, DataFusionError> {
    expressions.iter().map(|e| e.evaluate(batch)?.into_array(batch.num_rows())).collect()
}

pub(crate) fn with_columns(schema: &Arc<Schema>, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, DataFusionError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}
