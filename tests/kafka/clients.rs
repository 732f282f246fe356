//! Records of other clients: codecs, headers, keys, times, idempotent and transactional producers. One client is in Python, with
//! its own librdkafka. The other is the Java client of Kafka. The broker compresses the records of compressed topics, in Java.

use std::process::Command;

use tidemill::connector::kafka::producer_record::ProducerRecord;
use tidemill::connector::kafka::sink::{KafkaOutput, KafkaSink};
use tidemill::connector::message::Message;
use tidemill::connector::sink::Part;
use tidemill::connector::source::SourceReader;
use tidemill::prelude::*;

use crate::child::TempDir;
use crate::fixture::{ReaderFixture, brokers, configure, produce, split, topic, values};
use crate::recorder::{earliest, eventually, log_of, read_log};

const CODECS: [&str; 4] = ["gzip", "snappy", "lz4", "zstd"];

/// Different texts that are long enough to be compressed.
fn texts() -> Vec<String> {
    (0..100).map(|n| format!("{n} {}", "tide ".repeat(40))).collect()
}

#[test]
fn every_codec_is_read_where_the_broker_compresses() {
    for codec in CODECS {
        let t = topic(codec, 1, &[("compression.type", codec)]);
        let texts = texts();
        produce(&t, 0, &texts.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(values(&ReaderFixture::of(&t, Some(0)).live(|r| r.len() == 100)), texts, "{codec}");
    }
}

#[test]
fn every_codec_is_written_and_other_clients_read_it() {
    let mut topics = Vec::new();
    for codec in CODECS {
        let t = topic(codec, 1, &[]);
        let sink = KafkaSink::new(brokers(), &t).set("compression.type", codec);
        let mut out = KafkaOutput::open(&sink, |row: &String, rec: &mut ProducerRecord| _ = rec.value(row)).unwrap();
        out.write_and_wait(BatchTime::from_millis(1), &[Part { number: 0, rows: texts() }]).unwrap();
        assert_eq!(values(&ReaderFixture::of(&t, Some(0)).live(|r| r.len() == 100)), texts(), "{codec}");
        topics.push(t);
    }
    let args = [&["read".to_owned(), brokers(), "100".to_owned()][..], &topics].concat();
    let read = python(&args);
    assert_eq!(read, (texts().join("\n") + "\n").repeat(4));
}

/// Sends the same three records in each way, to a topic for each.
fn check_records(client: &str, send: impl Fn(&str, &str, &str) -> String) {
    for codec in CODECS {
        for how in ["plain", "idempotent", "transactional"] {
            // The timestamps of the records are in 2023, so the broker would delete them.
            let t = topic(&format!("{client}-{how}"), 1, &[("retention.ms", "-1")]);
            send(how, codec, &t);
            let mut fixture = ReaderFixture::new(&KafkaSource::brokers(brokers()).topic(&t).include_headers());
            fixture.reader.assign(0, &split(&t, 0), Some(0)).unwrap();
            let rows = fixture.live(|rows| rows.len() == 3);
            let what = format!("{client} {how} {codec}");
            let row = |m: &Message| (m.key().map(<[u8]>::to_vec), m.value_opt().map(<[u8]>::to_vec), m.timestamp());
            let text = |t: &str| Some(t.as_bytes().to_vec());
            let long = "ä".repeat(1_000);
            let expected = [
                (text("k"), text(&long), Some(1_700_000_000_001)),
                (None, text(""), Some(1_700_000_000_002)),
                (text("gone"), None, Some(1_700_000_000_003)),
            ];
            assert_eq!(rows.iter().map(row).collect::<Vec<_>>(), expected, "{what}");
            let headers: Vec<_> = rows[0].headers().collect();
            assert_eq!(headers, [("trace", Some(&b"1"[..])), ("trace", Some(&b"\xff\x00"[..])), ("none", None)], "{what}");
            assert_eq!(rows[1].headers().count() + rows[2].headers().count(), 0, "{what}");
            // The producer aborted a record before these.
            let all = read_log(&brokers(), &t, "read_uncommitted").0[&0].len();
            assert_eq!(all, if how == "transactional" { 4 } else { 3 }, "{what}");
        }
    }
}

#[test]
fn records_of_a_python_client_are_read_as_they_were_sent() {
    check_records("python", |how, codec, topic| {
        python(&["send".to_owned(), brokers(), how.to_owned(), codec.to_owned(), topic.to_owned()])
    });
}

#[test]
#[ignore = "nightly: it compiles a client in Java, which needs a JDK"]
fn records_of_a_java_client_are_read_as_they_were_sent() {
    let home = || std::env::var("HOME").map(|home| format!("{home}/.cache")).expect("HOME, where scripts/kafka keeps its jars");
    let jars = format!("{}/tidemill/kafka-4.1.1/*", std::env::var("XDG_CACHE_HOME").unwrap_or_else(|_| home()));
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/Client.java");
    check_records("java", |how, codec, topic| {
        let args = ["-cp", &jars, "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", program, &brokers(), how, codec, topic];
        output(Command::new("java").args(args), "a JDK, for example openjdk-17-jdk-headless")
    });
}

fn python(args: &[String]) -> String {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/client.py");
    output(Command::new("/usr/bin/python3").arg(program).args(args), "python3-confluent-kafka")
}

fn output(command: &mut Command, package: &str) -> String {
    let out = command.output().unwrap_or_else(|e| panic!("{e}: install {package}"));
    assert!(out.status.success(), "install {package}? {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// The plain name of its progress topic would be too long, and the progress topic is compressed.
#[test]
fn an_exactly_once_job_into_a_long_topic_with_compressed_progress_starts_again() {
    let (from, dir) = (topic("from-long", 1, &[]), TempDir::new("long"));
    // The name must begin with something unique, because the progress topic's name does not contain the end.
    let to = topic(&format!("{:07}-{}", std::process::id(), "long".repeat(56)), 1, &[("compression.type", "zstd")]);
    assert!((232..=249).contains(&to.len()), "{}", to.len());
    for round in 1..=3 {
        let (source, sink) = (earliest(&from), KafkaSink::new(brokers(), &to).exactly_once().shards(1));
        let builder = StreamingContext::builder("long", millis(50)).checkpoint(dir.path());
        let job = builder.start(move |ssc| {
            let rows = ssc.kafka_direct_stream(source.clone()).values().oks();
            rows.to_kafka(sink.clone(), |value, record| _ = record.value(value));
            Ok(())
        });
        let job = job.unwrap();
        produce(&from, 0, &[&round.to_string()]);
        eventually("the row", || log_of(&brokers(), &to).0.get(&0).is_some_and(|rows| rows.len() == round));
        job.stop_gracefully().unwrap();
        // The second run writes compressed progress, which the third one reads.
        configure(&progress_topic(&to), "compression.type", "zstd");
    }
    let rows = log_of(&brokers(), &to).0.remove(&0).unwrap();
    assert_eq!(rows.into_iter().map(|(_, v)| v).collect::<Vec<_>>(), ["1", "2", "3"]);
}

/// The progress topic of a topic with a long name.
fn progress_topic(of: &str) -> String {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    let consumer: BaseConsumer = rdkafka::ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    let all = consumer.fetch_metadata(None, crate::fixture::PATIENCE).unwrap();
    let prefix = format!("tidemill-progress-{}-", &of[..200]);
    let found: Vec<_> = all.topics().iter().map(|t| t.name()).filter(|name| name.starts_with(&prefix)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].to_owned()
}

/// Records of nearly `message.max.bytes` of the broker (default: 1 MiB).
#[test]
fn records_at_the_size_limit_of_the_broker_are_read_and_written() {
    let (from, to) = (topic("limit-in", 1, &[]), topic("limit-out", 1, &[]));
    // The limit includes the header of the record batch, 61 bytes, and that of the record.
    let largest = "x".repeat((1 << 20) - 100);
    produce_large(&from, &largest);
    let rows = ReaderFixture::of(&from, Some(0)).live(|r| r.len() == 1);
    assert!(values(&rows) == [largest.clone()], "{} bytes", rows[0].raw().len());
    let sink = KafkaSink::new(brokers(), &to).set("message.max.bytes", "2000000");
    let mut out = KafkaOutput::open(&sink, |row: &String, rec: &mut ProducerRecord| _ = rec.value(row)).unwrap();
    out.write_and_wait(BatchTime::from_millis(1), &[Part { number: 0, rows: vec![largest.clone()] }]).unwrap();
    let rows = ReaderFixture::of(&to, Some(0)).live(|r| r.len() == 1);
    assert!(values(&rows) == [largest], "{} bytes", rows[0].raw().len());
}

fn produce_large(topic: &str, value: &str) {
    let p = crate::fixture::producer(&[("message.max.bytes", "2000000")]);
    crate::fixture::send(&p, topic, 0, &[value]);
}
