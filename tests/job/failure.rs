//! If one worker fails, the job ends with an error that names operator, worker and batch. It never hangs.

use std::time::Duration;

use super::*;
use crate::harness::in_time;

fn ends_in(
    workers: u16,
    program: impl for<'s> Fn(&StreamingContext<'s>) -> Result<(), BoxError> + Send + Sync + 'static,
) -> Error {
    let builder = job(workers).gather_cap(4_000);
    in_time(move || builder.start_on_clock(ManualClock::at(0), program).unwrap().await_termination()).unwrap_err()
}

/// Eight rows are on four splits, two rows each. Worker `l % workers` reads the split with id `l`.
#[test]
fn a16_a_panic_in_a_verb_names_operator_worker_and_batch() {
    for workers in [1, 2, 4] {
        for split_id in 0..workers as usize {
            let e = ends_in(workers, move |ssc| {
                let s = ssc.test_stream(vec![(0..8i64).map(|n| n + 100).collect(), (0..8i64).collect()]);
                let s = s.map(move |n| if n == 2 * split_id as i64 { panic!("row {n}") } else { n });
                s.count_by_value().sort_by(|(n, _)| *n).to_memory(&MemorySink::new());
                Ok(())
            });
            let Error::WorkerPanicked { operator, worker, batch, message } = &e else { panic!("{e}") };
            assert!(operator.contains("map (failure.rs:"), "{operator}");
            assert_eq!((*worker, message), (split_id, &format!("row {}", 2 * split_id)), "{e}");
            assert_eq!(*batch, Some(BatchTime::from_millis(20)));
        }
    }
}

#[test]
fn a16_a_panic_in_a_verb_of_a_view_names_it() {
    type Verb = fn(View<'_, (u8, i64)>) -> View<'_, (u8, i64)>;
    let verbs: [(&str, bool, Verb); 4] = [
        ("map", true, |v| v.map(|_| panic!("row"))),
        ("filter", true, |v| v.filter(|_| panic!("row"))),
        ("flat_map", true, |v| v.flat_map(|_| -> Vec<(u8, i64)> { panic!("row") })),
        ("reduce_by_key", false, |v| v.reduce_by_key(|_, _| panic!("row"))),
    ];
    for workers in [1, 2, 4] {
        for (name, knows_batch, verb) in verbs {
            let e = ends_in(workers, move |ssc| {
                let view = ssc.test_stream(vec![vec![(1u8, 1i64), (1, 2)]]).accumulate();
                // Another operator runs before it.
                verb(view.union(&view)).complete().print(1);
                Ok(())
            });
            let Error::WorkerPanicked { operator, batch, message, .. } = &e else { panic!("{e}") };
            assert!(operator.starts_with(&format!("{name} (failure.rs:")) && message == "row", "{e}");
            assert_eq!(*batch, knows_batch.then(|| BatchTime::from_millis(10)), "{e}");
        }
    }
}

/// The functions of the kernels may panic too, not only those that get one row. Other jobs of the process continue.
#[test]
fn a16_panics_after_an_exchange() {
    let bystander = sums(job(2), 5);
    for workers in [1, 2, 4] {
        let e = ends_in(workers, |ssc| {
            let s = ssc.test_stream(vec![vec![(1u8, 1i64)]]);
            s.update_state_by_key(|_: &[i64], _: Option<i64>| panic!("state")).print(1);
            Ok(())
        });
        assert!(e.to_string().contains("update_state_by_key (failure.rs:") && e.to_string().ends_with(".010: state"), "{e}");
        let e = ends_in(workers, |ssc| {
            ssc.test_stream(vec![vec![1u8, 2]]).transform(|_| -> Batch<u8> { panic!("whole") }).print(1);
            Ok(())
        });
        assert!(e.to_string().starts_with("worker 0 panicked in transform (failure.rs:"), "{e}");
    }
    bystander.clock.set(10);
    started(&bystander.job);
    bystander.job.stop_gracefully().unwrap();
}

/// A panic ends a live job even if its clock does not advance.
#[test]
fn a_panic_on_a_live_job() {
    for workers in [1, 4] {
        let (clock, queue) = (ManualClock::at(5), QueueSource::new());
        let q = queue.clone();
        let program = move |ssc: &StreamingContext<'_>| {
            ssc.queue_stream(&q).filter(|n: &i64| 10 / n > 0).print(0);
            Ok(())
        };
        let job = job(workers).start_on_clock(clock.clone(), program).unwrap();
        queue.push(vec![0]);
        clock.set(10);
        let e = in_time(move || job.await_termination()).unwrap_err().to_string();
        assert!(e.contains("filter (failure.rs:") && e.contains("divide by zero"), "{e}");
    }
}

