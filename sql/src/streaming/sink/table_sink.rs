//! The rows of each batch as a table, for a function; and rows that go nowhere.

use datafusion::arrow::array::RecordBatch;
use tidemill::connector::sink::{Part, Sink, SinkBatch};
use tidemill::prelude::{BatchTime, BoxError};

use crate::files::write::json_lines;
use crate::streaming::codec::{Codec, Row};

/// Calls a function with the table of each batch, also of an empty one.
pub(crate) struct TableSink<F> {
    pub codec: Codec,
    pub write: F,
}

impl<F: FnMut(BatchTime, RecordBatch) -> Result<(), BoxError> + Send> Sink<Row> for TableSink<F> {
    fn write(&mut self, batch: &SinkBatch, parts: &[Part<Row>]) -> Result<(), BoxError> {
        let rows: Vec<&Row> = parts.iter().flat_map(|part| &part.rows).collect();
        (self.write)(batch.time(), self.codec.decode(rows.into_iter())?)
    }

    fn shown(&mut self, rows: &[&Row]) -> Option<Vec<String>> {
        shown(&self.codec, rows)
    }
}

/// Drops rows that were counted where they were made. A row of this sink is the number of rows of a partition.
pub(super) struct Dropped;

impl Sink<u64> for Dropped {
    fn write(&mut self, _: &SinkBatch, _: &[Part<u64>]) -> Result<(), BoxError> {
        Ok(())
    }

    fn row_count(&self, parts: &[Part<u64>]) -> u64 {
        parts.iter().flat_map(|part| &part.rows).sum()
    }

    fn shown(&mut self, _: &[&u64]) -> Option<Vec<String>> {
        Some(Vec::new())
    }
}

/// Rows as lines of JSON, with the names of their columns.
pub(super) fn shown(codec: &Codec, rows: &[&Row]) -> Option<Vec<String>> {
    json_lines(&codec.decode(rows.iter().copied()).ok()?).ok()
}
