//! Receivers through the public API: with and without a log, through stops, restarts, errors and other settings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver as Channel, Sender, channel};
use std::sync::{Arc, Mutex};

use tidemill::checkpoint::Directory;
use tidemill::connector::receiver::{Receiver, ReceiverHandle, StoreError};
use tidemill::metrics::{ReceiverEvent, ReceiverInfo};
use tidemill::prelude::*;

use crate::harness::eventually;
use crate::temp_dir::TempDir;

const LOG: &str = "spark.streaming.receiver.writeAheadLog.enable";

/// A receiver that hands its handle to the test at each start.
struct Pushed {
    name: &'static str,
    starts: Sender<ReceiverHandle<i64>>,
    stops: Arc<AtomicI64>,
}

impl Receiver for Pushed {
    type Item = i64;

    fn name(&self) -> String {
        self.name.into()
    }

    fn on_start(&mut self, to: ReceiverHandle<i64>) -> Result<(), BoxError> {
        self.starts.send(to).map_err(|_| "nobody wants the handle".into())
    }

    fn on_stop(&mut self) {
        self.stops.fetch_add(1, Ordering::SeqCst);
    }
}

/// A job with one receiver, whose rows go to memory.
struct Run {
    job: JobHandle,
    rows: MemorySink<i64>,
    starts: Channel<ReceiverHandle<i64>>,
    stops: Arc<AtomicI64>,
}

fn builder(dir: Option<&Path>, workers: u16) -> tidemill::api::context::Builder {
    let builder = StreamingContext::builder("pushed", millis(10)).workers(workers).checkpoint_interval(millis(30));
    match dir {
        Some(dir) => builder.checkpoint(dir),
        None => builder.without_checkpoint(),
    }
}

fn start(builder: tidemill::api::context::Builder, name: &'static str) -> Result<Run, Error> {
    let (starts, handles) = channel();
    let (rows, stops) = (MemorySink::new(), Arc::new(AtomicI64::new(0)));
    let (out, starts, stopped) = (rows.clone(), Mutex::new(starts), stops.clone());
    let job = builder.start(move |ssc| {
        let starts = starts.lock().unwrap().clone();
        ssc.receiver_stream(Pushed { name, starts, stops: stopped.clone() }).to_memory(&out);
        Ok(())
    })?;
    Ok(Run { job, rows, starts: handles, stops })
}

/// The record numbers of each planned batch, which must follow one another.
fn planned(dir: &Path) -> BTreeMap<BatchTime, Vec<i64>> {
    let mut next = 0;
    let mut batches = BTreeMap::new();
    for record in Directory::open(dir).unwrap().plans().unwrap() {
        for r in &record.plan.ranges {
            assert_eq!((r.from, &*r.split.to_string()), (next, "receiver numbers/0"));
            next = r.until;
            batches.insert(record.plan.time, (r.from..r.until).collect());
        }
    }
    batches
}

/// The job is stopped and killed, each time on another number of workers. The rows are the numbers 0, 1, ..., so each batch has the
/// numbers of its records.
#[test]
fn e2_what_is_stored_is_read_once_as_the_same_batches_through_restarts() {
    for workers in [1, 2, 4] {
        let dir = TempDir::made("receiver");
        let mut stored = 0..;
        let mut runs = Vec::new();
        for (run, graceful) in [(0, true), (1, false), (2, false), (3, true)] {
            let workers = if run % 2 == 0 { workers } else { 5 - workers };
            let now = start(builder(Some(&dir), workers), "numbers").unwrap();
            let handle = now.starts.recv().unwrap();
            for _ in 0..40 {
                handle.store_many(stored.by_ref().take(7)).unwrap();
                handle.store(stored.next().unwrap()).unwrap();
            }
            eventually("some rows are written", || !now.rows.rows().is_empty());
            // These are in the log, and perhaps in no batch.
            handle.store_many(stored.by_ref().take(100)).unwrap();
            match graceful {
                true => now.job.stop_gracefully().map(drop).unwrap(),
                false => now.job.stop_now().map(drop).unwrap(),
            }
            assert_eq!(handle.store(-1), Err(StoreError::Stopped));
            runs.push(now.rows.batches());
        }
        let planned = planned(&dir);
        for (time, rows) in runs.into_iter().flatten() {
            assert_eq!(rows, planned.get(&time).cloned().unwrap_or_default(), "{time}");
        }
        let all: Vec<i64> = planned.into_values().flatten().collect();
        assert_eq!(all, (0..stored.next().unwrap()).collect::<Vec<_>>(), "a graceful stop leaves nothing out");
    }
}

