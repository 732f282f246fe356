//! A bounded queue for each partition, between the fetcher thread and the reader.
//!
//! A partition at its limit fills its buffer and is not fetched any more; the others continue.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use crate::connector::message::Block;
use crate::connector::source::Waker;
use crate::core::lock::lock;

/// What a partition delivered, in its order.
pub(super) enum Item {
    /// Records.
    Block(Arc<Block>),
    /// The end of the partition: everything before this offset has been delivered.
    End(i64),
    /// The next offset is not in the log.
    OutOfRange(OutOfRange),
    /// Why the partition cannot be read any further.
    Fault(String),
}

/// The next offset to read is not in the log, which holds `[low, high)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutOfRange {
    pub wanted: i64,
    pub low: i64,
    pub high: i64,
}

impl OutOfRange {
    /// The number of offsets that expired before they were read. `None`: the log was replaced or truncated.
    pub fn expired(&self) -> Option<i64> {
        (self.wanted < self.low).then_some(self.low - self.wanted)
    }

    /// The problem and its remedy. `replayed`: earlier batches run again, so no record may be skipped.
    pub fn message(&self, replayed: bool) -> String {
        let OutOfRange { wanted, low, high } = self;
        let again = "start again with an empty checkpoint directory";
        let why = match self.expired() {
            Some(n) if replayed => {
                format!(
                    "{n} offsets aged out since their batch ran, which cannot run again: replay batches behind a later checkpoint"
                )
            }
            Some(n) => {
                let on = "go on without them and have them counted: fail_on_data_loss(false)";
                format!("{n} offsets aged out before they were read; {again}, or {on}")
            }
            None if replayed => "its end was cut off, or the topic was deleted and made again since its batch ran".into(),
            None => format!("its end was cut off, or the topic was deleted and made again; {again}"),
        };
        format!("offset {wanted} is not in the log, it holds {low} to {high}: {why}")
    }
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    cost: usize,
    epoch: u64,
}

/// The queue of one partition.
pub(super) struct PartitionBuffer {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    /// The limit in bytes.
    capacity: AtomicUsize,
    high: AtomicI64,
    state: Mutex<State>,
    /// Wakes the worker that reads it.
    waker: Waker,
}

impl PartitionBuffer {
    /// `capacity` in bytes: at most one block exceeds it.
    pub(super) fn new(topic: Arc<str>, partition: i32, capacity: usize, waker: Waker) -> Self {
        PartitionBuffer {
            topic,
            partition,
            capacity: AtomicUsize::new(capacity),
            high: AtomicI64::new(-1),
            state: Mutex::default(),
            waker,
        }
    }

    /// Partitions share the memory of a reader, so each gets less when there are more.
    pub(super) fn set_capacity(&self, capacity: usize) {
        self.capacity.store(capacity, Ordering::Relaxed);
    }

    pub(super) fn has_capacity(&self) -> bool {
        lock(&self.state).cost < self.capacity.load(Ordering::Relaxed)
    }

    /// Adds an item; drops an item of an older epoch. If the buffer was empty, the reader may be waiting: wakes it, and returns `true`.
    pub(super) fn push(&self, epoch: u64, item: Item) -> bool {
        let mut state = lock(&self.state);
        if state.epoch != epoch {
            return false;
        }
        if let Item::Block(block) = &item {
            state.cost += block.cost();
        }
        state.items.push_back(item);
        let first = state.items.len() == 1;
        drop(state);
        if first {
            (self.waker)();
        }
        first
    }

    /// The timestamp of the first record.
    pub(super) fn oldest(&self) -> Option<i64> {
        let state = lock(&self.state);
        state.items.iter().find_map(|item| if let Item::Block(block) = item { Some(block.timestamp(0)) } else { None })?
    }

    /// Takes an item. Returns too whether this made room in a full buffer.
    pub(super) fn pop(&self) -> (Option<Item>, bool) {
        let mut state = lock(&self.state);
        let item = state.items.pop_front();
        let capacity = self.capacity.load(Ordering::Relaxed);
        let full = state.cost >= capacity;
        if let Some(Item::Block(block)) = &item {
            state.cost -= block.cost();
        }
        (item, full && state.cost < capacity)
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.state).items.is_empty()
    }

    /// Drops all items and begins a new epoch, because the partition seeks. Records in transit belong to the old epoch.
    pub(super) fn restart(&self) -> u64 {
        let mut state = lock(&self.state);
        state.items.clear();
        (state.cost, state.epoch) = (0, state.epoch + 1);
        state.epoch
    }

    pub(super) fn epoch(&self) -> u64 {
        lock(&self.state).epoch
    }

    /// The last known end of the partition, -1 if it is unknown.
    pub(super) fn high(&self) -> i64 {
        self.high.load(Ordering::Relaxed)
    }

    pub(super) fn set_high(&self, high: i64) {
        self.high.store(high, Ordering::Relaxed);
    }
}

/// Wakes the fetcher thread. librdkafka calls it under its own locks, so it takes none.
#[derive(Default)]
pub(super) struct Signal {
    raised: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Signal {
    /// Registers the calling thread as the one that waits.
    pub(super) fn register(&self) {
        let _ = self.thread.set(std::thread::current());
    }

    pub(super) fn raise(&self) {
        if !self.raised.swap(true, Ordering::AcqRel)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Waits until the signal is raised, or returns at once if it was raised since the previous wait. `false`: timeout.
    pub(super) fn wait(&self, timeout: Duration) -> bool {
        if !self.raised.load(Ordering::Acquire) {
            std::thread::park_timeout(timeout);
        }
        self.raised.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::message::Raw;

    fn block(offset: i64) -> Item {
        let mut b = Block::new("t".into(), 0, offset, 1, 100);
        assert!(b.push(&Raw { offset, ..Raw::default() }));
        Item::Block(Arc::new(b))
    }

    #[test]
    fn it_is_bounded_by_bytes_and_says_when_there_is_room_again() {
        let buffer = PartitionBuffer::new("t".into(), 0, 150, Arc::new(|| ()));
        assert!(buffer.push(0, block(0)), "the first wakes");
        assert!(buffer.has_capacity());
        assert!(!buffer.push(0, block(1)));
        assert!(!buffer.has_capacity());
        assert!(buffer.pop().1);
        assert!(buffer.has_capacity() && !buffer.pop().1 && buffer.is_empty());
    }

    #[test]
    fn records_in_flight_before_a_restart_are_dropped() {
        let buffer = PartitionBuffer::new("t".into(), 0, 150, Arc::new(|| ()));
        buffer.push(0, block(0));
        let epoch = buffer.restart();
        assert!(buffer.is_empty() && !buffer.push(0, block(1)) && buffer.is_empty());
        assert!(buffer.push(epoch, Item::End(7)));
        assert!(matches!(buffer.pop().0, Some(Item::End(7))));
    }

    #[test]
    fn a_signal_raised_before_anybody_waits_is_not_lost() {
        let signal = Signal::default();
        signal.raise();
        signal.register();
        assert!(signal.wait(Duration::from_secs(60)));
        assert!(!signal.wait(Duration::from_millis(1)));
    }
}
