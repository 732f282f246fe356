//! A sink whose records choose their topic.

use tidemill::prelude::*;

use crate::child::TempDir;
use crate::fixture::{PATIENCE, brokers, configure, make_again, produce, topic};
use crate::recorder::{earliest, read_log};

/// A row is `TOPIC VALUE`, or a value for the topic of the sink.
fn fill(row: &String, record: &mut ProducerRecord) {
    match row.split_once(' ') {
        Some((topic, value)) => _ = record.topic(topic).value(value),
        None => _ = record.value(row),
    }
}

fn values(topic: &str) -> Vec<String> {
    read_log(&brokers(), topic, "read_committed").0.into_values().flatten().map(|(_, value)| value).collect()
}

/// Writes one batch of these rows.
fn write(rows: Vec<String>, sink: KafkaSink) -> tidemill::Result<Summary> {
    let queue = QueueSource::from_batches([rows]);
    StreamingContext::builder("several topics", millis(50)).run(move |ssc| {
        ssc.queue_stream(&queue).to_kafka(sink.clone(), fill);
        Ok(())
    })
}

#[test]
fn rows_are_in_the_topics_that_their_records_name() {
    let [own, orders, returns] = ["own", "orders", "returns"].map(|name| topic(&format!("several-{name}"), 1, &[]));
    let rows = vec![format!("{orders} 1"), "2".to_owned(), format!("{returns} 3"), format!("{orders} 4"), format!("{own} 5")];
    write(rows, KafkaSink::new(brokers(), &own).topics([&orders, &returns]).marks()).unwrap();
    for (topic, expected) in [(&own, &["2", "5"][..]), (&orders, &["1", "4"]), (&returns, &["3"])] {
        let (marks, rows): (Vec<_>, Vec<_>) = values(topic).into_iter().partition(|value| value.starts_with(r#"{"batch":"#));
        assert_eq!(rows, expected, "{topic}");
        assert!(!marks.is_empty(), "{topic}");
    }
}

#[test]
fn a_topic_that_is_missing_or_not_of_the_sink_is_named() {
    let own = topic("several-alone", 1, &[]);
    let missing = KafkaSink::new(brokers(), &own).topics(["no-such-orders", "no-such-returns"]);
    let e = write(vec!["1".to_owned()], missing).unwrap_err().to_string();
    assert!(e.contains("there is no topic no-such-orders") && e.contains("there is no topic no-such-returns"), "{e}");
    let other = topic("several-other", 1, &[]);
    let e = write(vec![format!("{other} 1")], KafkaSink::new(brokers(), &own)).unwrap_err().to_string();
    assert!(e.contains(&format!("names the topic {other:?}")) && e.contains("topics([..])"), "{e}");
    let e = write(vec!["1".to_owned()], KafkaSink::by_record(brokers())).unwrap_err().to_string();
    assert!(e.contains("names no topic"), "{e}");
    assert_eq!((values(&own), values(&other)), (Vec::new(), Vec::new()), "nothing was written");
}

/// The batch is tried again until the topic is there.
#[test]
fn a_topic_may_be_made_after_a_record_has_named_it() {
    let later = format!("{}-later", topic("several", 1, &[]));
    let queue = QueueSource::from_batches([vec![format!("{later} 1")]]);
    let builder = StreamingContext::builder("several later", millis(50)).output_retry(PATIENCE);
    let job = builder.start(move |ssc| {
        ssc.queue_stream(&queue).to_kafka(KafkaSink::by_record(brokers()), fill);
        Ok(())
    });
    make_again(&later, 1);
    job.unwrap().await_termination().unwrap();
    assert_eq!(values(&later), ["1"]);
}

/// A job must not write where it reads, in any of its topics.
#[test]
fn a_listed_topic_that_the_job_reads_is_refused() {
    let (from, own) = (topic("several-loop", 1, &[]), topic("several-loop-own", 1, &[]));
    let read = from.clone();
    let end = StreamingContext::builder("several loop", millis(50)).run(move |ssc| {
        let sink = KafkaSink::new(brokers(), &own).topics([&read]);
        ssc.kafka_direct_stream(earliest(&read)).values().oks().to_kafka(sink, fill);
        Ok(())
    });
    let e = end.unwrap_err().to_string();
    assert!(e.contains(&format!("it reads the topic {from}")) && e.contains("allow_own_output(true)"), "{e}");
}

/// A record that one topic refuses aborts the transaction of all of them.
#[test]
fn a_transaction_has_the_records_of_all_topics_or_none() {
    let (from, small) = (topic("several-once-in", 1, &[]), topic("several-once-small", 1, &[("max.message.bytes", "2000")]));
    let other = topic("several-once-other", 1, &[]);
    let large = "x".repeat(10_000);
    produce(&from, 0, &[&format!("{other} a"), &format!("{small} {large}"), &format!("{other} b")]);
    let dir = TempDir::new("several-once");
    let run = || {
        let range = [OffsetRange::new(&from, 0, 0, 3)];
        // The progress of every such sink is in one topic, by the name of the job.
        let builder = StreamingContext::builder(&*from, secs(1)).output_tries(2).checkpoint(dir.path());
        builder.run(move |ssc| {
            let rows = ssc.kafka_ranges(KafkaSource::brokers(brokers()), &range).values().oks();
            rows.to_kafka(KafkaSink::by_record(brokers()).exactly_once().shards(1), fill);
            Ok(())
        })
    };
    let e = run().unwrap_err().to_string();
    assert!(e.contains(&format!("topic {small}: a record of 10000 bytes is too large")), "{e}");
    assert_eq!((values(&other), values(&small)), (Vec::new(), Vec::new()));
    configure(&small, "max.message.bytes", "20000");
    run().unwrap();
    assert_eq!((values(&other), values(&small)), (vec!["a".to_owned(), "b".to_owned()], vec![large]));
}
