//! Rows of text: a table whose rows were lines.

use std::rc::Rc;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::error::ArrowError;
use tidemill::prelude::{DStream, Data};

use crate::streaming::accumulator::Part;
use crate::streaming::bad_rows::tried;
use crate::streaming::codec::Row;
use crate::streaming::groups::Timed;
use crate::streaming::tables::{Asked, Keyed, Source, Step, Tagged};

/// Makes columns of the rows of a partition.
pub(super) type ToBatch<T> = Rc<dyn Fn(&[T]) -> Result<RecordBatch, ArrowError>>;

/// A stream of rows that become record batches by a function of their own.
pub(super) struct Rows<'s, T: 'static> {
    pub stream: DStream<'s, T>,
    pub batch: ToBatch<T>,
}

impl<'s, T: Data> Rows<'s, T> {
    fn each<X: Data>(&self, asked: &Asked<'_, 's>, step: Step<X>) -> DStream<'s, X> {
        let (batch, query) = (self.batch.clone(), asked.query.to_owned());
        tried(&self.stream, asked, step, move |rows: Vec<T>| batch(&rows).unwrap_or_else(|e| panic!("{query}: {e}")))
    }
}

impl<'s, T: Data> Source<'s> for Rows<'s, T> {
    fn rows(&self, asked: &Asked<'_, 's>, step: Step<Row>) -> DStream<'s, Row> {
        self.each(asked, step)
    }

    fn parts(&self, asked: &Asked<'_, 's>, step: Step<(Row, Vec<Part>)>) -> DStream<'s, (Row, Vec<Part>)> {
        self.each(asked, step)
    }

    fn timed(&self, asked: &Asked<'_, 's>, step: Step<Timed>) -> DStream<'s, Timed> {
        self.each(asked, step)
    }

    fn keyed(&self, asked: &Asked<'_, 's>, step: Step<Keyed>) -> DStream<'s, Keyed> {
        self.each(asked, step)
    }

    fn tagged(&self, asked: &Asked<'_, 's>, step: Step<Tagged>) -> DStream<'s, Tagged> {
        self.each(asked, step)
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
