//! A broker of Kafka for tests and notebooks: librdkafka's mock cluster inside this process, or one that runs elsewhere.

use std::pin::pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

/// Key and value.
type Record = (Option<Vec<u8>>, Option<Vec<u8>>);
/// A topic to create, its partitions, and where the answer goes.
type Asked = (String, i32, Sender<KafkaResult<()>>);

/// A broker: one on 127.0.0.1 that ends with this object, or the one at an address.
#[pyclass(frozen)]
pub struct Broker {
    address: String,
    // The mock cluster must stay on its thread, which ends when nobody can ask it any more. `None`: the broker runs elsewhere.
    ask: Option<Mutex<Sender<Asked>>>,
}

/// Blocks on a future, which another thread completes.
fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::park_timeout(Duration::from_millis(100)),
        }
    }
}

/// Creates a topic at an address.
fn create(address: &str, name: &str, partitions: i32) -> Result<(), String> {
    let text = |e: rdkafka::error::KafkaError| e.to_string();
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", address).create().map_err(text)?;
    let patience = Some(Duration::from_secs(60));
    let options = AdminOptions::new().operation_timeout(patience).request_timeout(patience);
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
    let made = wait(admin.create_topics([&topic], &options)).map_err(text)?;
    made.into_iter().next().map_or(Ok(()), |made| made.map(drop).map_err(|(name, code)| format!("topic {name}: {code}")))
}

fn serve(cluster: &MockCluster<'static, DefaultProducerContext>, asked: &Receiver<Asked>) {
    for (topic, partitions, answer) in asked {
        let _ = answer.send(cluster.create_topic(&topic, partitions, 1));
    }
}

fn error(e: impl std::fmt::Display) -> PyErr {
    PyRuntimeError::new_err(format!("broker: {e}"))
}

#[pymethods]
impl Broker {
    #[new]
    #[pyo3(signature = (address=None))]
    fn new(address: Option<String>) -> PyResult<Self> {
        if let Some(address) = address {
            return Ok(Broker { address, ask: None });
        }
        let ((ask, asked), (tell, told)) = (channel(), channel());
        let work = move || match MockCluster::new(1) {
            Ok(cluster) => {
                let _ = tell.send(Ok(cluster.bootstrap_servers()));
                serve(&cluster, &asked);
            }
            Err(e) => _ = tell.send(Err(e.to_string())),
        };
        std::thread::Builder::new().name("tm-py-broker".into()).spawn(work).map_err(error)?;
        let address = told.recv().map_err(error)?.map_err(error)?;
        Ok(Broker { address, ask: Some(Mutex::new(ask)) })
    }

    /// `127.0.0.1:PORT`
    #[getter]
    fn address(&self) -> &str {
        &self.address
    }

    /// Creates a topic.
    fn create_topic(&self, py: Python<'_>, name: String, partitions: i32) -> PyResult<()> {
        let (answer, answered) = channel();
        let Some(ask) = &self.ask else {
            return py.detach(|| create(&self.address, &name, partitions)).map_err(error);
        };
        ask.lock().unwrap_or_else(|e| e.into_inner()).send((name, partitions, answer)).map_err(error)?;
        answered.recv().map_err(error)?.map_err(error)
    }

    /// Writes records, pairs of key and value, to a partition, and waits until the broker has them.
    fn send(&self, py: Python<'_>, topic: &str, partition: i32, records: Vec<Record>) -> PyResult<()> {
        py.detach(|| {
            let producer: BaseProducer =
                ClientConfig::new().set("bootstrap.servers", &self.address).create().map_err(|e| e.to_string())?;
            for (key, value) in &records {
                let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition);
                record.key = key.as_deref();
                record.payload = value.as_deref();
                producer.send(record).map_err(|(e, _)| e.to_string())?;
            }
            producer.flush(Duration::from_secs(60)).map_err(|e| e.to_string())
        })
        .map_err(|e: String| error(e))
    }

    /// A consumer group has read a partition up to an offset. The group must have no member.
    fn commit(&self, py: Python<'_>, group: &str, topic: &str, partition: i32, offset: i64) -> PyResult<()> {
        py.detach(|| {
            let consumer: BaseConsumer = ClientConfig::new()
                .set("bootstrap.servers", &self.address)
                .set("group.id", group)
                .set("enable.auto.commit", "false")
                .create()?;
            let mut read = TopicPartitionList::new();
            read.add_partition_offset(topic, partition, Offset::Offset(offset))?;
            consumer.assign(&read)?;
            consumer.commit(&read, CommitMode::Sync)
        })
        .map_err(|e: rdkafka::error::KafkaError| error(e))
    }
}
