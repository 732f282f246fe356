//! A part of a query without rows, whatever its tables have: the optimiser has found a condition that never holds.

use std::rc::Rc;

use datafusion::arrow::array::RecordBatch;
use datafusion::logical_expr::EmptyRelation;

use super::explain::Kept;
use super::narrow::Narrow;
use super::render::{Rendered, Renderer, Result};
use super::tables::Table;

impl<'s> Renderer<'_, 's> {
    /// No rows, in the batches of a stream: that whose name is the first one.
    pub(super) fn empty(&self, empty: &EmptyRelation) -> Result<Rendered<'s>> {
        let streams = self.streams.iter().filter(|(_, table)| !matches!(table, Table::File(_)));
        let Some((_, table)) = streams.min_by_key(|(name, _)| name.as_str()) else {
            return self.refused("a query without a stream", &[], "register a stream, or ask the session for it");
        };
        self.keeps("no rows", Kept::NOTHING);
        let columns = empty.schema.inner().clone();
        Ok(match table {
            Table::Stream(source) => {
                let none = Narrow::default().batch(Rc::new(move |_| Ok(RecordBatch::new_empty(columns.clone()))));
                Rendered::Growing(source.clone(), none)
            }
            Table::View(view) => Rendered::Changing(view.filter(|_| false), None),
            Table::File(_) => unreachable!("files are left out above"),
        })
    }
}
