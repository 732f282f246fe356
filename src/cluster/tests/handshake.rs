use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::super::challenge::{self, Challenge};
use super::super::frame::{self, MAGIC, PROTOCOL};
use super::super::handshake::{Peers, connect};
use super::super::hello::{Answer, Hello, Kind, Run, Verdict};
use super::super::hello::{Spec, build, fingerprint};
use super::super::link::{FailureReport, Frame, Link, LinkEvent};
use super::{free, has};
use crate::core::error::Error;
use crate::metrics::refused::Refusals;

/// A timeout that no step here reaches, even on a busy machine.
pub(super) const LONG: Duration = Duration::from_secs(300);

static GO_ON: AtomicBool = AtomicBool::new(false);

pub(super) fn spec(process: usize, addresses: &[SocketAddr]) -> Spec {
    Spec {
        job: "words".into(),
        process,
        max_parallelism: 128,
        processes: addresses.len(),
        workers: 2,
        addresses: addresses.to_vec(),
        fingerprint: 7,
        graph: vec!["source".into(), "count".into()],
        build: "tidemill 0.1.0".into(),
        generation: 0,
        secret: None,
        deadline: LONG,
        limit: Duration::from_secs(30),
        heartbeat: Duration::from_secs(10),
        refused: Refusals::default(),
    }
}

pub(super) fn start(spec: Spec) -> JoinHandle<Result<Peers, String>> {
    thread::spawn(move || connect(&spec, &GO_ON).map_err(text))
}

fn text(error: Error) -> String {
    match error {
        Error::Cluster(text) => text,
        other => panic!("{other:?}"),
    }
}

/// Both must refuse the other.
fn refused(change: impl Fn(&mut Spec)) -> [String; 2] {
    let addresses = free(2);
    let mut other = spec(1, &addresses);
    change(&mut other);
    [start(spec(0, &addresses)), start(other)].map(|p| p.join().unwrap().err().expect("refused"))
}

