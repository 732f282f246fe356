//! The network to the brokers is slow, drops everything silently, or changes bytes.

use std::time::Duration;

use tidemill::connector::kafka::producer_record::ProducerRecord;
use tidemill::connector::kafka::sink::KafkaOutput;
use tidemill::connector::sink::Part;
use tidemill::prelude::*;

use crate::fixture::{PATIENCE, brokers, produce, producer, send, topic};
use crate::proxy::Proxy;
use crate::recorder::{Recorder, earliest, eventually, log_of};

/// A source behind a proxy.
fn behind(proxy: &Proxy, topic: &str) -> KafkaSource {
    earliest(topic).set("bootstrap.servers", &proxy.address).set("socket.timeout.ms", "2000")
}

#[test]
fn c31_a_slow_network_only_slows_the_job() {
    let (input, output) = (topic("slow-way", 2, &[]), topic("slow-way-out", 1, &[]));
    let values: Vec<String> = (0..60).map(|n| format!("{n:0>500}")).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    (0..2).for_each(|p| produce(&input, p, &values));
    let proxy = Proxy::before(&brokers());
    // One client reads both partitions: 60 kB in one answer, which must come within the timeout.
    proxy.slow(60_000);
    let seen = Recorder::default();
    let job = seen.start(behind(&proxy, &input), 2);
    eventually("all records", || seen.records() == 120);
    job.stop_gracefully().unwrap();
    assert_eq!(seen.checked(), log_of(&brokers(), &input).0);
    assert!(proxy.slowed() >= 60, "60 kB in pieces of a thousand bytes: {}", proxy.slowed());

    // The sink waits for late acknowledgements, and sends nothing again meanwhile.
    let before = proxy.slowed();
    proxy.slow(2_000);
    let sink = KafkaSink::new(&proxy.address, &output).set("socket.timeout.ms", "10000");
    let mut out = KafkaOutput::open(&sink, |row: &u32, record: &mut ProducerRecord| _ = record.json(row)).unwrap();
    out.write_and_wait(BatchTime::from_millis(1), &[Part { number: 0, rows: (0..500).collect() }]).unwrap();
    assert!(proxy.slowed() > before);
    let written: Vec<String> = log_of(&brokers(), &output).0.remove(&0).unwrap().into_iter().map(|(_, v)| v).collect();
    assert_eq!(written, (0..500).map(|n: u32| n.to_string()).collect::<Vec<_>>());
}

/// The proxy drops all bytes, and the connection stays open.
#[test]
fn c32_a_silently_dead_connection_is_detected_and_replaced() {
    let topic = topic("half-open", 1, &[]);
    let proxy = Proxy::before(&brokers());
    let seen = Recorder::default();
    let job = seen.start(behind(&proxy, &topic), 1);
    produce(&topic, 0, &["a"]);
    eventually("the first record", || seen.records() == 1);
    proxy.hang(true);
    eventually("the proxy drops bytes", || proxy.swallowed() > 0);
    produce(&topic, 0, &["b"]);
    eventually("trouble", || !job.statistics().trouble.is_empty());
    assert!(seen.only_empty(5), "batches continue, and are empty");
    proxy.hang(false);
    eventually("the records that were sent meanwhile", || seen.records() == 2);
    eventually("no trouble", || job.statistics().trouble.is_empty());
    job.stop_gracefully().unwrap();
    assert_eq!(seen.checked(), log_of(&brokers(), &topic).0);
}

#[test]
fn c33_changed_bytes_are_an_error_if_checksums_are_checked() {
    let topic = topic("spoiled", 1, &[]);
    let mark = "the last byte of this changes";
    produce(&topic, 0, &["a", mark, "c"]);
    let proxy = Proxy::before(&brokers());
    proxy.spoil(mark);
    let seen = Recorder::default();
    let job = seen.start(behind(&proxy, &topic).set("check.crcs", "true"), 1);
    let end = job.await_termination_or_timeout(PATIENCE);
    assert!(proxy.spoiled() > 0);
    let text = end.unwrap_err().to_string();
    assert!(text.contains(&topic) && text.contains("cannot be read") && text.contains("CRC"), "{text}");
    assert_eq!(seen.records(), 0, "no record of the same answer");
}

/// Sets a quota with the tool of Kafka, from the jars that scripts/kafka has downloaded.
fn quota(client: &str, bytes_per_second: u32) {
    let home = || std::env::var("HOME").map(|home| format!("{home}/.cache")).expect("HOME, where scripts/kafka keeps its jars");
    let jars = format!("{}/tidemill/kafka-4.1.1/*", std::env::var("XDG_CACHE_HOME").unwrap_or_else(|_| home()));
    let rate = format!("consumer_byte_rate={bytes_per_second}");
    let args = ["kafka.admin.ConfigCommand", "--bootstrap-server", &brokers(), "--alter", "--add-config", &rate];
    let mut java = std::process::Command::new("java");
    let out =
        java.env("CLASSPATH", jars).args(args).args(["--entity-type", "clients", "--entity-name", client]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// Brokers measure the quota over about eleven seconds. The test sends more than that allows, so some records must wait.
#[test]
#[ignore = "nightly: it runs a tool of Kafka and waits for about ten seconds"]
fn c36_a_throttled_client_is_slower_and_shows_a_lag() {
    let topic = topic("throttled", 1, &[]);
    quota(&topic, 20_000);
    let values: Vec<String> = (0..300).map(|n| format!("{n:0>1000}")).collect();
    // The batches are small, because brokers never return one that exceeds the quota.
    let p = producer(&[("batch.num.messages", "10")]);
    send(&p, &topic, 0, &values.iter().map(String::as_str).collect::<Vec<_>>());
    let small = ["fetch.message.max.bytes", "fetch.max.bytes", "message.max.bytes"]
        .iter()
        .fold(earliest(&topic), |kafka, key| kafka.set(key, "20000"));
    let seen = Recorder::default();
    let begun = std::time::Instant::now();
    let job = seen.start(small.set("client.id", &topic), 1);
    let mut lagged = 0;
    eventually("all records", || {
        lagged += usize::from(job.statistics().lag.is_some_and(|lag| lag > 0));
        seen.records() == 300
    });
    let took = begun.elapsed();
    job.stop_gracefully().unwrap();
    assert_eq!(seen.checked(), log_of(&brokers(), &topic).0);
    assert!(took > Duration::from_secs(2) && lagged > 0, "{took:?}, {lagged} times: it was not throttled");
}
