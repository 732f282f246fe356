//! How a job ends without an error, and what its handle returns before and after.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::harness::{PATIENCE, eventually, in_time};

/// Queued rows that are not yet planned go into a last batch, even if the clock does not advance.
#[test]
fn a_graceful_stop_takes_what_is_queued() {
    for workers in [1, 2, 4] {
        let live = sums(job(workers), 5);
        live.clock.set(10);
        started(&live.job);
        for n in 1..=9 {
            live.queue.push(vec![n]);
        }
        let summary = live.job.stop_gracefully().unwrap();
        assert_eq!(summary, Summary { batches: 2, records: 9, ..Summary::default() });
        let last = live.seen.batches().pop().unwrap();
        assert_eq!(last, (BatchTime::from_millis(20), vec![(0, 20), (1, 25)]));
    }
}

#[test]
fn a_graceful_stop_before_anything() {
    let live = sums(job(2), 5);
    live.queue.push(vec![4]);
    in_time(move || live.job.stop_gracefully()).unwrap();
    assert_eq!(live.seen.rows(), [(0, 4)]);
}

/// `stop_now` drops unwritten batches, and does not wait for outputs that have not begun.
#[test]
fn stop_now_drops_unwritten_batches() {
    let (clock, queue, asked) = (ManualClock::at(5), QueueSource::new(), Arc::new(AtomicBool::new(false)));
    let (q, seen, stops) = (queue.clone(), MemorySink::new(), asked.clone());
    let out = seen.clone();
    (0..16).for_each(|n| queue.push(vec![n as i64]));
    let program = move |ssc: &StreamingContext<'_>| {
        let s = ssc.queue_stream(&q);
        s.to_memory(&out);
        // The first output ends two seconds after the test asks for the stop; each further one would take as long again.
        let stops = stops.clone();
        s.foreach_batch(move |_| {
            while !stops.load(Ordering::SeqCst) {
                std::thread::sleep(millis(1));
            }
            std::thread::sleep(secs(2));
            Ok(())
        });
        Ok(())
    };
    let job = job(2).start_on_clock(clock.clone(), program).unwrap();
    let (mut now, mut waiting) = (0, 0);
    eventually("the output has one batch, and others wait", || {
        now += TICK;
        clock.set(now);
        waiting = job.statistics().in_flight;
        !seen.rows().is_empty() && waiting > 3
    });
    asked.store(true, Ordering::SeqCst);
    in_time(move || job.stop_now()).unwrap();
    assert!(seen.batches().len() < waiting, "all {waiting} batches were written");
}

#[test]
fn dropping_the_handle_stops_the_job() {
    let live = sums(job(4), 5);
    live.clock.set(10);
    started(&live.job);
    let (job, queue, seen, clock) = (live.job, live.queue, live.seen, live.clock);
    in_time(move || drop(job));
    queue.push(vec![1]);
    clock.set(100);
    assert_eq!(seen.batches().len(), 1);
}

#[test]
fn waiting_with_a_timeout() {
    let live = sums(job(1), 5);
    assert!(!live.job.await_termination_or_timeout(millis(30)).unwrap(), "the job still runs");
    live.clock.set(10);
    started(&live.job);
    assert_eq!(live.job.stop_gracefully().unwrap().batches, 2);

    let queue = QueueSource::from_batches([vec![1i64], vec![], vec![2, 3]]);
    let program = move |ssc: &StreamingContext<'_>| {
        ssc.queue_stream(&queue).to_memory(&MemorySink::new());
        Ok(())
    };
    let job = job(2).start(program).unwrap();
    assert!(job.await_termination_or_timeout(PATIENCE).unwrap());
    assert!(job.await_termination_or_timeout(millis(0)).unwrap(), "a second call returns the same");
    assert_eq!(job.await_termination().unwrap(), Summary { batches: 3, records: 3, ..Summary::default() });
}

/// The handle returns the error once. After that it says that the job has ended, and does not wait for ever.
#[test]
fn a_job_that_failed_is_over() {
    let queue = QueueSource::from_batches([vec![1i64]]);
    let program = move |ssc: &StreamingContext<'_>| {
        ssc.queue_stream(&queue).map(|_| -> i64 { panic!("no") }).to_memory(&MemorySink::new());
        Ok(())
    };
    let job = job(1).start(program).unwrap();
    let first = job.await_termination_or_timeout(PATIENCE).unwrap_err().to_string();
    assert!(first.contains("no"), "{first}");
    let (again, last) = in_time(move || (job.await_termination_or_timeout(PATIENCE), job.await_termination()));
    let (again, last) = (again.unwrap_err().to_string(), last.unwrap_err().to_string());
    assert_eq!(again, format!("the job has ended: {first}"));
    assert_eq!(last, again, "each further call returns the same");
}

/// A job over given batches ends after the last one.
#[test]
fn given_batches_end_the_job() {
    for batches in [vec![], vec![vec![]], vec![vec![1i64]; 200]] {
        let seen = MemorySink::new();
        let (out, queue) = (seen.clone(), QueueSource::from_batches(batches.clone()));
        let program = move |ssc: &StreamingContext<'_>| {
            ssc.queue_stream(&queue).to_memory(&out);
            Ok(())
        };
        let summary = in_time(move || job(2).run(program)).unwrap();
        assert_eq!(seen.batches().into_iter().map(|(_, rows)| rows).collect::<Vec<_>>(), batches);
        assert_eq!(summary.batches, batches.len() as u64);
    }
}

/// With two queues of given batches, the job ends after the longer one.
#[test]
fn two_queues() {
    let (long, short) = (QueueSource::from_batches([vec![1i64], vec![2], vec![3]]), QueueSource::from_batches([vec![10i64]]));
    let seen = MemorySink::new();
    let out = seen.clone();
    let program = move |ssc: &StreamingContext<'_>| {
        ssc.queue_stream(&short).union(&ssc.queue_stream(&long)).to_memory(&out);
        Ok(())
    };
    in_time(move || job(4).run(program)).unwrap();
    assert_eq!(seen.batches().into_iter().map(|(_, rows)| rows).collect::<Vec<_>>(), [vec![10, 1], vec![2], vec![3]]);
}

#[test]
fn one_job_after_another() {
    for run in 1..=3 {
        let live = sums(job(2), 5);
        live.queue.push(vec![run]);
        live.clock.set(10);
        started(&live.job);
        live.job.stop_gracefully().unwrap();
        assert_eq!(live.seen.batches()[0].1, [((run % 2) as u8, run)], "no row of the previous job is left");
    }
}

#[test]
fn two_jobs_at_once() {
    let (a, b) = (sums(job(2), 5), sums(job(4), 5));
    a.queue.push(vec![1]);
    b.queue.push(vec![2]);
    for live in [&a, &b] {
        live.clock.set(10);
        started(&live.job);
    }
    a.job.stop_now().unwrap();
    b.clock.set(20);
    eventually("the other job continues", || b.times().len() == 2);
    b.job.stop_gracefully().unwrap();
    assert_eq!((a.seen.rows(), b.seen.batches()[1].1.clone()), (vec![(1, 1)], vec![(0, 2)]));
}
