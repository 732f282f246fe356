//! Sliding windows: of rows, and of counts that are kept up to date. `cargo run --example windows`
//!
//! There are six batches of one second, and windows of three. The rolling count rises to 3 and falls again. `b` has no count any
//! more when its batch is outside the window. Every second batch prints the rows of the last two.

use tidemill::prelude::*;

fn main() -> tidemill::Result<()> {
    tidemill::logging::init();
    let batches = ["a", "b", "a", "", "", ""].map(|row| row.split_terminator(' ').map(str::to_owned).collect::<Vec<_>>());
    let queue = QueueSource::from_batches(batches);
    StreamingContext::builder("windows", secs(1)).without_checkpoint().run(move |ssc| {
        let rows = ssc.queue_stream(&queue);
        rows.count_by_window(secs(3), secs(1)).complete().map(|n| format!("rows in the last 3 s: {n}")).print(10);

        // The window adds and removes whole panes, so the cost of a batch does not grow with its length.
        let counts = rows.count_by_value_and_window(secs(3), secs(1));
        counts.sort_by(|(_, n)| -n).print(10);

        rows.window(secs(2), secs(2)).map(|row| format!("raw: {row}")).print(10);
        Ok(())
    })?;
    Ok(())
}
