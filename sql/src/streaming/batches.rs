//! Streams whose rows come as record batches: what every query begins with.
//!
//! A source makes record batches of its rows once, however many queries read it. Steps of a query run over a whole record batch, and what they make
//! of it is the row of the next verb. A row that fails is a bad record, and the others of its record batch go on.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::error::DataFusionError;
use tidemill::prelude::{BadRecord, BoxError, DStream, Data};

use super::bad_rows::{Tried, attempt, parted};
use super::codec::{Codec, Row};
use super::join::JoinKey;
use super::join_time::Pairs;
use super::narrow::Narrow;

/// What a source needs to know of a query.
pub(crate) struct Asked<'a, 's> {
    /// Its text, for errors.
    pub query: &'a str,
    /// Where rows go that cannot be computed.
    pub errors: &'a RefCell<Vec<DStream<'s, BadRecord>>>,
}

/// A stream whose rows come as record batches.
pub(crate) trait Source<'s> {
    /// The record batches. Each is a part of the rows of a partition, in their order.
    fn batches(&self) -> DStream<'s, RecordBatch>;
    /// Steps over each of them, before those of a query.
    fn steps(&self) -> Narrow {
        Narrow::default()
    }
    /// The pairs that the rows were made of, if they are those of a join by time.
    fn pairs(&self) -> Option<Rc<dyn Pairs<'s> + 's>> {
        None
    }
    /// Whether the query keeps all of its rows anyway, so that it may have them as a result.
    fn kept(&self) -> bool {
        false
    }
    /// The rows that came too late to be among its rows, if a watermark says so.
    fn late(&self) -> Option<Late<'s>> {
        None
    }
}

/// Late rows, with their columns.
pub(crate) type Late<'s> = (Arc<Schema>, DStream<'s, Row>);

/// A row with its time and the key of a join.
pub(crate) type Tagged = (Option<i64>, (JoinKey, Row));

/// A row with its time and a key.
pub(crate) type Keyed = (Option<i64>, (Row, Row));

/// What a step makes of the record batches of a source.
pub(crate) fn each<'s, X: Data>(
    source: &Rc<dyn Source<'s> + 's>,
    asked: &Asked<'_, 's>,
    step: impl Fn(RecordBatch) -> Result<Vec<X>, DataFusionError> + 'static,
) -> DStream<'s, X> {
    let (query, steps) = (asked.query.to_owned(), source.steps());
    let step = move |batch| step(steps.run(batch)?);
    let tried = source.batches().map_partitions(move |batches: Vec<RecordBatch>| {
        batches.into_iter().flat_map(|batch| Tried::all(attempt(&query, &step, batch))).collect::<Vec<_>>()
    });
    parted(&tried, asked)
}

/// Record batches as they come.
pub(crate) struct Batches<'s>(pub DStream<'s, RecordBatch>);

impl<'s> Batches<'s> {
    /// The rows of a stream. `batch` makes columns of those of a partition. Rows that have none end the job.
    pub fn of<T: Data>(stream: &DStream<'s, T>, batch: impl Fn(&[T]) -> Result<RecordBatch, BoxError> + 'static) -> Self {
        Batches(stream.map_partitions(move |rows: Vec<T>| [batch(&rows).unwrap_or_else(|e| panic!("rows as columns: {e}"))]))
    }

    /// The rows of a query, as the source of another step.
    pub fn encoded(stream: &DStream<'s, Row>, codec: Rc<Codec>) -> Self {
        Batches::of(stream, move |rows| Ok(codec.decode(rows.iter())?))
    }
}

impl<'s> Source<'s> for Batches<'s> {
    fn batches(&self) -> DStream<'s, RecordBatch> {
        self.0.clone()
    }
}

/// A source after steps over its record batches.
pub(crate) struct Stepped<'s> {
    pub source: Rc<dyn Source<'s> + 's>,
    pub step: Narrow,
}

impl<'s> Source<'s> for Stepped<'s> {
    fn batches(&self) -> DStream<'s, RecordBatch> {
        self.source.batches()
    }

    fn steps(&self) -> Narrow {
        self.source.steps().then(self.step.clone())
    }

    fn pairs(&self) -> Option<Rc<dyn Pairs<'s> + 's>> {
        self.source.pairs()
    }

    fn kept(&self) -> bool {
        self.source.kept()
    }

    fn late(&self) -> Option<Late<'s>> {
        self.source.late()
    }
}

/// Rows of which the query keeps all: those of a join.
pub(crate) struct Kept<'s>(pub DStream<'s, RecordBatch>);

impl<'s> Source<'s> for Kept<'s> {
    fn batches(&self) -> DStream<'s, RecordBatch> {
        self.0.clone()
    }

    fn kept(&self) -> bool {
        true
    }
}
