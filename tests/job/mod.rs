//! Batches on a clock that the test sets: their times, how many may wait, and how a job ends.

mod added;
mod bounds;
mod clock;
mod corrections;
mod downtime;
mod end;
mod failure;
#[cfg(feature = "http")]
mod follow;
mod graph;
mod listener;
mod long_intervals;
mod operators;
#[cfg(feature = "otlp")]
mod otlp;
mod outputs;
#[cfg(feature = "http")]
mod page;
mod poison;
mod queries;
mod resume;
mod signals;
mod stopper;

use tidemill::api::context::Builder;
use tidemill::job::ManualClock;
use tidemill::prelude::*;

/// The batch interval of these tests.
pub const TICK: u64 = 10;

pub fn job(workers: u16) -> Builder {
    StreamingContext::builder("live", millis(TICK)).workers(workers)
}

/// A live job over a queue, and the rows that its program writes to `seen`.
struct Live {
    clock: ManualClock,
    queue: QueueSource<i64>,
    seen: MemorySink<(u8, i64)>,
    job: JobHandle,
}

/// Starts a job that writes running sums by parity to `seen`. The sums make overdue batches visible.
fn sums(builder: Builder, from: u64) -> Live {
    let (clock, queue, seen) = (ManualClock::at(from), QueueSource::new(), MemorySink::new());
    let (q, out) = (queue.clone(), seen.clone());
    let program = move |ssc: &StreamingContext<'_>| {
        let keyed = ssc.queue_stream(&q).map(|n: i64| ((n % 2) as u8, n));
        keyed
            .update_state_by_key(|new: &[i64], sum: Option<i64>| Some(new.iter().sum::<i64>() + sum.unwrap_or(0)))
            .to_memory(&out);
        Ok(())
    };
    let job = builder.start_on_clock(clock.clone(), program).unwrap();
    Live { clock, queue, seen, job }
}

impl Live {
    fn times(&self) -> Vec<u64> {
        self.seen.batches().iter().map(|(t, _)| t.millis()).collect()
    }
}

/// Waits until the job has closed its first batch.
fn started(job: &JobHandle) {
    crate::harness::eventually("the job runs", || job.statistics().batches > 0);
}
