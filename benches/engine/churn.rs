//! Memory while keys come and go.

use std::time::Duration;

use tidemill::prelude::*;

use crate::results::{head, row};
use crate::{Size, nowhere, status};

/// Keys that occur in two batches and never again: 20,000 records a batch over 20,000 keys, 10,000 of them new. Prints resident
/// memory after each million of keys, fifteen times. It stays flat if the job frees keys that it forgets.
pub fn churn(size: Size) {
    type Program = fn(&DStream<'_, String>);
    let programs: [(&str, Program); 3] = [
        ("sliding counts, 5 batches", |s| nowhere(&s.count_by_value_and_window(secs(5), secs(1)).update())),
        ("sliding maximum, 5 batches, no inverse", |s| {
            nowhere(&s.map(|k| (k, 1i64)).reduce_by_key_and_window(|a, b| a.max(b), secs(5), secs(1)).update());
        }),
        ("state that ends at the first batch without its key", |s| {
            nowhere(&s.map(|k| (k, 1i64)).update_state_by_key(|new: &[i64], sum: Option<i64>| {
                (!new.is_empty()).then(|| sum.unwrap_or(0) + new.iter().sum::<i64>())
            }));
        }),
    ];
    let batches = 1_500 / size.part as u64;
    head(&["churn", "resident MiB after each fifteenth of the keys"]);
    for (name, program) in programs {
        row([name, &churned(program, batches).join(" ")]);
    }
}

fn churned(program: fn(&DStream<'_, String>), batches: u64) -> Vec<String> {
    let (queue, clock) = (QueueSource::new(), tidemill::job::ManualClock::at(0));
    let source = queue.clone();
    let job =
        StreamingContext::builder("churn", secs(1)).without_logging().workers(2).start_on_clock(clock.clone(), move |ssc| {
            program(&ssc.queue_stream(&source));
            Ok(())
        });
    let job = job.expect("the job of the benchmark");
    let mut resident = Vec::new();
    for t in 1..=batches {
        queue.push((t * 10_000..(t + 2) * 10_000).map(|k| format!("key number {k}")).collect());
        clock.set(t * 1_000);
        while job.statistics().batches < t {
            std::thread::sleep(Duration::from_micros(200));
        }
        if t % (batches / 15) == 0 {
            resident.push((status("VmRSS:") as u64 / 1024).to_string());
        }
    }
    job.stop_now().expect("the end of the benchmark");
    resident
}
