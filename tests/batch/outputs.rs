//! Outputs that fail: tried again with the same batch, then the end of the job, by name.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::*;
use crate::harness::in_time;

/// What was written of each batch.
type Written = Vec<(u64, Vec<i64>)>;

/// Runs three batches through an output that fails `fails` times at batch 2. Returns the job's end and what it tried to write.
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

/// A stop does not sit through the pauses between tries.
#[test]
fn stop_now_does_not_wait_for_the_next_try() {
    let (clock, queue) = (ManualClock::at(5), QueueSource::<i64>::new());
    let q = queue.clone();
    let program = move |ssc: &StreamingContext<'_>| {
        ssc.queue_stream(&q).foreach_batch(|_| Err("no".into()));
        Ok(())
    };
    let job = job(1).output_tries(20).start_on_clock(clock.clone(), program).unwrap();
    clock.set(10);
    std::thread::sleep(millis(800));
    let begun = Instant::now();
    in_time(move || job.stop_now()).unwrap();
    assert!(begun.elapsed() < millis(1_000), "{:?}", begun.elapsed());
}

/// `foreach_partition`: a part that went well is not given again when a later one of the same batch fails.
#[test]
fn a_part_that_went_well_is_not_given_again() {
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
