//! The port of a process under arbitrary bytes: functions for fuzzers. Each returns whether the bytes were accepted.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use super::challenge::{self, Challenge, Reply, Signed};
use super::data_socket::DataSocket;
use super::failure::FailureLatch;
use super::frame;
use super::handshake::take;
use super::hello::Spec;
use super::hello::{Answer, Hello, Kind, Run, Verdict};
use super::link::{FailureReport, Frame, LinkEvent, listen};
use super::listener::receive;
use super::roster::Roster;
use super::secret::{Secret, Side, prove};
use crate::metrics::refused::Refusals;

/// Longer than any call here takes: the input ends, so no call waits for bytes.
const LIMIT: Duration = Duration::from_secs(60);
const ADDRESSES: [SocketAddr; 2] = [at(2101), at(2102)];

const fn at(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}

/// Process `process` of two.
fn hello(process: usize) -> Hello {
    let spec = Spec {
        job: "words".into(),
        process,
        processes: 2,
        workers: 2,
        max_parallelism: 128,
        addresses: ADDRESSES.to_vec(),
        fingerprint: 7,
        graph: vec!["source".into(), "count".into()],
        generation: 3,
        build: "tidemill".into(),
        secret: None,
        deadline: LIMIT,
        limit: LIMIT,
        heartbeat: LIMIT,
        refused: Refusals::default(),
    };
    Hello::new(&spec, 5)
}

/// Both ends of a connection that has no port.
fn pair() -> [TcpStream; 2] {
    let (a, b) = UnixStream::pair().expect("a pair of sockets");
    [a, b].map(|end| TcpStream::from(OwnedFd::from(end)))
}

/// Sends `bytes`, as far as they fit into the socket's buffer, and nothing more.
fn send(mut far: &TcpStream, bytes: &[u8]) {
    far.set_nonblocking(true).expect("a socket");
    let sent = far.write(bytes);
    assert!(sent.is_ok() || sent.is_err_and(|e| e.kind() == ErrorKind::WouldBlock));
    far.set_nonblocking(false).expect("a socket");
    far.shutdown(Shutdown::Write).expect("a socket");
}

fn until() -> Instant {
    Instant::now() + LIMIT
}

/// A caller without the secret that sends `bytes`.
pub(crate) fn door(bytes: &[u8]) -> bool {
    for secret in [None, Some(Secret::new(b"hunter2-canary-of-fuzzers", "").expect("it is long enough"))] {
        let secured = secret.is_some();
        let roster = Roster::new(hello(0), secret);
        let [near, mut far] = pair();
        send(&far, bytes);
        receive(&roster, near, ADDRESSES[1], LIMIT);
        let mut heard = Vec::new();
        // The connection ends, or is reset if bytes were not read.
        let _ = far.read_to_end(&mut heard);
        // The answer reveals nothing of the job: a challenge, and perhaps `Unproven`.
        assert!(heard.len() < 100 && !heard.windows(5).any(|w| w == b"words"), "{heard:?}");
        let members = roster.lock();
        assert!(!secured || members.fatal.is_none(), "an unproved caller ended the wait: {:?}", members.fatal);
        assert!(members.peers.iter().all(|p| p.missing() == Some(Kind::Data)), "an unproved caller was accepted");
    }
    greet_begins(bytes)
}

/// Whether the bytes are a challenge, so that the process answers.
fn greet_begins(bytes: &[u8]) -> bool {
    let [near, far] = pair();
    send(&far, bytes);
    frame::read::<Challenge>(&near, Some(until())).is_ok()
}

/// A caller that proves what it sends, with `bytes` as its hello.
pub(crate) fn caller(bytes: &[u8]) -> bool {
    let roster = Roster::new(hello(0), None);
    let [near, far] = pair();
    let answer = thread::scope(|s| {
        let called = s.spawn(|| {
            let said = || {
                let mine = [1; 32];
                frame::write(&far, &Challenge { nonce: mine, secret: false }, until())?;
                let theirs: Challenge = frame::read(&far, Some(until()))?;
                let proof = prove(None, Side::Caller, &[&mine, &theirs.nonce, bytes]);
                frame::write(&far, &Signed { body: bytes.to_vec(), proof }, until())?;
                frame::read::<Reply>(&far, Some(until()))
            };
            (said(), far.shutdown(Shutdown::Both)).0
        });
        receive(&roster, near, ADDRESSES[1], LIMIT);
        called.join().expect("a caller")
    });
    let kept = roster.lock().peers.iter().any(|p| p.missing() != Some(Kind::Data) || p.link().is_some());
    assert!(!kept || matches!(answer, Ok(Reply::Answer(_))), "it was accepted without an answer");
    kept
}

