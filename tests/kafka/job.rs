//! Whole jobs on a real Kafka. The offsets of every batch are compared with the log.

use rdkafka::producer::Producer;
use tidemill::prelude::*;

use crate::fixture::{PATIENCE, brokers, grow, log_end, produce, producer, send, topic, transactional};
use crate::recorder::{Recorder, earliest, eventually, log_of};

#[test]
fn every_record_is_in_exactly_one_batch_while_the_job_runs() {
    for workers in [1, 2] {
        let topic = topic(&format!("recording-{workers}"), 3, &[]);
        let seen = Recorder::default();
        let job = seen.start(earliest(&topic), workers);
        let p = producer(&[]);
        for i in 0..60 {
            let values: Vec<String> = (0..20).map(|n| format!("{i}.{n}")).collect();
            send(&p, &topic, i % 3, &values.iter().map(String::as_str).collect::<Vec<_>>());
            // More than one batch must have records, and most records must be sent while a batch is in flight.
            if i % 20 == 19 {
                let filled = i as usize / 20 + 1;
                eventually("a further batch with records", || seen.filled() >= filled);
            }
        }
        eventually("all records", || seen.records() == 1200);
        job.stop_gracefully().unwrap();
        assert_eq!(seen.checked(), log_of(&brokers(), &topic).0, "at {workers} workers");
    }
}

#[test]
fn c10_c13_aborted_records_are_in_no_batch_and_a_new_partition_is_found() {
    let topic = topic("recording-txn", 1, &[]);
    let seen = Recorder::default();
    let job = seen.start(earliest(&topic), 2);
    let p = transactional(&topic);
    for (values, commit) in [(["a", "b"], true), (["x", "y"], false), (["c", "d"], true)] {
        p.begin_transaction().unwrap();
        send(&p, &topic, 0, &values);
        if commit { p.commit_transaction(PATIENCE).unwrap() } else { p.abort_transaction(PATIENCE).unwrap() }
    }
    eventually("the committed records", || seen.records() == 4);
    grow(&topic, 2);
    eventually("the new partition", || {
        produce(&topic, 1, &["new"]);
        seen.until(1).is_some_and(|until| until > 0)
    });
    job.stop_gracefully().unwrap();
    let (seen, (log, _)) = (seen.checked(), log_of(&brokers(), &topic));
    assert_eq!(seen[&0], log[&0]);
    assert_eq!(seen[&0].iter().map(|(_, v)| &**v).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    assert_eq!(seen[&1], log[&1][..seen[&1].len()]);
}

/// An open transaction delays only the records after it in its partition.
#[test]
fn c14_a_job_waits_at_an_open_transaction_and_continues_when_it_is_committed() {
    let topic = topic("recording-open", 2, &[]);
    let (open, aborted) = (transactional(&format!("{topic}-open")), transactional(&format!("{topic}-aborted")));
    produce(&topic, 0, &["a", "b"]);
    aborted.begin_transaction().unwrap();
    send(&aborted, &topic, 0, &["x"]);
    open.begin_transaction().unwrap();
    send(&open, &topic, 0, &["c"]);
    send(&aborted, &topic, 0, &["y"]);
    aborted.abort_transaction(PATIENCE).unwrap();
    eventually("the abort", || log_end(&topic, 0) == 6);
    produce(&topic, 0, &["d"]);
    // a b x c y A d: the open transaction begins at offset 3.
    let seen = Recorder::default();
    let job = seen.start(earliest(&topic), 2);
    eventually("the records before the transaction", || seen.records() == 2);
    produce(&topic, 1, &["e"]);
    eventually("the other partition", || seen.records() == 3);
    assert!(seen.only_empty(10), "records after an open transaction are not read");
    assert_eq!(seen.until(0), Some(3));
    open.commit_transaction(PATIENCE).unwrap();
    eventually("the records after the transaction began", || seen.records() == 5);
    produce(&topic, 0, &["f"]);
    eventually("the records that were sent later", || seen.records() == 6);
    job.stop_gracefully().unwrap();
    let seen = seen.checked();
    assert_eq!(seen, log_of(&brokers(), &topic).0);
    assert_eq!(seen[&0], [(0, "a"), (1, "b"), (3, "c"), (6, "d"), (8, "f")].map(|(o, v)| (o, v.to_string())));
}

/// Each time the job has read to the end of a partition, more records arrive.
#[test]
fn c15_an_outdated_end_of_a_partition_ends_no_range_of_a_job() {
    let topic = topic("recording-stale", 2, &[]);
    let seen = Recorder::default();
    let job = seen.start(earliest(&topic), 2);
    let p = producer(&[]);
    for round in 1..=12 {
        let all = (round * 2) as usize;
        for partition in 0..2 {
            send(&p, &topic, partition, &[&format!("{partition}.{round}")]);
        }
        eventually("this round", || seen.records() == all);
        let end = |partition| seen.until(partition) == Some(round);
        eventually("the end", || end(0) && end(1) && job.statistics().lag == Some(0));
        // librdkafka reports the end within fetch.wait.max.ms, 100 ms. Every other round waits for it.
        if round % 2 == 0 {
            assert!(seen.only_empty(4));
        }
    }
    job.stop_gracefully().unwrap();
    assert_eq!(seen.checked(), log_of(&brokers(), &topic).0);
}

#[test]
fn given_ranges_are_read_exactly_and_end_the_job() {
    let topic = topic("recording-given", 2, &[]);
    produce(&topic, 0, &["a", "b", "c"]);
    produce(&topic, 1, &["d", "e"]);
    let memory = MemorySink::new();
    let (out, t) = (memory.clone(), topic.clone());
    let summary = StreamingContext::builder("given", secs(1))
        .workers(2)
        .run(move |ssc| {
            let ranges = [OffsetRange::new(&t, 0, 1, 3), OffsetRange::new(&t, 1, 0, 1)];
            ssc.kafka_ranges(KafkaSource::brokers(brokers()), &ranges).values().oks().to_memory(&out);
            Ok(())
        })
        .unwrap();
    assert_eq!(memory.rows(), ["b", "c", "d"]);
    assert_eq!(summary, Summary { batches: 1, records: 3, ..Summary::default() });
}

#[test]
fn errors_are_reported_before_any_data_is_touched() {
    let run = |kafka: KafkaSource| {
        StreamingContext::builder("wrong", secs(1))
            .run(move |ssc| {
                ssc.kafka_direct_stream(kafka.clone()).count().print(1);
                Ok(())
            })
            .unwrap_err()
            .to_string()
    };
    let e = run(KafkaSource::brokers(brokers()).topic("there-is-no-such-topic"));
    assert!(e.contains("there-is-no-such-topic"), "{e}");
    let e = run(KafkaSource::brokers("127.0.0.1:1").topic("t"));
    assert!(e.contains("127.0.0.1:1"), "{e}");
    let e = run(KafkaSource::brokers(brokers()).topic("t").set("enable.auto.commit", "true"));
    assert!(e.contains("enable.auto.commit") && e.contains("kafka_direct_stream ("), "{e}");
    let t = topic("wrong-offset", 1, &[]);
    let e = run(KafkaSource::brokers(brokers()).topic(&t).start(StartFrom::from_offsets([(t.clone(), 0, 99)])));
    assert!(e.contains("99") && e.contains(&t), "{e}");
}
