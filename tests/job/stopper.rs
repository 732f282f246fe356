//! A job that is stopped from the inside: by an output, by a listener.

use std::sync::Arc;

use tidemill::metrics::{BatchInfo, StreamingListener};

use super::*;
use crate::harness::{eventually, in_time};

/// A graceful stop takes what is queued, so all rows are written, whoever asks.
#[test]
fn an_output_stops_its_job() {
    for workers in [1, 4] {
        let (clock, queue, seen) = (ManualClock::at(5), QueueSource::new(), MemorySink::new());
        let (rows, out) = (queue.clone(), seen.clone());
        let build = move |ssc: &StreamingContext<'_>| {
            let (numbers, stopper) = (ssc.queue_stream(&rows), ssc.stopper());
            numbers.to_memory(&out);
            numbers.foreach_batch(move |batch| {
                if batch.iter().any(|n| *n == 2) {
                    stopper.stop_gracefully();
                }
                Ok(())
            });
            Ok(())
        };
        let job = job(workers).start_on_clock(clock.clone(), build).unwrap();
        (1..=5).for_each(|n| queue.push(vec![n]));
        clock.set(10);
        eventually("the first batch is written", || job.statistics().batches == 1);
        assert!(job.is_active());
        // The batch at 20 has the row that stops the job. The clock stands still then.
        clock.set(20);
        let summary = in_time(|| job.await_termination()).unwrap();
        assert_eq!((summary.records, seen.rows()), (5, vec![1, 2, 3, 4, 5]), "at {workers} workers");
    }
}

/// Stops a job after its second batch.
struct Second(Stopper);

impl StreamingListener for Second {
    fn on_batch_completed(&self, batch: &BatchInfo) {
        if batch.time.millis() == 2 * TICK {
            self.0.stop_now();
        }
    }
}

#[test]
fn a_listener_stops_its_job() {
    let live = sums(job(2), 5);
    live.job.add_streaming_listener(Arc::new(Second(live.job.stopper())));
    live.queue.push(vec![1]);
    live.clock.set(10);
    started(&live.job);
    assert!(StreamingContext::get_active().is_some());
    live.clock.set(20);
    let stopper = live.job.stopper();
    let (times, seen) = (live.seen.clone(), in_time(move || live.job.await_termination()));
    assert_eq!((seen.unwrap().batches, times.batches().len()), (2, 2));
    // The job is over.
    stopper.stop_gracefully();
}