pub(super) fn dial(address: SocketAddr) -> TcpStream {
    let end = Instant::now() + LONG;
    loop {
        match TcpStream::connect(address) {
            Ok(stream) if stream.local_addr().unwrap() != address => return stream,
            _ => assert!(Instant::now() < end),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

pub(super) fn whole(peers: &Peers) {
    for (p, (data, link)) in peers.data.iter().zip(&peers.link).enumerate() {
        assert_eq!((data.is_some(), link.is_some()), (p != peers.process, p != peers.process));
        for stream in [data, link].into_iter().flatten() {
            assert!(stream.nodelay().unwrap() && stream.read_timeout().unwrap().is_none());
        }
    }
}

#[test]
fn three_processes_find_one_another_in_any_order() {
    let addresses = free(3);
    let started: Vec<_> = [2, 0, 1].map(|p| start(spec(p, &addresses))).into();
    let mut peers: Vec<Peers> = started.into_iter().map(|p| p.join().unwrap().unwrap()).collect();
    peers.iter().for_each(whole);
    peers.sort_by_key(|p| p.process);
    // Each pair has two sockets, data to data and link to link.
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        for kind in [
            |p: &Peers, i: usize| p.data[i].as_ref().unwrap().try_clone().unwrap(),
            |p: &Peers, i: usize| p.link[i].as_ref().unwrap().try_clone().unwrap(),
        ] {
            let (from, to) = (kind(&peers[a], b), kind(&peers[b], a));
            assert_eq!(from.local_addr().unwrap(), to.peer_addr().unwrap());
        }
    }
}

#[test]
fn one_process_has_no_peers() {
    let peers = connect(&spec(0, &["127.0.0.1:1".parse().unwrap()]), &GO_ON).unwrap();
    assert_eq!((peers.workers, peers.data.len()), (2, 1));
    let error = connect(&Spec { process: 3, ..spec(0, &free(2)) }, &GO_ON).err().unwrap().to_string();
    has(&error, &["-p 3 of -n 2", "counts from 0"]);
}

#[test]
fn a_build_and_a_graph_have_one_fingerprint() {
    assert_eq!(build(), build());
    has(&build(), &["tidemill 0.", "(program "]);
    assert!(!build().contains("unknown"));
    let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(fingerprint(&lines("source count")), fingerprint(&lines("source count")));
    assert_ne!(fingerprint(&lines("source count")), fingerprint(&lines("source sum")));
}

#[test]
fn d12_every_difference_is_named_on_both_sides() {
    let graph = |lines: &[&str]| lines.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>();
    for (change, zero, one) in [
        (
            Box::new(|s: &mut Spec| s.workers = 4) as Box<dyn Fn(&mut Spec)>,
            "process 1 was started with -w 4, and this one with -w 2: start all with the same",
            "process 0 was started with -w 2, and this one with -w 4",
        ),
        (
            Box::new(|s: &mut Spec| s.max_parallelism = 1_000),
            "process 1 has max_parallelism 1000, and this one has 128: start all with the same --max-parallelism",
            "process 0 has max_parallelism 128, and this one has 1000",
        ),
        (
            Box::new(|s: &mut Spec| s.build = "tidemill 0.2.0".into()),
            "process 1 is tidemill 0.2.0, and this one is tidemill 0.1.0",
            "same build",
        ),
        (
            Box::new(|s: &mut Spec| s.job = "sums".into()),
            "process 1 runs the job \"sums\", and this one \"words\"",
            "process 0 runs the job \"words\", and this one \"sums\"",
        ),
        (
            Box::new(move |s: &mut Spec| (s.fingerprint, s.graph) = (8, graph(&["source", "sum"]))),
            "process 1 built another graph: line 2 is \"sum\" there, \"count\" here",
            "line 2 is \"count\" there, \"sum\" here",
        ),
        (Box::new(|s: &mut Spec| s.fingerprint = 8), "though its first 2 lines are the same", "00000008 here"),
        (
            Box::new(|s: &mut Spec| (s.processes, s.addresses) = (3, [&s.addresses[..], &free(1)].concat())),
            "process 1 was started with -n 3, and this one with -n 2",
            "process 0 was started with -n 2, and this one with -n 3",
        ),
    ] {
        let [at_zero, at_one] = refused(change);
        has(&at_zero, &[zero]);
        has(&at_one, &[one]);
    }
}

#[test]
fn d12_another_hostfile_is_named_on_both_sides() {
    let addresses = free(4);
    let (a, b) = (addresses[..3].to_vec(), vec![addresses[0], addresses[1], addresses[3]]);
    let zero = start(spec(0, &a));
    let one = start(spec(1, &b));
    let there = format!("process 2 at {}, and this one at {}", addresses[3], addresses[2]);
    has(&zero.join().unwrap().err().unwrap(), &["process 1 has", &there, "same hostfile"]);
    has(&one.join().unwrap().err().unwrap(), &["process 0 has process 2 at", &addresses[2].to_string()]);
}

#[test]
fn d8_d9_foreign_callers_neither_crash_nor_block_the_process() {
    let addresses = free(2);
    let zero = start(spec(0, &addresses));
    let mut strangers: Vec<TcpStream> = (0..200).map(|_| dial(addresses[0])).collect();
    for (i, stranger) in strangers.iter_mut().enumerate() {
        let bytes: &[u8] = match i % 5 {
            0 => b"GET / HTTP/1.1\r\n\r\n",
            1 => &[0; 8],
            // The right head, and an impossible length.
            2 => b"tidemill\0\0\0\x03\xff\xff\xff\xff",
            // The right head, and a body that cannot be decoded.
            3 => b"tidemill\0\0\0\x03\0\0\0\x02\xff\xff",
            _ => b"",
        };
        let _ = stranger.write_all(bytes);
    }
    let one = start(spec(1, &addresses));
    let (zero, one) = (zero.join().unwrap().unwrap(), one.join().unwrap().unwrap());
    whole(&zero);
    whole(&one);
    // Foreign callers do not disturb a running job either.
    let mut late = dial(addresses[0]);
    late.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(matches!(late.read(&mut [0; 64]), Ok(0) | Err(_)));
}

#[test]
fn d9_a_slow_caller_has_no_more_time_than_a_silent_one() {
    let addresses = free(2);
    let zero = start(Spec { limit: Duration::from_millis(300), ..spec(0, &addresses) });
    let mut slow = dial(addresses[0]);
    let begin = Instant::now();
    let hello = frame::encode(&Challenge { nonce: [7; 32], secret: false }).unwrap();
    // A byte at a time: each arrives within the limit, and all of them take ten seconds.
    let sent = hello.iter().take_while(|b| {
        thread::sleep(Duration::from_millis(200));
        slow.write_all(&[**b]).is_ok()
    });
    assert!(sent.count() < hello.len(), "refused before its last byte, after {:?}", begin.elapsed());
    let one = start(spec(1, &addresses));
    whole(&zero.join().unwrap().unwrap());
    whole(&one.join().unwrap().unwrap());
}

#[test]
fn d12_another_protocol_is_named_on_both_sides() {
    let mut head = MAGIC.to_vec();
    head.extend((PROTOCOL + 1).to_be_bytes());
    head.extend(0u32.to_be_bytes());
    let addresses = free(2);
    let zero = start(spec(0, &addresses));
    dial(addresses[0]).write_all(&head).unwrap();
    has(&zero.join().unwrap().err().unwrap(), &["uses protocol 4, and this one 3", "same build"]);

    let listener = TcpListener::bind(addresses[0]).unwrap();
    let one = start(spec(1, &addresses));
    let mut caller = listener.accept().unwrap().0;
    caller.write_all(&head).unwrap();
    has(&one.join().unwrap().err().unwrap(), &["process 0 at", "uses protocol 4, and this one 3"]);
}

#[test]
fn d1_a_missing_process_is_named_with_its_address() {
    let addresses = free(4);
    let short = |p| Spec { deadline: Duration::from_secs(6), limit: Duration::from_millis(500), ..spec(p, &addresses) };
    // At the address of process 0 is another program, which never answers.
    let silent = TcpListener::bind(addresses[0]).unwrap();
    let (one, two) = (start(short(1)), start(Spec { deadline: LONG, ..short(2) }));
    let error = one.join().unwrap().err().unwrap();
    let (zero, three) = (
        format!("process 0 at {} (no complete message", addresses[0]),
        format!("process 3 at {} (it has not called)", addresses[3]),
    );
    has(&error, &["process 1 waited 6s for", &zero, &three, "start all -n 4"]);
    assert!(!error.contains("process 2"), "{error}");
    // It was connected, so it gets the reason of process 1.
    has(&two.join().unwrap().err().unwrap(), &["process 1 at", "gave up", "process 3 at"]);
    drop(silent);
}

#[test]
fn d6_a_taken_port_is_named() {
    let addresses = free(2);
    let _held = TcpListener::bind(addresses[1]).unwrap();
    let error = start(spec(1, &addresses)).join().unwrap().err().unwrap();
    has(&error, &[&format!("process 1 cannot listen on {}", addresses[1]), "taken", "-p 1", "another port"]);
}

#[test]
fn d14_an_address_of_another_machine_is_named() {
    let addresses = [free(1)[0], "192.0.2.7:2101".parse().unwrap()];
    let error = start(spec(1, &addresses)).join().unwrap().err().unwrap();
    has(&error, &["process 1 cannot listen on 192.0.2.7:2101", "an address of this machine in the hostfile"]);
}

#[test]
fn d14_processes_meet_over_ipv6() {
    let six = |a: SocketAddr| SocketAddr::new("::1".parse().unwrap(), a.port());
    let addresses: Vec<SocketAddr> = free(3).into_iter().map(six).collect();
    let started = [2, 0, 1].map(|p| start(spec(p, &addresses)));
    started.into_iter().for_each(|p| whole(&p.join().unwrap().unwrap()));
}

#[test]
fn d10_a_second_process_with_one_index_is_refused_and_the_first_continues() {
    let addresses = free(3);
    let zero = start(spec(0, &addresses));
    // The first process 1 by hand: data socket only. A caller that asks before it is connected may be accepted; then both end.
    let own = Hello::new(&spec(1, &addresses), 11);
    let taken = |first: &TcpStream| {
        let asked = say(&dial(addresses[0]), &Hello { instance: 12, ..own.clone() }).verdict;
        matches!(asked, Verdict::Taken(from) if from == first.local_addr().unwrap().to_string())
    };
    let end = Instant::now() + LONG;
    let first = loop {
        let first = dial(addresses[0]);
        if say(&first, &own).verdict == Verdict::Welcome && taken(&first) {
            break first;
        }
        assert!(Instant::now() < end);
    };
    has(
        &start(spec(1, &addresses)).join().unwrap().err().unwrap(),
        &["connected to another process 1 already", "started with -p 1; stop one"],
    );
    // The first process ends. A process that starts now is accepted instead.
    drop(first);
    let others = [1, 2].map(|p| start(spec(p, &addresses)));
    whole(&zero.join().unwrap().unwrap());
    others.into_iter().for_each(|p| whole(&p.join().unwrap().unwrap()));
}

/// The hello of a process 1 that heard of `run` from a process 0 that has ended.
fn hello_of_run(addresses: &[SocketAddr], run: Run) -> Hello {
    Hello { run: Some(run), ..Hello::new(&spec(1, addresses), 11) }
}

#[test]
fn d13_a_process_of_the_previous_run_is_refused_and_the_new_one_accepted() {
    let addresses = free(2);
    let zero = start(Spec { generation: 6, ..spec(0, &addresses) });
    let old = hello_of_run(&addresses, Run { generation: 5, instance: 3 });
    let answer = say(&dial(addresses[0]), &old);
    assert_eq!((answer.verdict, answer.hello.generation()), (Verdict::Over(6), 6));
    let one = start(spec(1, &addresses));
    whole(&zero.join().unwrap().unwrap());
    whole(&one.join().unwrap().unwrap());
}

#[test]
fn d13_a_process_that_knows_a_generation_does_not_join_the_next() {
    let addresses = free(3);
    // Process 1 hears of generation 5 and waits for process 2. Then another process 0 starts.
    let one = start(spec(1, &addresses));
    let five = Spec { generation: 5, ..spec(0, &addresses) };
    let cancel = Arc::new(AtomicBool::new(false));
    let flag = cancel.clone();
    let zero = thread::spawn(move || connect(&five, &flag).map_err(text));
    let hello = Hello::new(&spec(2, &addresses), 12);
    // The new process 0 answers that this generation is replaced.
    let until = Instant::now() + LONG;
    while say(&dial(addresses[1]), &hello).hello.generation() != 5 {
        assert!(Instant::now() < until);
    }
    cancel.store(true, Ordering::SeqCst);
    zero.join().unwrap().err().unwrap();
    let six = start(Spec { generation: 6, ..spec(0, &addresses) });
    has(
        &one.join().unwrap().err().unwrap(),
        &["process 0 at", "generation 6 of the job, and this one to generation 5", "start this process again"],
    );
    // The new run continues with the processes that are started for it.
    let others = [1, 2].map(|p| start(spec(p, &addresses)));
    others.into_iter().for_each(|p| whole(&p.join().unwrap().unwrap()));
    whole(&six.join().unwrap().unwrap());
}

#[test]
fn d13_a_peer_that_is_ready_for_another_run_is_named() {
    let addresses = free(2);
    let zero = start(Spec { generation: 6, ..spec(0, &addresses) });
    let hello = Hello::new(&spec(1, &addresses), 11);
    let (data, link) = (dial(addresses[0]), dial(addresses[0]));
    assert_eq!(say(&data, &hello).verdict, Verdict::Welcome);
    assert_eq!(say(&link, &Hello { kind: Kind::Link, ..hello }).verdict, Verdict::Welcome);
    frame::write(&link, &Frame::Ready(Run { generation: 5, instance: 3 }), Instant::now() + LONG).unwrap();
    has(&zero.join().unwrap().err().unwrap(), &["process 1 at", "generation 5 there, 6 here", "start all"]);
}

fn say(stream: &TcpStream, hello: &Hello) -> Answer {
    let end = Instant::now() + LONG;
    challenge::call(stream, hello, None, end).unwrap()
}

#[test]
fn a_late_caller_hears_that_the_job_runs_already() {
    let addresses = free(2);
    let (zero, one) = (start(spec(0, &addresses)), start(spec(1, &addresses)));
    let (zero, one) = (zero.join().unwrap().unwrap(), one.join().unwrap().unwrap());
    let late = Hello { kind: Kind::Link, ..Hello::new(&spec(1, &addresses), 99) };
    assert_eq!(say(&dial(addresses[0]), &late).verdict, Verdict::Whole);
    // The process keeps its own address for the whole run.
    has(&start(spec(1, &addresses)).join().unwrap().err().unwrap(), &["process 1 cannot listen on", "taken"]);
    drop((zero, one));
    assert!(TcpListener::bind(addresses[1]).is_ok(), "the listener closes with the peers");
}

#[test]
fn a_cancelled_process_leaves_the_others_waiting() {
    let addresses = free(3);
    let cancel = Arc::new(AtomicBool::new(false));
    let (flag, of_one) = (cancel.clone(), spec(1, &addresses));
    let zero = start(spec(0, &addresses));
    let one = thread::spawn(move || connect(&of_one, &flag).map_err(text));
    cancel.store(true, Ordering::SeqCst);
    has(&one.join().unwrap().err().unwrap(), &["stopped while it waited for", "process 2 at"]);
    let others = [1, 2].map(|p| start(spec(p, &addresses)));
    whole(&zero.join().unwrap().unwrap());
    others.into_iter().for_each(|p| whole(&p.join().unwrap().unwrap()));
}

/// The sockets of a cancelled process may be open for a moment after it has ended.
#[test]
fn an_index_that_becomes_free_soon_is_accepted() {
    let addresses = free(2);
    let zero = start(spec(0, &addresses));
    let ghost = dial(addresses[0]);
    assert_eq!(say(&ghost, &Hello::new(&spec(1, &addresses), 11)).verdict, Verdict::Welcome);
    let other = Hello { kind: Kind::Link, ..Hello::new(&spec(1, &addresses), 12) };
    assert!(matches!(say(&dial(addresses[0]), &other).verdict, Verdict::Taken(_)));
    let one = start(spec(1, &addresses));
    thread::sleep(Duration::from_millis(300));
    drop(ghost);
    whole(&zero.join().unwrap().unwrap());
    whole(&one.join().unwrap().unwrap());
}

fn linked() -> (Link, Link, Receiver<LinkEvent>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let a = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let b = listener.accept().unwrap().0;
    let raw = b.try_clone().unwrap();
    let (send, heard) = channel();
    let send = Mutex::new(send);
    let a =
        Link::start(vec![None, Some(a)], LONG, &(Arc::new(move |event| send.lock().unwrap().send(event).unwrap()) as _)).unwrap();
    let b = Link::start(vec![Some(b), None], LONG, &(Arc::new(|_| ()) as _)).unwrap();
    (a, b, heard, raw)
}

#[test]
fn a_link_carries_failures_and_ends() {
    let (_a, b, heard, _) = linked();
    let report = FailureReport { operator: Some("map".into()), worker: Some(3), batch: Some(500), message: "boom".into() };
    b.fail(report.clone());
    b.done();
    drop(b);
    assert_eq!(heard.recv().unwrap(), LinkEvent::Failed { process: 1, report });
    assert_eq!(heard.recv().unwrap(), LinkEvent::Done { process: 1 });
    assert!(heard.recv().is_err(), "the end after `Done` is not a loss");
}

#[test]
fn an_end_without_done_is_a_loss_as_are_foreign_bytes() {
    let (_a, b, heard, _) = linked();
    drop(b);
    assert!(matches!(heard.recv().unwrap(), LinkEvent::Lost { process: 1, why } if why.contains("closed")));
    let (_a, _b, heard, mut raw) = linked();
    raw.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(
        matches!(heard.recv().unwrap(), LinkEvent::Lost { process: 1, why } if why.contains("another program than tidemill"))
    );
}
