//! The fetcher thread: moves records from librdkafka's queues into the partition buffers, and does nothing else.
//!
//! All readers of a source in one process share one fetcher, with one client: librdkafka has a thread for each broker, and so has a process,
//! not a worker. Each partition has its own queue and its own buffer, so a worker that does not read holds up nobody else.
//!
//! The path of a record: broker, librdkafka, **fetcher**, partition buffer, reader, source operator.

use std::ffi::CString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message as _, Offset, TopicPartitionList};

use crate::connector::kafka::client::{Side, described_code, is_denied, is_unreadable};
use crate::connector::kafka::ffi::{ConsumedMessage, MessageSlots, PartitionQueue, known_high};
use crate::connector::kafka::partition_buffer::{Item, OutOfRange, PartitionBuffer, Signal};
use crate::connector::kafka::reports::{Context, Reports};
use crate::connector::kafka::source::KafkaSource;
use crate::connector::message::Block;
use crate::core::error::Result;
use crate::core::lock::lock;
use crate::core::thread::spawn;

/// The longest sleep of the thread. It bounds the delay of events that do not wake the thread.
const NAP: Duration = Duration::from_millis(250);
/// The longest time that a question to a broker may block the thread.
const ASK: Duration = Duration::from_secs(1);

/// The reader's commands to the thread.
pub(super) enum Command {
    /// Read a partition from this offset on: a new partition, or one that seeks.
    Read { buffer: Arc<PartitionBuffer>, epoch: u64, from: i64 },
    /// A given range continues behind an end that was seen. Put a fault into the buffer if the log ends before `until`.
    Check { buffer: Arc<PartitionBuffer>, epoch: u64, until: i64 },
    /// The reader of this partition has ended.
    Forget { buffer: Arc<PartitionBuffer> },
}

impl Command {
    fn buffer(&self) -> &Arc<PartitionBuffer> {
        match self {
            Command::Read { buffer, .. } | Command::Check { buffer, .. } | Command::Forget { buffer } => buffer,
        }
    }
}

/// Whether a buffer is one of these.
fn among(buffer: &Arc<PartitionBuffer>, all: &[Arc<PartitionBuffer>]) -> bool {
    all.iter().any(|other| Arc::ptr_eq(buffer, other))
}

struct Shared {
    commands: Mutex<Vec<Command>>,
    stop: AtomicBool,
    signal: Arc<Signal>,
    reports: Arc<Reports>,
}

/// The handle of the readers. The thread ends when the last one drops it.
pub(super) struct Fetcher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Fetcher {
    pub(super) fn start(kafka: &KafkaSource) -> Result<Fetcher> {
        let settings = &kafka.settings;
        let (mut consumer, reports): (BaseConsumer<Context>, _) = settings.client(Side::Source, Some(kafka.group_or_ours()))?;
        let signal = Arc::new(Signal::default());
        let raised = signal.clone();
        consumer.set_nonempty_callback(move || raised.raise());
        let shared = Shared { commands: Mutex::default(), stop: AtomicBool::new(false), signal, reports };
        let shared = Arc::new(shared);
        let consumer = Arc::new(consumer);
        let with_headers = kafka.headers;
        let owned = shared.clone();
        let run = move || FetchLoop::new(owned, consumer, with_headers).run();
        Ok(Fetcher { shared, thread: Some(spawn("tm-kafka-fetch", run)?) })
    }

    pub(super) fn send(&self, command: Command) {
        lock(&self.shared.commands).push(command);
        self.wake();
    }

    pub(super) fn wake(&self) {
        self.shared.signal.raise();
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.shared.reports.trouble()
    }

