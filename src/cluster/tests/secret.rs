//! The handshake with a secret: a caller that does not know it learns nothing and disturbs nothing.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::super::challenge::{self, Challenge, HandshakeError, Reply, Signed};
use super::super::frame::{self, MAGIC, PROTOCOL};
use super::super::hello::{Hello, Spec};
use super::super::secret::Secret;
use super::handshake::{LONG, dial, spec, start, whole};
use super::{free, has};

const ONE: &str = "hunter2-canary-number-one";
const TWO: &str = "hunter2-canary-number-two";

fn secret(text: &str) -> Option<Secret> {
    Some(Secret::new(text.as_bytes(), "test").unwrap())
}

fn with(process: usize, addresses: &[SocketAddr], text: &str) -> Spec {
    Spec { secret: secret(text), ..spec(process, addresses) }
}

#[test]
fn d7_processes_with_one_secret_meet() {
    let addresses = free(3);
    let started = [2, 0, 1].map(|p| start(with(p, &addresses, ONE)));
    started.into_iter().for_each(|p| whole(&p.join().unwrap().unwrap()));
}

#[test]
fn d7_another_secret_or_none_is_refused_on_both_sides_and_never_shown() {
    let none = |process, addresses: &[SocketAddr]| spec(process, addresses);
    let short = |s: Spec| Spec { deadline: Duration::from_secs(5), ..s };
    for (zero, one, at_zero, at_one) in [
        (Some(ONE), Some(TWO), "has another secret than this one", "has another secret than this one"),
        (Some(ONE), None, "has no secret, and this one has one", "has a secret, and this one has none"),
        (None, Some(TWO), "has a secret, and this one has none", "has no secret, and this one has one"),
    ] {
        let addresses = free(2);
        let of = |p, text: Option<&str>| text.map_or_else(|| none(p, &addresses), |t| with(p, &addresses, t));
        let (zero, one) = (start(short(of(0, zero))), start(of(1, one)));
        let one = one.join().unwrap().err().unwrap();
        has(&one, &[&format!("process 0 at {} {at_one}", addresses[0]), "--secret-file or TIDEMILL_SECRET"]);
        let zero = zero.join().unwrap().err().unwrap();
        has(&zero, &["a process at 127.0.0.1:", at_zero, "--secret-file or TIDEMILL_SECRET"]);
        assert!(!format!("{zero}{one}").contains("hunter2"), "{zero} {one}");
    }
}

#[test]
fn d7_a_wrong_secret_does_not_block_the_right_one() {
    let addresses = free(2);
    let zero = start(with(0, &addresses, ONE));
    for text in [TWO, "sixteen or more of something"] {
        start(with(1, &addresses, text)).join().unwrap().err().unwrap();
    }
    start(spec(1, &addresses)).join().unwrap().err().unwrap();
    let one = start(with(1, &addresses, ONE));
    whole(&zero.join().unwrap().unwrap());
    whole(&one.join().unwrap().unwrap());
}

/// Forwards one connection and records what the caller sends.
fn overhear(to: SocketAddr) -> (SocketAddr, thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let ear = thread::spawn(move || {
        let mut caller = listener.accept().unwrap().0;
        let mut called = TcpStream::connect(to).unwrap();
        let (mut back, mut forth) = (called.try_clone().unwrap(), caller.try_clone().unwrap());
        let answers = thread::spawn(move || std::io::copy(&mut back, &mut forth));
        let mut said = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(n @ 1..) = caller.read(&mut chunk) {
            said.extend_from_slice(&chunk[..n]);
            called.write_all(&chunk[..n]).unwrap();
        }
        let _ = called.shutdown(Shutdown::Both);
        let _ = answers.join();
        said
    });
    (address, ear)
}

