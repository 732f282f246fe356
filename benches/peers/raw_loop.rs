//! The raw loop, a peer of the benchmarks. One thread reads words from Kafka, counts them in a hash map, and writes the changed
//! counts to Kafka. It has no durable state, no windows and no other workers: the minimum for this task.
//!
//! `raw_loop BROKERS IN OUT throughput|latency` runs until a signal ends it. It writes every 100 ms, or every 2 ms for latency.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

/// As in the programs of dataflows/.
#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(serde::Deserialize)]
struct Word<'a> {
    word: &'a str,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let [brokers, input, output, mode] = &args[..] else {
        eprintln!("usage: raw_loop BROKERS IN OUT throughput|latency");
        std::process::exit(2);
    };
    let every = Duration::from_millis(if mode == "latency" { 2 } else { 100 });
    let consumer = consumer(brokers, input);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("linger.ms", "1")
        .set("queue.buffering.max.messages", "1000000")
        .create()
        .expect("a producer");
    let mut counts: HashMap<String, i64, foldhash::fast::RandomState> = HashMap::default();
    let mut changed: HashSet<String, foldhash::fast::RandomState> = HashSet::default();
    let mut written = Instant::now();
    loop {
        // The consumer waits until the next write at most.
        if let Some(record) = consumer.poll(every.saturating_sub(written.elapsed())) {
            let record = record.expect("a record");
            if let Ok(row) = serde_json::from_slice::<Word<'_>>(record.payload().unwrap_or_default()) {
                match counts.get_mut(row.word) {
                    Some(n) => *n += 1,
                    None => _ = counts.insert(row.word.to_owned(), 1),
                }
                if !changed.contains(row.word) {
                    changed.insert(row.word.to_owned());
                }
            }
        }
        if written.elapsed() >= every {
            for word in changed.drain() {
                write(&producer, output, &word, counts[&word]);
            }
            producer.poll(Duration::ZERO);
            written = Instant::now();
        }
    }
}

/// Reads all partitions from their beginning, without a consumer group, as tidemill does.
fn consumer(brokers: &str, topic: &str) -> BaseConsumer {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "raw-loop")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "10")
        .create()
        .expect("a consumer");
    let found = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).expect("the topic");
    let mut partitions = TopicPartitionList::new();
    for partition in found.topics()[0].partitions() {
        partitions.add_partition_offset(topic, partition.id(), Offset::Beginning).expect("a partition");
    }
    consumer.assign(&partitions).expect("the partitions");
    consumer
}

fn write(producer: &BaseProducer, topic: &str, word: &str, count: i64) {
    let value = format!("{{\"word\":\"{word}\",\"count\":{count}}}");
    let mut record = BaseRecord::to(topic).key(word).payload(&value);
    loop {
        match producer.send(record) {
            Ok(()) => return,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), same)) => {
                producer.poll(Duration::from_millis(1));
                record = same;
            }
            Err((e, _)) => panic!("{e}; in flight: {}", producer.in_flight_count()),
        }
    }
}
