//! The broker is killed while a job runs, as when a machine fails. Then it is started again with its data.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseRecord, Producer};
use tidemill::prelude::*;

use crate::broker::Broker;
use crate::child::{Program, Signal, TempDir};
use crate::fixture::{PATIENCE, producer, topic_at};
use crate::proxy::Proxy;
use crate::recorder::{Off, Recorder, eventually, log_of, read_log};

#[test]
fn c2_a_broker_that_is_killed_and_restarted_loses_no_record() {
    let broker = Broker::start("0", &[]);
    let at = &*broker.address;
    let topic = topic_at(at, "away", 2, &[]);
    let seen = Recorder::default();
    let job = seen.start(KafkaSource::brokers(at).topic(&topic).start(StartFrom::earliest()), 2);
    // The producer is idempotent, so a record that it sends twice is in the log once.
    let p = producer(&[("bootstrap.servers", at), ("enable.idempotence", "true"), ("reconnect.backoff.max.ms", "500")]);
    let stop = AtomicBool::new(false);
    let sent = std::thread::scope(|s| {
        let sender = s.spawn(|| {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                let value = n.to_string();
                match p.send(BaseRecord::<[u8], str>::to(&topic).payload(&value).partition(n % 2)) {
                    Ok(()) => n += 1,
                    Err((e, _)) => assert_eq!(e.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "{e}"),
                }
                p.poll(millis(2));
            }
            p.flush(PATIENCE).unwrap();
            n as usize
        });
        let off = Off(&stop);
        eventually("some batches", || seen.filled() > 5);
        assert_eq!(job.statistics().trouble, [""; 0]);

        broker.script("kill");
        assert_eq!(TcpStream::connect(at).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
        eventually("trouble", || job.statistics().trouble.iter().any(|t| t.contains(at)));
        // Batches that were already sealed may have records. At most 20 batches are in flight.
        seen.only_empty(20);
        assert!(seen.only_empty(20), "batches continue, and are empty");
        let trouble = job.statistics().trouble;
        assert!(trouble.iter().all(|t| t.contains(at)) && !trouble.is_empty(), "{trouble:?}");
        let before = seen.records();

        assert_eq!(broker.script("again"), at, "the same address");
        eventually("records again", || seen.records() > before);
        eventually("no trouble", || job.statistics().trouble.is_empty());
        drop(off);
        sender.join().unwrap()
    });
    eventually("all records", || seen.records() == sent);
    job.stop_gracefully().unwrap();
    let log = seen.checked();
    assert_eq!(log, log_of(at, &topic).0);
    let mut values: Vec<usize> = log.values().flatten().map(|(_, value)| value.parse().unwrap()).collect();
    values.sort_unstable();
    assert_eq!(values, (0..sent).collect::<Vec<_>>());
}

/// A job that is stopped while the broker is away ends with the records that it has read.
#[test]
fn a_job_can_be_stopped_while_the_broker_is_away() {
    let mock = rdkafka::mocking::MockCluster::new(1).unwrap();
    mock.create_topic("t", 2, 1).unwrap();
    let at = mock.bootstrap_servers();
    let p = producer(&[("bootstrap.servers", &at)]);
    (0..10).for_each(|n| p.send(BaseRecord::<[u8], str>::to("t").payload("v").partition(n % 2)).map_err(|(e, _)| e).unwrap());
    p.flush(PATIENCE).unwrap();
    for workers in [1, 4] {
        let seen = Recorder::default();
        let job = seen.start(KafkaSource::brokers(&at).topic("t").start(StartFrom::earliest()), workers);
        eventually("the records", || seen.records() == 10);
        mock.broker_down(-1).unwrap();
        eventually("trouble", || !job.statistics().trouble.is_empty());
        let begun = std::time::Instant::now();
        job.stop_gracefully().unwrap();
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        mock.broker_up(-1).unwrap();
    }
}

