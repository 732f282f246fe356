//! A broker of Kafka inside this process, for tests and notebooks: librdkafka's mock cluster.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaResult;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

/// Key and value.
type Record = (Option<Vec<u8>>, Option<Vec<u8>>);
/// A topic to create, its partitions, and where the answer goes.
type Asked = (String, i32, Sender<KafkaResult<()>>);

/// A broker on 127.0.0.1. It keeps a few MiB of each partition, and ends with this object.
#[pyclass(frozen)]
pub struct Broker {
    address: String,
    // The mock cluster must stay on its thread, which ends when nobody can ask it any more.
    ask: Mutex<Sender<Asked>>,
}

fn serve(cluster: &MockCluster<'static, DefaultProducerContext>, asked: &Receiver<Asked>) {
    for (topic, partitions, answer) in asked {
        let _ = answer.send(cluster.create_topic(&topic, partitions, 1));
    }
}

fn error(e: impl std::fmt::Display) -> PyErr {
    PyRuntimeError::new_err(format!("embedded broker: {e}"))
}

#[pymethods]
impl Broker {
    #[new]
    fn new() -> PyResult<Self> {
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
        Ok(Broker { address, ask: Mutex::new(ask) })
    }

    /// `127.0.0.1:PORT`
    #[getter]
    fn address(&self) -> &str {
        &self.address
    }

    /// Creates a topic.
    fn create_topic(&self, name: String, partitions: i32) -> PyResult<()> {
        let (answer, answered) = channel();
        self.ask.lock().unwrap_or_else(|e| e.into_inner()).send((name, partitions, answer)).map_err(error)?;
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
}
