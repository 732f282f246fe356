//! Compacted topics, where offsets are missing, also at the end of the log.

use std::time::{Duration, Instant};

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tidemill::prelude::*;

use crate::fixture::{PATIENCE, brokers, log_end, producer, topic, transactional};
use crate::recorder::{Recorder, earliest, eventually, log_of};

fn put(p: &BaseProducer, topic: &str, key: &str, value: &str) {
    p.send(BaseRecord::to(topic).key(key).payload(value).partition(0)).map_err(|(e, _)| e).unwrap();
    p.flush(PATIENCE).unwrap();
}

/// Makes a topic with one partition. Of offsets 0 to 29 only each tenth is left. A few records follow, and the last ones are
/// aborted. Returns the name, the remaining records with their offsets, and the end.
fn compacted() -> (String, Vec<(i64, String)>, i64) {
    let config = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("delete.retention.ms", "100"),
    ];
    let topic = topic("compacted", 1, &config);
    let (p, t) = (producer(&[]), transactional(&topic));
    (0..30).for_each(|n| put(&p, &topic, &format!("k{}", n / 10), &n.to_string()));
    let due = Instant::now() + PATIENCE;
    for n in 0.. {
        // Kafka compacts only closed segments, and closes one when a record arrives after `segment.ms`. These records have
        // different keys, so they stay.
        std::thread::sleep(Duration::from_millis(200));
        put(&p, &topic, &format!("other{n}"), "o");
        let left = log_of(&brokers(), &topic).0.remove(&0).unwrap();
        if left.iter().map(|(offset, _)| *offset).take_while(|offset| *offset < 30).eq([9, 19, 29]) {
            break;
        }
        assert!(Instant::now() < due, "Kafka did not compact: {left:?}");
    }
    let end = log_end(&topic, 0);
    t.begin_transaction().unwrap();
    (0..3).for_each(|_| put(&t, &topic, "aborted", "x"));
    t.abort_transaction(PATIENCE).unwrap();
    eventually("the abort", || log_end(&topic, 0) == end + 4);
    let (log, ends) = log_of(&brokers(), &topic);
    let last = log[&0].last().unwrap().0;
    assert_eq!(
        ends[&0],
        last + 5,
        "three records and their marker are at the end, and a reader of committed records gets none of them"
    );
    (topic, log[&0].clone(), ends[&0])
}

#[test]
fn c12_a_compacted_topic_is_read_live_and_by_ranges_that_end_in_its_gaps() {
    let (topic, log, end) = compacted();
    let seen = Recorder::default();
    let job = seen.start(earliest(&topic), 2);
    eventually("the end of the log", || seen.until(0) == Some(end));
    assert_eq!(seen.checked().remove(&0).unwrap(), log);
    put(&producer(&[]), &topic, "k9", "later");
    eventually("the records that were sent later", || seen.records() == log.len() + 1);
    job.stop_gracefully().unwrap();
    assert_eq!(seen.checked(), log_of(&brokers(), &topic).0);

    // These ranges end in a gap, around a gap, among aborted records, or at the end of the log.
    for (from, until) in [(0, 15), (10, 18), (12, 25), (0, end - 2), (20, end), (end - 3, end)] {
        let memory = MemorySink::new();
        let (out, name) = (memory.clone(), topic.clone());
        let summary = StreamingContext::builder("given", secs(1))
            .run(move |ssc| {
                let range = [OffsetRange::new(&name, 0, from, until)];
                ssc.kafka_ranges(KafkaSource::brokers(brokers()), &range).map(|m| m.offset()).to_memory(&out);
                Ok(())
            })
            .unwrap();
        let want: Vec<i64> = log.iter().map(|(offset, _)| *offset).filter(|o| (from..until).contains(o)).collect();
        assert_eq!((memory.rows(), summary.batches), (want, 1), "[{from}, {until})");
    }
}
