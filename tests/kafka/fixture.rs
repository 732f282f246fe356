//! Helpers for topics of a broker, and a reader that a test drives as a worker does.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use tidemill::connector::kafka::reader::KafkaReader;
use tidemill::connector::kafka::source::{KafkaSource, StartFrom};
use tidemill::connector::message::Message;
use tidemill::connector::source::{ReaderContext, Sealed, SourceReader, Waker};
use tidemill::core::plan::{Split, SplitRange};

/// How long a test waits for an event before it fails. It is long because the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(300);

pub fn brokers() -> String {
    std::env::var("TIDEMILL_KAFKA").expect("TIDEMILL_KAFKA is the address of a real Kafka: scripts/kafka starts one")
}

fn block_on<F: Future>(future: F) -> F::Output {
    struct Thread(std::thread::Thread);
    impl Wake for Thread {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Thread(std::thread::current())).into();
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(out) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return out;
        }
        std::thread::park();
    }
}

fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap()
}

/// Makes a new topic of this test.
pub fn topic(name: &str, partitions: i32, config: &[(&str, &str)]) -> String {
    topic_at(&brokers(), name, partitions, config)
}

/// Makes a new topic on other brokers.
pub fn topic_at(brokers: &str, name: &str, partitions: i32, config: &[(&str, &str)]) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("{name}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    make(brokers, &name, partitions, config).unwrap();
    name
}

fn make(brokers: &str, name: &str, partitions: i32, config: &[(&str, &str)]) -> Result<String, RDKafkaErrorCode> {
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    topic.config = config.to_vec();
    let made = block_on(admin(brokers).create_topics([&topic], &options())).unwrap();
    made.into_iter().next().unwrap().map_err(|(_, code)| code)
}

/// On a busy machine a broker may need longer than librdkafka's default of a minute.
fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}

