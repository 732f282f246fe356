//! Sliding windows: raw rows, and counts kept up to date. `cargo run --example windows`
//!
//! Six batches of one second, windows of three. Expect the rolling count to rise to 3 and to fall again, `b` to leave the counts
//! when its batch leaves the window, and every second batch the raw rows of the last two.

use tidemill::prelude::*;

fn main() -> tidemill::Result<()> {
    tidemill::logging::init();
    let batches = ["a", "b", "a", "", "", ""].map(|row| row.split_terminator(' ').map(str::to_owned).collect::<Vec<_>>());
    let queue = QueueSource::from_batches(batches);
    StreamingContext::builder("windows", secs(1)).without_checkpoint().run(move |ssc| {
        let rows = ssc.queue_stream(&queue);
        rows.count_by_window(secs(3), secs(1)).complete().map(|n| format!("rows in the last 3 s: {n}")).print(10);

        // Panes enter and leave: the cost does not grow with the window.
        let counts = rows.count_by_value_and_window(secs(3), secs(1));
        counts.sort_by(|(_, n)| -n).print(10);

        rows.window(secs(2), secs(2)).map(|row| format!("raw: {row}")).print(10);
        Ok(())
    })?;
    Ok(())
}
