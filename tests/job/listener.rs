//! What a job reports to its listeners while it runs.

use std::sync::{Arc, Mutex};

use tidemill::metrics::{BatchInfo, OutputInfo, StreamingListener};

use super::*;
use crate::harness::{PATIENCE, eventually, in_time};

#[derive(Default)]
struct Log(Mutex<Vec<(&'static str, BatchInfo)>>);

impl StreamingListener for Log {
    fn on_batch_started(&self, b: &BatchInfo) {
        self.0.lock().unwrap().push(("started", b.clone()));
    }
    fn on_batch_planned(&self, b: &BatchInfo) {
        self.0.lock().unwrap().push(("planned", b.clone()));
    }
    fn on_batch_completed(&self, b: &BatchInfo) {
        self.0.lock().unwrap().push(("completed", b.clone()));
    }
}

#[test]
fn listeners_hear_of_each_batch_in_order() {
    let live = sums(job(2), 5);
    let log = Arc::new(Log::default());
    live.job.add_streaming_listener(log.clone());
    for (tick, rows) in [(10, vec![1, 2, 3]), (20, vec![]), (50, vec![4])] {
        let before = log.0.lock().unwrap().len();
        live.queue.push(rows);
        live.clock.set(tick);
        // The listener must have heard of the batch. Otherwise the next batch may start before this one is completed.
        eventually("the last event of the batch", || log.0.lock().unwrap().len() == before + 3);
        assert_eq!(live.times().last(), Some(&tick));
    }
    let heard = log.0.lock().unwrap().clone();
    let expected = [(10, 3, 0, 3, 0), (20, 0, 3, 3, 0), (30, 1, 3, 4, 2)];
    for (i, (time, records, from, until, overdue)) in expected.into_iter().enumerate() {
        let [started, planned, completed] = &heard[3 * i..3 * i + 3] else { unreachable!() };
        assert_eq!((started.0, planned.0, completed.0), ("started", "planned", "completed"));
        let t = BatchTime::from_millis(time);
        assert!([started, planned, completed].iter().all(|(_, b)| b.time == t && b.overdue == overdue));
        let [input] = &completed.1.inputs[..] else { panic!("one queue, one range: {completed:?}") };
        let range = &input.range;
        assert_eq!((&*range.topic, range.from, range.until), ("queue", from, until));
        assert_eq!((input.source, input.records, input.lag), (0, records, None));
        assert_eq!(planned.1.inputs, completed.1.inputs);
        assert_eq!((planned.1.records, completed.1.records), (records, records));
        assert_eq!(completed.1.scheduling_delay, millis(if time == 30 { 20 } else { 0 }));
        assert_eq!(planned.1.processing_time, millis(0), "it is not processed yet");
        let b = &completed.1;
        assert_eq!(b.planning_time + b.computing_time + b.output_time(), b.processing_time);
        assert!(b.on_clock && b.planning_time > millis(0) && planned.1.outputs.is_empty());
        let [output] = &b.outputs[..] else { panic!("one output: {b:?}") };
        assert!(output.name.starts_with("to_memory (mod.rs:") && output.tries == 1, "{output:?}");
        assert_eq!(output.rows, 2 * (1 + u64::from(overdue)), "a sum of odd and one of even numbers for each batch time");
        assert!(completed.1.processing_time > millis(0) && completed.1.total_delay() >= completed.1.scheduling_delay);
    }
    let s = live.job.statistics();
    assert_eq!((s.batches, s.records, s.in_flight, s.waiting_bytes), (5, 4, 0, 0));
    assert_eq!((s.lag, s.trouble), (None, vec![]));
    assert_eq!(s.last.unwrap(), heard[8].1);
    live.job.stop_now().unwrap();
}

/// The start is heard first, and each output right before its batch is complete.
#[test]
fn listeners_hear_of_the_start_and_of_each_output() {
    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);
    impl Heard {
        fn hear(&self, what: &str, time: BatchTime) {
            self.0.lock().unwrap().push(format!("{what} {}", time.millis()));
        }
    }
    impl StreamingListener for Heard {
        fn on_streaming_started(&self, first: BatchTime) {
            self.hear("started", first);
        }
        fn on_batch_completed(&self, batch: &BatchInfo) {
            self.hear("completed", batch.time);
        }
        fn on_output_operation_completed(&self, batch: &BatchInfo, output: &OutputInfo) {
            assert!(batch.outputs.contains(output) && output.tries == 1, "{output:?}");
            self.hear(output.name.split(' ').next().unwrap(), batch.time);
        }
    }
    for workers in [1, 2, 4] {
        let (queue, heard) = (QueueSource::from_batches([vec![1], vec![2]]), Arc::new(Heard::default()));
        let job = StreamingContext::builder("heard", millis(10)).workers(workers).without_checkpoint();
        let job = job.streaming_listener(heard.clone()).start_on_clock(ManualClock::at(0), move |ssc| {
            let numbers = ssc.queue_stream(&queue);
            numbers.to_memory(&MemorySink::new());
            numbers.count().foreach_batch(|_| Ok(()));
            Ok(())
        });
        job.unwrap().await_termination().unwrap();
        let batch = |time| ["to_memory", "foreach_batch", "completed"].map(|what| format!("{what} {time}"));
        let expected = [vec!["started 10".to_owned()], batch(10).into(), batch(20).into()].concat();
        assert_eq!(*heard.0.lock().unwrap(), expected, "{workers} workers");
    }
}

/// What a batch reports adds up: records by split, bad records, tries of outputs.
#[test]
fn a_batch_says_what_its_inputs_and_outputs_did() {
    for workers in [1, 4] {
        let (lines, log) = (QueueSource::new(), Arc::new(Log::default()));
        let (queue, tried) = (lines.clone(), Arc::new(Mutex::new(0)));
        let clock = ManualClock::at(5);
        let live = job(workers).output_tries(3).start_on_clock(clock.clone(), move |ssc| {
            let tried = tried.clone();
            let numbers = ssc.queue_stream(&queue).try_map(|line: &&'static str| Ok(line.parse::<i64>()?));
            numbers.to_memory(&MemorySink::new());
            numbers.foreach_batch(move |batch| {
                let mut tried = tried.lock().unwrap();
                *tried += 1;
                if *tried == 1 && !batch.is_empty() { Err("not yet".into()) } else { Ok(()) }
            });
            Ok(())
        });
        let live = live.unwrap();
        live.add_streaming_listener(log.clone());
        lines.push(vec!["1", "x", "3"]);
        clock.set(10);
        eventually("the batch is completed", || live.statistics().batches == 1);
        eventually("the bad record is counted", || live.statistics().bad == 1);
        let batch = live.statistics().last.unwrap();
        assert_eq!((batch.records, batch.inputs.iter().map(|i| i.records).sum::<u64>()), (3, 3));
        assert_eq!(batch.ranges().map(|r| r.until - r.from).sum::<i64>(), 3);
        let outputs: Vec<_> = batch.outputs.iter().map(|o| (o.name.split(' ').next().unwrap(), o.tries, o.rows)).collect();
        assert_eq!(outputs, [("to_memory", 1, 2), ("foreach_batch", 2, 2)]);
        assert!(batch.outputs[1].time >= millis(100), "the pause before the second try: {batch:?}");
        // The output may begin before the planner hears that the batch is computed.
        assert!(batch.output_time() >= batch.outputs[1].time - millis(20), "{batch:?}");
        live.stop_now().unwrap();
    }
}

/// A batch has the watermark of each stream with event time, and that of two streams that a verb joins.
#[test]
fn a_batch_says_how_far_its_streams_are_in_event_time() {
    for workers in [1, 4] {
        let (sides, clock) = ([QueueSource::new(), QueueSource::new()], ManualClock::at(5));
        let queues = sides.clone();
        let live = job(workers).start_on_clock(clock.clone(), move |ssc| {
            let micros = std::time::Duration::from_micros;
            let [left, right] = queues.each_ref().map(|queue: &QueueSource<i64>| {
                ssc.queue_stream(queue).event_time(|time| *time, micros(2)).map(|time| ('k', time))
            });
            left.join_within(&right, micros(0), micros(5)).timestamped().to_memory(&MemorySink::new());
            Ok(())
        });
        let live = live.unwrap();
        let expected = [
            [("event_time", Some(8), Some(10)), ("event_time", Some(18), Some(20)), ("joint_watermark", Some(8), Some(20))],
            // The left stream is quiet, and not idle yet.
            [("event_time", Some(8), None), ("event_time", Some(28), Some(30)), ("joint_watermark", Some(8), Some(30))],
        ];
        for (n, (rows, expected)) in [[vec![10, 7], vec![20]], [vec![], vec![30]]].into_iter().zip(expected).enumerate() {
            sides.iter().zip(rows).for_each(|(side, rows)| side.push(rows));
            clock.set(10 * (n as u64 + 1));
            eventually("the batch is completed", || live.statistics().batches == n as u64 + 1);
            let infos = live.statistics().last.unwrap().event_times;
            let told: Vec<_> = infos.iter().map(|i| (i.name.split(' ').next().unwrap(), i.watermark, i.max)).collect();
            assert_eq!(told, expected, "batch {n} of {workers} workers");
        }
        live.stop_now().unwrap();
    }
}

/// A panic of a listener ends the job with an error. It must not leave the job running without a planner.
#[test]
fn a22_a_listener_that_panics() {
    struct Bad;
    impl StreamingListener for Bad {
        fn on_batch_planned(&self, _: &BatchInfo) {
            panic!("I listen no more");
        }
    }
    let live = sums(job(2), 5);
    live.job.add_streaming_listener(Arc::new(Bad));
    live.clock.set(10);
    let e = in_time(move || live.job.await_termination_or_timeout(PATIENCE).unwrap_err()).to_string();
    assert!(e.contains("I listen no more") && e.contains("listener"), "{e}");
}
