//! Large records, many records, records with unusual times, and records that cannot be decoded, in sources and outputs.

use rdkafka::producer::{BaseRecord, Producer};
use tidemill::connector::source::SourceReader;
use tidemill::prelude::*;

use crate::child::TempDir;
use crate::fixture::{PATIENCE, ReaderFixture, brokers, configure, produce, producer, split, topic};
use crate::recorder::{Recorder, earliest, eventually, read_log};

#[test]
fn c16_large_records_are_read_or_named_with_the_setting() {
    let t = topic("huge", 1, &[("max.message.bytes", "40000000")]);
    let p = producer(&[("message.max.bytes", "40000000")]);
    let sizes = [1_000_000, 10_000_000, 30_000_000, 1];
    for n in sizes {
        p.send(BaseRecord::<[u8], [u8]>::to(&t).payload(&vec![b'x'; n])).map_err(|(e, _)| e).unwrap();
        p.flush(PATIENCE).unwrap();
    }
    let mut fixture = ReaderFixture::of(&t, Some(0));
    let rows = fixture.live(|rows| rows.len() == 4);
    assert_eq!(rows.iter().map(|m| m.raw().len()).collect::<Vec<_>>(), sizes);

    let small = [("receive.message.max.bytes", "5000000"), ("fetch.max.bytes", "4000000")];
    let kafka = small.iter().fold(earliest(&t), |kafka, (key, value)| kafka.set(key, value));
    let seen = Recorder::default();
    let job = seen.start(kafka, 1);
    let text = job.await_termination().unwrap_err().to_string();
    assert!(text.contains("Invalid response size 100001") && text.contains("receive.message.max.bytes"), "{text}");
    assert!(seen.records() <= 1);
}

#[test]
fn c19_unusual_timestamps_are_read_as_they_are() {
    let t = topic("times", 1, &[("retention.ms", "-1")]);
    let p = producer(&[]);
    for time in [5_000, 1_000, -7, 3_000] {
        p.send(BaseRecord::<[u8], str>::to(&t).payload("v").timestamp(time)).map_err(|(e, _)| e).unwrap();
        p.flush(PATIENCE).unwrap();
    }
    let times =
        |t: &str, n| ReaderFixture::of(t, Some(0)).live(|rows| rows.len() == n).iter().map(|m| m.timestamp()).collect::<Vec<_>>();
    assert_eq!(times(&t, 4), [Some(5_000), Some(1_000), Some(-7), Some(3_000)]);
    let t = topic("times-log", 1, &[("message.timestamp.type", "LogAppendTime")]);
    p.send(BaseRecord::<[u8], str>::to(&t).payload("v").timestamp(5_000)).map_err(|(e, _)| e).unwrap();
    p.flush(PATIENCE).unwrap();
    assert!(times(&t, 1)[0].unwrap() > 1_700_000_000_000, "the broker's time");
}

/// Writes the records of the first partition of `from` to `to`, exactly once, in one batch.
fn copy(from: &str, until: i64, to: KafkaSink, dir: &TempDir) -> tidemill::Result<Summary> {
    let range = [OffsetRange::new(from, 0, 0, until)];
    let builder = StreamingContext::builder("copy", secs(1)).output_tries(2).checkpoint(dir.path());
    builder.run(move |ssc| {
        let to = to.clone().exactly_once().shards(1);
        let rows = ssc.kafka_ranges(KafkaSource::brokers(brokers()), &range).values().oks();
        rows.to_kafka(to, |value, record| _ = record.value(value));
        Ok(())
    })
}

fn values(topic: &str, isolation: &str) -> Vec<String> {
    read_log(&brokers(), topic, isolation).0.into_values().flatten().map(|(_, value)| value).collect()
}

