//! What several of the test programs need.

use std::time::{Duration, Instant};

use tidemill::prelude::*;
use tidemill_sql::arrow::array::RecordBatch;
use tidemill_sql::arrow::util::display::{ArrayFormatter, FormatOptions};

/// How many cases a property has: PROPTEST_CASES, or this many.
pub fn cases(otherwise: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

/// Waits for an event, and fails if it does not come.
pub fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !is() {
        assert!(Instant::now() < until, "{what} does not happen");
        std::thread::yield_now();
    }
}

/// The values of each row as texts.
pub fn texts(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let of_batch = |batch: &RecordBatch| {
        let columns: Vec<ArrayFormatter<'_>> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap()).collect();
        let row = |row| columns.iter().map(|column| column.value(row).to_string()).collect();
        (0..batch.num_rows()).map(row).collect::<Vec<_>>()
    };
    batches.iter().flat_map(of_batch).collect()
}

/// The rows that are there, of rows that come (1) and leave (-1).
pub fn present<'s, R: Key>(events: &DStream<'s, (R, i64)>) -> View<'s, R> {
    events.sum_by_key().flat_map(|(row, n)| std::iter::repeat_n(row, usize::try_from(n).unwrap_or(0)))
}
