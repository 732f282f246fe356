//! A record that cannot be read is data, not a crash. `cargo run --example errors_as_data`
//!
//! It prints the sum of the numbers, 6, and one line for each record that is not a number, with the reason. If a program does not
//! use its errors, the job counts them and logs the count.

use tidemill::prelude::*;

fn main() -> tidemill::Result<()> {
    tidemill::logging::init();
    let batch = ["1", "2", "three", "3", ""].map(str::to_owned).to_vec();
    let queue = QueueSource::from_batches([batch]);
    StreamingContext::builder("errors-as-data", secs(1)).run(move |ssc| {
        let (numbers, bad) = {
            let read = ssc.queue_stream(&queue).try_map(|text| Ok(text.parse::<i64>()?));
            (read.oks(), read.errors())
        };
        numbers.reduce(|a, b| a + b).map(|sum| format!("sum {sum}")).print(10);
        bad.map(|b| format!("{:?}: {}", String::from_utf8_lossy(&b.raw), b.reason)).print(10);
        Ok(())
    })?;
    Ok(())
}