#[test]
fn a16_a_panic_on_the_output_thread() {
    for workers in [1, 4] {
        let e = ends_in(workers, |ssc| {
            let s = ssc.test_stream(vec![vec![1u8], vec![2]]);
            s.foreach_batch(|b| if b.first() == Some(&2) { panic!("spilled") } else { Ok(()) });
            Ok(())
        });
        let Error::WorkerPanicked { operator, batch, message, .. } = &e else { panic!("{e}") };
        assert!(operator.contains("foreach_batch (failure.rs:"), "{operator}");
        assert_eq!((batch.unwrap().millis(), &**message), (20, "spilled"));
    }
}

/// The output thread formats the error of a sink, and that may panic as well.
#[test]
fn a_panic_in_the_display_of_an_error() {
    #[derive(Debug)]
    struct NoDisplay;
    impl std::fmt::Display for NoDisplay {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("no words")
        }
    }
    impl std::error::Error for NoDisplay {}
    for workers in [1, 2] {
        let e = ends_in(workers, |ssc| {
            ssc.test_stream(vec![vec![1u8]]).foreach_batch(|_| Err(NoDisplay.into()));
            Ok(())
        });
        assert!(e.to_string().contains("foreach_batch (failure.rs:") && e.to_string().ends_with("no words"), "{e}");
    }
}

#[test]
fn a_batch_larger_than_the_gather_cap() {
    for workers in [1, 2] {
        let e = ends_in(workers, |ssc| {
            ssc.test_stream(vec![vec![0i64; 10], vec![7i64; 1_000]]).sort_by(|n| *n).print(1);
            Ok(())
        });
        let Error::GatherCap { operator, time, cap } = &e else { panic!("{e}") };
        assert!(operator.contains("sort_by (failure.rs:"), "{operator}");
        assert_eq!((time.millis(), *cap), (20, 4_000));
        assert!(e.to_string().contains("foreach_partition"), "{e}");
    }
}

/// The cap does not apply to verbs that do not gather.
#[test]
fn the_cap_is_for_gathered_batches_only() {
    let program = |ssc: &StreamingContext<'_>| {
        let s = ssc.test_stream(vec![vec![7i64; 10_000]]);
        s.foreach_partition(|| Ok(()), |(), _, _, _| Ok(()));
        s.top(3).to_memory(&MemorySink::new());
        Ok(())
    };
    let builder = job(2).gather_cap(4_000);
    builder.start_on_clock(ManualClock::at(0), program).unwrap().await_termination().unwrap();
}

/// One worker blocks in the user's code until the job has ended. A job that waited for this worker would never end.
fn waits(runtime: RuntimeArgs, panics: bool) -> Error {
    let (over, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Arc::new(std::sync::Mutex::new(wait));
    let e = in_time(move || {
        let builder = job(2).runtime(RuntimeArgs { workers: 2, ..runtime });
        let handle = builder.start_on_clock(ManualClock::at(0), move |ssc| {
            let wait = wait.clone();
            let s = ssc.test_stream(vec![(0..8i64).collect()]).map(move |n| {
                // Row 2 is the second worker's, row 4 the first one's.
                match n {
                    2 => drop(wait.lock().unwrap().recv()),
                    4 if panics => panic!("row 4"),
                    _ => {}
                }
                n
            });
            s.count_by_value().sort_by(|(n, _)| *n).to_memory(&MemorySink::new());
            Ok(())
        });
        handle.unwrap().await_termination()
    });
    drop(over);
    e.unwrap_err()
}

#[test]
fn a_stuck_worker_is_an_error_if_the_user_set_a_limit() {
    let timeout = Duration::from_secs(1);
    let runtime = RuntimeArgs { heartbeat_timeout: timeout, stuck_timeout: Some(2 * timeout), ..RuntimeArgs::default() };
    let e = waits(runtime, false);
    let Error::WorkerStuck { operator, batch, seconds, .. } = &e else { panic!("{e}") };
    assert!(operator.contains("map (failure.rs:") && *batch == Some(BatchTime::from_millis(10)), "{e}");
    assert!(*seconds >= 2, "{e}");
}

#[test]
fn a_stuck_worker_does_not_delay_the_failure_of_another() {
    let runtime = RuntimeArgs { heartbeat_timeout: Duration::from_secs(1), ..RuntimeArgs::default() };
    let e = waits(runtime, true);
    let Error::WorkerPanicked { message, .. } = &e else { panic!("{e}") };
    assert_eq!(message, "row 4", "{e}");
}
