//! ORDER BY of a result, and the first rows of it.

use std::cmp::Reverse;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::row::SortField;
use datafusion::common::DFSchema;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, Sort, SortExpr};
use datafusion::physical_expr::PhysicalExpr;

use super::changing::mapped;
use super::codec::{Codec, Row};
use super::explain::Kept;
use super::narrow::{evaluate, physical};
use super::render::{Rendered, Renderer, Result, schema};

impl<'s> Renderer<'_, 's> {
    pub(super) fn sort(&self, sort: &Sort) -> Result<Rendered<'s>> {
        let list = sort.expr.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let verb = match sort.fetch {
            Some(n) => format!("top_by {n} of {list}"),
            None => format!("sort_by {list}"),
        };
        self.keeps(&verb, Kept::of("the rows of the result in order", "the rows of the result"));
        let Rendered::Changing(view, _) = self.inner().render(&sort.input)? else {
            return self.refused(
                "ORDER BY of a stream",
                &["ORDER", "BY"],
                "a stream has no last row: aggregate first, and use mode Complete or Update",
            );
        };
        let order = Order::new(self.state, &sort.expr, sort.input.schema())?;
        let keyed = mapped(&self.asked(), &view, &schema(&sort.input), move |batch, rows| {
            Ok(order.keys(&batch)?.into_iter().zip(rows).map(Some).collect())
        })?;
        let ordered = match sort.fetch {
            // Rows with equal keys are taken in the order of their values, so that the result does not depend on the number of workers.
            Some(n) => keyed.top_by(n, |pair: &(Row, Row)| Reverse(pair.clone())),
            None => keyed.sort_by(|pair: &(Row, Row)| pair.clone()),
        };
        Ok(Rendered::Changing(ordered.map(|(_, row)| row), self.part(&["ORDER", "BY"])))
    }
}

/// The expressions of an ORDER BY.
pub(super) struct Order {
    expressions: Vec<Arc<dyn PhysicalExpr>>,
    codec: Codec,
}

impl Order {
    pub(super) fn new(state: &SessionState, sort: &[SortExpr], input: &DFSchema) -> Result<Self> {
        let expressions: Vec<Expr> = sort.iter().map(|s| s.expr.clone()).collect();
        let expressions = physical(state, &expressions, input)?;
        let kinds = expressions.iter().map(|e| e.data_type(input.as_arrow())).collect::<Result<Vec<DataType>>>()?;
        let fields: Vec<Field> = kinds.iter().map(|kind| Field::new("key", kind.clone(), true)).collect();
        let options = sort.iter().map(|s| SortOptions { descending: !s.asc, nulls_first: s.nulls_first });
        let sorted = kinds.into_iter().zip(options).map(|(kind, options)| SortField::new_with_options(kind, options)).collect();
        Ok(Order { expressions, codec: Codec::sorted(&Arc::new(Schema::new(fields)), sorted)? })
    }

    pub(super) fn keys(&self, batch: &RecordBatch) -> Result<Vec<Row>> {
        Ok(self.codec.encode(&evaluate(&self.expressions, batch)?, batch.num_rows())?)
    }
}
