//! A broker inside the process of the test, with topics of fixed content. It is the mock cluster of librdkafka, as in the demo.

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::child::PATIENCE;

/// The value of a record, or its key. `None`: there is none.
pub type Value = Option<&'static [u8]>;

/// A broker on 127.0.0.1. It stops on drop.
pub struct Broker {
    cluster: MockCluster<'static, DefaultProducerContext>,
    pub address: String,
}

impl Broker {
    pub fn start() -> Broker {
        let cluster = MockCluster::new(1).unwrap();
        let address = cluster.bootstrap_servers();
        Broker { cluster, address }
    }

    /// Makes a topic with these records in each partition.
    pub fn topic(&self, name: &str, partitions: &[&[Value]]) {
        self.cluster.create_topic(name, partitions.len() as i32, 1).unwrap();
        for (partition, values) in (0..).zip(partitions) {
            self.send(name, partition, values);
        }
    }

    pub fn send(&self, topic: &str, partition: i32, values: &[Value]) {
        let records: Vec<(Value, Value)> = values.iter().map(|value| (None, *value)).collect();
        self.send_pairs(topic, partition, &records);
    }

    /// Sends records with their keys.
    pub fn send_pairs(&self, topic: &str, partition: i32, records: &[(Value, Value)]) {
        if records.is_empty() {
            return;
        }
        let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &self.address).create().unwrap();
        for (key, value) in records {
            let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition);
            (record.key, record.payload) = (*key, *value);
            producer.send(record).map_err(|(e, _)| e).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// The committed records of a topic, key and value, by partition and in order. Reads to the current end of each partition.
    pub fn read(&self, topic: &str, partitions: usize) -> Vec<Vec<(String, String)>> {
        let mut config = ClientConfig::new();
        config.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
        config.set("fetch.wait.max.ms", "10").set("group.id", "reads").set("bootstrap.servers", &self.address);
        let consumer: BaseConsumer = config.create().unwrap();
        let mut from = TopicPartitionList::new();
        for partition in 0..partitions {
            from.add_partition_offset(topic, partition as i32, Offset::Beginning).unwrap();
        }
        consumer.assign(&from).unwrap();
        let (mut records, mut ended) = (vec![Vec::new(); partitions], 0);
        while ended < partitions {
            match consumer.poll(PATIENCE).expect("a record, or the end of a partition") {
                Ok(message) => {
                    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap();
                    records[message.partition() as usize].push((text(message.key()), text(message.payload())));
                }
                Err(KafkaError::PartitionEOF(_)) => ended += 1,
                Err(e) => panic!("{topic}: {e}"),
            }
        }
        records
    }
}
