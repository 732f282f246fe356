//! A job with an open transaction is suspended until the brokers abort the transaction by its timeout.

use std::path::PathBuf;

use tidemill::prelude::*;

use crate::child::{Ended, Program, Signal, TempDir};
use crate::fixture::{brokers, produce, topic};
use crate::recorder::{earliest, read_log};

const TOPICS: &str = "TIDEMILL_TEST_TOPICS";
const DIRECTORY: &str = "TIDEMILL_TEST_DIRECTORY";
/// The shortest timeout that tidemill accepts if records may take five seconds.
const TIMEOUT_MS: &str = "10000";

#[test]
#[ignore = "the child of the test beside it: it copies a topic until it is signalled"]
fn copies() {
    let (topics, dir) = (std::env::var(TOPICS).unwrap(), std::env::var(DIRECTORY).unwrap());
    let (input, output) = topics.split_once(' ').unwrap();
    let (kafka, sink) = (earliest(input), KafkaSink::new(brokers(), output).exactly_once().shards(1));
    let sink = sink.set("message.timeout.ms", "5000").set("transaction.timeout.ms", TIMEOUT_MS);
    let job = StreamingContext::builder("copies", millis(50)).checkpoint(PathBuf::from(dir)).checkpoint_interval(mins(1));
    let end = job.run(move |ssc| {
        ssc.kafka_direct_stream(kafka.clone()).to_kafka(sink.clone(), |m, record| _ = record.value(m.raw()));
        Ok(())
    });
    println!("\nended {:?}", end.map(|summary| summary.records).map_err(|e| e.to_string()));
}

struct Copy {
    input: String,
    output: String,
    dir: TempDir,
}

impl Copy {
    fn start(&self, env: &[(&str, &str)]) -> Program {
        let args = ["--exact", "txn_timeout::copies", "--ignored", "--nocapture", "--test-threads=1"];
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let topics = format!("{} {}", self.input, self.output);
        command.args(args).env(TOPICS, topics).env(DIRECTORY, self.dir.path());
        Program::spawn("copies", &mut command, env)
    }

    /// The values in the output, and the end of its log for this isolation level.
    fn seen(&self, isolation: &str) -> (Vec<String>, i64) {
        let (log, ends) = read_log(&brokers(), &self.output, isolation);
        (log.into_values().flatten().map(|(_, value)| value).collect(), ends[&0])
    }
}

#[test]
fn c26_a_transaction_that_times_out_is_aborted_and_its_batch_is_written_once_by_the_next_start() {
    let copy =
        Copy { input: topic("times-out-in", 1, &[]), output: topic("times-out-out", 1, &[]), dir: TempDir::new("times-out") };
    produce(&copy.input, 0, &["a", "b"]);
    let mut job = copy.start(&[("TIDEMILL_STOP_AT", "sink.commit.before:1")]);
    let stat = format!("/proc/{}/stat", job.id());
    let stands = || std::fs::read_to_string(&stat).unwrap().contains(") T ");
    job.until("it is suspended", |_, _| stands());
    let (all, end) = copy.seen("read_uncommitted");
    assert_eq!(all, ["a", "b"], "the rows are in a transaction that stays open");
    job.until("the brokers end the transaction", |_, _| copy.seen("read_committed").1 >= end);
    assert!(stands() && copy.seen("read_committed").0.is_empty(), "the transaction is aborted while the job is still suspended");

    job.signal(Signal::CONT);
    let Ended { out, .. } = job.end();
    assert!(out.contains("ended Err") && out.contains(&copy.output) && out.contains("transaction timed out"), "{out}");
    assert!(copy.seen("read_committed").0.is_empty(), "nothing was written after that");

    produce(&copy.input, 0, &["c"]);
    let mut again = copy.start(&[]);
    again.until("all rows are written", |_, _| copy.seen("read_committed").0.len() >= 3);
    again.signal(Signal::TERM);
    let Ended { out, .. } = again.end();
    assert!(out.contains("ended Ok(3)"), "{out}");
    assert_eq!(copy.seen("read_committed").0, ["a", "b", "c"]);
    assert_eq!(copy.seen("read_uncommitted").0, ["a", "b", "a", "b", "c"], "the aborted rows, and those of the next start");
}
