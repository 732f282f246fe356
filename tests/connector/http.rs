//! `http_receiver` as senders see it: each answer, and what is stored after it.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidemill::connector::http_receiver::HttpReceiver;
use tidemill::prelude::*;

use crate::harness::eventually;
use crate::temp_dir::TempDir;

fn builder(dir: Option<&Path>, workers: u16) -> tidemill::api::context::Builder {
    let builder = StreamingContext::builder("posted", millis(10)).workers(workers).checkpoint_interval(millis(30));
    match dir {
        Some(dir) => builder.checkpoint(dir),
        None => builder.without_checkpoint(),
    }
}

/// A job whose lines go to memory, and where it listens.
fn start(builder: tidemill::api::context::Builder, http: HttpReceiver) -> (JobHandle, MemorySink<String>, SocketAddr) {
    let rows = MemorySink::new();
    let (out, source) = (rows.clone(), http.clone());
    let job = builder.start(move |ssc| {
        ssc.http_receiver(source.clone()).to_memory(&out);
        Ok(())
    });
    let mut address = None;
    eventually("it listens", || {
        address = http.listens();
        address.is_some()
    });
    (job.unwrap(), rows, address.unwrap())
}

/// The status and the body of an answer.
fn send(to: SocketAddr, head: &str, body: &[u8]) -> (u16, String) {
    let mut peer = TcpStream::connect(to).unwrap();
    let length = body.len();
    // The job may answer before it has read all of the body.
    let _ = peer
        .write_all(format!("{head} HTTP/1.1\r\nHost: job\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n").as_bytes());
    let _ = peer.write_all(body);
    let mut answer = Vec::new();
    let _ = peer.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    if head.starts_with("HTTP/1.1 429") {
        assert!(head.to_ascii_lowercase().contains("retry-after: 1"), "{head}");
    }
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.trim_end().to_owned())
}

fn post(to: SocketAddr, body: &str) -> (u16, String) {
    send(to, "POST /lines", body.as_bytes())
}

#[test]
fn answered_lines_are_read_once_through_restarts_on_any_number_of_workers() {
    for workers in [1, 2, 4] {
        let dir = TempDir::made("http-restarts");
        let (mut next, mut seen) = (0, Vec::new());
        for graceful in [true, false, true] {
            let (job, rows, at) = start(builder(Some(&dir), workers), HttpReceiver::new("127.0.0.1:0"));
            for _ in 0..20 {
                let body: String = (next..next + 5).map(|n| format!("{n}\n")).collect();
                assert_eq!(post(at, &body), (200, "5".into()));
                next += 5;
            }
            match graceful {
                true => job.stop_gracefully().map(drop).unwrap(),
                false => job.stop_now().map(drop).unwrap(),
            }
            seen.push(rows.batches());
        }
        // A batch that ran again has the same lines.
        let mut batches = std::collections::BTreeMap::new();
        for (time, rows) in seen.into_iter().flatten() {
            assert_eq!(batches.entry(time).or_insert_with(|| rows.clone()), &rows, "{time}");
        }
        let all: Vec<String> = batches.into_values().flatten().collect();
        assert_eq!(all, (0..next).map(|n| n.to_string()).collect::<Vec<_>>());
    }
}

#[test]
fn each_wrong_request_has_its_answer_and_stores_nothing() {
    let http = HttpReceiver::new("127.0.0.1:0").max_body(100).token("sesame");
    let (job, rows, at) = start(builder(None, 2).max_line_bytes(50), http);
    let with = |method: &str, token: &str, body: &[u8]| {
        let mut peer = TcpStream::connect(at).unwrap();
        let token = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        let length = body.len();
        let request = format!("{method} / HTTP/1.1\r\nHost: job\r\n{token}Connection: close\r\nContent-Length: {length}\r\n\r\n");
        let _ = peer.write_all(request.as_bytes());
        let _ = peer.write_all(body);
        let mut answer = String::new();
        let _ = peer.read_to_string(&mut answer);
        answer.split(' ').nth(1).map(str::to_owned).unwrap_or_default() + " " + answer.rsplit("\r\n").next().unwrap().trim_end()
    };
    assert!(with("POST", "", b"a").starts_with("401"));
    assert!(with("POST", "other", b"a").starts_with("401"));
    assert!(with("GET", "sesame", b"").starts_with("405"));
    assert_eq!(with("POST", "sesame", &[b'x'; 101]), "413 the body has more than 100 bytes: split it");
    assert_eq!(with("POST", "sesame", &[b'x'; 51]), "400 line 1 is longer than 50 bytes");
    assert!(with("POST", "sesame", b"a\n\xff").starts_with("400 line 2 is not UTF-8"));
    assert_eq!(with("POST", "sesame", b"a\nb\n"), "202 2");
    job.stop_gracefully().unwrap();
    assert_eq!(rows.rows(), ["a", "b"]);
}

#[test]
fn a_job_that_is_behind_asks_senders_to_come_back_and_loses_nothing() {
    let dir = TempDir::made("http-behind");
    let (http, held) = (HttpReceiver::new("127.0.0.1:0"), Arc::new(AtomicBool::new(true)));
    let seen = Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    let (source, hold, out) = (http.clone(), held.clone(), seen.clone());
    let job = builder(Some(&dir), 1).batch_bytes(64 << 10).start(move |ssc| {
        let (hold, out) = (hold.clone(), out.clone());
        ssc.http_receiver(source.clone()).foreach_batch(move |batch| {
            while hold.load(Ordering::SeqCst) {
                std::thread::sleep(millis(1));
            }
            out.lock().unwrap().extend(batch.iter().map(|line| line[..8].to_owned()));
            Ok(())
        });
        Ok(())
    });
    let job = job.unwrap();
    eventually("it listens", || http.listens().is_some());
    let at = http.listens().unwrap();
    let (mut n, mut refused) = (0, 0);
    while refused < 3 {
        let line = format!("{n:08}{}\n", "x".repeat(500_000));
        match post(at, &line).0 {
            200 => n += 1,
            429 => refused += 1,
            other => panic!("{other}"),
        }
        assert!(n < 200, "memory is bounded");
    }
    held.store(false, Ordering::SeqCst);
    eventually("there is room again", || {
        let done = post(at, &format!("{n:08}\n")).0 == 200;
        n += u32::from(done);
        done
    });
    job.stop_gracefully().unwrap();
    assert_eq!(*seen.lock().unwrap(), (0..n).map(|n| format!("{n:08}")).collect::<BTreeSet<_>>());
}

#[test]
fn an_address_that_others_reach_is_refused_without_a_token() {
    let started = builder(None, 1).start(|ssc| {
        ssc.http_receiver(HttpReceiver::new("0.0.0.0:8080")).to_memory(&MemorySink::new());
        Ok(())
    });
    let e = started.map(drop).unwrap_err().to_string();
    assert!(e.contains("0.0.0.0:8080") && e.contains("set a token"), "{e}");
}
