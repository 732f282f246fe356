//! Sockets with the log of receivers: lines, and blocks of encoded rows.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use tidemill::prelude::*;

use crate::harness::eventually;
use crate::temp_dir::TempDir;

fn builder(dir: &Path, workers: u16) -> tidemill::api::context::Builder {
    StreamingContext::builder("sockets", millis(10)).workers(workers).checkpoint(dir).checkpoint_interval(millis(30))
}

/// A connection of the job. The job may have ended others before it.
fn accept(server: &TcpListener) -> TcpStream {
    server.accept().unwrap().0
}

#[test]
fn logged_lines_are_read_once_through_restarts_on_any_number_of_workers() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    for workers in [1, 2, 4] {
        let dir = TempDir::made("socket-log");
        let (mut next, mut batches) = (0, std::collections::BTreeMap::new());
        for graceful in [true, false, false, true] {
            let (lines, bad) = (MemorySink::new(), MemorySink::new());
            let (out, wrong) = (lines.clone(), bad.clone());
            let job = builder(&dir, workers).max_line_bytes(20).start(move |ssc| {
                let lines = ssc.socket_text_stream_with(SocketSource::new("127.0.0.1", port).write_ahead_log(true));
                lines.to_memory(&out);
                lines.errors().map(|bad| (bad.origin, bad.raw, bad.reason)).to_memory(&wrong);
                Ok(())
            });
            let job = job.unwrap();
            let mut peer = accept(&server);
            for _ in 0..50 {
                let text: String = (next..next + 4).map(|n| format!("{n}\r\n")).collect();
                peer.write_all(text.as_bytes()).unwrap();
                next += 4;
            }
            let last = next.to_string();
            next += 1;
            peer.write_all(format!("a\u{fe}b\n{}\n{last}\n", "x".repeat(21)).replace('þ', "").as_bytes()).unwrap();
            peer.write_all(b"\xff\n").unwrap();
            eventually("all of it is read", || {
                let rows = lines.rows();
                rows.contains(&last) && bad.rows().iter().any(|(_, raw, _)| raw == b"\xff")
            });
            let long = bad.rows().into_iter().find(|(_, raw, _)| raw.len() == 20).expect("a bad line for the long one");
            assert!(long.0 == format!("127.0.0.1:{port}") && long.2.contains("longer than 20 bytes"), "{long:?}");
            match graceful {
                true => job.stop_gracefully().map(drop).unwrap(),
                false => job.stop_now().map(drop).unwrap(),
            }
            for (time, rows) in lines.batches() {
                let known = batches.entry(time).or_insert_with(|| rows.clone());
                assert_eq!(*known, rows, "the batch of {time} ran again with other lines");
            }
        }
        let all: Vec<i64> = batches.into_values().flatten().filter_map(|line| line.parse().ok()).collect();
        assert_eq!(all, (0..next).collect::<Vec<_>>());
    }
}

#[test]
fn blocks_are_rows_and_a_block_that_is_none_is_a_bad_record() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    for workers in [1, 2, 4] {
        let dir = TempDir::made("raw-socket");
        let (rows, bad) = (MemorySink::new(), MemorySink::new());
        let (out, wrong) = (rows.clone(), bad.clone());
        let job = builder(&dir, workers).start(move |ssc| {
            let blocks = ssc.raw_socket_stream::<(String, i64)>("127.0.0.1", port);
            blocks.to_memory(&out);
            blocks.errors().map(|bad| (bad.raw, bad.reason)).to_memory(&wrong);
            Ok(())
        });
        let job = job.unwrap();
        let mut peer = accept(&server);
        let row = |n: i64| (format!("row {n}"), n);
        peer.write_all(&raw_block(&(0..1_000).map(row).collect::<Vec<_>>())).unwrap();
        peer.write_all(&[0, 0, 0, 2, 9, b'x']).unwrap();
        peer.write_all(&raw_block::<(String, i64)>(&[])).unwrap();
        peer.write_all(&raw_block(&[row(1_000)])).unwrap();
        eventually("the rows", || rows.rows().len() == 1_001);
        eventually("the bad block", || bad.rows().len() == 1);
        let (raw, reason) = bad.rows().remove(0);
        assert!(raw == [9, b'x'] && reason.contains("row 0 of the block"), "{raw:?} {reason}");
        // A length that cannot be true ends the connection, and the job connects again.
        peer.write_all(&[0xff; 4]).unwrap();
        let mut again = accept(&server);
        let trouble = || job.statistics().trouble;
        eventually("the trouble is seen", || trouble().iter().any(|t| t.contains("4294967295 bytes")));
        again.write_all(&raw_block(&[row(1_001)])).unwrap();
        eventually("the row", || rows.rows().len() == 1_002);
        job.stop_gracefully().unwrap();
        assert_eq!(rows.rows(), (0..=1_001).map(row).collect::<Vec<_>>());
    }
}
