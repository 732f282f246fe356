//! Counts the words of each of two batches. `cargo run --example quick_start`
//!
//! It prints two blocks whose times are a second apart: `("mill", 1)`, `("tide", 2)`, then `("mill", 1)`. The batches are given in
//! advance, in memory. So the job does not wait for the clock, and ends after the last one.

use tidemill::prelude::*;

fn main() -> tidemill::Result<()> {
    tidemill::logging::init();
    let lines = |lines: &[&str]| lines.iter().map(|l| l.to_string()).collect::<Vec<_>>();
    let queue = QueueSource::from_batches([lines(&["tide mill", "tide"]), lines(&["mill"])]);
    let summary = StreamingContext::builder("quick-start", secs(1)).run(move |ssc| {
        let lines = ssc.queue_stream(&queue);
        let words = lines.flat_map_into(|line, out| out.extend(line.split(' ').map(str::to_owned)));
        words.count_by_value().print(10);
        Ok(())
    })?;
    eprintln!("{} batches", summary.batches);
    Ok(())
}
