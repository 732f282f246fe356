//! Whole jobs on a real Kafka: every batch against the log, by offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidemill::prelude::*;

use crate::rig::{PATIENCE, brokers, grow, produce, producer, send, topic, transactional};

/// One batch as a job saw it: its ranges, and each record with where it was.
type Seen = Arc<Mutex<Vec<(Vec<OffsetRange>, Vec<(i32, i64, String)>)>>>;

/// A job that notes every batch of a topic.
fn noting(topic: &str, workers: u16, seen: &Seen) -> JobHandle {
    let (topic, seen) = (topic.to_string(), seen.clone());
    StreamingContext::builder("noting", millis(50))
        .workers(workers)
        .start(move |ssc| {
            let kafka = Kafka::brokers(brokers()).topic(&topic).start(StartFrom::earliest()).discover_every(millis(200));
            let seen = seen.clone();
            ssc.kafka_direct_stream(kafka).foreach_batch(move |batch| {
                let row = |m: &Message| (m.partition(), m.offset(), String::from_utf8_lossy(m.raw()).into_owned());
                seen.lock().unwrap().push((batch.offset_ranges().to_vec(), batch.iter().map(row).collect()));
                Ok(())
            });
            Ok(())
        })
        .unwrap()
}

fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let due = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < due, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn records(seen: &Seen) -> usize {
    seen.lock().unwrap().iter().map(|(_, rows)| rows.len()).sum()
}

/// Ranges follow one another without a gap, every record is in the range of its batch, and none is there twice.
/// Returns what each partition held, in order.
fn checked(seen: &Seen) -> BTreeMap<i32, Vec<String>> {
    let (mut next, mut had) = (BTreeMap::new(), BTreeSet::new());
    let mut values: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    for (ranges, rows) in seen.lock().unwrap().iter() {
        for r in ranges {
            let from = *next.entry(r.partition).or_insert(r.from);
            assert_eq!(from, r.from, "partition {} goes on where it stood", r.partition);
            assert!(r.until >= r.from);
            next.insert(r.partition, r.until);
        }
        for (partition, offset, value) in rows {
            let range = ranges.iter().find(|r| r.partition == *partition).expect("a range for each record");
            assert!((range.from..range.until).contains(offset), "{partition}@{offset} is not in {range:?}");
            assert!(had.insert((*partition, *offset)), "{partition}@{offset} is there twice");
            values.entry(*partition).or_default().push(value.clone());
        }
    }
    values
}

#[test]
fn every_record_is_in_exactly_one_batch_while_the_job_runs() {
    for workers in [1, 2] {
        let topic = topic(&format!("noting-{workers}"), 3, &[]);
        let seen = Seen::default();
        let job = noting(&topic, workers, &seen);
        let p = producer(&[]);
        let mut sent: BTreeMap<i32, Vec<String>> = BTreeMap::new();
        for i in 0..60 {
            let partition = i % 3;
            let values: Vec<String> = (0..20).map(|n| format!("{i}.{n}")).collect();
            send(&p, &topic, partition, &values.iter().map(String::as_str).collect::<Vec<_>>());
            sent.entry(partition).or_default().extend(values);
            std::thread::sleep(Duration::from_millis(5));
        }
        eventually("all records", || records(&seen) == 1200);
        job.stop_gracefully().unwrap();
        assert_eq!(checked(&seen), sent, "at {workers} workers");
        assert!(seen.lock().unwrap().iter().filter(|(_, rows)| !rows.is_empty()).count() > 2, "more than one batch had records");
    }
}

#[test]
fn aborted_records_are_in_no_batch_and_a_new_partition_is_found() {
    let topic = topic("noting-txn", 1, &[]);
    let seen = Seen::default();
    let job = noting(&topic, 2, &seen);
    let p = transactional(&topic);
    use rdkafka::producer::Producer;
    for (values, commit) in [(["a", "b"], true), (["x", "y"], false), (["c", "d"], true)] {
        p.begin_transaction().unwrap();
        send(&p, &topic, 0, &values);
        if commit { p.commit_transaction(PATIENCE).unwrap() } else { p.abort_transaction(PATIENCE).unwrap() }
    }
    eventually("what was committed", || records(&seen) == 4);
    grow(&topic, 2);
    eventually("the new partition", || {
        produce(&topic, 1, &["new"]);
        seen.lock().unwrap().iter().any(|(_, rows)| rows.iter().any(|(p, ..)| *p == 1))
    });
    job.stop_gracefully().unwrap();
    let values = checked(&seen);
    assert_eq!(values[&0], ["a", "b", "c", "d"]);
    assert!(values[&1].iter().all(|v| v == "new"));
}

#[test]
fn a_graceful_stop_takes_what_was_read_and_given_ranges_end_by_themselves() {
    let topic = topic("noting-given", 2, &[]);
    produce(&topic, 0, &["a", "b", "c"]);
    produce(&topic, 1, &["d", "e"]);
    let memory = Memory::new();
    let (out, t) = (memory.clone(), topic.clone());
    let summary = StreamingContext::builder("given", secs(1))
        .workers(2)
        .run(move |ssc| {
            let ranges = [OffsetRange::new(&t, 0, 1, 3), OffsetRange::new(&t, 1, 0, 1)];
            ssc.kafka_ranges(Kafka::brokers(brokers()), &ranges).values().oks().to_memory(&out);
            Ok(())
        })
        .unwrap();
    assert_eq!(memory.rows(), ["b", "c", "d"]);
    assert_eq!(summary, Summary { batches: 1, records: 3 });
}

#[test]
fn what_is_wrong_is_said_before_any_data_is_touched() {
    let run = |kafka: Kafka| {
        StreamingContext::builder("wrong", secs(1))
            .run(move |ssc| {
                ssc.kafka_direct_stream(kafka.clone()).count().print(1);
                Ok(())
            })
            .unwrap_err()
            .to_string()
    };
    let e = run(Kafka::brokers(brokers()).topic("there-is-no-such-topic"));
    assert!(e.contains("there-is-no-such-topic"), "{e}");
    let e = run(Kafka::brokers("127.0.0.1:1").topic("t"));
    assert!(e.contains("127.0.0.1:1"), "{e}");
    let e = run(Kafka::brokers(brokers()).topic("t").set("enable.auto.commit", "true"));
    assert!(e.contains("enable.auto.commit") && e.contains("kafka_direct_stream ("), "{e}");
    let t = topic("wrong-offset", 1, &[]);
    let e = run(Kafka::brokers(brokers()).topic(&t).start(StartFrom::from_offsets([(t.clone(), 0, 99)])));
    assert!(e.contains("99") && e.contains(&t), "{e}");
}
