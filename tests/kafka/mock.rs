//! Faults that only the mock brokers of librdkafka can produce on request: leaders and coordinators that move, and error answers.

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::mocking::{MockCluster, MockCoordinator};
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tidemill::prelude::*;

use crate::child::{Program, Signal, TempDir};
use crate::fixture::{PATIENCE, producer, send};
use crate::recorder::{Recorder, eventually, log_of};

type Mock = MockCluster<'static, DefaultProducerContext>;

/// Three brokers with a topic of one partition.
fn brokers(topics: &[&str]) -> (Mock, String, BaseProducer) {
    let mock = MockCluster::new(3).unwrap();
    for topic in topics {
        mock.create_topic(topic, 1, 3).unwrap();
        mock.partition_leader(topic, 0, Some(1)).unwrap();
    }
    let at = mock.bootstrap_servers();
    let p = producer(&[("bootstrap.servers", &at), ("topic.metadata.refresh.interval.ms", "200")]);
    (mock, at, p)
}

fn source(at: &str) -> KafkaSource {
    KafkaSource::brokers(at).topic("t").start(StartFrom::earliest()).set("topic.metadata.refresh.interval.ms", "200")
}

fn leader(at: &str) -> i32 {
    let asks: BaseConsumer = ClientConfig::new().set("bootstrap.servers", at).create().unwrap();
    asks.fetch_metadata(Some("t"), PATIENCE).unwrap().topics()[0].partitions()[0].leader()
}

#[test]
fn c3_a_leader_that_moves_or_is_away_loses_no_record() {
    let (mock, at, p) = brokers(&["t"]);
    let seen = Recorder::default();
    let job = seen.start(source(&at), 2);
    send(&p, "t", 0, &["a"]);
    eventually("the first record", || seen.records() == 1);
    mock.partition_leader("t", 0, Some(2)).unwrap();
    assert_eq!(leader(&at), 2);
    send(&p, "t", 0, &["b"]);
    eventually("a record of the new leader", || seen.records() == 2);
    mock.broker_down(2).unwrap();
    p.send(BaseRecord::<[u8], str>::to("t").payload("c").partition(0)).map_err(|(e, _)| e).unwrap();
    assert!(seen.only_empty(10));
    // The count includes events of librdkafka itself.
    assert!(p.in_flight_count() >= 1, "no broker accepts the record");
    mock.partition_leader("t", 0, Some(3)).unwrap();
    assert_eq!(leader(&at), 3);
    p.flush(PATIENCE).unwrap();
    eventually("the records that waited", || seen.records() == 3);
    job.stop_gracefully().unwrap();
    assert_eq!(seen.checked(), log_of(&at, "t").0);
}

#[test]
fn c21_a_topic_without_read_permission_is_named_in_the_error() {
    let (mock, at, p) = brokers(&["t"]);
    send(&p, "t", 0, &["a"]);
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    mock.request_errors(RDKafkaApiKey::Fetch, &[denied; 3]);
    let text = Recorder::default().start(source(&at), 1).await_termination().unwrap_err().to_string();
    assert!(text.contains("topic t, partition 0") && text.contains("authorization failed"), "{text}");
}

/// Starts the word count with exactly-once output.
fn count(at: &str, dir: &TempDir) -> Program {
    let topics = ["--brokers", at, "--in", "t", "--out", "out", "--interval", "20ms"];
    Program::start("kafka_wordcount", topics.into_iter().chain(["--exactly-once", "--checkpoint", dir.path()]))
}

const TOPICS: [&str; 3] = ["t", "out", "tidemill-progress-out"];

/// The totals of the only word.
fn totals(at: &str) -> Vec<i64> {
    let rows = log_of(at, "out").0.into_values().flatten();
    let total = |value: String| serde_json::from_str::<serde_json::Value>(&value).unwrap()["count"].as_i64().unwrap();
    rows.map(|(_, value)| total(value)).collect()
}

/// Moves the coordinator of all transactions of the word count.
fn coordinate(mock: &Mock, broker: i32) {
    let id = |shard: u32| MockCoordinator::Transaction(format!("kafka-wordcount-out-{shard}"));
    (0..8).for_each(|shard| mock.coordinator(id(shard), broker).unwrap());
}

const WORD: &str = r#"{"word":"a"}"#;

#[test]
fn c24_a_coordinator_that_moves_loses_no_commit() {
    let (mock, at, p) = brokers(&TOPICS);
    // All topics are on broker 2, so only the coordinator is on broker 1.
    TOPICS.iter().for_each(|t| mock.partition_leader(t, 0, Some(2)).unwrap());
    coordinate(&mock, 1);
    let loading = RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS;
    mock.request_errors(RDKafkaApiKey::EndTxn, &[loading; 3]);
    let dir = TempDir::new("coordinator");
    let mut job = count(&at, &dir);
    send(&p, "t", 0, &[WORD]);
    job.until("the first commit", |_, _| totals(&at) == [1]);
    coordinate(&mock, 2);
    send(&p, "t", 0, &[WORD]);
    job.until("a commit with the new one", |_, _| totals(&at) == [1, 2]);
    coordinate(&mock, 3);
    mock.broker_down(1).unwrap();
    send(&p, "t", 0, &[WORD]);
    job.until("a commit without the first one", |_, _| totals(&at) == [1, 2, 3]);
    job.signal(Signal::TERM);
    let end = job.end();
    assert_eq!(end.code, Some(0), "{}", end.err);
}

/// After this error the client gives up the producer. The job makes another one and reads the progress of the shard.
#[test]
fn c27_a_transaction_that_the_broker_does_not_know_is_repeated_by_another_producer() {
    let (mock, at, p) = brokers(&TOPICS);
    coordinate(&mock, 1);
    let dir = TempDir::new("state");
    let mut job = count(&at, &dir);
    send(&p, "t", 0, &[WORD]);
    job.until("the first commit", |_, _| totals(&at) == [1]);
    mock.request_errors(RDKafkaApiKey::EndTxn, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE]);
    send(&p, "t", 0, &[WORD]);
    job.until("the failure", |_, err| err.contains("the commit that failed had been made"));
    send(&p, "t", 0, &[WORD]);
    // The mock has no transaction isolation: records are visible as soon as they are sent.
    job.until("the next commit", |_, _| totals(&at) == [1, 2, 3]);
    job.signal(Signal::TERM);
    let end = job.end();
    assert_eq!(end.code, Some(0), "{}", end.err);
}
