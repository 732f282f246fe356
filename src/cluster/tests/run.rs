//! A cluster of child processes: the test program starts copies of itself, and one of them fails, is killed, or is suspended.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use timely::WorkerConfig;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::InputHandle;
use timely::dataflow::operators::probe::Handle;
use timely::dataflow::operators::{Exchange, Input, Inspect, Probe};
use timely::worker::Worker;

use super::super::failure::FailureLatch;
use super::super::handshake::connect;
use super::super::hello::Spec;
use super::super::run::execute;
use super::{free, has};
use crate::core::error::{Error, Result};
use crate::core::time::BatchTime;
use crate::metrics::refused::Refusals;

const VARIABLE: &str = "TIDEMILL_TEST_CHILD";
pub(super) const WORKERS: usize = 2;
/// How long a hanging worker hangs.
const HANG: Duration = Duration::from_secs(600);
/// Longer than a busy machine delays a process, shorter than a test waits.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(4);

/// Rounds of an exchange. The fault of the variant happens in round 20.
pub(super) fn job(worker: &mut Worker, latch: &Arc<FailureLatch>, variant: &str, process: usize) -> Result<u64> {
    let seen = Arc::new(Mutex::new(0u64));
    let mut input = InputHandle::<u64, CapacityContainerBuilder<Vec<u64>>>::new();
    let probe = Handle::new();
    // 2003 belongs to worker 3.
    let bad = variant == "panic" && process == 1;
    worker.dataflow(|scope| {
        let seen = seen.clone();
        scope
            .input_from(&mut input)
            .exchange(|x: &u64| *x)
            .inspect(move |x| {
                assert!(!(bad && *x == 2003), "boom in the operator");
                *seen.lock().unwrap() += 1;
            })
            .probe_with(&probe);
    });
    let rounds = if variant == "clean" { 40 } else { u64::MAX };
    for round in 0..rounds {
        (0..1000).for_each(|i| input.send(round * 100 + i % 100));
        input.advance_to(round + 1);
        while probe.less_than(&(round + 1)) {
            worker.step_or_park(Some(Duration::from_millis(100)));
            if latch.failed() {
                return Err(latch.stopped());
            }
        }
        if round == 20 {
            at_twenty(worker.index(), variant, process)?;
        }
    }
    drop(input);
    // The last records, then the count.
    while worker.has_dataflows() && !latch.failed() {
        worker.step_or_park(Some(Duration::from_millis(100)));
    }
    let seen = *seen.lock().unwrap();
    Ok(seen)
}

fn at_twenty(index: usize, variant: &str, process: usize) -> Result<()> {
    if index.is_multiple_of(WORKERS) {
        eprintln!("running");
    }
    if variant == "fail" && index == 2 {
        return Err(Error::WorkerPanicked {
            operator: "map".into(),
            worker: index,
            batch: Some(BatchTime::from_millis(500)),
            message: "no such word".into(),
        });
    }
    // A worker must not hang. If one does, the other processes end without it.
    if variant == "hang" && process == 1 {
        std::thread::sleep(HANG);
    }
    if variant == "hang" && index == 0 {
        return Err(Error::Cluster("process 0 gives up".into()));
    }
    Ok(())
}

/// One process of the tests below.
#[test]
fn child() {
    let Ok(arguments) = std::env::var(VARIABLE) else { return };
    let mut words = arguments.split(' ');
    let (variant, process) = (words.next().unwrap().to_owned(), words.next().unwrap().parse().unwrap());
    let addresses: Vec<SocketAddr> = words.map(|w| w.parse().unwrap()).collect();
    let spec = Spec {
        job: "test".into(),
        process,
        max_parallelism: 128,
        processes: addresses.len(),
        workers: WORKERS,
        addresses,
        fingerprint: 1,
        graph: Vec::new(),
        build: "test".into(),
        generation: 0,
        secret: None,
        deadline: Duration::from_secs(300),
        limit: Duration::from_secs(30),
        heartbeat: HEARTBEAT,
        refused: Refusals::default(),
    };
    let run = connect(&spec, &AtomicBool::new(false)).and_then(|peers| {
        execute(peers, WorkerConfig::default(), &Arc::new(FailureLatch::new()), move |worker, latch| {
            job(worker, latch, &variant, process)
        })
    });
    match run {
        Ok(counts) => println!("result ok {}", counts.iter().sum::<u64>()),
        Err(error) => println!("result {error}"),
    }
}