/// Batches of a finished run, run again from its log.
#[test]
fn e3_a_replay_reads_the_same_batches_and_starts_no_receiver() {
    let dir = TempDir::made("receiver-replay");
    let run = start(builder(Some(&dir), 2), "numbers").unwrap();
    let handle = run.starts.recv().unwrap();
    handle.store_many(0..50).unwrap();
    eventually("the rows are written", || run.rows.rows().len() == 50);
    handle.store_many(50..60).unwrap();
    run.job.stop_gracefully().unwrap();
    let batches = run.rows.batches();
    let (first, last) = (batches[0].0, batches[batches.len() - 1].0);
    let runtime = RuntimeArgs {
        checkpoint: Some(dir.to_path_buf()),
        replay_from: Some(first),
        replay_to: Some(last),
        ..RuntimeArgs::default()
    };
    let again = start(StreamingContext::builder("pushed", millis(10)).runtime(runtime), "numbers").unwrap();
    again.job.await_termination().unwrap();
    assert_eq!(again.rows.batches(), batches);
    assert!(again.starts.try_recv().is_err() && again.stops.load(Ordering::SeqCst) == 0);
}

#[test]
fn without_a_log_rows_arrive_and_nothing_is_kept() {
    let dir = TempDir::made("receiver-unlogged");
    for builder in [builder(None, 2), builder(Some(&dir), 2).conf(LOG, "false")] {
        let run = start(builder, "numbers").unwrap();
        let handle = run.starts.recv().unwrap();
        handle.store_many(0..1_000).unwrap();
        handle.store(1_000).unwrap();
        run.job.stop_gracefully().unwrap();
        assert_eq!(run.rows.rows(), (0..=1_000).collect::<Vec<_>>());
    }
    assert_eq!(std::fs::read_dir(dir.join("received")).unwrap().count(), 0);
}

#[test]
fn a_receiver_keeps_its_name_and_its_log() {
    let dir = TempDir::made("receiver-changed");
    let run = start(builder(Some(&dir), 1), "numbers").unwrap();
    run.starts.recv().unwrap().store(0).unwrap();
    run.job.stop_gracefully().unwrap();
    for (builder, name, expected) in [
        (builder(Some(&dir), 1).conf(LOG, "false"), "numbers", format!("made with {LOG}=true, and it is false")),
        (builder(Some(&dir), 1), "others", "the plans have receiver numbers/0 in its place".into()),
    ] {
        let e = start(builder, name).and_then(|run| run.job.await_termination()).unwrap_err().to_string();
        assert!(e.contains(&expected) && e.contains(name), "{e}");
    }
    let e = start(builder(None, 1), "").map(drop).unwrap_err().to_string();
    assert!(e.contains("name is empty"), "{e}");
}

#[test]
fn e6_a_receiver_reports_restarts_and_stops() {
    let run = start(builder(None, 2), "numbers").unwrap();
    let first = run.starts.recv().unwrap();
    first.store(1).unwrap();
    first.report_error("the line is noisy");
    let trouble = |what: &str| run.job.statistics().trouble.iter().any(|t| t.contains("receiver numbers") && t.contains(what));
    eventually("the trouble is seen", || trouble("the line is noisy"));
    first.store(2).unwrap();
    eventually("a row ends the trouble", || run.job.statistics().trouble.is_empty());
    first.restart_after("the line is gone", millis(0));
    let second = run.starts.recv().unwrap();
    assert!(first.is_stopped() && !second.is_stopped());
    assert_eq!((first.store(3), run.stops.load(Ordering::SeqCst)), (Err(StoreError::Stopped), 1));
    // It has no say any more.
    first.stop("late");
    first.report_error("late");
    second.store(4).unwrap();
    let batches = run.rows.batches().len();
    second.stop("no more numbers");
    eventually("the end is seen", || trouble("stopped: no more numbers"));
    eventually("batches go on", || run.rows.batches().len() > batches + 3);
    assert_eq!(second.store_many([5, 6]), Err(StoreError::Stopped));
    let summary = run.job.stop_gracefully().unwrap();
    assert_eq!((run.rows.rows(), summary.records), (vec![1, 2, 4], 3));
    assert_eq!(run.stops.load(Ordering::SeqCst), 2);
}

/// What listeners have heard of receivers.
#[derive(Default)]
struct Heard(Mutex<Vec<ReceiverEvent>>);

