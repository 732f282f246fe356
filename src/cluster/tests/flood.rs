//! Many foreign callers, before the processes are connected and while the job runs.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use timely::WorkerConfig;

use super::super::failure::FailureLatch;
use super::super::hello::Spec;
use super::super::run::execute;
use super::handshake::{LONG, spec, start, whole};
use super::run::{WORKERS, job};
use super::{free, has};

/// The largest number of connections that the test keeps open, because file descriptors are limited.
const OPEN: usize = 500;

/// Threads of this process that serve callers, in all tests that run.
fn callers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    tasks.map(name).filter(|name| name.starts_with("tm-caller")).count()
}

/// Connects, and waits as long as the system delays callers.
fn connect(address: SocketAddr) -> TcpStream {
    let begin = Instant::now();
    loop {
        match TcpStream::connect(address) {
            Ok(stream) if stream.local_addr().unwrap() != address => return stream,
            no => assert!(begin.elapsed() < LONG, "{no:?}"),
        }
    }
}

/// `strangers` callers send nothing, or one byte. Then the real peer connects.
fn silent_connections_do_not_delay_a_peer(strangers: usize) {
    let addresses = free(2);
    // Longer than the test takes, so no caller is refused for its silence.
    let zero = start(Spec { limit: 4 * LONG, deadline: 4 * LONG, ..spec(0, &addresses) });
    let (mut silent, mut most, mut sent_away) = (VecDeque::new(), 0, 0);
    for n in 0..strangers {
        let mut stranger = connect(addresses[0]);
        if n % 2 == 0 {
            // A byte of what would be a message.
            let _ = stranger.write_all(b"t");
        }
        silent.push_back(stranger);
        if silent.len() > OPEN {
            let mut oldest = silent.pop_front().unwrap();
            oldest.set_read_timeout(Some(LONG)).unwrap();
            sent_away += usize::from(oldest.read(&mut [0]).map_or_else(|e| e.kind() == ErrorKind::ConnectionReset, |n| n == 0));
        }
        if n % 100 == 0 {
            most = most.max(callers());
        }
    }
    assert_eq!(sent_away, strangers - OPEN, "only a few callers may wait, and each new one replaces the oldest");
    assert!(most < 300, "{most} threads serve callers");
    let one = start(spec(1, &addresses));
    whole(&one.join().unwrap().unwrap());
    whole(&zero.join().unwrap().unwrap());
}

#[test]
fn d9_a_thousand_silent_connections_do_not_delay_a_peer() {
    silent_connections_do_not_delay_a_peer(1_000);
}

#[test]
#[ignore = "nightly: ten thousand connections"]
fn d9_ten_thousand_silent_connections_do_not_delay_a_peer() {
    silent_connections_do_not_delay_a_peer(10_000);
}

/// Bytes that arrive at a port that is open to a network.
const SAYS: [&[u8]; 5] = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    &[0, 0, 0, 0, 0, 0, 0, 1],
    b"tidemill\0\0\0\x03\xff\xff\xff\xff",
    b"",
];

/// Calls until `stop` is set, and sends one of these after the other.
fn bother(address: SocketAddr, stop: &AtomicBool, calls: &AtomicUsize) {
    let mut random = [0; 64];
    for said in SAYS.iter().cycle() {
        if stop.load(SeqCst) {
            return;
        }
        let Ok(mut stranger) = TcpStream::connect(address) else { continue };
        getrandom::fill(&mut random).unwrap();
        if stranger.write_all(said).and_then(|()| stranger.write_all(&random)).is_ok() {
            calls.fetch_add(1, SeqCst);
        }
    }
}

#[test]
fn d8_foreign_callers_do_not_disturb_a_running_job() {
    let addresses = free(2);
    let peers = [0, 1].map(|p| start(spec(p, &addresses))).map(|p| p.join().unwrap().unwrap());
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let strangers = addresses.iter().copied().map(|address| {
        let (stop, calls) = (stop.clone(), calls.clone());
        thread::spawn(move || bother(address, &stop, &calls))
    });
    let strangers: Vec<_> = strangers.collect();
    let bothered = |calls: &AtomicUsize| {
        let (begin, before) = (Instant::now(), calls.load(SeqCst));
        while calls.load(SeqCst) < before + 100 {
            assert!(begin.elapsed() < LONG);
            thread::sleep(Duration::from_millis(5));
        }
    };
    bothered(&calls);
    let run = calls.clone();
    let ends = peers.map(|peers| {
        let (process, calls) = (peers.process, run.clone());
        thread::spawn(move || {
            execute(peers, WorkerConfig::default(), &Arc::new(FailureLatch::new()), move |w, latch| {
                let counted = job(w, latch, "clean", process);
                bothered(&calls);
                counted
            })
        })
    });
    let counts = ends.map(|end| end.join().unwrap().unwrap().iter().sum::<u64>());
    stop.store(true, SeqCst);
    strangers.into_iter().for_each(|s| s.join().unwrap());
    assert_eq!(counts.iter().sum::<u64>(), 40_000 * 2 * WORKERS as u64);
}

/// The old process 1 of an ended run still runs, and has its port.
#[test]
fn d13_a_process_that_was_left_behind_is_found_by_its_port() {
    let addresses = free(2);
    let (zero, old) = (start(spec(0, &addresses)), start(spec(1, &addresses)));
    drop(zero.join().unwrap().unwrap());
    let old = old.join().unwrap().unwrap();
    let short = |p| Spec { deadline: Duration::from_secs(2), ..spec(p, &addresses) };
    // The old process 1 does not call the new process 0, and the new process 1 cannot use the port.
    let zero = start(short(0));
    has(&start(short(1)).join().unwrap().err().unwrap(), &["process 1 cannot listen on", "taken", "stop one of them"]);
    has(&zero.join().unwrap().err().unwrap(), &["waited 2s for process 1 at"]);
    drop(old);
    let both = [0, 1].map(|p| start(spec(p, &addresses)));
    both.into_iter().for_each(|p| whole(&p.join().unwrap().unwrap()));
}