#[test]
fn d15_a_recorded_handshake_is_refused() {
    let addresses = free(3);
    let zero = start(with(0, &addresses, ONE));
    drop(dial(addresses[0]));
    let (address, ear) = overhear(addresses[0]);
    let stream = dial(address);
    let hello = Hello::new(&with(1, &addresses, ONE), 5);
    let answer = challenge::call(&stream, &hello, secret(ONE).as_ref(), Instant::now() + LONG).unwrap();
    assert_eq!(answer.hello.process, 0, "the real process was accepted");
    drop(stream);
    let said = ear.join().unwrap();
    let mut again = dial(addresses[0]);
    again.write_all(&said).unwrap();
    let until = Some(Instant::now() + LONG);
    let knock: Challenge = frame::read(&again, until).unwrap();
    assert!(knock.secret);
    assert!(matches!(frame::read(&again, until).unwrap(), Reply::Unproven));
    // Nor does an answer of the called process prove anything when it is sent back, or a message that was changed.
    for change in [false, true] {
        let own = dial(addresses[0]);
        frame::write(&own, &Challenge { nonce: [3; 32], secret: true }, Instant::now() + LONG).unwrap();
        let knock: Challenge = frame::read(&own, until).unwrap();
        let mut body = frame::body(&hello).unwrap();
        let side = if change { super::super::secret::Side::Caller } else { super::super::secret::Side::Called };
        let proof = super::super::secret::prove(secret(ONE).as_ref(), side, &[&[3; 32], &knock.nonce, &body]);
        let at = body.len() - 2;
        body[at] ^= u8::from(change);
        frame::write(&own, &Signed { body, proof }, Instant::now() + LONG).unwrap();
        assert!(matches!(frame::read(&own, until).unwrap(), Reply::Unproven));
    }
    let others = [1, 2].map(|p| start(with(p, &addresses, ONE)));
    whole(&zero.join().unwrap().unwrap());
    others.into_iter().for_each(|p| whole(&p.join().unwrap().unwrap()));
}

#[test]
fn d8_d9_d11_foreign_callers_learn_nothing_and_disturb_nothing() {
    let addresses = free(2);
    let zero = start(Spec { limit: Duration::from_secs(2), ..with(0, &addresses, ONE) });
    let knock = frame::encode(&Challenge { nonce: [1; 32], secret: true }).unwrap();
    let head = |protocol: u32, length: u32| [&MAGIC[..], &protocol.to_be_bytes(), &length.to_be_bytes()].concat();
    let says: [Vec<u8>; 8] = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec(),
        knock.clone(),
        [&knock[..], &head(PROTOCOL, u32::MAX)].concat(),
        [&knock[..], &head(PROTOCOL, 300)].concat(),
        [&knock[..], &head(PROTOCOL, 2), &[0xff, 0xff]].concat(),
        [&knock[..], &knock].concat(),
        // With a secret, a caller with another protocol does not end the wait.
        head(PROTOCOL + 1, 0),
    ];
    let mut strangers: Vec<TcpStream> = Vec::new();
    for bytes in says.iter().cycle().take(120) {
        let mut stranger = dial(addresses[0]);
        let _ = stranger.write_all(bytes);
        strangers.push(stranger);
    }
    let one = start(with(1, &addresses, ONE));
    let (zero, one) = (zero.join().unwrap().unwrap(), one.join().unwrap().unwrap());
    whole(&zero);
    whole(&one);
    // A foreign caller received a challenge or a refusal, and nothing of the job.
    let told = frame::encode(&Reply::Unproven).unwrap().len() + knock.len();
    for mut stranger in strangers {
        let mut heard = Vec::new();
        stranger.set_read_timeout(Some(LONG)).unwrap();
        let _ = stranger.read_to_end(&mut heard);
        assert!(heard.len() <= told && !heard.windows(5).any(|w| w == b"words"), "{heard:?}");
    }
}

#[test]
fn d10_an_impostor_at_the_address_of_a_process_is_refused() {
    let addresses = free(2);
    let listener = TcpListener::bind(addresses[0]).unwrap();
    let one = start(with(1, &addresses, ONE));
    let caller = listener.accept().unwrap().0;
    let until = Instant::now() + LONG;
    let refused = match challenge::receive(&caller, secret(TWO).as_ref(), until) {
        Err(HandshakeError::Secret(why)) => why,
        Ok(_) | Err(_) => panic!("the proof is of another secret"),
    };
    has(refused, &["another secret"]);
    has(&one.join().unwrap().err().unwrap(), &["process 0 at", "another secret"]);
}
