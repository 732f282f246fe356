//! Rows that cannot be computed: a cast that fails, a division by zero. They are bad records, and the others go on.

use std::cell::RefCell;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::DataFusionError;
use tidemill::prelude::{BoxError, DStream, Data};

use super::batches::Asked;

/// A result of a step, or why a row has none. The one verb behind it takes it out.
#[derive(Clone)]
pub(super) struct Tried<X>(RefCell<Option<Result<X, String>>>);

impl<X> Tried<X> {
    pub(super) fn all(results: Vec<Result<X, String>>) -> Vec<Self> {
        results.into_iter().map(|x| Tried(RefCell::new(Some(x)))).collect()
    }
}

/// The results. The reasons of rows that have none become bad records.
pub(super) fn parted<'s, X: Data>(each: &DStream<'s, Tried<X>>, asked: &Asked<'_, 's>) -> DStream<'s, X> {
    let parted = each.try_map(|row: &Tried<X>| row.0.take().expect("a result is taken once").map_err(BoxError::from));
    let (good, errors) = parted.split();
    asked.errors.borrow_mut().push(errors);
    good
}

/// The results of a step over the rows of a batch, and for each row that is bad the reason in the place of its results. A fault of the query ends
/// the job.
pub(super) fn attempt<X>(
    query: &str,
    step: &dyn Fn(RecordBatch) -> Result<Vec<X>, DataFusionError>,
    batch: RecordBatch,
) -> Vec<Result<X, String>> {
    let mut all = Vec::with_capacity(batch.num_rows());
    halved(query, step, batch, &mut all);
    all
}

/// Runs a step over as many rows at once as it can: over halves of a batch that fails, down to the rows that are bad.
fn halved<X>(
    query: &str,
    step: &dyn Fn(RecordBatch) -> Result<Vec<X>, DataFusionError>,
    batch: RecordBatch,
    all: &mut Vec<Result<X, String>>,
) {
    match step(batch.clone()) {
        Ok(results) => all.extend(results.into_iter().map(Ok)),
        Err(e) if !is_of_a_row(&e) || batch.num_rows() == 0 => panic!("{query}: {}", e.strip_backtrace()),
        Err(e) if batch.num_rows() == 1 => {
            all.push(Err(format!("{query}: {}; the row is {}", e.strip_backtrace(), shown(&batch))));
        }
        Err(_) => {
            let half = batch.num_rows() / 2;
            halved(query, step, batch.slice(0, half), all);
            halved(query, step, batch.slice(half, batch.num_rows() - half), all);
        }
    }
}

/// Whether values are the reason, not the query.
fn is_of_a_row(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ArrowError(..) | DataFusionError::Execution(_))
}

/// The columns of the one row, with their names.
fn shown(batch: &RecordBatch) -> String {
    let options = FormatOptions::default().with_null("NULL");
    let columns = batch
        .schema()
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| {
            let value = ArrayFormatter::try_new(column.as_ref(), &options).map(|f| f.value(0).to_string());
            format!("{}: {}", field.name(), value.unwrap_or_default())
        })
        .collect::<Vec<_>>();
    columns.join(", ")
}
