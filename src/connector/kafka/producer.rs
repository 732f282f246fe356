//! A producer with its queue, and the acknowledgements of the records that it sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::connector::kafka::client::Settings;
use crate::connector::kafka::reports::{Context, Receipt, Reports};
use crate::connector::retry::pause;

/// A record to send.
pub(super) type Outgoing<'a> = BaseRecord<'a, [u8], [u8], Receipt>;

/// A producer and its reports.
pub(super) struct Link {
    pub producer: BaseProducer<Context>,
    pub reports: Arc<Reports>,
    /// The longest time until a record is acknowledged.
    pub deadline: Duration,
}

impl Link {
    pub fn new(settings: &Settings, producer: BaseProducer<Context>, reports: Arc<Reports>) -> Self {
        Link { producer, reports, deadline: settings.delivery_deadline() }
    }

    /// Puts a record into the producer's queue, making room if it is full.
    pub fn put(&self, mut out: Outgoing<'_>) -> Result<(), KafkaError> {
        let end = Instant::now() + self.deadline;
        while let Err((error, back)) = self.producer.send(out) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) || Instant::now() > end {
                return Err(error);
            }
            out = back;
            self.producer.poll(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Receives all available reports.
    pub fn poll(&self) {
        loop {
            // One call receives one broker answer, and a batch may have dozens.
            let left = self.producer.in_flight_count();
            self.producer.poll(Duration::ZERO);
            if left == 0 || self.producer.in_flight_count() >= left {
                return;
            }
        }
    }

    /// Waits until each record is delivered or has failed.
    pub fn wait(&self) -> Result<(), String> {
        let began = Instant::now();
        loop {
            // librdkafka's `flush` would wait in steps of 100 ms, and `poll` spins through the last of them.
            self.poll();
            let left = self.producer.in_flight_count();
            if left == 0 {
                return self.reports.take_failed().map_or(Ok(()), Err);
            }
            if began.elapsed() > self.deadline {
                return Err(format!("{left} records are not acknowledged after {:?}", self.deadline));
            }
            std::thread::sleep(pause(began));
        }
    }
}