/// A called process that answers with `bytes`: as they are, and as an answer with a valid proof.
pub(crate) fn called(bytes: &[u8]) -> bool {
    let own = hello(1);
    let [near, far] = pair();
    send(&far, bytes);
    assert!(challenge::call(&near, &own, None, until()).is_err(), "the answer has no proof");

    let roster = Roster::new(own.clone(), None);
    let [near, far] = pair();
    let answer = thread::scope(|s| {
        s.spawn(|| {
            let said = || {
                let theirs: Challenge = frame::read(&far, Some(until()))?;
                let mine = [2; 32];
                frame::write(&far, &Challenge { nonce: mine, secret: false }, until())?;
                let Signed { body, .. } = frame::read(&far, Some(until()))?;
                let proof = prove(None, Side::Called, &[&theirs.nonce, &mine, &body, bytes]);
                frame::write(&far, &Reply::Answer(Signed { body: bytes.to_vec(), proof }), until())
            };
            (said(), far.shutdown(Shutdown::Both)).0
        });
        challenge::call(&near, &own, None, until())
    });
    answer.is_ok_and(|answer| take(0, ADDRESSES[0], &own, answer, near, &roster).is_ok())
}

/// A peer that sends `bytes` on its link.
pub(crate) fn link(bytes: &[u8]) -> bool {
    let [near, far] = pair();
    send(&far, bytes);
    let heard = std::sync::Mutex::new(Vec::new());
    let closing = AtomicBool::new(false);
    let latch = FailureLatch::new();
    latch.meet(ADDRESSES.to_vec());
    let on_event = |event: LinkEvent| heard.lock().expect("one thread").push(event);
    listen(0, &near, LIMIT, &closing, &on_event);
    let heard = heard.into_inner().expect("one thread");
    let lost = heard.iter().any(|e| matches!(e, LinkEvent::Lost { .. }));
    heard.into_iter().for_each(|event| latch.handle(event));
    !lost
}

/// A peer that sends `bytes` instead of timely's messages.
pub(crate) fn data(bytes: &[u8]) -> bool {
    let [near, far] = pair();
    let latch = Arc::new(FailureLatch::new());
    latch.meet(ADDRESSES.to_vec());
    // Added bytes may be read, because no worker is left. No thread waits for a message on the link.
    latch.workers_returned();
    latch.handle(LinkEvent::Done { process: 1 });
    let mut socket = DataSocket::new(near, 0, 1, 2, latch.clone()).expect("a socket");
    send(&far, bytes);
    let mut buffer = vec![0; 1 + bytes.len() / 3];
    let (mut read, mut seen) = (0, Vec::new());
    // The rest of a body may have any length.
    while read <= 2 * bytes.len() + 48 {
        match socket.read(&mut buffer).expect("a data socket has no errors") {
            0 => break,
            n => {
                seen.extend_from_slice(&buffer[..n.min(bytes.len().saturating_sub(read))]);
                read += n;
            }
        }
    }
    assert!(seen.iter().zip(bytes).all(|(a, b)| a == b || (socket.lost && *a == 0)), "other bytes than those sent");
    !socket.lost
}

/// Valid messages as the first inputs of the fuzzers, in the order of the functions above.
pub(crate) fn seeds(of: &str) -> Vec<Vec<u8>> {
    let run = Some(Run { generation: 3, instance: 9 });
    let challenge = |secret| Challenge { nonce: [1; 32], secret };
    let proven = Signed { body: vec![1, 2, 3], proof: [4; 32] };
    let report = FailureReport { operator: Some("map".into()), worker: Some(3), batch: Some(500), message: "boom".into() };
    let whole = |parts: &[Vec<u8>]| vec![parts.concat()];
    match of {
        "door" => [challenge(false), challenge(true)].map(|k| [encode(&k), encode(&proven)].concat()).to_vec(),
        "caller" => [Kind::Data, Kind::Link].map(|kind| body(&Hello { kind, ..hello(1) })).to_vec(),
        "called" => {
            let all = [Verdict::Welcome, Verdict::Whole, Verdict::Taken("127.0.0.1:9".into()), Verdict::Over(4)];
            let answers = all.into_iter().map(|verdict| body(&Answer { hello: Hello { run, ..hello(0) }, verdict }));
            answers
                .chain([[encode(&challenge(false)), encode(&Reply::Answer(proven)), encode(&Reply::Unproven)].concat()])
                .collect()
        }
        "link" => {
            let said = [Frame::Beat, Frame::Ready(Run { generation: 3, instance: 9 }), Frame::Failed(report)];
            let ends = [Frame::Done, Frame::Stopped("it".into()), Frame::GaveUp("it".into())];
            ends.iter().map(|end| said.iter().chain([end]).map(encode).collect::<Vec<_>>().concat()).collect()
        }
        "data" => whole(&[message(5), message(300), message(0)]),
        other => panic!("no seeds of {other}"),
    }
}

fn body(value: &impl serde::Serialize) -> Vec<u8> {
    frame::body(value).expect("it can be encoded")
}

fn encode(value: &impl serde::Serialize) -> Vec<u8> {
    frame::encode(value).expect("it can be encoded")
}

/// A message of timely from worker 2 to both workers of process 0.
fn message(length: usize) -> Vec<u8> {
    let words = [3, 2, 0, 2, length as u64, 9].map(u64::to_be_bytes);
    let body = vec![7; length];
    [words.concat(), body].concat()
}
