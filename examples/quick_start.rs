//! Words of two batches, counted in each. `cargo run --example quick_start`
//!
//! Expect two blocks, a second apart in their times: `("mill", 1)`, `("tide", 2)`, then `("mill", 1)`. The batches come from
//! memory and all of them are known, so the job does not wait for the clock and ends by itself.

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