struct Process {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(variant: &str, addresses: &[SocketAddr]) -> Vec<Process> {
    let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    (0..addresses.len())
        .map(|p| {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "cluster::tests::run::child", "--nocapture"])
                .env(VARIABLE, format!("{variant} {p} {}", list.join(" ")))
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let out = BufReader::new(child.stdout.take().unwrap());
            Process { child, out }
        })
        .collect()
}

impl Process {
    /// Waits until it is in the middle of its work.
    fn running(&mut self) {
        let mut line = String::new();
        let mut byte = [0];
        let err = self.child.stderr.as_mut().unwrap();
        while !line.contains("running\n") {
            assert_eq!(err.read(&mut byte).unwrap(), 1, "it ended: {line}");
            line.push(byte[0] as char);
        }
    }

    /// Its result, and what else it wrote to stderr.
    fn end(&mut self) -> (String, String) {
        let result = self.out.by_ref().lines().map_while(|l| l.ok()).find_map(|l| Some(l.split_once("result ")?.1.to_owned()));
        let mut err = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert!(self.child.wait().unwrap().success(), "{result:?} {err}");
        (result.expect("a result"), err.replace("running\n", ""))
    }
}

#[test]
fn a_clean_end_counts_everything() {
    for n in [2, 3] {
        let addresses = free(n);
        let results: Vec<_> = start("clean", &addresses).iter_mut().map(Process::end).collect();
        let counted: u64 = results.iter().map(|(r, _)| r.strip_prefix("ok ").expect(r).parse::<u64>().unwrap()).sum();
        assert_eq!(counted, 40_000 * (n * WORKERS) as u64);
        assert!(results.iter().all(|(_, err)| err.is_empty()), "{results:?}");
    }
}

#[test]
fn a_failure_reaches_every_process_with_its_text() {
    let addresses = free(3);
    let results: Vec<_> = start("fail", &addresses).iter_mut().map(Process::end).collect();
    let own = format!("worker 2 panicked in map, batch {}: no such word", BatchTime::from_millis(500));
    assert_eq!(results[1].0, own);
    let at = addresses[1];
    for p in [0, 2] {
        assert_eq!(results[p].0, format!("cluster: process 1 at {at} failed: {own}"));
    }
    assert!(results.iter().all(|(_, err)| err.is_empty()), "{results:?}");
}

#[test]
fn a16_a_panic_in_an_operator_reaches_every_process() {
    let addresses = free(2);
    let results: Vec<_> = start("panic", &addresses).iter_mut().map(Process::end).collect();
    has(&results[0].0, &["process 1 at", "failed: worker", "boom in the operator"]);
    has(&results[1].0, &["panicked in an operator", "boom in the operator"]);
    // The hook reports the user's panic as usual. No other thread panics.
    assert!(results[0].1.is_empty() && results[1].1.matches("panicked").count() == 1, "{results:?}");
}

#[test]
fn d2_the_survivors_name_a_killed_process() {
    for (n, victim) in [(2, 1), (3, 0)] {
        let addresses = free(n);
        let mut processes = start("kill", &addresses);
        processes.iter_mut().for_each(Process::running);
        processes[victim].child.kill().unwrap();
        for (p, process) in processes.iter_mut().enumerate().filter(|(p, _)| *p != victim) {
            let (result, err) = process.end();
            has(&result, &[&format!("cluster: process {victim} at {} was lost: the connection was closed", addresses[victim])]);
            assert!(err.is_empty(), "process {p}: {err}");
        }
    }
}