/// A record that cannot be written aborts its whole batch. When it can be written, all records of the batch are written once.
#[test]
fn c28_a_record_that_cannot_be_delivered_aborts_its_batch() {
    let (from, to) = (topic("deliver-in", 1, &[]), topic("deliver-out", 1, &[("max.message.bytes", "2000")]));
    let large = "x".repeat(10_000);
    produce(&from, 0, &["a", &large, "b"]);
    // Each record has its own request, so the broker accepts the first one.
    let sink = || KafkaSink::new(brokers(), &to).set("batch.num.messages", "1").set("max.in.flight.requests.per.connection", "1");
    let dir = TempDir::new("deliver");
    let text = copy(&from, 3, sink(), &dir).unwrap_err().to_string();
    assert!(text.contains(&to) && text.contains("too large") && text.contains("10000 bytes"), "{text}");
    assert!(text.contains("max.message.bytes") && text.contains("nothing after this batch was written"), "{text}");
    let all = values(&to, "read_uncommitted");
    assert!(all.iter().any(|v| v == "a"), "the record was sent before the abort: {all:?}");
    assert_eq!(values(&to, "read_committed"), [""; 0]);
    configure(&to, "max.message.bytes", "20000");
    copy(&from, 3, sink(), &dir).unwrap();
    assert_eq!(values(&to, "read_committed"), ["a", &*large, "b"]);
}

#[test]
fn c29_a_transaction_waits_while_the_queue_is_full() {
    let (from, to) = (topic("full-in", 1, &[]), topic("full-out", 1, &[]));
    let rows: Vec<String> = (0..5_000).map(|n| n.to_string()).collect();
    let p = producer(&[]);
    for row in &rows {
        p.send(BaseRecord::<[u8], str>::to(&from).payload(row).partition(0)).map_err(|(e, _)| e).unwrap();
    }
    p.flush(PATIENCE).unwrap();
    let sink = KafkaSink::new(brokers(), &to).set("queue.buffering.max.messages", "100");
    copy(&from, 5_000, sink, &TempDir::new("full")).unwrap();
    assert_eq!(values(&to, "read_committed"), rows);
}

/// A sink that is added after the directory was created keeps its number of shards too.
#[test]
fn a_sink_that_was_added_later_keeps_its_shards() {
    let (from, to, dir) = (topic("later-in", 1, &[]), topic("later-out", 1, &[]), TempDir::new("later"));
    let run = |shards: Option<u32>, records: usize| {
        let (from, to, seen) = (from.clone(), to.clone(), MemorySink::new());
        let out = seen.clone();
        let builder = StreamingContext::builder("later", millis(50)).checkpoint(dir.path());
        let job = builder.start(move |ssc| {
            let rows = ssc.kafka_direct_stream(earliest(&from)).values().oks();
            rows.to_memory(&out);
            if let Some(shards) = shards {
                let sink = KafkaSink::new(brokers(), &to).exactly_once().shards(shards);
                rows.count_by_value().to_kafka(sink, |(value, _), record| _ = record.value(value));
            }
            Ok(())
        });
        let job = job?;
        eventually("the records, or the end", || {
            seen.rows().len() >= records || job.await_termination_or_timeout(millis(0)).unwrap_or(true)
        });
        job.stop_gracefully()
    };
    produce(&from, 0, &["a"]);
    run(None, 1).unwrap();
    produce(&from, 0, &["b"]);
    run(Some(4), 1).unwrap();
    assert_eq!(values(&to, "read_committed"), ["b"]);
    for shards in [1, 8] {
        let text = run(Some(shards), 1).unwrap_err().to_string();
        assert!(text.contains(&to) && text.contains("4 shards") && text.contains("shards(4)"), "{text}");
    }
    produce(&from, 0, &["c"]);
    run(Some(4), 1).unwrap();
    assert_eq!(values(&to, "read_committed"), ["b", "c"]);
}

