//! A job that records every batch of a topic, and a check of its record against the log of the topic.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use tidemill::api::context::Builder;
use tidemill::prelude::*;

use crate::fixture::{PATIENCE, answered, brokers};

/// The records of each partition, by offset.
pub type Log = BTreeMap<i32, Vec<(i64, String)>>;

/// One batch: its ranges, and each record with its partition and offset.
struct Batch {
    ranges: Vec<OffsetRange>,
    rows: Vec<(i32, i64, String)>,
}

/// The batches that a job has written so far.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Vec<Batch>>>);

pub fn builder(workers: u16) -> Builder {
    StreamingContext::builder("recording", millis(50)).workers(workers)
}

pub fn earliest(topic: &str) -> KafkaSource {
    KafkaSource::brokers(brokers()).topic(topic).start(StartFrom::earliest()).discover_every(millis(200))
}

impl Recorder {
    /// The program that records each batch of a source, and waits for `pause` in each. It is the same on every process.
    pub fn slowly(
        &self,
        kafka: KafkaSource,
        pause: Duration,
    ) -> impl for<'s> Fn(&StreamingContext<'s>) -> Result<(), BoxError> + use<> {
        let batches = self.0.clone();
        move |ssc| {
            let batches = batches.clone();
            ssc.kafka_direct_stream(kafka.clone()).foreach_batch(move |batch| {
                let row = |m: &Message| (m.partition(), m.offset(), String::from_utf8_lossy(m.raw()).into_owned());
                let recorded = Batch { ranges: batch.offset_ranges().to_vec(), rows: batch.iter().map(row).collect() };
                std::thread::sleep(pause);
                batches.lock().unwrap().push(recorded);
                Ok(())
            });
            Ok(())
        }
    }

    /// A job that records every batch of a source.
    pub fn start(&self, kafka: KafkaSource, workers: u16) -> JobHandle {
        builder(workers).start(self.slowly(kafka, Duration::ZERO)).unwrap()
    }

    pub fn batches(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub fn records(&self) -> usize {
        self.0.lock().unwrap().iter().map(|b| b.rows.len()).sum()
    }

    /// How many batches held records.
    pub fn filled(&self) -> usize {
        self.0.lock().unwrap().iter().filter(|b| !b.rows.is_empty()).count()
    }

    /// The end of the last range of a partition.
    pub fn until(&self, partition: i32) -> Option<i64> {
        let batches = self.0.lock().unwrap();
        batches.last()?.ranges.iter().find(|r| r.partition == partition).map(|r| r.until)
    }

    /// Waits for this many more batches. Returns whether all of them were empty.
    pub fn only_empty(&self, more: usize) -> bool {
        let from = self.batches();
        eventually("more batches", || self.batches() >= from + more);
        self.0.lock().unwrap()[from..].iter().all(|b| b.rows.is_empty())
    }

    /// Checks that ranges have no gaps between them, and that every record is in the range of its batch. The offsets of a partition
    /// must ascend, so no record is repeated. Returns the records of each partition.
    #[track_caller]
    pub fn checked(&self) -> Log {
        let (mut next, mut log) = (BTreeMap::new(), Log::new());
        for batch in self.0.lock().unwrap().iter() {
            for r in &batch.ranges {
                let from = next.insert(r.partition, r.until).unwrap_or(r.from);
                assert_eq!(from, r.from, "partition {} continues where it was", r.partition);
                assert!(r.until >= r.from);
            }
            for (partition, offset, value) in &batch.rows {
                let range = batch.ranges.iter().find(|r| r.partition == *partition).expect("a range for each record");
                assert!((range.from..range.until).contains(offset), "{partition}@{offset} is not in {range:?}");
                let rows = log.entry(*partition).or_default();
                assert!(rows.last().is_none_or(|(last, _)| last < offset), "{partition}@{offset} is repeated, or too late");
                rows.push((*offset, value.clone()));
            }
        }
        log
    }
}

/// All committed records of a topic and the end of each partition, as another client reads them.
pub fn log_of(brokers: &str, topic: &str) -> (Log, BTreeMap<i32, i64>) {
    read_log(brokers, topic, "read_committed")
}

/// As `log_of`, at any level of isolation.
pub fn read_log(brokers: &str, topic: &str, isolation: &str) -> (Log, BTreeMap<i32, i64>) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "log").set("enable.auto.commit", "false");
    config.set("enable.partition.eof", "true").set("isolation.level", isolation);
    let consumer: BaseConsumer = config.create().unwrap();
    let metadata = answered("the partitions of a topic", || consumer.fetch_metadata(Some(topic), PATIENCE));
    let partitions: Vec<i32> = metadata.topics()[0].partitions().iter().map(|p| p.id()).collect();
    let mut all = TopicPartitionList::new();
    partitions.iter().for_each(|p| all.add_partition_offset(topic, *p, Offset::Beginning).unwrap());
    consumer.assign(&all).unwrap();
    let (mut log, mut ended, due) = (Log::new(), 0, Instant::now() + PATIENCE);
    while ended < partitions.len() {
        assert!(Instant::now() < due, "the log of {topic} has no end");
        match consumer.poll(millis(100)) {
            Some(Ok(m)) => {
                let value = String::from_utf8_lossy(m.payload().unwrap_or_default()).into_owned();
                log.entry(m.partition()).or_default().push((m.offset(), value));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            // One of several brokers is down; the others have the records.
            Some(Err(e)) if e.rdkafka_error_code() == Some(RDKafkaErrorCode::BrokerTransportFailure) => {}
            Some(Err(e)) => panic!("{e}"),
            None => {}
        }
    }
    let end = |p: &i32| (*p, answered("the end of a log", || consumer.fetch_watermarks(topic, *p, PATIENCE)).1);
    (log, partitions.iter().map(end).collect())
}

/// Stops a thread when it is dropped. Without it, a failed assertion would wait for the thread for ever.
pub struct Off<'a>(pub &'a AtomicBool);

impl Drop for Off<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[track_caller]
pub fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let due = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < due, "waited {PATIENCE:?} for this: {what}");
        std::thread::sleep(millis(10));
    }
}
