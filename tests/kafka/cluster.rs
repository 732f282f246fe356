//! A job of two processes with two workers each, while a producer runs. Both run inside the process of the test, connected by
//! sockets.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidemill::prelude::*;

use crate::child::addresses;
use crate::fixture::{brokers, producer, send, topic};
use crate::recorder::{Off, Recorder, builder, earliest, eventually, log_of};

/// A file with the addresses of two processes. It is removed on drop.
struct Hosts(std::path::PathBuf);

impl Hosts {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidemill-{name}-{}", std::process::id()));
        std::fs::write(&path, addresses(2).join("\n")).unwrap();
        Hosts(path)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Starts a job that records in process 0 what both processes read.
fn start(name: &str, kafka: &KafkaSource, seen: &Recorder) -> [JobHandle; 2] {
    let hosts = Hosts::new(name);
    let process = |process| {
        let runtime = RuntimeArgs { workers: 2, processes: 2, process, hostfile: Some(hosts.0.clone()), ..Default::default() };
        let program = seen.slowly(kafka.clone(), Duration::ZERO);
        // Each start waits for the other one.
        std::thread::spawn(move || builder(2).runtime(runtime).start(program).unwrap())
    };
    [process(0), process(1)].map(|p| p.join().unwrap())
}

/// Worker `l % 4` reads partition `l`. The second process reads partitions 2 and 3, and sends their records over the socket.
#[test]
fn every_record_is_in_exactly_one_batch_of_two_processes() {
    let topic = topic("cluster", 5, &[]);
    let seen = Recorder::default();
    let (p, stop) = (producer(&[]), AtomicBool::new(false));
    std::thread::scope(|s| {
        let produced = s.spawn(|| {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                let values: Vec<String> = (n..n + 20).map(|n| n.to_string()).collect();
                send(&p, &topic, (n / 20) % 5, &values.iter().map(String::as_str).collect::<Vec<_>>());
                n += 20;
            }
            n as usize
        });
        let _off = Off(&stop);
        let [first, second] = start("cluster", &earliest(&topic), &seen);
        eventually("some batches", || seen.filled() >= 20);
        assert!((0..5).all(|p| seen.until(p).is_some_and(|until| until > 0)), "every partition is read");
        stop.store(true, Ordering::Relaxed);
        let produced = produced.join().unwrap();
        eventually("all records", || seen.records() == produced);
        // Both handles return the result.
        let other = s.spawn(|| first.await_termination().unwrap());
        second.stop_gracefully().unwrap();
        assert_eq!(other.join().unwrap().records, produced as u64);
    });
    assert_eq!(seen.checked(), log_of(&brokers(), &topic).0);
}

/// Like the test above, but the job is stopped while the producer continues. It has exactly the records of its ranges.
#[test]
fn two_processes_stopped_in_the_middle_have_exactly_their_ranges() {
    let topic = topic("cluster-stop", 4, &[]);
    let seen = Recorder::default();
    let (p, stop) = (producer(&[]), AtomicBool::new(false));
    std::thread::scope(|s| {
        s.spawn(|| {
            let more = (0..).take_while(|_| !stop.load(Ordering::Relaxed));
            more.for_each(|n| send(&p, &topic, n % 4, &[&n.to_string()]));
        });
        let off = Off(&stop);
        let [first, second] = start("cluster-stop", &earliest(&topic), &seen);
        eventually("some batches", || seen.filled() >= 10);
        let other = s.spawn(|| second.await_termination().unwrap());
        first.stop_gracefully().unwrap();
        other.join().unwrap();
        send(&p, &topic, 0, &["the last"]);
        drop(off);
    });
    let (mut log, ends) = log_of(&brokers(), &topic);
    log.iter_mut().for_each(|(partition, rows)| rows.retain(|(offset, _)| *offset < seen.until(*partition).unwrap()));
    assert_eq!(seen.checked(), log);
    assert!(ends[&0] > seen.until(0).unwrap(), "the producer continued after the job");
}