/// The job checks the topic before it reads. If it failed at the first rows, it would have read them already.
#[test]
fn c22_a_missing_output_topic_is_an_error_at_the_start() {
    let (from, dir) = (topic("nowhere-in", 1, &[]), TempDir::new("nowhere"));
    let builder = StreamingContext::builder("nowhere", millis(50)).checkpoint(dir.path());
    let job = builder.start(move |ssc| {
        let rows = ssc.kafka_direct_stream(earliest(&from)).values().oks();
        rows.to_kafka(KafkaSink::new(brokers(), "no-such-output"), |value, record| _ = record.value(value));
        Ok(())
    });
    let text = job.and_then(JobHandle::await_termination).unwrap_err().to_string();
    assert!(text.contains("there is no topic no-such-output") && text.contains("create it first"), "{text}");
    assert!(!std::path::Path::new(dir.path()).exists(), "no directory was made");
}

/// A record that cannot be decoded is a bad record with its place. No bytes cause a panic.
#[test]
fn c18_undecodable_bytes_are_a_bad_record_with_their_place() {
    let t = topic("bad", 1, &[]);
    let deep = "[".repeat(200_000);
    let bad: [&[u8]; 8] = [b"", b"\xff\xfe", b"{", b"NaN", b"1e999", b"\"text\"", deep.as_bytes(), b"1 2"];
    let p = producer(&[]);
    for value in [&b"1.5"[..]].iter().chain(&bad).chain(&[&b" -0 "[..]]) {
        p.send(BaseRecord::<[u8], [u8]>::to(&t).payload(value).partition(0)).map_err(|(e, _)| e).unwrap();
    }
    p.flush(PATIENCE).unwrap();
    let (values, errors) = (MemorySink::new(), MemorySink::new());
    let (v, e, name) = (values.clone(), errors.clone(), t.clone());
    let end = StreamingContext::builder("bad", secs(1)).run(move |ssc| {
        let range = [OffsetRange::new(&name, 0, 0, 10)];
        let decoded = ssc.kafka_ranges(KafkaSource::brokers(brokers()), &range).decode(Json::<F64>::new());
        decoded.oks().to_memory(&v);
        decoded.errors().to_memory(&e);
        Ok(())
    });
    assert_eq!(end.unwrap().records, 10);
    assert_eq!(values.rows().iter().map(|f| f.into_inner()).collect::<Vec<_>>(), [1.5, -0.0]);
    let errors = errors.rows();
    assert_eq!(errors.iter().map(|e| e.offset).collect::<Vec<_>>(), (1..9).collect::<Vec<_>>());
    assert!(errors.iter().all(|e| e.origin == t && e.partition == 0 && !e.reason.is_empty()), "{errors:?}");
    assert!(errors.iter().zip(bad).all(|(e, raw)| e.raw == raw || e.raw.len() < raw.len()), "{errors:?}");
}

#[test]
fn c17_keys_and_values_may_be_missing_or_empty() {
    let t = topic("nulls", 1, &[]);
    let p = producer(&[]);
    let to = || BaseRecord::<[u8], [u8]>::to(&t).partition(0);
    for record in [to().payload(b"v"), to().key(b""), to().key(b"k").payload(b"")] {
        p.send(record).map_err(|(e, _)| e).unwrap();
    }
    p.flush(PATIENCE).unwrap();
    let (values, bad) = (MemorySink::new(), MemorySink::new());
    let (v, b, name) = (values.clone(), bad.clone(), t.clone());
    let end = StreamingContext::builder("nulls", secs(1)).run(move |ssc| {
        let decoded = ssc.kafka_ranges(KafkaSource::brokers(brokers()), &[OffsetRange::new(&name, 0, 0, 3)]).values();
        decoded.oks().to_memory(&v);
        decoded.errors().map(|e| (e.origin, e.partition, e.offset)).to_memory(&b);
        Ok(())
    });
    assert_eq!(end.unwrap().records, 3);
    assert_eq!((values.rows(), bad.rows()), (vec!["v".to_string(), String::new()], vec![(t.clone(), 0, 1)]));
    let mut fixture = ReaderFixture::of(&t, Some(0));
    fixture.reader.assign(0, &split(&t, 0), Some(0)).unwrap();
    let rows = fixture.live(|rows| rows.len() == 3);
    assert_eq!(rows.iter().map(|m| m.key()).collect::<Vec<_>>(), [None, Some(&b""[..]), Some(&b"k"[..])]);
}
