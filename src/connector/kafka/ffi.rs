//! librdkafka's queue of one partition: messages by the thousand, and the end of the log according to the last fetch.
//!
//! rdkafka has no safe call for either. Only this file and `topic_ids.rs` call librdkafka directly. *Invariant:* a
//! [`PartitionQueue`] does not outlive its consumer, and a [`ConsumedMessage`] is destroyed exactly once. No code calls
//! `position()`: with the batch call it runs ahead of the messages that were handed over.
//!
//! librdkafka allocates each message on its own thread, and this thread frees it. With glibc's malloc the two wait for one lock
//! (3.0-4.5 M messages/s on two cores). With mimalloc in place of malloc, for C too, they do not (5.1-7.7).
#![allow(unsafe_code)]

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;
use std::sync::Arc;

use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;

use crate::connector::kafka::partition_buffer::Signal;
use crate::connector::kafka::reports::Context;
use crate::connector::message::{Raw, put_header};

/// The number of messages one call takes: a block.
const TAKE: usize = 4096;

/// The slots where librdkafka puts the messages of one call.
pub(super) struct MessageSlots(Vec<*mut rd::rd_kafka_message_t>);

impl MessageSlots {
    pub fn new() -> Self {
        MessageSlots(vec![std::ptr::null_mut(); TAKE])
    }
}

/// A client's queue for one partition.
pub(super) struct PartitionQueue {
    queue: NonNull<rd::rd_kafka_queue_t>,
    // Fields are dropped in this order, after `drop`. No callback can use the signal then.
    _signal: Arc<Signal>,
    _consumer: Arc<BaseConsumer<Context>>,
}

unsafe extern "C" fn raise(_: *mut rd::rd_kafka_t, signal: *mut c_void) {
    // SAFETY: the pointer is the `Signal` of the `PartitionQueue`, which turns the callback off before it lets go of it.
    unsafe { (*signal.cast::<Signal>()).raise() }
}

impl PartitionQueue {
    pub fn new(
        consumer: &Arc<BaseConsumer<Context>>,
        topic: &CStr,
        partition: i32,
        signal: &Arc<Signal>,
    ) -> Option<PartitionQueue> {
        // SAFETY: the client and the string live through the call; the reference it returns is given back in `drop`.
        let queue = unsafe { rd::rd_kafka_queue_get_partition(consumer.client().native_ptr(), topic.as_ptr(), partition) };
        let queue = NonNull::new(queue)?;
        // SAFETY: the queue is ours. Without the forwarding to the consumer's queue it is the partition's own; the signal
        // lives as long as the callback is set.
        unsafe {
            rd::rd_kafka_queue_forward(queue.as_ptr(), std::ptr::null_mut());
            rd::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(raise), Arc::as_ptr(signal).cast_mut().cast());
        }
        Some(PartitionQueue { queue, _signal: signal.clone(), _consumer: consumer.clone() })
    }

    /// Takes the available messages without waiting.
    pub fn take<'a>(&self, slots: &'a mut MessageSlots) -> ConsumedBatch<'a> {
        let slots = &mut slots.0;
        // SAFETY: `slots` has the size that we pass. The call fills its first `n` places with messages that we then own.
        let n = unsafe { rd::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, slots.as_mut_ptr(), slots.len()) };
        ConsumedBatch { messages: slots[..usize::try_from(n).unwrap_or(0)].iter() }
    }
}

impl Drop for PartitionQueue {
    fn drop(&mut self) {
        // SAFETY: the reference is ours and given back once; the call takes the queue's lock, so no callback runs after it.
        unsafe {
            rd::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, std::ptr::null_mut());
            rd::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

/// The messages of one call. Dropping it destroys those that were not iterated.
pub(super) struct ConsumedBatch<'a> {
    messages: std::slice::Iter<'a, *mut rd::rd_kafka_message_t>,
}

impl ConsumedBatch<'_> {
    pub fn left(&self) -> usize {
        self.messages.len()
    }
}

impl Iterator for ConsumedBatch<'_> {
    type Item = ConsumedMessage;
    fn next(&mut self) -> Option<ConsumedMessage> {
        self.messages.next().and_then(|m| NonNull::new(*m)).map(ConsumedMessage)
    }
}

impl Drop for ConsumedBatch<'_> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

/// A message or event that we own.
pub(super) struct ConsumedMessage(NonNull<rd::rd_kafka_message_t>);

impl Drop for ConsumedMessage {
    fn drop(&mut self) {
        // SAFETY: made from a message that librdkafka handed over, once each, by `ConsumedBatch`.
        unsafe { rd::rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}

impl ConsumedMessage {
    fn raw(&self) -> &rd::rd_kafka_message_t {
        // SAFETY: the pointer is valid until the message is destroyed, which is when `self` is dropped.
        unsafe { self.0.as_ref() }
    }

    pub fn offset(&self) -> i64 {
        self.raw().offset
    }

    pub fn error(&self) -> Option<RDKafkaErrorCode> {
        let error = self.raw().err;
        (error != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| error.into())
    }

    pub fn error_text(&self) -> String {
        // SAFETY: the text belongs to the message, and is copied while that lives.
        unsafe {
            let text = rd::rd_kafka_message_errstr(self.0.as_ptr());
            if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
        }
    }

    pub fn record<'a>(&'a self, with_headers: bool, headers: &'a mut Vec<u8>) -> Raw<'a> {
        let m = self.raw();
        headers.clear();
        // SAFETY: in a message without error, payload and key are null or point to that many bytes. The bytes live as long as
        // the message, and so do the results of the two calls.
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

/// The log's end according to the last fetch. Contacts no broker.
pub(super) fn known_high(consumer: &BaseConsumer<Context>, topic: &CStr, partition: i32) -> Option<i64> {
    let (mut low, mut high) = (-1, -1);
    // SAFETY: client, string and both numbers live through the call.
    let error = unsafe {
        rd::rd_kafka_get_watermark_offsets(consumer.client().native_ptr(), topic.as_ptr(), partition, &mut low, &mut high)
    };
    (error == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
}
