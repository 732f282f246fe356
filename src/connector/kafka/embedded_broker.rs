//! A broker inside this process, for the demo and for tests: librdkafka's mock cluster. It is not a full Kafka. It keeps at
//! most 5 MiB or 100,000 records of a partition, and loses everything when it is dropped. Topics must be created here.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use rdkafka::error::KafkaResult;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use crate::core::error::{Error, Result};
use crate::core::thread::spawn;

/// The records that a partition keeps: the mock cluster's own limit.
pub(crate) const KEPT_RECORDS: u64 = 100_000;
/// Like `KEPT_RECORDS`, in bytes.
pub(crate) const KEPT_BYTES: u64 = 5 << 20;

/// A broker on 127.0.0.1. It ends when this is dropped.
pub(crate) struct EmbeddedBroker {
    address: String,
    // The mock cluster must stay on its thread.
    ask: Option<Sender<(Request, Sender<KafkaResult<()>>)>>,
    thread: Option<JoinHandle<()>>,
}

enum Request {
    Topic(String, i32),
    Up(bool),
}

impl EmbeddedBroker {
    /// Starts a broker on a free port.
    ///
    /// # Errors
    /// No free port, or the thread cannot start.
    pub fn start() -> Result<Self> {
        let (ask, asked) = channel();
        let (send_address, address) = channel();
        let work = move || {
            let cluster = MockCluster::new(1);
            let address = cluster.as_ref().map(MockCluster::bootstrap_servers).map_err(ToString::to_string);
            let _ = send_address.send(address);
            if let Ok(cluster) = cluster {
                serve(&cluster, asked);
            }
        };
        let thread = spawn("tm-mock-broker", work)?;
        let address = address.recv().unwrap_or_else(|_| Err("its thread ended".into()));
        let address = address.map_err(|e| Error::source("embedded broker", e))?;
        Ok(EmbeddedBroker { address, ask: Some(ask), thread: Some(thread) })
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// The topic already exists.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<()> {
        self.ask(Request::Topic(name.into(), partitions))
    }

    /// Closes all connections and accepts no new ones.
    ///
    /// # Errors
    /// The broker has ended.
    pub fn down(&self) -> Result<()> {
        self.ask(Request::Up(false))
    }

    /// Accepts connections again, with all its records.
    ///
    /// # Errors
    /// The broker has ended.
    pub fn up(&self) -> Result<()> {
        self.ask(Request::Up(true))
    }

    fn ask(&self, what: Request) -> Result<()> {
        let (answer, answered) = channel();
        let sent = self.ask.as_ref().map(|a| a.send((what, answer)));
        match (sent, answered.recv()) {
            (Some(Ok(())), Ok(done)) => done.map_err(|e| Error::source("embedded broker", e)),
            _ => Err(Error::source("embedded broker", "it has ended")),
        }
    }
}

fn serve(cluster: &MockCluster<'static, DefaultProducerContext>, asked: Receiver<(Request, Sender<KafkaResult<()>>)>) {
    for (ask, answer) in asked {
        let done = match ask {
            Request::Topic(name, partitions) => cluster.create_topic(&name, partitions, 1),
            Request::Up(true) => cluster.broker_up(1),
            Request::Up(false) => cluster.broker_down(1),
        };
        let _ = answer.send(done);
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        self.ask = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::kafka::topic_writer::Producer;
    use std::time::Duration;

    #[test]
    fn records_reach_the_broker_before_and_after_it_was_away() {
        let broker = EmbeddedBroker::start().unwrap();
        broker.create_topic("t", 2).unwrap();
        let producer = Producer::new(broker.address(), "t").unwrap();
        (0..10).for_each(|n| producer.send(Some(n % 2), b"before").unwrap());
        assert_eq!(producer.settle(Duration::from_secs(300)).unwrap(), 10);
        broker.down().unwrap();
        (0..5).for_each(|_| producer.send(Some(0), b"meanwhile").unwrap());
        assert!(producer.settle(Duration::from_millis(300)).is_err(), "the broker is down");
        broker.up().unwrap();
        assert_eq!(producer.settle(Duration::from_secs(300)).unwrap(), 15);
        assert_eq!(producer.delivered_by_partition()[..3], [10, 5, 0]);
    }
}