impl Heard {
    fn hear(&self, receiver: &ReceiverInfo) {
        assert_eq!(receiver.source, 0);
        self.0.lock().unwrap().push(receiver.event.clone());
    }
}

impl StreamingListener for Heard {
    fn on_receiver_started(&self, receiver: &ReceiverInfo) {
        assert_eq!(receiver.event, ReceiverEvent::Started);
        self.hear(receiver);
    }

    fn on_receiver_error(&self, receiver: &ReceiverInfo) {
        assert!(matches!(receiver.event, ReceiverEvent::Error(_)), "{receiver:?}");
        self.hear(receiver);
    }

    fn on_receiver_stopped(&self, receiver: &ReceiverInfo) {
        assert!(matches!(receiver.event, ReceiverEvent::Stopped(_)), "{receiver:?}");
        self.hear(receiver);
    }
}

#[test]
fn listeners_hear_what_happens_to_a_receiver() {
    for workers in [1, 2, 4] {
        let heard = Arc::new(Heard::default());
        let run = start(builder(None, workers).streaming_listener(heard.clone()), "numbers").unwrap();
        let first = run.starts.recv().unwrap();
        first.store(1).unwrap();
        first.report_error("the line is noisy");
        first.restart_after("the line is gone", millis(0));
        // It has no say any more.
        first.report_error("late");
        first.stop("late");
        run.starts.recv().unwrap().store(2).unwrap();
        run.job.stop_gracefully().unwrap();
        let [error, stopped] = [ReceiverEvent::Error, ReceiverEvent::Stopped];
        let expected = [
            ReceiverEvent::Started,
            error("the line is noisy".into()),
            stopped("the line is gone".into()),
            ReceiverEvent::Started,
            stopped("the job ends".into()),
        ];
        assert_eq!(*heard.0.lock().unwrap(), expected, "{workers} workers");
    }
}

/// Fails at its first start, and panics at its second one.
struct Broken(i64);

impl Receiver for Broken {
    type Item = i64;

    fn name(&self) -> String {
        "broken".into()
    }

    fn on_start(&mut self, _: ReceiverHandle<i64>) -> Result<(), BoxError> {
        self.0 += 1;
        if self.0 == 1 { Err("no such port".into()) } else { panic!("start {}", self.0) }
    }
}

#[test]
fn a_failed_start_is_tried_again_and_a_panic_ends_the_job() {
    let heard = Arc::new(Heard::default());
    let job = StreamingContext::builder("broken", millis(10)).without_checkpoint().streaming_listener(heard.clone());
    let job = job.start(|ssc| {
        ssc.receiver_stream(Broken(0)).to_memory(&MemorySink::new());
        Ok(())
    });
    let job = job.unwrap();
    eventually("the listener has heard of it", || heard.0.lock().unwrap().len() >= 3);
    let why = || "no such port".to_owned();
    let expected = [ReceiverEvent::Started, ReceiverEvent::Error(why()), ReceiverEvent::Stopped(why())];
    assert_eq!(heard.0.lock().unwrap()[..3], expected);
    eventually("the failure is seen", || job.statistics().trouble.iter().any(|t| t.contains("no such port")));
    let e = job.await_termination().unwrap_err().to_string();
    assert!(e.contains("receiver broken") && e.contains("panicked: start 2"), "{e}");
}

#[test]
fn two_receivers_of_one_name_have_a_log_each() {
    let dir = TempDir::made("receiver-two");
    for run in 0..2 {
        let (starts, handles) = channel();
        let rows = MemorySink::new();
        let (out, starts) = (rows.clone(), Mutex::new(starts));
        let job = builder(Some(&dir), 2).start(move |ssc| {
            let starts = starts.lock().unwrap().clone();
            let one = || Pushed { name: "twins", starts: starts.clone(), stops: Arc::default() };
            ssc.receiver_stream(one()).union(&ssc.receiver_stream(one())).to_memory(&out);
            Ok(())
        });
        let job = job.unwrap();
        let twins = [handles.recv().unwrap(), handles.recv().unwrap()];
        (0..100).for_each(|n| twins[n % 2].store(n as i64).unwrap());
        job.stop_gracefully().unwrap();
        let mut seen = rows.rows();
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>(), "run {run}");
    }
    let files = std::fs::read_dir(dir.join("received")).unwrap();
    let logs: BTreeSet<String> =
        files.map(|f| f.unwrap().file_name().to_str().unwrap().split('-').next().unwrap().to_owned()).collect();
    assert_eq!(logs.len(), 2);
}
