//! The thread that does nothing but drain: librdkafka's queues on one side, inboxes on the other.
//!
//! rdkafka has no safe call that takes messages by the thousand, nor a queue for each partition: this is the one file that
//! calls librdkafka itself. *Invariant:* a [`Queue`] does not outlive its consumer, a [`Taken`] is destroyed exactly once.
//! `position()` is not called anywhere: with the batch call it runs ahead of what was handed over.
//!
//! librdkafka makes each message on a thread of its own and it is freed on this one. With glibc's malloc the two wait for one
//! lock (3.0-4.5 M messages/s on two cores); with mimalloc in place of malloc for C, too, they do not (5.1-7.7).
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_void};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::Waker;
use super::kafka_direct::Kafka;
use super::kafka_inbox::{Inbox, Item, Signal};
use super::message::{Block, Raw, put_header};
use crate::error::{Error, Result};
use crate::kafka::{Context, Reports, Side, described_code, lock};

/// How many messages are taken at once: a block.
const TAKE: usize = 4096;
/// How long the thread sleeps when nothing wakes it: an upper bound for everything nobody tells it about.
const NAP: Duration = Duration::from_millis(250);
/// How long a question to a broker may hold the thread up.
const ASK: Duration = Duration::from_secs(1);

/// A client's queue for one partition.
struct Queue {
    queue: NonNull<rd::rd_kafka_queue_t>,
    // Fields are dropped in this order, after `drop`: nothing calls the signal then.
    _signal: Arc<Signal>,
    _consumer: Arc<BaseConsumer<Context>>,
}

unsafe extern "C" fn raise(_: *mut rd::rd_kafka_t, signal: *mut c_void) {
    // SAFETY: the pointer is the `Signal` of the `Queue`, which turns the callback off before it lets go of it.
    unsafe { (*signal.cast::<Signal>()).raise() }
}

impl Queue {
    fn new(consumer: &Arc<BaseConsumer<Context>>, topic: &CStr, partition: i32, signal: &Arc<Signal>) -> Option<Queue> {
        // SAFETY: the client and the string live through the call; the reference it returns is given back in `drop`.
        let queue = unsafe { rd::rd_kafka_queue_get_partition(consumer.client().native_ptr(), topic.as_ptr(), partition) };
        let queue = NonNull::new(queue)?;
        // SAFETY: the queue is ours. Without the forwarding to the consumer's queue it is the partition's own; the signal
        // lives as long as the callback is set.
        unsafe {
            rd::rd_kafka_queue_forward(queue.as_ptr(), std::ptr::null_mut());
            rd::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(raise), Arc::as_ptr(signal).cast_mut().cast());
        }
        Some(Queue { queue, _signal: signal.clone(), _consumer: consumer.clone() })
    }

    /// Takes what is there without waiting.
    fn take<'a>(&self, room: &'a mut [*mut rd::rd_kafka_message_t]) -> Batch<'a> {
        // SAFETY: `room` is as large as we say; the call fills its first `n` places with messages that are ours then.
        let n = unsafe { rd::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, room.as_mut_ptr(), room.len()) };
        Batch { taken: room[..usize::try_from(n).unwrap_or(0)].iter() }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the reference is ours and given back once; the call takes the queue's lock, so no callback runs after it.
        unsafe {
            rd::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, std::ptr::null_mut());
            rd::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

/// Messages of which nobody has looked at the rest yet.
struct Batch<'a> {
    taken: std::slice::Iter<'a, *mut rd::rd_kafka_message_t>,
}

