//! The thread that does nothing but drain: librdkafka's queues on one side, inboxes on the other.

use std::ffi::CString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message as _, Offset, TopicPartitionList};

use crate::connector::kafka::client::{Context, Reports, Side, described_code, lock};
use crate::connector::kafka::ffi::{Queue, Room, Taken, known_high};
use crate::connector::kafka::partition_buffer::{Gone, Inbox, Item, Signal};
use crate::connector::kafka::source::KafkaSource;
use crate::connector::message::Block;
use crate::connector::source::Waker;
use crate::core::error::{Error, Result};

/// How long the thread sleeps when nothing wakes it: an upper bound for everything nobody tells it about.
const NAP: Duration = Duration::from_millis(250);
/// How long a question to a broker may hold the thread up.
const ASK: Duration = Duration::from_secs(1);

/// What the reader asks of the thread.
pub(super) enum Command {
    /// Read the partition from an offset: a new one, or one that is read from elsewhere now.
    Read { inbox: Arc<Inbox>, epoch: u64, from: i64 },
    /// A range goes on behind an end that was seen: put a fault into the inbox if the log holds less.
    Check { inbox: Arc<Inbox>, epoch: u64, until: i64 },
}

struct Shared {
    commands: Mutex<Vec<Command>>,
    stop: AtomicBool,
    signal: Arc<Signal>,
    reports: Arc<Reports>,
}

