//! Rows of text: a table whose rows were lines.

use std::rc::Rc;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::error::ArrowError;
use tidemill::prelude::{DStream, Data};

use crate::streaming::accumulator::Part;
use crate::streaming::codec::Row;
use crate::streaming::tables::{Source, Step, run};

/// Makes columns of the rows of a partition.
pub(super) type ToBatch<T> = Rc<dyn Fn(&[T]) -> Result<RecordBatch, ArrowError>>;

/// A stream of rows that become record batches by a function of their own.
pub(super) struct Rows<'s, T: 'static> {
    pub stream: DStream<'s, T>,
    pub batch: ToBatch<T>,
}

impl<'s, T: Data> Rows<'s, T> {
    fn each<X: Data>(&self, query: &str, step: Step<X>) -> DStream<'s, X> {
        let (batch, query) = (self.batch.clone(), query.to_owned());
        self.stream.map_partitions(move |rows: Vec<T>| {
            let batch = batch(&rows).unwrap_or_else(|e| panic!("{query}: {e}"));
            run(&query, &step, batch)
        })
    }
}

impl<'s, T: Data> Source<'s> for Rows<'s, T> {
    fn rows(&self, query: &str, step: Step<Row>) -> DStream<'s, Row> {
        self.each(query, step)
    }

    fn parts(&self, query: &str, step: Step<(Row, Vec<Part>)>) -> DStream<'s, (Row, Vec<Part>)> {
        self.each(query, step)
    }
}

/// The values of lines as a source, by their schema.
pub(super) fn values<'s>(
    stream: DStream<'s, crate::files::values::Values>,
    schema: &Arc<Schema>,
) -> Rows<'s, crate::files::values::Values> {
    let schema = schema.clone();
    Rows { stream, batch: Rc::new(move |rows| crate::files::values::batch(&schema, rows)) }
}
