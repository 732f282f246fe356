//! The receiver of a consumer group: a thread polls, stores blocks, and commits the offsets of what is safe.
//!
//! With a log, a block is safe when `store_many` returns. Without one it is safe when every output has written its rows; so the member
//! stays in the group until the last batch is written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers};

use crate::connector::kafka::client::is_permanent;
use crate::connector::kafka::member::{Membership, Offsets};
use crate::connector::kafka::reports::Reports;
use crate::connector::kafka::source::{KafkaSource, Tombstones};
use crate::connector::message::{Message, Raw, put_header};
use crate::connector::receiver::{Receiver, ReceiverHandle, StoreError};
use crate::core::error::{BoxError, Error};
use crate::core::thread::spawn;

/// How long a poll waits. A stop is noticed after this time.
const POLL: Duration = Duration::from_millis(50);
/// How long the thread waits for room before it pauses the partitions and serves the group meanwhile.
const PATIENT: Duration = Duration::from_millis(500);
/// The interval between commits.
const COMMIT: Duration = Duration::from_millis(200);
/// A block has about this many bytes, and at most this many records.
const BLOCK: (usize, usize) = (512 << 10, 8_192);

/// Receives the topics of a source as a member of its group.
pub(super) struct GroupReceiver {
    kafka: KafkaSource,
    /// Whether stored rows are durable.
    logged: bool,
    running: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl GroupReceiver {
    pub fn new(kafka: KafkaSource, logged: bool) -> Self {
        GroupReceiver { kafka, logged, running: None }
    }
}

impl Receiver for GroupReceiver {
    type Item = Message;

    fn name(&self) -> String {
        format!("{}, group {}", self.kafka.name(), self.kafka.group)
    }

    fn on_start(&mut self, to: ReceiverHandle<Message>) -> Result<(), BoxError> {
        let kafka = self.kafka.clone();
        let every = kafka.every.as_millis().clamp(100, 3_600_000).to_string();
        let mut extra = vec![("topic.metadata.refresh.interval.ms", every)];
        if kafka.topics.pattern.is_some() {
            extra.push(("topic.blacklist", "^__.*,^tidemill-progress-.*".into()));
        }
        let described = kafka.clone();
        let (consumer, reports) = kafka.settings.member(&kafka.group, &extra, |context| Membership::new(context, described))?;
        let names: Vec<String> = kafka.topics.names.iter().cloned().chain(kafka.topics.subscribed_pattern()).collect();
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        consumer.subscribe(&all).map_err(|e| reports.words(&e))?;
        let stop = Arc::new(AtomicBool::new(false));
        let member = Member {
            kafka,
            consumer,
            reports,
            to,
            stop: stop.clone(),
            logged: self.logged,
            waiting: VecDeque::new(),
            block: Block::default(),
            paused: false,
            trouble: None,
            committed_at: Instant::now(),
        };
        self.running = Some((stop, spawn("tm-kafka-group", move || member.run())?));
        Ok(())
    }

