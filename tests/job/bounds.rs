//! Back-pressure: the number of batches in flight and their bytes are bounded, and no row is lost.

use std::sync::mpsc::channel;

use super::*;
use crate::harness::eventually;

/// Runs a job over 60 batches of `rows` rows each. Its output blocks until at least `least` batches are in flight.
/// Returns the largest number of batches in flight while it blocked.
fn blocked(builder: Builder, rows: usize, least: usize) -> usize {
    let (clock, queue) = (ManualClock::at(5), QueueSource::new());
    let (go, gate) = channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let gate = std::sync::Arc::new(gate);
    let (q, seen) = (queue.clone(), MemorySink::new());
    let out = seen.clone();
    for n in 0..60 {
        queue.push(vec![n as i64; rows]);
    }
    let program = move |ssc: &StreamingContext<'_>| {
        let s = ssc.queue_stream(&q);
        let gate = gate.clone();
        s.foreach_batch(move |_| {
            // No longer blocks once the sender is dropped.
            let _ = gate.lock().unwrap().recv();
            Ok(())
        });
        s.to_memory(&out);
        Ok(())
    };
    let job = builder.start_on_clock(clock.clone(), program).unwrap();
    let mut most = 0;
    for tick in 1..=60 {
        clock.set(tick * TICK);
        std::thread::sleep(millis(4));
        most = most.max(job.statistics().in_flight);
    }
    eventually("batches that wait", || {
        most = most.max(job.statistics().in_flight);
        most >= least
    });
    eventually("the next batch is held by the outputs", || {
        job.statistics().held_by.is_some_and(|what| what.ends_with("outputs have not written"))
    });
    assert_eq!(seen.batches().len(), 0, "the first batch is not written yet");
    assert_eq!(job.statistics().batches, 0);
    drop(go);
    eventually("all batches", || job.statistics().batches >= 60);
    job.stop_gracefully().unwrap();
    let times: Vec<u64> = seen.batches().iter().map(|(t, _)| t.millis()).collect();
    assert_eq!(times, (1..=times.len() as u64).map(|t| t * TICK).collect::<Vec<_>>(), "every time exists, in order");
    let rows_seen: Vec<i64> = seen.batches().into_iter().filter_map(|(_, r)| r.first().copied()).collect();
    assert_eq!(rows_seen[..rows_seen.len().min(59)], (0..59.min(rows_seen.len() as i64)).collect::<Vec<_>>()[..]);
    assert_eq!(seen.rows().len(), 60 * rows, "a graceful stop takes all that is queued");
    most
}

#[test]
fn a_blocked_output_bounds_the_batches() {
    for workers in [1, 4] {
        let most = blocked(job(workers), 3, 2);
        assert!(most <= 16, "{most} batches in flight");
    }
}

#[test]
fn a_blocked_output_bounds_the_bytes() {
    // A batch has 8,000 bytes for each of two outputs. The first delivered batch exceeds the bound; the job notices one or two later.
    let most = blocked(job(2).batch_bytes(10_000), 1_000, 1);
    assert!(most <= 4, "{most} batches in flight");
}

/// A verb that takes longer than the interval: batches do not pile up, and no time is missing.
#[test]
fn e6_work_longer_than_the_interval_keeps_few_batches_and_every_time() {
    for k in [1, 3] {
        let (clock, queue) = (ManualClock::at(5), QueueSource::new());
        let (q, seen) = (queue.clone(), MemorySink::new());
        let out = seen.clone();
        (0..20).for_each(|n| queue.push(vec![n as i64]));
        let program = move |ssc: &StreamingContext<'_>| {
            let slow = ssc.queue_stream(&q).transform(|b| {
                std::thread::sleep(millis(8));
                b
            });
            slow.to_memory(&out);
            Ok(())
        };
        let job = job(2).batches_in_flight(k).start_on_clock(clock.clone(), program).unwrap();
        let mut most = 0;
        for tick in 1..=40 {
            clock.set(tick * TICK);
            std::thread::sleep(millis(2));
            most = most.max(job.statistics().in_flight);
        }
        // A graceful stop would skip the overdue times.
        eventually("the overdue times", || job.statistics().batches >= 40);
        job.stop_gracefully().unwrap();
        assert!(most <= k + 4, "{most} batches in flight, but only {k} may be computed and a few wait for the output");
        assert_eq!(seen.rows(), (0..20).collect::<Vec<i64>>());
        let times: Vec<u64> = seen.batches().iter().map(|(t, _)| t.millis()).collect();
        assert_eq!(times, (1..=times.len() as u64).map(|t| t * TICK).collect::<Vec<_>>(), "every time exists, in order");
        assert!(times.len() >= 40, "{}: the job catches up on overdue times", times.len());
    }
}