    /// Whether the thread panicked. It has no other reason to end before it is stopped.
    pub(super) fn died(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.wake();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct Partition {
    queue: PartitionQueue,
    topic: CString,
    buffer: Arc<PartitionBuffer>,
    epoch: u64,
    /// The offset after the last record, or the target of the last seek.
    next: i64,
    /// Recent bytes per record: sizes the next block.
    size: usize,
}

/// A question about the bounds of a log, answered when there is nothing to fetch.
struct Pending {
    buffer: Arc<PartitionBuffer>,
    epoch: u64,
    question: Question,
}

enum Question {
    /// Does the log continue to this offset?
    Until(i64),
    /// This offset is not in the log. Which offsets are?
    OutOfRange(i64),
}

/// The thread's own state. Partitions are dropped before the consumer they belong to.
struct FetchLoop {
    partitions: Vec<Partition>,
    consumer: Arc<BaseConsumer<Context>>,
    shared: Arc<Shared>,
    pending: Vec<Pending>,
    asked: Instant,
    with_headers: bool,
    headers: Vec<u8>,
}

impl FetchLoop {
    fn new(shared: Arc<Shared>, consumer: Arc<BaseConsumer<Context>>, with_headers: bool) -> Self {
        let (pending, headers, asked) = (Vec::new(), Vec::new(), Instant::now());
        FetchLoop { partitions: Vec::new(), consumer, shared, pending, asked, with_headers, headers }
    }

    fn run(mut self) {
        self.shared.signal.register();
        let mut slots = MessageSlots::new();
        while !self.shared.stop.load(Ordering::Acquire) {
            self.run_commands();
            self.serve(1);
            let mut busy = false;
            for i in 0..self.partitions.len() {
                if self.partitions[i].buffer.has_capacity() {
                    busy |= self.fetch(i, &mut slots);
                }
            }
            if !busy {
                self.idle();
            }
        }
    }

    /// Serves the client's own queue: logs, and errors that concern all partitions.
    fn serve(&self, times: usize) {
        // `None` may be a log line that was served, so more events may follow it.
        (0..times).filter_map(|_| self.consumer.poll(Duration::ZERO)).for_each(|event| self.serve_event(event));
    }

    fn serve_event(&self, event: Result<rdkafka::message::BorrowedMessage<'_>, KafkaError>) {
        let text = match event {
            Err(KafkaError::MessageConsumptionFatal(code)) => described_code(code),
            Err(_) => match self.shared.reports.hopeless.get() {
                Some(text) => text.clone(),
                None => return,
            },
            // Every partition has its own queue, so a message in this queue would be lost.
            Ok(m) => format!("a message of partition {} came by the wrong queue", m.partition()),
        };
        for p in &self.partitions {
            p.buffer.push(p.epoch, Item::Fault(text.clone()));
        }
    }

    fn fetch(&mut self, i: usize, slots: &mut MessageSlots) -> bool {
        let p = &mut self.partitions[i];
        let batch = p.queue.take(slots);
        let n = batch.left();
        if n == 0 {
            return false;
        }
        let mut block: Option<Block> = None;
        let mut items = Vec::new();
        let mut outdated = false;
        for message in batch {
            if let Some(code) = message.error() {
                items.extend(block.take().map(|b| Item::Block(Arc::new(b))));
                if let RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange = code {
                    // A fetch from before the seek delivered this. The seek may have stopped the fetch that followed.
                    if message.offset() < p.next {
                        outdated = true;
                        continue;
                    }
                    let question = Question::OutOfRange(message.offset());
                    self.pending.push(Pending { buffer: p.buffer.clone(), epoch: p.epoch, question });
                } else {
                    items.extend(event(code, &message, &p.buffer, &self.shared.reports));
                }
                continue;
            }
            let raw = message.record(self.with_headers, &mut self.headers);
            p.next = raw.offset + 1;
            if !block.as_mut().is_some_and(|b| b.push(&raw)) {
                let fresh = Block::new(p.buffer.topic.clone(), p.buffer.partition, raw.offset, n, n * p.size);
                items.extend(block.replace(fresh).map(|b| Item::Block(Arc::new(b))));
                assert!(block.as_mut().is_some_and(|b| b.push(&raw)), "a Kafka record is smaller than 4 GiB");
            }
        }
        if let Some(block) = block {
            p.size = block.byte_len() / block.len() * 9 / 8 + 1;
            items.push(Item::Block(Arc::new(block)));
        }
        let p = &self.partitions[i];
        p.high(&self.consumer);
        if items.iter().any(|item| !matches!(item, Item::Fault(_))) && self.shared.reports.trouble().is_some() {
            // One answer has the ends of all partitions of its broker.
            self.partitions.iter().for_each(|p| p.high(&self.consumer));
            self.shared.reports.clear();
        }
        items.into_iter().for_each(|item| _ = p.buffer.push(p.epoch, item));
        if outdated && let Err(text) = self.seek_to(i, self.partitions[i].epoch, self.partitions[i].next) {
            let p = &self.partitions[i];
            p.buffer.push(p.epoch, Item::Fault(text));
        }
        true
    }

    fn run_commands(&mut self) {
        let (gone, mut commands): (Vec<_>, Vec<_>) =
            std::mem::take(&mut *lock(&self.shared.commands)).into_iter().partition(|c| matches!(c, Command::Forget { .. }));
        // Another worker may read the partition next.
        let gone: Vec<_> = gone.iter().map(|c| c.buffer().clone()).collect();
        self.forget(&gone);
        commands.retain(|c| gone.is_empty() || !among(c.buffer(), &gone));
        let mut fresh = TopicPartitionList::new();
        while let Some(command) = commands.pop() {
            match command {
                Command::Check { buffer, epoch, until } => {
                    self.pending.push(Pending { buffer, epoch, question: Question::Until(until) });
                }
                Command::Forget { .. } => {}
                // Only the newest command counts, and it is popped first: a partition that was just assigned cannot seek.
                Command::Read { buffer, epoch, .. } if buffer.epoch() != epoch => {}
                Command::Read { buffer, epoch, from } => {
                    let known = self.partitions.iter().position(|p| Arc::ptr_eq(&p.buffer, &buffer));
                    let done = match known {
                        Some(i) => self.seek_to(i, epoch, from),
                        None => self.add_partition(&buffer, epoch, from, &mut fresh),
                    };
                    if let Err(text) = done {
                        buffer.push(epoch, Item::Fault(text));
                    }
                }
            }
        }
        if fresh.count() > 0
            && let Err(e) = self.consumer.incremental_assign(&fresh)
        {
            let text = format!("partitions could not be assigned: {}", self.shared.reports.words(&e));
            self.partitions.iter().for_each(|p| _ = p.buffer.push(p.epoch, Item::Fault(text.clone())));
        }
    }

    fn add_partition(
        &mut self,
        buffer: &Arc<PartitionBuffer>,
        epoch: u64,
        from: i64,
        fresh: &mut TopicPartitionList,
    ) -> Result<(), String> {
        let failed = |why: String| format!("{}: {why}", place(buffer));
        let topic = CString::new(&*buffer.topic).map_err(|_| failed("a topic's name has no zero byte".to_string()))?;
        let queue = PartitionQueue::new(&self.consumer, &topic, buffer.partition, &self.shared.signal);
        let queue = queue.ok_or_else(|| failed("librdkafka has no queue for it".to_string()))?;
        let listed = fresh.add_partition_offset(&buffer.topic, buffer.partition, Offset::Offset(from));
        listed.map_err(|e| failed(self.shared.reports.words(&e)))?;
        self.partitions.push(Partition { queue, topic, buffer: buffer.clone(), epoch, next: from, size: 64 });
        Ok(())
    }

    /// Gives up partitions. Their records in transit go with their queues.
    fn forget(&mut self, gone: &[Arc<PartitionBuffer>]) {
        if gone.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::new();
        for p in self.partitions.extract_if(.., |p| among(&p.buffer, gone)) {
            list.add_partition(&p.buffer.topic, p.buffer.partition);
        }
        self.pending.retain(|pending| !among(&pending.buffer, gone));
        if list.count() > 0
            && let Err(e) = self.consumer.incremental_unassign(&list)
        {
            tracing::debug!("partitions were not given up: {}", self.shared.reports.words(&e));
        }
    }

    /// Seeks a partition. A partition that is not fetched cannot seek: it has not started, or its offset is out of range. It is
    /// unassigned and assigned again.
    fn seek_to(&mut self, i: usize, epoch: u64, from: i64) -> Result<(), String> {
        let p = &mut self.partitions[i];
        (p.epoch, p.next) = (epoch, from);
        let (topic, partition, from) = (&p.buffer.topic, p.buffer.partition, Offset::Offset(from));
        if self.consumer.seek(topic, partition, from, ASK).is_ok() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        let listed = list.add_partition_offset(topic, partition, from);
        let unassigned = listed.and_then(|()| self.consumer.incremental_unassign(&list));
        let assigned = unassigned.and_then(|()| self.consumer.incremental_assign(&list));
        assigned.map_err(|e| format!("{}: {}", place(&p.buffer), self.shared.reports.words(&e)))
    }

    /// There is nothing to fetch, so questions that wait for a broker can be asked now.
    fn idle(&mut self) {
        self.serve(16);
        if self.asked.elapsed() >= ASK && (self.shared.reports.trouble().is_some() || !self.pending.is_empty()) {
            self.asked = Instant::now();
            self.answer();
            let Some(topic) = self.partitions.first().map(|p| p.buffer.topic.clone()) else { return };
            if self.shared.reports.trouble().is_some() && self.consumer.fetch_metadata(Some(&topic), ASK / 2).is_ok() {
                self.ask_highs();
                self.shared.reports.clear();
            }
        }
        let nap = if self.pending.is_empty() { NAP } else { NAP / 10 };
        if !self.shared.signal.wait(nap) {
            self.partitions.iter().for_each(|p| p.raise_high(&self.consumer));
        }
    }

    /// Asks where the partitions end now, because a broker is back and nothing was fetched from it yet. Without an answer the ends are
    /// those that were known before.
    fn ask_highs(&self) {
        let Ok(mut ends) = self.consumer.assignment() else { return };
        let asked = ends.set_all_offsets(Offset::End).and_then(|()| self.consumer.offsets_for_times(ends, ASK / 2));
        let Ok(ends) = asked else { return };
        for p in &self.partitions {
            let end = ends.find_partition(&p.buffer.topic, p.buffer.partition).filter(|e| e.error().is_ok());
            if let Some(Offset::Offset(high)) = end.map(|e| e.offset()) {
                p.buffer.set_high(high);
            }
        }
    }

    fn answer(&mut self) {
        let mut questions = std::mem::take(&mut self.pending).into_iter();
        while let Some(pending) = questions.next() {
            let Pending { buffer, epoch, question } = &pending;
            if buffer.epoch() != *epoch {
                continue;
            }
            match (self.consumer.fetch_watermarks(&buffer.topic, buffer.partition, ASK), question) {
                (Ok((low, high)), Question::OutOfRange(wanted)) => {
                    buffer.push(*epoch, Item::OutOfRange(OutOfRange { wanted: *wanted, low, high }));
                }
                (Ok((low, high)), Question::Until(until)) if high < *until => {
                    let text = format!("{}: the log holds {low} to {high} and ends before {until}", place(buffer));
                    buffer.push(*epoch, Item::Fault(text));
                }
                (Ok(_), Question::Until(_)) => {}
                (Err(e), _) => {
                    // The partitions of other brokers are fetched meanwhile, so the rest is asked another time.
                    self.shared.reports.set_trouble(&self.shared.reports.words(&e));
                    self.pending.extend(questions.by_ref());
                    self.pending.push(pending);
                }
            }
        }
    }
}

impl Partition {
    fn high(&self, consumer: &BaseConsumer<Context>) {
        if let Some(high) = known_high(consumer, &self.topic, self.buffer.partition) {
            self.buffer.set_high(high);
        }
    }

    /// librdkafka knows the end of the last answer with records. After [`FetchLoop::ask_highs`] that end may be an older one.
    fn raise_high(&self, consumer: &BaseConsumer<Context>) {
        if known_high(consumer, &self.topic, self.buffer.partition).is_some_and(|high| high > self.buffer.high()) {
            self.high(consumer);
        }
    }
}

fn place(buffer: &PartitionBuffer) -> String {
    format!("topic {}, partition {}", buffer.topic, buffer.partition)
}

/// The meaning of an event of a partition: its end, a permanent fault, or trouble that may pass.
fn event(code: RDKafkaErrorCode, message: &ConsumedMessage, buffer: &PartitionBuffer, reports: &Reports) -> Option<Item> {
    use RDKafkaErrorCode as E;
    let (offset, place, text) = (message.offset(), place(buffer), reports.redact(&message.error_text()));
    Some(Item::Fault(match code {
        E::PartitionEOF => return Some(Item::End(offset)),
        E::MessageSizeTooLarge => {
            format!("{place}: the record at offset {offset} is too large; raise receive.message.max.bytes: {text}")
        }
        code if is_unreadable(code) => {
            format!("{place}: the record at offset {offset} cannot be read: {text}")
        }
        code if is_denied(code) => {
            format!("{place}: {text}")
        }
        _ => {
            reports.set_trouble(&format!("{place}: {text}"));
            return None;
        }
    }))
}
