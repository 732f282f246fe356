//! `tidemill launch` with jobs over Kafka: prefixes, exit codes, and that all processes end together.

use std::time::Instant;

use crate::broker::Broker;
use crate::child::{Ended, PATIENCE, Program, Signal, TempDir, TempFile, children, path, send};
use crate::golden::same;

/// Starts a program as two processes with two workers each.
fn launch(program: &str, args: &[&str]) -> Program {
    let program = path(program);
    let words = ["launch", "--prefix", "-n", "2", "-w", "2", "--", program.to_str().unwrap()];
    Program::start("tidemill", words.iter().chain(args))
}

/// The lines of one process, without its prefix.
fn of(process: &str, text: &str) -> String {
    let prefix = format!("[{process}] ");
    text.split_inclusive('\n').filter_map(|line| line.strip_prefix(&prefix)).collect()
}

#[test]
fn a_launched_job_over_given_batches_prints_the_same_as_one_process() {
    let broker = Broker::start();
    broker.topic("lines", &[&[Some(b"tide and mill"), Some(b"no \xff text")], &[Some("caf\u{e9} tide".as_bytes())]]);
    let ranges = r#"{"topic":"lines","partition":0,"from":0,"until":2},{"topic":"lines","partition":1,"from":0,"until":1}"#;
    let plans = TempFile::new("plans", &format!("{{\"time\":2000,\"ranges\":[{ranges}]}}\n{{\"time\":4000}}\n"));
    let args = [&broker.address, "lines", "--plans", plans.path(), "--time-zone", "UTC"];
    let alone = Program::start("direct_kafka_wordcount", args).end();
    let together = launch("direct_kafka_wordcount", &args).end();
    assert_eq!((alone.code, together.code), (Some(0), Some(0)), "{}{}", alone.err, together.err);
    assert!(alone.out.contains("(\"tide\", 2)\n") && alone.out.contains("lines 0 0 2\nlines 1 0 1\n"), "{}", alone.out);
    same("process 0 of the launch, against one process", &alone.out, &of("0", &together.out));
    assert_eq!(of("1", &together.out), "");
    // The worker that read the invalid record logs it, in either process.
    assert!(together.err.lines().all(|l| l.starts_with("[0] ") || l.starts_with("[1] ")), "{}", together.err);
    assert!(together.err.contains("lines"), "{}", together.err);
}

/// A live job of two processes that has written something, and its processes by index. With a checkpoint directory it logs no
/// warning.
fn running(broker: &Broker, dir: &TempDir) -> (Program, [u32; 2]) {
    broker.topic("words", &[&[Some(br#"{"word":"tide"}"#)], &[]]);
    broker.topic("counts", &[&[]]);
    let topics = ["--in", "words", "--out", "counts"];
    let args = [&["--brokers", &broker.address, "--interval", "50ms", "--checkpoint", dir.path()][..], &topics].concat();
    let launch = launch("kafka_wordcount", &args);
    let begun = Instant::now();
    while broker.read("counts", 1)[0].is_empty() {
        assert!(begun.elapsed() < PATIENCE, "nothing was written: {}", launch.said().1);
    }
    let all = children(launch.id());
    let with = |p: &str| all.iter().find(|(_, line)| line.contains(p)).unwrap_or_else(|| panic!("{all:?}")).0;
    let both = [with(" -p 0 "), with(" -p 1 ")];
    (launch, both)
}

fn gone(processes: [u32; 2]) -> bool {
    processes.iter().all(|p| !std::path::Path::new(&format!("/proc/{p}")).exists())
}

#[test]
fn a_signal_to_one_process_stops_all_gracefully() {
    for (process, signal) in [(0, Signal::INT), (1, Signal::TERM)] {
        let (broker, dir) = (Broker::start(), TempDir::new("asked"));
        let (launch, processes) = running(&broker, &dir);
        send(processes[process], signal);
        let Ended { code, out, err } = launch.end();
        assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "", ""), "{signal:?} to {process}");
        assert!(gone(processes));
        assert_eq!(broker.read("counts", 1), [[("tide".into(), r#"{"word":"tide","count":1}"#.into())]]);
    }
}

#[test]
fn d2_a_killed_process_ends_the_other_with_an_error_that_names_it() {
    for victim in [0, 1] {
        let (broker, dir) = (Broker::start(), TempDir::new("killed"));
        let (launch, processes) = running(&broker, &dir);
        send(processes[victim], Signal::KILL);
        let Ended { code, out, err } = launch.end();
        // 128 plus the signal number, as in a shell.
        assert_eq!((code, out.as_str()), (Some(137), ""), "{err}");
        let survivor = of(if victim == 0 { "1" } else { "0" }, &err);
        let lost = format!("kafka_wordcount: cluster: process {victim} at 127.0.0.1:");
        assert!(survivor.starts_with(&lost) && survivor.lines().count() == 1, "{err}");
        // The closed connection ended it. It did not wait for a heartbeat.
        assert!(survivor.contains(" was lost: the connection was closed"), "{err}");
        assert!(err.contains(&format!("[launch] process {victim} ended: signal: 9")), "{err}");
        assert!(gone(processes));
    }
}