impl Iterator for Batch<'_> {
    type Item = Taken;
    fn next(&mut self) -> Option<Taken> {
        self.taken.next().and_then(|m| NonNull::new(*m)).map(Taken)
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

/// One message or event, which is ours.
struct Taken(NonNull<rd::rd_kafka_message_t>);

impl Drop for Taken {
    fn drop(&mut self) {
        // SAFETY: made from a message that librdkafka handed over, once each, by `Batch`.
        unsafe { rd::rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}

impl Taken {
    fn raw(&self) -> &rd::rd_kafka_message_t {
        // SAFETY: valid until it is destroyed, which is when `self` goes.
        unsafe { self.0.as_ref() }
    }

    fn error(&self) -> Option<RDKafkaErrorCode> {
        let error = self.raw().err;
        (error != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| error.into())
    }

    fn error_text(&self) -> String {
        // SAFETY: the text belongs to the message, and is copied while that lives.
        unsafe {
            let text = rd::rd_kafka_message_errstr(self.0.as_ptr());
            if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
        }
    }

    fn record<'a>(&'a self, with_headers: bool, headers: &'a mut Vec<u8>) -> Raw<'a> {
        let m = self.raw();
        headers.clear();
        // SAFETY: of a message without error, payload and key are null or that many bytes, which live with the message;
        // so does what the two calls give out.
        unsafe {
            let bytes = |at: *mut c_void, n: usize| (!at.is_null()).then(|| std::slice::from_raw_parts(at.cast::<u8>(), n));
            let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
            let time = rd::rd_kafka_message_timestamp(self.0.as_ptr(), &mut kind);
            let none = kind as u32 == rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE as u32;
            if with_headers {
                copy_headers(self.0.as_ptr(), headers);
            }
            let (key, value) = (bytes(m.key, m.key_len), bytes(m.payload, m.len));
            Raw { offset: m.offset, time: (!none).then_some(time), key, value, headers }
        }
    }
}

/// # Safety
/// `message` is a live message.
unsafe fn copy_headers(message: *const rd::rd_kafka_message_t, out: &mut Vec<u8>) {
    let ok = rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
    let mut all = std::ptr::null_mut();
    // SAFETY: the headers belong to the message; names are C strings, values null or that many bytes.
    unsafe {
        if rd::rd_kafka_message_headers(message, &mut all) != ok {
            return;
        }
        let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
        for i in 0.. {
            if rd::rd_kafka_header_get_all(all, i, &mut name, &mut value, &mut size) != ok {
                return;
            }
            let value = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size));
            put_header(out, CStr::from_ptr(name).to_bytes(), value);
        }
    }
}

/// The log's end as the last fetch told it; asks nobody.
fn known_high(consumer: &BaseConsumer<Context>, topic: &CStr, partition: i32) -> Option<i64> {
    let (mut low, mut high) = (-1, -1);
    // SAFETY: client, string and both numbers live through the call.
    let error = unsafe {
        rd::rd_kafka_get_watermark_offsets(consumer.client().native_ptr(), topic.as_ptr(), partition, &mut low, &mut high)
    };
    (error == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
}

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
    pub(super) fn start(kafka: &Kafka, waker: Waker) -> Result<Drain> {
        let settings = &kafka.settings;
        let (mut consumer, reports): (BaseConsumer<Context>, _) = settings.client(Side::Source, Some(kafka.group_or_ours()))?;
        let signal = Arc::new(Signal::default());
        let raised = signal.clone();
        consumer.set_nonempty_callback(move || raised.raise());
        let shared = Shared { commands: Mutex::default(), stop: AtomicBool::new(false), signal, reports };
        let shared = Arc::new(shared);
        let consumer = Arc::new(consumer);
        let (brokers, with_headers) = (settings.brokers.clone(), kafka.headers);
        let owned = shared.clone();
        let run = move || Loop::new(owned, consumer, brokers, with_headers, waker).run();
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
    /// Bytes a record had lately: how large the next block is made.
    size: usize,
}

struct Pending {
    inbox: Arc<Inbox>,
    epoch: u64,
    until: i64,
}

/// The thread's own state. Partitions go before the consumer they belong to.
struct Loop {
    partitions: Vec<Partition>,
    consumer: Arc<BaseConsumer<Context>>,
    shared: Arc<Shared>,
    brokers: String,
    waker: Waker,
    pending: Vec<Pending>,
    asked: Instant,
    with_headers: bool,
    headers: Vec<u8>,
}

impl Loop {
    fn new(shared: Arc<Shared>, consumer: Arc<BaseConsumer<Context>>, brokers: String, with_headers: bool, waker: Waker) -> Self {
        let (pending, headers, asked) = (Vec::new(), Vec::new(), Instant::now());
        Loop { partitions: Vec::new(), consumer, shared, brokers, waker, pending, asked, with_headers, headers }
    }

    fn run(mut self) {
        self.shared.signal.here();
        let mut room = vec![std::ptr::null_mut(); TAKE];
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
            Err(_) => return,
            // Every partition has a queue of its own: a message here would be lost.
            Ok(m) => format!("a message of partition {} came by the wrong queue", m.partition()),
        };
        for p in &self.partitions {
            self.give(&p.inbox, p.epoch, Item::Fault(format!("Kafka at {}: {text}", self.brokers)));
        }
    }

    fn drain(&mut self, i: usize, room: &mut [*mut rd::rd_kafka_message_t]) -> bool {
        let p = &mut self.partitions[i];
        let batch = p.queue.take(room);
        let n = batch.taken.len();
        if n == 0 {
            return false;
        }
        let mut block: Option<Block> = None;
        let mut items = Vec::new();
        for taken in batch {
            if let Some(code) = taken.error() {
                items.extend(block.take().map(|b| Item::Block(Arc::new(b))));
                items.extend(event(code, &taken, &p.inbox, &self.consumer, &self.shared.reports));
                continue;
            }
            let raw = taken.record(self.with_headers, &mut self.headers);
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
        true
    }

    fn obey(&mut self) {
        let mut commands = std::mem::take(&mut *lock(&self.shared.commands));
        let mut fresh = TopicPartitionList::new();
        while let Some(command) = commands.pop() {
            match command {
                Command::Check { inbox, epoch, until } => self.pending.push(Pending { inbox, epoch, until }),
                // The last word counts, and it comes first here: a partition taken just now cannot be sought.
                Command::Read { inbox, epoch, .. } if inbox.epoch() != epoch => {}
                Command::Read { inbox, epoch, from } => {
                    let known = self.partitions.iter().position(|p| Arc::ptr_eq(&p.inbox, &inbox));
                    let done = match known {
                        Some(i) => self.seek(i, epoch, from),
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
            let text = format!("Kafka at {}: partitions could not be taken: {}", self.brokers, self.shared.reports.words(&e));
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
        self.partitions.push(Partition { queue, topic, inbox: inbox.clone(), epoch, size: 64 });
        Ok(())
    }

    fn seek(&mut self, i: usize, epoch: u64, from: i64) -> Result<(), String> {
        let (inbox, mut last) = (self.partitions[i].inbox.clone(), None);
        // A partition that was taken a moment ago is not being fetched yet, and refuses.
        for _ in 0..50 {
            match self.consumer.seek(&inbox.topic, inbox.partition, Offset::Offset(from), ASK) {
                Ok(()) => {
                    self.partitions[i].epoch = epoch;
                    return Ok(());
                }
                Err(e) => last = Some(e),
            }
            if self.shared.stop.load(Ordering::Acquire) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let why = last.map_or_else(String::new, |e| format!("; {}", self.shared.reports.words(&e)));
        Err(format!("{}: librdkafka did not go to offset {from}{why}", place(&inbox)))
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
        for check in std::mem::take(&mut self.pending) {
            let Pending { inbox, epoch, until } = check;
            if inbox.epoch() != epoch {
                continue;
            }
            match self.consumer.fetch_watermarks(&inbox.topic, inbox.partition, ASK) {
                Ok((low, high)) if high < until => {
                    let text = format!("{}: the log holds {low} to {high} and ends before {until}", place(&inbox));
                    self.give(&inbox, epoch, Item::Fault(text));
                }
                Ok(_) => {}
                Err(e) => {
                    self.shared.reports.set_trouble(&self.shared.reports.words(&e));
                    self.pending.push(Pending { inbox, epoch, until });
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
fn event(
    code: RDKafkaErrorCode,
    taken: &Taken,
    inbox: &Inbox,
    consumer: &BaseConsumer<Context>,
    reports: &Reports,
) -> Option<Item> {
    use RDKafkaErrorCode as E;
    let (offset, place, text) = (taken.raw().offset, place(inbox), reports.redact(&taken.error_text()));
    Some(Item::Fault(match code {
        E::PartitionEOF => return Some(Item::End(offset)),
        E::AutoOffsetReset | E::OffsetOutOfRange => {
            let log = consumer.fetch_watermarks(&inbox.topic, inbox.partition, ASK);
            let log = log.map_or_else(|_| "what it holds is not known".into(), |(low, high)| format!("it holds {low} to {high}"));
            format!(
                "{place}: offset {offset} is not in the log, {log}; records were deleted, or the topic is not the same any more"
            )
        }
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