#[test]
fn a19_a_stopped_process_is_named_in_time_and_names_the_reason_when_it_continues() {
    for (n, victim) in [(2, 1), (3, 0)] {
        let addresses = free(n);
        let mut processes = start("kill", &addresses);
        processes.iter_mut().for_each(Process::running);
        let begin = Instant::now();
        let signal = |p: &Process, signal| kill_process(Pid::from_child(&p.child), signal).unwrap();
        signal(&processes[victim], Signal::STOP);
        for (p, process) in processes.iter_mut().enumerate().filter(|(p, _)| *p != victim) {
            let (result, err) = process.end();
            // With three processes, the first one that notices tells the other.
            has(&result, &[&format!("cluster: process {victim} at {} was lost: it was silent for 4s", addresses[victim])]);
            assert!(err.is_empty(), "process {p}: {err}");
        }
        let took = begin.elapsed();
        assert!(took >= HEARTBEAT * 3 / 4, "{took:?}");
        let state = std::fs::read_to_string(format!("/proc/{}/stat", processes[victim].child.id())).unwrap();
        assert!(state.contains(") T "), "it was stopped for the whole time: {state}");
        signal(&processes[victim], Signal::CONT);
        let (result, err) = processes[victim].end();
        has(&result, &["cluster: this process was paused for", "--heartbeat-timeout", "continues without it"]);
        assert!(err.is_empty(), "{err}");
    }
}

#[test]
fn d5_a_short_stop_is_survived() {
    let addresses = free(2);
    let mut processes = start("kill", &addresses);
    processes.iter_mut().for_each(Process::running);
    for signal in [Signal::STOP, Signal::CONT] {
        kill_process(Pid::from_child(&processes[0].child), signal).unwrap();
        std::thread::sleep(HEARTBEAT / 4);
    }
    // Both continued: the fault that ends them comes later.
    assert!(processes.iter_mut().all(|p| p.child.try_wait().unwrap().is_none()));
    processes[1].child.kill().unwrap();
    has(&processes[0].end().0, &["process 1 at", "was lost: the connection was closed"]);
}

#[test]
fn the_job_does_not_wait_for_a_peer_that_does_not_end() {
    let addresses = free(2);
    let mut processes = start("hang", &addresses);
    let begin = Instant::now();
    let (result, err) = processes[0].end();
    assert_eq!((result.as_str(), err.as_str()), ("cluster: process 0 gives up", ""));
    assert!(begin.elapsed() < HANG, "{:?}", begin.elapsed());
}

#[test]
fn a_single_process_ends_as_a_cluster_does() {
    use super::super::handshake::Peers;
    let seen = AtomicBool::new(false);
    let counts =
        execute(Peers::alone(2), WorkerConfig::default(), &Arc::new(FailureLatch::new()), |w, latch| job(w, latch, "clean", 0))
            .unwrap();
    assert_eq!(counts.iter().sum::<u64>(), 80_000);
    let error = execute(Peers::alone(2), WorkerConfig::default(), &Arc::new(FailureLatch::new()), move |worker, latch| {
        if worker.index() == 1 {
            return Err(Error::Cluster("one of two".into()));
        }
        let mut input = InputHandle::<u64, CapacityContainerBuilder<Vec<u64>>>::new();
        worker.dataflow(|scope| {
            scope.input_from(&mut input).inspect(|_| ());
        });
        // Without a timeout: the failure wakes it.
        while !latch.failed() {
            worker.step_or_park(None);
        }
        seen.store(true, Ordering::SeqCst);
        Ok(())
    });
    assert_eq!(error.unwrap_err().to_string(), "cluster: one of two");
    let error = execute(Peers::alone(1), WorkerConfig::default(), &Arc::new(FailureLatch::new()), |_, _| -> Result<()> {
        panic!("alone")
    })
    .unwrap_err();
    has(&error.to_string(), &["worker 0 panicked", "alone"]);
}