/// Repeats a request while it fails: on a busy machine a partition may have no leader for a moment.
#[track_caller]
pub fn answered<T, E: std::fmt::Display>(what: &str, mut ask: impl FnMut() -> Result<T, E>) -> T {
    let due = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(e) => assert!(Instant::now() < due, "waited {PATIENCE:?} for {what}: {e}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

pub fn delete_topic(name: &str) {
    let gone = block_on(admin(&brokers()).delete_topics(&[name], &options())).unwrap();
    gone.into_iter().for_each(|t| _ = t.unwrap());
}

/// Makes a topic again that was just deleted. The broker may not have finished the deletion.
pub fn make_again(name: &str, partitions: i32) {
    let due = Instant::now() + PATIENCE;
    while let Err(code) = make(&brokers(), name, partitions, &[]) {
        assert!(code == RDKafkaErrorCode::TopicAlreadyExists && Instant::now() < due, "{code}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Changes a setting of a topic.
pub fn configure(topic: &str, key: &str, value: &str) {
    let new = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(key, value);
    block_on(admin(&brokers()).alter_configs([&new], &options())).unwrap().into_iter().for_each(|t| _ = t.unwrap());
}

pub fn grow(topic: &str, partitions: usize) {
    let new = NewPartitions::new(topic, partitions);
    block_on(admin(&brokers()).create_partitions([&new], &options())).unwrap().into_iter().for_each(|t| _ = t.unwrap());
}

/// Deletes the records before an offset.
pub fn delete_before(topic: &str, partition: i32, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
    block_on(admin(&brokers()).delete_records(&list, &options())).unwrap();
}

/// The end of a log, after open transactions and after markers. Brokers write markers after their answer to the producer.
pub fn log_end(topic: &str, partition: i32) -> i64 {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers()).set("isolation.level", "read_uncommitted");
    let consumer: BaseConsumer = config.create().unwrap();
    answered("the end of a log", || consumer.fetch_watermarks(topic, partition, PATIENCE)).1
}

pub fn producer(extra: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers());
    extra.iter().for_each(|(k, v)| _ = config.set(*k, *v));
    config.create().unwrap()
}

pub fn send(p: &BaseProducer, topic: &str, partition: i32, values: &[&str]) {
    for v in values {
        p.send(BaseRecord::<[u8], str>::to(topic).payload(v).partition(partition)).map_err(|(e, _)| e).unwrap();
    }
    p.flush(PATIENCE).unwrap();
}

pub fn produce(topic: &str, partition: i32, values: &[&str]) {
    send(&producer(&[]), topic, partition, values);
}

pub fn transactional(id: &str) -> BaseProducer {
    let p = producer(&[("transactional.id", id)]);
    p.init_transactions(PATIENCE).unwrap();
    p
}

pub fn split(topic: &str, partition: i32) -> Split {
    Split::Kafka { topic: topic.into(), partition }
}

pub fn range(topic: &str, partition: i32, from: i64, until: i64) -> SplitRange {
    SplitRange { split: split(topic, partition), from, until }
}

/// Drives a reader as a worker does: reads until no record is left, then waits for the waker.
pub struct ReaderFixture {
    pub reader: KafkaReader,
    woken: Arc<(Mutex<bool>, Condvar)>,
}

impl ReaderFixture {
    pub fn new(kafka: &KafkaSource) -> ReaderFixture {
        ReaderFixture::of_workers(kafka, 1).remove(0)
    }

    /// The readers of the workers of one process.
    pub fn of_workers(kafka: &KafkaSource, workers: usize) -> Vec<ReaderFixture> {
        let woken: Vec<Arc<(Mutex<bool>, Condvar)>> = (0..workers).map(|_| Arc::default()).collect();
        let waker = |woken: &Arc<(Mutex<bool>, Condvar)>| -> Waker {
            let wake = woken.clone();
            Arc::new(move || {
                *wake.0.lock().unwrap() = true;
                wake.1.notify_one();
            })
        };
        let contexts = ReaderContext::of_workers(woken.iter().map(waker));
        let reader = |context: ReaderContext| KafkaReader::new(kafka, &context).unwrap();
        contexts.into_iter().map(reader).zip(woken).map(|(reader, woken)| ReaderFixture { reader, woken }).collect()
    }

    /// A reader of partition 0 of a topic.
    pub fn of(topic: &str, from: Option<i64>) -> ReaderFixture {
        let mut fixture = ReaderFixture::new(&KafkaSource::brokers(brokers()).topic(topic).start(StartFrom::earliest()));
        fixture.reader.assign(0, &split(topic, 0), from).unwrap();
        fixture
    }

    /// Waits for the waker. `false`: it was not called.
    pub fn wait(&self, timeout: Duration) -> bool {
        let woken = self.woken.0.lock().unwrap();
        let (mut woken, _) = self.woken.1.wait_timeout_while(woken, timeout, |w| !*w).unwrap();
        std::mem::replace(&mut *woken, false)
    }

    /// Reads until `enough` returns true for the records.
    pub fn live(&mut self, mut enough: impl FnMut(&[Message]) -> bool) -> Vec<Message> {
        let (mut rows, end) = (Vec::new(), Instant::now() + PATIENCE);
        loop {
            let more = self.reader.read(&mut |_, r, _| rows.extend(r)).unwrap();
            if enough(&rows) {
                return rows;
            }
            assert!(Instant::now() < end, "only {} records came: {rows:?}", rows.len());
            if !more {
                self.wait(Duration::from_secs(1));
            }
        }
    }

    pub fn seal(&mut self) -> Sealed {
        self.reader.seal(&mut |_, _, _| panic!("seal gives nothing")).unwrap()
    }

    /// Seals, and returns the range of the only split.
    pub fn sealed(&mut self) -> (i64, i64) {
        let s = self.seal();
        assert_eq!(s.ranges.len(), 1);
        (s.ranges[&0].start, s.ranges[&0].end)
    }

    pub fn range(&mut self, range: &SplitRange) -> tidemill::Result<Vec<String>> {
        let (mut rows, end) = (Vec::new(), Instant::now() + PATIENCE);
        while !self.reader.read_range(0, range, &mut |_, r, _| rows.extend(r))? {
            assert!(Instant::now() < end, "the range is not complete: {rows:?}");
            self.wait(Duration::from_millis(100));
        }
        Ok(values(&rows))
    }
}

pub fn values(rows: &[Message]) -> Vec<String> {
    rows.iter().map(|m| String::from_utf8_lossy(m.raw()).into_owned()).collect()
}