/// What was written while the job could not reach the broker is in the line that says that the broker is back.
#[test]
fn a_job_says_how_many_records_waited_while_the_broker_was_away() {
    let mock = rdkafka::mocking::MockCluster::new(1).unwrap();
    mock.create_topic("t", 2, 1).unwrap();
    let at = mock.bootstrap_servers();
    let p = producer(&[("bootstrap.servers", &at)]);
    let send = |records: usize| {
        let record = || BaseRecord::<[u8], str>::to("t").payload("a word").partition(1);
        (0..records).for_each(|_| p.send(record()).map_err(|(e, _)| e).unwrap());
        p.flush(PATIENCE).unwrap();
    };
    let proxy = Proxy::before(&at);
    let args = ["--brokers", &proxy.address, "--topic", "t", "--interval", "50ms", "--window", "50ms"];
    let mut job = Program::start_in("tweets", args, &[("RUST_LOG", "")]);
    job.until("its start", |_, err| err.contains("job tweets starts"));
    send(3);
    job.until("the records", |out, _| out.contains("Tweets this batch: 3"));
    for waited in [1_915, 1] {
        let away = |err: &str| err.matches("; the job continues without it").count();
        let before = away(&job.said().1);
        proxy.cut(true);
        job.until("it is away", |_, err| away(err) > before);
        send(waited);
        proxy.cut(false);
        let records = if waited == 1 { "1 record waited".into() } else { format!("{waited} records waited") };
        job.until("it is back", |_, err| err.lines().any(|l| l.contains(": over after ") && l.ends_with(&records)));
    }
}

/// The job ends with status 1, and its last line names the output, the batch and the reason. The next start writes the batch once.
#[test]
fn an_outage_longer_than_output_retry_ends_the_job_and_the_next_start_writes_the_batch_once() {
    let broker = Broker::start("0", &[]);
    let at = &*broker.address;
    let (input, output) = (topic_at(at, "outage-in", 1, &[]), topic_at(at, "outage-out", 1, &[]));
    let send = |words: &[&str]| {
        let p = producer(&[("bootstrap.servers", at)]);
        for word in words {
            let value = format!(r#"{{"word":"{word}"}}"#);
            p.send(BaseRecord::<[u8], str>::to(&input).payload(&value).partition(0)).map_err(|(e, _)| e).unwrap();
        }
        p.flush(PATIENCE).unwrap();
    };
    let written = || {
        let (log, _) = read_log(at, &output, "read_committed");
        let mut rows: Vec<String> = log.into_values().flatten().map(|(_, value)| value).collect();
        rows.sort_unstable();
        rows
    };
    let dir = TempDir::new("outage");
    let args = ["--brokers", at, "--in", &input, "--out", &output, "--exactly-once", "--checkpoint", dir.path()];
    let args = [&args[..], &["--output-retry", "500ms"]].concat();
    send(&["tide", "mill", "tide"]);
    // It stops when a shard is to be committed, so the broker is away from then on. Another shard may have been committed at the same time.
    let mut job = Program::start_in("kafka_wordcount", &args, &[("TIDEMILL_STOP_AT", "sink.commit.before:1")]);
    let stat = format!("/proc/{}/stat", job.id());
    job.until("rows are to be committed", |_, _| std::fs::read_to_string(&stat).unwrap().contains(") T "));
    broker.script("kill");
    job.signal(Signal::CONT);
    let end = job.end();
    let last = end.err.lines().last().unwrap_or_default();
    assert_eq!(end.code, Some(1), "{}", end.err);
    for part in ["kafka_wordcount: output to_kafka (", "), batch ", "tried ", "times; nothing after this batch was written", at] {
        assert!(last.contains(part), "{part}: {}", end.err);
    }
    assert!(end.err.contains(" is failing since "), "it says so while it tries: {}", end.err);

    assert_eq!(broker.script("again"), at, "the same address");
    let row = |word: &str, count: u32| format!(r#"{{"word":"{word}","count":{count}}}"#);
    let (log, _) = read_log(at, &output, "read_uncommitted");
    let (early, batch) = (written(), [row("mill", 1), row("tide", 2)]);
    assert!(early.iter().all(|row| batch.contains(row)), "the whole log: {log:?}; the job said: {}", end.err);
    let mut again = Program::start("kafka_wordcount", &args);
    again.until("the batch is written", |_, _| written().len() >= 2);
    send(&["tide"]);
    again.until("a batch after it", |_, _| written().len() >= 3);
    again.signal(Signal::TERM);
    let end = again.end();
    assert_eq!(end.code, Some(0), "{}", end.err);
    assert_eq!(written(), [row("mill", 1), row("tide", 2), row("tide", 3)]);
}
