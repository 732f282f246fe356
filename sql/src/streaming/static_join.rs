//! A join of a stream with static tables, and with a file as of the batch: DataFusion runs it over each record batch.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, Join, LogicalPlan, LogicalPlanBuilder, TableScan};
use datafusion::physical_plan::collect;

use super::narrow::with_columns;
use crate::session::TableSession;

type Result<T> = std::result::Result<T, DataFusionError>;

/// The name of the table of a batch in the plan of a join.
const BATCH: &str = "the rows of a batch";

/// What the join makes of a record batch of its stream, and of the version of a file. A batch costs a plan, about a millisecond, and the static
/// table is read once for each. `file`: the table of the join that stands for the version.
pub(super) fn static_join(
    session: &TableSession,
    join: &Join,
    stream_is_left: bool,
    file: Option<String>,
) -> Result<impl Fn(RecordBatch, Option<&RecordBatch>) -> Result<RecordBatch> + 'static> {
    let side = if stream_is_left { &join.left } else { &join.right };
    // The table of a batch has the names of the side that it stands for.
    let empty = scan(Arc::new(EmptyTable::new(side.schema().inner().clone())))?;
    let columns = empty.schema().columns().into_iter().zip(side.schema().iter());
    let named = columns.map(|(column, (relation, field))| Expr::Column(column).alias_qualified(relation.cloned(), field.name()));
    let stream = Arc::new(LogicalPlanBuilder::from(empty).project(named.collect::<Vec<_>>())?.build()?);
    let (left, right) = match stream_is_left {
        true => (stream, join.right.clone()),
        false => (join.left.clone(), stream),
    };
    let plan = LogicalPlan::Join(Join { left, right, ..join.clone() });
    let (input, output) = (side.schema().inner().clone(), join.schema.inner().clone());
    // A session's state has every function: too much to copy for each batch.
    let (session, state) = (session.clone(), session.context().state());
    let table = |rows: RecordBatch| -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?))
    };
    Ok(move |batch: RecordBatch, version: Option<&RecordBatch>| {
        let rows = table(with_columns(&input, batch.columns().to_vec(), batch.num_rows())?)?;
        let version = version.cloned().map(table).transpose()?;
        let plan = plan.clone().transform_up(|node| match (&node, &version) {
            (LogicalPlan::TableScan(old), _) if old.table_name.table() == BATCH => Ok(Transformed::yes(scan(rows.clone())?)),
            (LogicalPlan::TableScan(old), Some(version)) if Some(old.table_name.table()) == file.as_deref() => {
                let source = provider_as_source(version.clone());
                Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { source, ..old.clone() })))
            }
            _ => Ok(Transformed::no(node)),
        })?;
        let rows = session.block_on(async {
            let plan = state.create_physical_plan(&plan.data).await?;
            collect(plan, state.task_ctx()).await
        })?;
        let rows = rows.into_iter().map(|rows| with_columns(&output, rows.columns().to_vec(), rows.num_rows()));
        Ok(concat_batches(&output, &rows.collect::<Result<Vec<_>>>()?)?)
    })
}

fn scan(table: Arc<dyn TableProvider>) -> Result<LogicalPlan> {
    LogicalPlanBuilder::scan(BATCH, provider_as_source(table), None)?.build()
}
