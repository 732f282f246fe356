//! A job that writes its rows to one table and their sums to another, for the tests of databases.

use std::collections::BTreeMap;
use std::path::Path;

use tidemill::connector::database::Table;
use tidemill::job::ManualClock;
use tidemill::prelude::*;

/// The key of a row, and its value.
pub type Row = (i64, i64);

/// Every row, in several shards.
pub fn log() -> Table {
    Table::new("log").integer("k").integer("v").shards(3).exactly_once()
}

/// The sum of each key.
pub fn sums() -> Table {
    Table::new("sums").integer("k").integer("v").key(["k"])
}

pub fn given(batches: i64) -> Vec<Vec<Row>> {
    (0..batches).map(|b| (0..b % 4 * 3).map(|i| (i % 5, b * 10 + i)).collect()).collect()
}

/// The tables after these batches.
pub fn expected(batches: &[Vec<Row>]) -> (Vec<Row>, Vec<Row>) {
    let mut log = batches.concat();
    log.sort_unstable();
    let mut sums = BTreeMap::new();
    log.iter().for_each(|(k, v)| *sums.entry(*k).or_insert(0) += v);
    (log, sums.into_iter().collect())
}

/// Runs batches from where the previous run stopped. `write` attaches the outputs to the rows and to the changed sums.
pub fn run(
    checkpoint: &Path,
    workers: u16,
    batches: Vec<Vec<Row>>,
    write: impl Fn(&DStream<'_, Row>, &DStream<'_, Row>) + Send + Sync + 'static,
) -> tidemill::Result<JobHandle> {
    let job = StreamingContext::builder("sums", millis(1)).workers(workers).checkpoint(checkpoint);
    job.checkpoint_interval(millis(3)).start_on_clock(ManualClock::at(0), move |ssc| {
        let rows = ssc.test_stream(batches.clone());
        write(&rows, &rows.sum_by_key().update());
        Ok(())
    })
}
