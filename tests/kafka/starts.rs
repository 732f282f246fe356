//! Starts that wait for brokers. A stop ends them, and their errors name the cause.

use std::net::TcpListener;

use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tidemill::prelude::*;

use crate::child::{Program, Signal, TempDir};
use crate::fixture::{brokers, topic};
use crate::proxy::Proxy;
use crate::recorder::{Recorder, earliest, eventually};

/// An address that accepts connections and never answers.
fn mute() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Without the stop, the start would end after ten seconds with the error that no broker answers.
#[test]
fn a_stop_ends_a_start_that_waits_for_the_brokers_of_a_source() {
    let (_listener, at) = mute();
    let job = Recorder::default().start(KafkaSource::brokers(at).topic("t"), 1);
    job.stop_gracefully().unwrap();
}

#[test]
fn a_stop_ends_a_start_that_waits_for_the_brokers_of_an_output() {
    let (_listener, at) = mute();
    for once in [false, true] {
        let dir = TempDir::new("mute");
        let (at, queue) = (at.clone(), QueueSource::from_batches([vec!["a".to_owned()]]));
        let job = StreamingContext::builder("mute", millis(20)).checkpoint(dir.path()).start(move |ssc| {
            let sink = KafkaSink::new(&at, "t");
            if once {
                let words = ssc.kafka_direct_stream(KafkaSource::brokers(&at).topic("words")).values().oks();
                words.to_kafka(sink.exactly_once(), |word, record| _ = record.value(word));
            } else {
                ssc.queue_stream(&queue).to_kafka(sink, |word, record| _ = record.value(word));
            }
            Ok(())
        });
        job.unwrap().stop_gracefully().unwrap();
    }
}

/// The signal comes while the producers of the shards wait for their ids. Without it, this would be an error after half a minute.
#[test]
fn a_signal_ends_a_start_that_waits_for_transactions() {
    let mock = MockCluster::new(1).unwrap();
    for topic in ["in", "out", "tidemill-progress-out"] {
        mock.create_topic(topic, 1, 1).unwrap();
    }
    let loading = RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS;
    mock.request_errors(RDKafkaApiKey::InitProducerId, &[loading; 10_000]);
    let (at, dir) = (mock.bootstrap_servers(), TempDir::new("ids"));
    let topics = ["--brokers", &at, "--in", "in", "--out", "out", "--interval", "20ms"];
    let more = ["--exactly-once", "--checkpoint", dir.path()];
    let env = [("RUST_LOG", "tidemill=info")];
    let mut job = Program::start_in("kafka_wordcount", topics.into_iter().chain(more), &env);
    // The job opens the producers after it has made the checkpoint directory.
    job.until("the checkpoint directory", |_, _| std::fs::read_dir(dir.path()).is_ok_and(|all| all.count() > 0));
    job.signal(Signal::TERM);
    let end = job.end();
    assert_eq!(end.code, Some(0), "{}", end.err);
    assert!(end.err.contains("stopped while its start waited") || end.err.contains("0 batches"), "{}", end.err);
}

/// The usual mistake with containers and tunnels: the broker answers, but names a host that this machine cannot resolve.
#[test]
fn an_advertised_listener_that_this_machine_does_not_know_is_named() {
    let t = topic("advertised", 1, &[]);
    let proxy = Proxy::renamed(&brokers(), "a.invalid");
    let seen = Recorder::default();
    let kafka = KafkaSource::brokers(&proxy.address).topic(&t).start(StartFrom::earliest());
    let text = seen.start(kafka, 1).await_termination().unwrap_err().to_string();
    assert!(text.contains("a.invalid") && text.contains("advertised.listeners"), "{text}");
    assert!(!text.contains("no broker answers"), "a broker did answer: {text}");
}

/// The pattern also matches the output topic, so the job would read its own output.
#[test]
fn a_job_that_would_read_its_own_output_is_refused_and_can_be_allowed() {
    let t = topic("loop", 1, &[]);
    let start = |source: KafkaSource| {
        let sink = KafkaSink::new(brokers(), &t);
        StreamingContext::builder("loop", millis(20)).start(move |ssc| {
            let rows = ssc.kafka_direct_stream(source.clone()).values().oks();
            rows.filter(|row| row.len() < 3).to_kafka(sink.clone(), |row, record| _ = record.value(format!("{row}+")));
            Ok(())
        })
    };
    for source in [earliest(&t), KafkaSource::brokers(brokers()).pattern("loop-.*")] {
        let text = start(source).err().unwrap().to_string();
        assert!(text.contains(&format!("reads the topic {t}")) && text.contains("allow_own_output(true)"), "{text}");
        assert!(text.contains("kafka_direct_stream (starts.rs:") && text.contains("to_kafka (starts.rs:"), "{text}");
    }
    let job = start(earliest(&t).allow_own_output(true)).unwrap();
    crate::fixture::produce(&t, 0, &["a"]);
    let log = || crate::recorder::log_of(&brokers(), &t).0.remove(&0).unwrap_or_default();
    eventually("the end of the loop", || log().len() == 3);
    job.stop_gracefully().unwrap();
    assert_eq!(log().into_iter().map(|(_, value)| value).collect::<Vec<_>>(), ["a", "a+", "a++"]);
}