    fn on_stop(&mut self) {
        let Some((stop, thread)) = self.running.take() else { return };
        stop.store(true, Ordering::Relaxed);
        // A panic of the thread has nobody else to tell: the group gives its partitions to another member.
        let _ = thread.join();
    }
}

/// Records that are not stored yet.
#[derive(Default)]
struct Block {
    rows: Vec<Message>,
    bytes: usize,
    /// Behind the last record of each partition, those without a value included.
    ends: Offsets,
}

/// The thread's half.
struct Member {
    kafka: KafkaSource,
    consumer: BaseConsumer<Membership>,
    reports: Arc<Reports>,
    to: ReceiverHandle<Message>,
    stop: Arc<AtomicBool>,
    logged: bool,
    /// Without a log: offsets that are safe when this many rows are written.
    waiting: VecDeque<(u64, Offsets)>,
    block: Block,
    paused: bool,
    /// The last trouble that was reported.
    trouble: Option<String>,
    committed_at: Instant,
}

impl Member {
    fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) && !self.to.is_stopped() {
            if let Some(e) = self.consumer.context().take_failure() {
                self.to.fail(e);
                break;
            }
            if !self.has_room() {
                continue;
            }
            self.gather(POLL);
            if self.store().is_err() {
                break;
            }
            self.commit();
        }
        // The group keeps this member until the last batch is written, so that nobody reads its records again.
        while !self.logged && !self.waiting.is_empty() && self.to.is_draining() {
            self.pause();
            self.gather(POLL);
            self.block = Block::default();
            self.commit();
        }
        self.settle();
        self.consumer.context().commit(&self.consumer, CommitMode::Sync);
        // Dropping the consumer leaves the group.
    }

    /// Waits for room. While there is none for long, polls with paused partitions, so that the group does not wait for this member.
    fn has_room(&mut self) -> bool {
        if !self.to.is_full(if self.paused { Duration::ZERO } else { PATIENT }) {
            if std::mem::take(&mut self.paused) {
                let resumed = self.consumer.assignment().and_then(|all| self.consumer.resume(&all));
                self.failed(resumed.err());
            }
            return true;
        }
        self.pause();
        self.gather(POLL);
        self.commit();
        false
    }

    fn pause(&mut self) {
        self.paused = true;
        let paused = self.consumer.assignment().and_then(|all| self.consumer.pause(&all));
        self.failed(paused.err());
    }

    /// Adds the records that are ready to the block, and waits at most this long for the first one.
    fn gather(&mut self, wait: Duration) {
        let mut wait = wait;
        while self.block.rows.len() < BLOCK.1 && self.block.bytes < BLOCK.0 {
            let polled = self.consumer.poll(wait).map(|result| result.map(|m| self.record(&m)));
            match polled {
                None => break,
                Some(Ok((message, size))) => {
                    self.trouble = None;
                    self.block.ends.insert((message.topic().into(), message.partition()), message.offset() + 1);
                    if message.value_opt().is_some() || self.kafka.tombstones != Tombstones::Skip {
                        self.block.bytes += size;
                        self.block.rows.push(message);
                    }
                }
                Some(Err(e)) => self.failed(Some(e)),
            }
            wait = Duration::ZERO;
        }
        // Their next member reads the records that were not stored here.
        for taken in self.consumer.context().take_taken() {
            self.block.ends.remove(&taken);
            self.block.rows.retain(|m| (m.topic(), m.partition()) != (&*taken.0, taken.1));
            self.waiting.iter_mut().for_each(|(_, ends)| _ = ends.remove(&taken));
        }
    }

    fn record(&self, m: &BorrowedMessage<'_>) -> (Message, usize) {
        let mut headers = Vec::new();
        if let Some(all) = m.headers().filter(|_| self.kafka.headers) {
            all.iter().for_each(|h| put_header(&mut headers, h.key.as_bytes(), h.value));
        }
        let (key, value) = (m.key(), m.payload());
        let size = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + headers.len();
        let raw = Raw { offset: m.offset(), time: m.timestamp().to_millis(), key, value, headers: &headers };
        (Message::of(m.topic().into(), m.partition(), &raw), size + 64)
    }

    fn store(&mut self) -> Result<(), StoreError> {
        let Block { rows, ends, .. } = std::mem::take(&mut self.block);
        if ends.is_empty() {
            return Ok(());
        }
        self.to.store_many(rows)?;
        match self.logged {
            true => self.consumer.context().safe(ends),
            false => self.waiting.push_back((self.to.stored(), ends)),
        }
        Ok(())
    }

    /// Notes what outputs have written meanwhile.
    fn settle(&mut self) {
        let written = self.to.written();
        while self.waiting.front().is_some_and(|(stored, _)| *stored <= written) {
            let (_, ends) = self.waiting.pop_front().expect("it is there");
            self.consumer.context().safe(ends);
        }
    }

    fn commit(&mut self) {
        self.settle();
        if self.committed_at.elapsed() >= COMMIT {
            self.consumer.context().commit(&self.consumer, CommitMode::Async);
            self.committed_at = Instant::now();
        }
    }

    /// Decides what an error of librdkafka means.
    fn failed(&mut self, error: Option<KafkaError>) {
        let Some(error) = error else { return };
        let code = error.rdkafka_error_code();
        let text = self.reports.trouble().unwrap_or_else(|| self.reports.words(&error));
        match code {
            // The start of each partition is looked up again, which finds what is lost.
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::NoOffset) => {
                self.to.restart_after(format!("the log no longer has the next record: {text}"), Duration::ZERO);
            }
            Some(code) if is_permanent(code) => {
                self.to.fail(Error::source(self.kafka.name(), format!("Kafka at {}: {text}", self.kafka.settings.brokers)));
            }
            _ if self.trouble.as_ref() == Some(&text) => {}
            _ => {
                self.to.report_error(text.clone());
                self.trouble = Some(text);
            }
        }
    }
}
