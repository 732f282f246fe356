//! Outputs that fail: the job tries the same batch again, and then ends with an error that names the output.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::harness::{eventually, in_time};

/// The rows of each batch that an output got.
type Written = Vec<(u64, Vec<i64>)>;

/// Runs three batches through an output that fails `fails` times at batch 2. Returns the result, what the output got, and what an
/// output after it got.
fn failing(tries: u32, fails: u32) -> (tidemill::Result<Summary>, Written, Vec<i64>) {
    let queue = QueueSource::from_batches([vec![1i64], vec![2, 2], vec![3]]);
    let (tried, after) = (Arc::new(Mutex::new(Vec::new())), MemorySink::new());
    let (log, out) = (tried.clone(), after.clone());
    let left = Arc::new(Mutex::new(fails));
    let program = move |ssc: &StreamingContext<'_>| {
        let s = ssc.queue_stream(&queue);
        let (log, left) = (log.clone(), left.clone());
        s.foreach_batch(move |b| {
            log.lock().unwrap().push((b.time().millis(), b.iter().copied().collect()));
            let mut left = left.lock().unwrap();
            if b.time().millis() == 20 && *left > 0 {
                *left -= 1;
                return Err(format!("the disk is full, {left} more").into());
            }
            Ok(())
        });
        s.to_memory(&out);
        Ok(())
    };
    let builder = job(2).output_tries(tries);
    let end = in_time(move || builder.start_on_clock(ManualClock::at(0), program).unwrap().await_termination());
    let tried = tried.lock().unwrap().clone();
    (end, tried, after.rows())
}

#[test]
fn a_failing_output_is_tried_again_with_the_same_batch() {
    let (end, tried, after) = failing(3, 2);
    assert_eq!(end.unwrap().batches, 3);
    let two = (20, vec![2, 2]);
    assert_eq!(tried, [(10, vec![1]), two.clone(), two.clone(), two, (30, vec![3])]);
    assert_eq!(after, [1, 2, 2, 3], "the output after it saw each batch once");
}

#[test]
fn an_output_that_keeps_failing_ends_the_job() {
    let (end, tried, after) = failing(2, 9);
    let Err(Error::Output { output, time, tries, reason }) = end else { panic!("{end:?}") };
    assert!(output.contains("foreach_batch (outputs.rs:"), "{output}");
    assert_eq!((time.millis(), tries, &*reason), (20, 2, "the disk is full, 7 more"));
    assert_eq!(tried.len(), 3);
    assert_eq!(after, [1], "nothing of the failed batch, or after it, was written");
}

/// A stop does not wait for the pauses between tries. Together they would last hours.
#[test]
fn stop_now_does_not_wait_for_the_next_try() {
    let (clock, queue, tries) = (ManualClock::at(5), QueueSource::<i64>::new(), Arc::new(AtomicU32::new(0)));
    let (q, tried) = (queue.clone(), tries.clone());
    let program = move |ssc: &StreamingContext<'_>| {
        let tried = tried.clone();
        ssc.queue_stream(&q).foreach_batch(move |_| {
            tried.fetch_add(1, Ordering::SeqCst);
            Err("no".into())
        });
        Ok(())
    };
    let job = job(1).output_tries(10_000).start_on_clock(clock.clone(), program).unwrap();
    clock.set(10);
    eventually("a second try", || tries.load(Ordering::SeqCst) >= 2);
    in_time(move || job.stop_now()).unwrap();
}

/// `foreach_partition`: if a part of a batch fails, its earlier parts are not written again.
#[test]
fn a_written_part_is_not_written_again() {
    for workers in [1, 2, 4] {
        let tried = Arc::new(Mutex::new(Vec::new()));
        let log = tried.clone();
        let program = move |ssc: &StreamingContext<'_>| {
            let (log, connections) = (log.clone(), Mutex::new(0));
            let connect = move || {
                let mut n = connections.lock().unwrap();
                *n += 1;
                // The second connection is refused once.
                if *n == 2 { Err("no connection".into()) } else { Ok(()) }
            };
            let mut fails = 1;
            ssc.test_stream(vec![(0..4i64).collect()]).foreach_partition(connect, move |(), _, part, rows| {
                log.lock().unwrap().push((part, rows.to_vec()));
                if part == 2 && fails > 0 {
                    fails -= 1;
                    return Err("no answer".into());
                }
                Ok(())
            });
            Ok(())
        };
        let builder = job(workers);
        in_time(move || builder.start_on_clock(ManualClock::at(0), program).unwrap().await_termination()).unwrap();
        let row = |n: u32| (n, vec![n as i64]);
        assert_eq!(*tried.lock().unwrap(), [row(0), row(1), row(2), row(2), row(3)], "at {workers} workers");
    }
}
