//! Two kinds of state: a value for each key, and a View. `cargo run --example state`
//!
//! It prints three blocks per batch. The first has all sums so far, from `update_state_by_key`. As in Spark, its function is called
//! for every key in every batch. The others have the same sums from `sum_by_key`, a View, which looks only at keys with new records.
//! `update` writes the changed rows, and `changes` their differences: the old row with -1, and the new one with +1.

use tidemill::prelude::*;

fn main() -> tidemill::Result<()> {
    tidemill::logging::init();
    let pairs = |pairs: &[(&str, i64)]| pairs.iter().map(|(k, n)| (k.to_string(), *n)).collect::<Vec<_>>();
    let queue = QueueSource::from_batches([pairs(&[("tide", 1), ("mill", 1)]), pairs(&[("tide", 2)]), pairs(&[])]);
    StreamingContext::builder("state", secs(1)).without_checkpoint().run(move |ssc| {
        let pairs = ssc.queue_stream(&queue);
        pairs
            .update_state_by_key(|new: &[i64], sum: Option<i64>| Some(new.iter().sum::<i64>() + sum.unwrap_or(0)))
            .map(|(k, n)| format!("state    {k} {n}"))
            .print(10);

        let sums = pairs.sum_by_key();
        sums.update().map(|(k, n)| format!("update   {k} {n}")).print(10);
        sums.changes().map(|c| format!("changes  {:+} {} {}", c.diff, c.row.0, c.row.1)).print(10);
        Ok(())
    })?;
    Ok(())
}
