//! A producer for generators and the demo, which fill topics. It sends single records and counts acknowledged ones. The output
//! operation is `sink.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use crate::connector::kafka::reports::log_line;
use crate::core::error::{Error, Result};
use crate::core::lock::lock;

/// The number of partitions with their own delivery counter.
const COUNTED: usize = 256;

/// Sends records to one topic.
pub(crate) struct Producer {
    brokers: String,
    topic: String,
    producer: BaseProducer<Reports>,
}

/// Counts deliveries.
#[derive(Clone)]
struct Reports(Arc<Counts>);

struct Counts {
    delivered: AtomicU64,
    by_partition: Vec<AtomicU64>,
    failed: AtomicU64,
    first: std::sync::Mutex<Option<String>>,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        log_line(level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", "{error}: {reason}");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(message) => {
                self.0.delivered.fetch_add(1, Ordering::Relaxed);
                if let Some(n) = usize::try_from(message.partition()).ok().and_then(|p| self.0.by_partition.get(p)) {
                    n.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err((error, _)) => {
                self.0.failed.fetch_add(1, Ordering::Relaxed);
                let mut first = lock(&self.0.first);
                first.get_or_insert_with(|| words(error));
            }
        }
    }
}

impl Producer {
    /// A producer for this topic. Connects when the first record is sent.
    ///
    /// # Errors
    /// librdkafka does not accept the brokers.
    pub fn new(brokers: &str, topic: &str) -> Result<Self> {
        Producer::with_settings(brokers, &[], topic)
    }

    /// Like `new`, with more settings of librdkafka.
    ///
    /// # Errors
    /// As `new`.
    pub fn with_settings(brokers: &str, set: &[(String, String)], topic: &str) -> Result<Self> {
        let counts = Counts {
            delivered: AtomicU64::new(0),
            by_partition: (0..COUNTED).map(|_| AtomicU64::new(0)).collect(),
            failed: AtomicU64::new(0),
            first: std::sync::Mutex::new(None),
        };
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .set("batch.num.messages", "10000")
            .set("queue.buffering.max.messages", "1000000")
            .set("message.timeout.ms", "30000")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "500")
            .set_log_level(RDKafkaLogLevel::Warning);
        set.iter().for_each(|(key, value)| _ = config.set(key, value));
        let producer = config.create_with_context(Reports(Arc::new(counts)));
        let producer = producer.map_err(|e| failed(brokers, "a producer", &e))?;
        Ok(Producer { brokers: brokers.into(), topic: topic.into(), producer })
    }

    /// Sends a record to this partition, or to any. Blocks while too many records are in flight.
    ///
    /// # Errors
    /// The broker refused this record, or an earlier one.
    pub fn send(&self, partition: Option<i32>, value: &[u8]) -> Result<()> {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&self.topic).payload(value);
        record.partition = partition;
        self.put(record)
    }

    /// Like `send`, with a key and headers. Without a partition, the key selects it.
    ///
    /// # Errors
    /// As `send`.
    pub fn send_record(
        &self,
        partition: Option<i32>,
        key: Option<&[u8]>,
        value: &[u8],
        headers: &[(String, Vec<u8>)],
    ) -> Result<()> {
        let mut record = BaseRecord::to(&self.topic).payload(value);
        (record.partition, record.key) = (partition, key);
        if !headers.is_empty() {
            let add = |all: OwnedHeaders, (key, value): &(String, Vec<u8>)| all.insert(Header { key, value: Some(value) });
            record.headers = Some(headers.iter().fold(OwnedHeaders::new(), add));
        }
        self.put(record)
    }

    fn put(&self, mut record: BaseRecord<'_, [u8], [u8]>) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(35);
        while let Err((error, back)) = self.producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) || Instant::now() > end {
                return Err(failed(&self.brokers, &format!("topic {}", self.topic), &error));
            }
            record = back;
            self.producer.poll(Duration::from_millis(10));
        }
        self.check()
    }

    /// Handles delivery reports.
    pub fn poll(&self) {
        self.producer.poll(Duration::ZERO);
    }

    /// The number of records that the broker has.
    pub fn delivered(&self) -> u64 {
        self.producer.context().0.delivered.load(Ordering::Relaxed)
    }

    /// The number of records that the broker has, by partition.
    pub fn delivered_by_partition(&self) -> Vec<u64> {
        self.producer.context().0.by_partition.iter().map(|n| n.load(Ordering::Relaxed)).collect()
    }

    /// Blocks until no record is in flight. Returns the number of records that the broker has.
    ///
    /// # Errors
    /// A record was refused, or `patience` has elapsed.
    pub fn settle(&self, patience: Duration) -> Result<u64> {
        let end = Instant::now() + patience;
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(Duration::from_millis(5));
            if Instant::now() > end {
                let why = format!("{} records are not acknowledged after {patience:?}", self.producer.in_flight_count());
                return Err(Error::kafka(&*self.brokers, why));
            }
        }
        self.poll();
        self.check()?;
        Ok(self.delivered())
    }

    fn check(&self) -> Result<()> {
        let counts = &self.producer.context().0;
        let n = counts.failed.load(Ordering::Relaxed);
        if n == 0 {
            return Ok(());
        }
        let first = lock(&counts.first).clone().unwrap_or_default();
        let why = format!("topic {}: {n} records could not be delivered: {first}", self.topic);
        Err(Error::kafka(&*self.brokers, why))
    }
}

fn words(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())
}

fn failed(brokers: &str, what: &str, error: &KafkaError) -> Error {
    Error::kafka(brokers, format!("{what}: {}", words(error)))
}