/// The reader's handle on the thread, which ends with it.
pub(super) struct Drain {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Drain {
    pub(super) fn start(kafka: &KafkaSource, waker: Waker) -> Result<Drain> {
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
        let run = move || Loop::new(owned, consumer, with_headers, waker).run();
        let thread = std::thread::Builder::new().name("tidemill-kafka-drain".to_string()).spawn(run);
        let thread = thread.map_err(|e| Error::io("starting the thread that reads Kafka", e))?;
        Ok(Drain { shared, thread: Some(thread) })
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

    /// It ends only when it is told to: otherwise it panicked.
    pub(super) fn died(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.wake();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct Partition {
    queue: Queue,
    topic: CString,
    inbox: Arc<Inbox>,
    epoch: u64,
    /// Where it was sent, or behind the last record that came.
    next: i64,
    /// Bytes a record had lately: how large the next block is made.
    size: usize,
}

/// A question about the bounds of a log, to be asked when there is nothing to drain.
struct Pending {
    inbox: Arc<Inbox>,
    epoch: u64,
    about: About,
}

enum About {
    /// A range ends here: does the log?
    Until(i64),
    /// This offset is not there: what is?
    Gone(i64),
}

/// The thread's own state. Partitions go before the consumer they belong to.
struct Loop {
    partitions: Vec<Partition>,
    consumer: Arc<BaseConsumer<Context>>,
    shared: Arc<Shared>,
    waker: Waker,
    pending: Vec<Pending>,
    asked: Instant,
    with_headers: bool,
    headers: Vec<u8>,
}

impl Loop {
    fn new(shared: Arc<Shared>, consumer: Arc<BaseConsumer<Context>>, with_headers: bool, waker: Waker) -> Self {
        let (pending, headers, asked) = (Vec::new(), Vec::new(), Instant::now());
        Loop { partitions: Vec::new(), consumer, shared, waker, pending, asked, with_headers, headers }
    }

    fn run(mut self) {
        self.shared.signal.here();
        let mut room = Room::new();
        while !self.shared.stop.load(Ordering::Acquire) {
            self.obey();
            self.serve(1);
            let mut busy = false;
            for i in 0..self.partitions.len() {
                if self.partitions[i].inbox.has_room() {
                    busy |= self.drain(i, &mut room);
                }
            }
            if !busy {
                self.idle();
            }
        }
    }

    fn give(&self, inbox: &Inbox, epoch: u64, item: Item) {
        if inbox.push(epoch, item) {
            (self.waker)();
        }
    }

    /// The client's own queue: logs, errors that concern all partitions.
    fn serve(&self, times: usize) {
        // `None` is also a log line that was served: it does not say that there is nothing behind it.
        (0..times).filter_map(|_| self.consumer.poll(Duration::ZERO)).for_each(|event| self.serve_event(event));
    }

    fn serve_event(&self, event: Result<rdkafka::message::BorrowedMessage<'_>, KafkaError>) {
        let text = match event {
            Err(KafkaError::MessageConsumptionFatal(code)) => described_code(code),
            Err(_) => match self.shared.reports.hopeless.get() {
                Some(text) => text.clone(),
                None => return,
            },
            // Every partition has a queue of its own: a message here would be lost.
            Ok(m) => format!("a message of partition {} came by the wrong queue", m.partition()),
        };
        for p in &self.partitions {
            self.give(&p.inbox, p.epoch, Item::Fault(text.clone()));
        }
    }

    fn drain(&mut self, i: usize, room: &mut Room) -> bool {
        let p = &mut self.partitions[i];
        let batch = p.queue.take(room);
        let n = batch.left();
        if n == 0 {
            return false;
        }
        let mut block: Option<Block> = None;
        let mut items = Vec::new();
        let mut outdated = false;
        for taken in batch {
            if let Some(code) = taken.error() {
                items.extend(block.take().map(|b| Item::Block(Arc::new(b))));
                if let RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange = code {
                    // What a fetch found that began before the partition was sent elsewhere: it may have ended the fetch since.
                    if taken.offset() < p.next {
                        outdated = true;
                        continue;
                    }
                    let about = About::Gone(taken.offset());
                    self.pending.push(Pending { inbox: p.inbox.clone(), epoch: p.epoch, about });
                } else {
                    items.extend(event(code, &taken, &p.inbox, &self.shared.reports));
                }
                continue;
            }
            let raw = taken.record(self.with_headers, &mut self.headers);
            p.next = raw.offset + 1;
            if !block.as_mut().is_some_and(|b| b.push(&raw)) {
                let fresh = Block::new(p.inbox.topic.clone(), p.inbox.partition, raw.offset, n, n * p.size);
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
        if items.iter().any(|item| !matches!(item, Item::Fault(_))) {
            self.shared.reports.clear();
        }
        items.into_iter().for_each(|item| self.give(&p.inbox, p.epoch, item));
        if outdated && let Err(text) = self.go(i, self.partitions[i].epoch, self.partitions[i].next) {
            let p = &self.partitions[i];
            self.give(&p.inbox, p.epoch, Item::Fault(text));
        }
        true
    }

    fn obey(&mut self) {
        let mut commands = std::mem::take(&mut *lock(&self.shared.commands));
        let mut fresh = TopicPartitionList::new();
        while let Some(command) = commands.pop() {
            match command {
                Command::Check { inbox, epoch, until } => {
                    self.pending.push(Pending { inbox, epoch, about: About::Until(until) });
                }
                // The last word counts, and it comes first here: a partition taken just now cannot be sought.
                Command::Read { inbox, epoch, .. } if inbox.epoch() != epoch => {}
                Command::Read { inbox, epoch, from } => {
                    let known = self.partitions.iter().position(|p| Arc::ptr_eq(&p.inbox, &inbox));
                    let done = match known {
                        Some(i) => self.go(i, epoch, from),
                        None => self.add(&inbox, epoch, from, &mut fresh),
                    };
                    if let Err(text) = done {
                        self.give(&inbox, epoch, Item::Fault(text));
                    }
                }
            }
        }
        if fresh.count() > 0
            && let Err(e) = self.consumer.incremental_assign(&fresh)
        {
            let text = format!("partitions could not be taken: {}", self.shared.reports.words(&e));
            self.partitions.iter().for_each(|p| self.give(&p.inbox, p.epoch, Item::Fault(text.clone())));
        }
    }

    fn add(&mut self, inbox: &Arc<Inbox>, epoch: u64, from: i64, fresh: &mut TopicPartitionList) -> Result<(), String> {
        let failed = |why: String| format!("{}: {why}", place(inbox));
        let topic = CString::new(&*inbox.topic).map_err(|_| failed("a topic's name has no zero byte".to_string()))?;
        let queue = Queue::new(&self.consumer, &topic, inbox.partition, &self.shared.signal);
        let queue = queue.ok_or_else(|| failed("librdkafka has no queue for it".to_string()))?;
        let listed = fresh.add_partition_offset(&inbox.topic, inbox.partition, Offset::Offset(from));
        listed.map_err(|e| failed(self.shared.reports.words(&e)))?;
        self.partitions.push(Partition { queue, topic, inbox: inbox.clone(), epoch, next: from, size: 64 });
        Ok(())
    }

    /// Sends a partition elsewhere. One that is not being fetched (not yet, or not any more since what it was to fetch is gone)
    /// cannot be sought: it is given up and taken again.
    fn go(&mut self, i: usize, epoch: u64, from: i64) -> Result<(), String> {
        let p = &mut self.partitions[i];
        (p.epoch, p.next) = (epoch, from);
        let (topic, partition, from) = (&p.inbox.topic, p.inbox.partition, Offset::Offset(from));
        if self.consumer.seek(topic, partition, from, ASK).is_ok() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        let listed = list.add_partition_offset(topic, partition, from);
        let given_up = listed.and_then(|()| self.consumer.incremental_unassign(&list));
        let taken = given_up.and_then(|()| self.consumer.incremental_assign(&list));
        taken.map_err(|e| format!("{}: {}", place(&p.inbox), self.shared.reports.words(&e)))
    }

    /// Nothing to drain: the only time for questions that wait for a broker.
    fn idle(&mut self) {
        self.serve(16);
        if self.asked.elapsed() >= ASK && (self.shared.reports.trouble().is_some() || !self.pending.is_empty()) {
            self.asked = Instant::now();
            self.answer();
            let Some(topic) = self.partitions.first().map(|p| p.inbox.topic.clone()) else { return };
            if self.shared.reports.trouble().is_some() && self.consumer.fetch_metadata(Some(&topic), ASK / 2).is_ok() {
                self.shared.reports.clear();
            }
        }
        let nap = if self.pending.is_empty() { NAP } else { NAP / 10 };
        if !self.shared.signal.wait(nap) {
            self.partitions.iter().for_each(|p| p.high(&self.consumer));
        }
    }

    fn answer(&mut self) {
        for question in std::mem::take(&mut self.pending) {
            let Pending { inbox, epoch, about } = &question;
            if inbox.epoch() != *epoch {
                continue;
            }
            match (self.consumer.fetch_watermarks(&inbox.topic, inbox.partition, ASK), about) {
                (Ok((low, high)), About::Gone(wanted)) => {
                    self.give(inbox, *epoch, Item::Gone(Gone { wanted: *wanted, low, high }));
                }
                (Ok((low, high)), About::Until(until)) if high < *until => {
                    let text = format!("{}: the log holds {low} to {high} and ends before {until}", place(inbox));
                    self.give(inbox, *epoch, Item::Fault(text));
                }
                (Ok(_), About::Until(_)) => {}
                (Err(e), _) => {
                    self.shared.reports.set_trouble(&self.shared.reports.words(&e));
                    self.pending.push(question);
                }
            }
        }
    }
}

impl Partition {
    fn high(&self, consumer: &BaseConsumer<Context>) {
        if let Some(high) = known_high(consumer, &self.topic, self.inbox.partition) {
            self.inbox.set_high(high);
        }
    }
}

fn place(inbox: &Inbox) -> String {
    format!("topic {}, partition {}", inbox.topic, inbox.partition)
}

/// What an event of a partition means: its end, a fault that stays, or trouble that may pass.
fn event(code: RDKafkaErrorCode, taken: &Taken, inbox: &Inbox, reports: &Reports) -> Option<Item> {
    use RDKafkaErrorCode as E;
    let (offset, place, text) = (taken.offset(), place(inbox), reports.redact(&taken.error_text()));
    Some(Item::Fault(match code {
        E::PartitionEOF => return Some(Item::End(offset)),
        E::MessageSizeTooLarge => {
            format!("{place}: the record at offset {offset} is too large; raise receive.message.max.bytes: {text}")
        }
        E::BadMessage | E::InvalidMessage | E::BadCompression | E::NotImplemented => {
            format!("{place}: the record at offset {offset} cannot be read: {text}")
        }
        E::TopicAuthorizationFailed | E::GroupAuthorizationFailed | E::ClusterAuthorizationFailed | E::Fatal => {
            format!("{place}: {text}")
        }
        _ => {
            reports.set_trouble(&format!("{place}: {text}"));
            return None;
        }
    }))
}
