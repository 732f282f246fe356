//! The records that a batch writes to a topic.

use rdkafka::producer::Producer;
use tidemill::connector::kafka::producer_record::ProducerRecord;
use tidemill::connector::kafka::sink::{KafkaOutput, KafkaSink};
use tidemill::connector::kafka::source::KafkaSource;
use tidemill::connector::sink::Part;
use tidemill::connector::source::SourceReader;
use tidemill::prelude::BatchTime;

use crate::fixture::{PATIENCE, ReaderFixture, brokers, producer, send, split, topic, values};

fn parts<T>(rows: Vec<T>) -> [Part<T>; 1] {
    [Part { number: 0, rows }]
}

#[test]
fn rows_are_written_as_given_and_marks_follow_them() {
    let t = topic("out", 2, &[]);
    let fill = |row: &(String, i32), rec: &mut ProducerRecord| {
        rec.key(&row.0).partition(row.1 % 2).header("n", row.1.to_string());
        if row.1 == 3 {
            rec.tombstone()
        } else {
            rec.json(row)
        };
    };
    let mut out = KafkaOutput::open(&KafkaSink::new(brokers(), &t).marks(), fill).unwrap();
    let rows = |n: std::ops::Range<i32>| n.map(|i| (format!("k{i}"), i)).collect::<Vec<_>>();
    out.write_and_wait(
        BatchTime::from_millis(100),
        &[Part { number: 0, rows: rows(0..2) }, Part { number: 1, rows: rows(2..4) }],
    )
    .unwrap();
    out.write_and_wait(BatchTime::from_millis(200), &parts(rows(0..0))).unwrap();
    let mut fixture = ReaderFixture::new(&KafkaSource::brokers(brokers()).topic(&t).include_headers());
    fixture.reader.assign(0, &split(&t, 0), Some(0)).unwrap();
    let even = fixture.live(|r| r.len() == 4);
    assert_eq!(values(&even), [r#"["k0",0]"#, r#"["k2",2]"#, r#"{"batch":100}"#, r#"{"batch":200}"#]);
    assert_eq!(even[1].key(), Some(&b"k2"[..]));
    assert_eq!(even[1].headers().collect::<Vec<_>>(), [("n", Some(&b"2"[..]))]);
    assert_eq!((even[2].key(), even[2].headers().count()), (None, 0), "a mark has no key or headers of the previous row");
    let mut fixture = ReaderFixture::of(&t, None);
    fixture.reader.assign(1, &split(&t, 1), Some(0)).unwrap();
    let odd = fixture.live(|r| r.len() == 4);
    assert_eq!((odd[1].key(), odd[1].value_opt()), (Some(&b"k3"[..]), None));
}

#[test]
fn c28_a_batch_that_fails_names_the_topic_and_can_be_written_again() {
    let t = topic("large", 1, &[("max.message.bytes", "2000")]);
    let mut large = true;
    let sink = KafkaSink::new(brokers(), &t);
    let mut out = KafkaOutput::open(&sink, move |row: &String, rec: &mut ProducerRecord| {
        let value = if std::mem::take(&mut large) { "x".repeat(10_000) } else { row.clone() };
        rec.value(value);
    })
    .unwrap();
    let rows = parts(vec!["a".to_string(), "b".to_string()]);
    let text = out.write_and_wait(BatchTime::from_millis(1), &rows).unwrap_err().to_string();
    assert!(text.contains(&t) && text.contains(&brokers()) && text.contains("too large"), "{text}");
    out.write_and_wait(BatchTime::from_millis(1), &rows).unwrap();
    let all = values(&ReaderFixture::of(&t, Some(0)).live(|r| r.len() >= 2));
    assert_eq!(all[all.len() - 2..], ["a", "b"], "the whole batch again, in order: {all:?}");
}

#[test]
fn c29_a_sink_waits_while_the_queue_is_full() {
    let t = topic("full", 1, &[]);
    let sink = KafkaSink::new(brokers(), &t).set("queue.buffering.max.messages", "100");
    let mut out = KafkaOutput::open(&sink, |row: &u64, rec: &mut ProducerRecord| _ = rec.json(row)).unwrap();
    out.write_and_wait(BatchTime::from_millis(1), &parts((0..5000).collect())).unwrap();
    let all = values(&ReaderFixture::of(&t, Some(0)).live(|r| r.len() == 5000));
    assert!(all.iter().enumerate().all(|(i, v)| *v == i.to_string()), "in order");
}

#[test]
fn a_sink_that_cannot_work_is_an_error_when_it_is_opened() {
    let open = |brokers: &str, topic: &str, set: (&str, &str)| {
        let sink = KafkaSink::new(brokers, topic).set(set.0, set.1);
        KafkaOutput::open(&sink, |_: &u64, _: &mut ProducerRecord| ()).err().unwrap().to_string()
    };
    let text = open(&brokers(), "no-such-sink-topic", ("linger.ms", "1"));
    assert!(text.contains("no-such-sink-topic") && text.contains(&brokers()), "{text}");
    let text = open(&brokers(), "t", ("transactional.id", "canary-77"));
    assert!(text.contains("transactional.id") && !text.contains("canary"), "{text}");
    let text = open(&brokers(), "t", ("sasl.mechanism", "canary-77"));
    assert!(!text.contains("canary"), "{text}");
}

#[test]
fn other_producers_of_the_topic_do_not_disturb() {
    let t = topic("shared", 1, &[]);
    let mut out =
        KafkaOutput::open(&KafkaSink::new(brokers(), &t), |row: &u64, rec: &mut ProducerRecord| _ = rec.json(row)).unwrap();
    let p = producer(&[]);
    for i in 0..3 {
        send(&p, &t, 0, &["other"]);
        out.write_and_wait(BatchTime::from_millis(i), &parts(vec![i])).unwrap();
    }
    p.flush(PATIENCE).unwrap();
    assert_eq!(values(&ReaderFixture::of(&t, Some(0)).live(|r| r.len() == 6)), ["other", "0", "other", "1", "other", "2"]);
}
