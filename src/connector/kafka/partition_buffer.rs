//! What lies between the drain thread and the reader: for each partition a bounded queue of its own.
//!
//! A partition that nobody empties (it is at its cap) fills its inbox and is left alone; the others go on.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use crate::connector::kafka::client::lock;
use crate::connector::message::Block;

/// What a partition gave, in its order.
pub(super) enum Item {
    /// Records.
    Block(Arc<Block>),
    /// The end of the partition, as it was when everything before this offset had been given.
    End(i64),
    /// It stopped at an offset that the log does not hold.
    Gone(Gone),
    /// It cannot be read any further, and why.
    Fault(String),
}

/// An offset that was to be read next and that the log does not hold, and what it holds: `[low, high)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone {
    pub wanted: i64,
    pub low: i64,
    pub high: i64,
}

impl Gone {
    /// What was there before and is not any more; nothing if the log is not that of before.
    pub fn aged(&self) -> Option<i64> {
        (self.wanted < self.low).then_some(self.low - self.wanted)
    }

    /// What is wrong, and what helps. `replayed`: batches of before run again, which nothing makes whole.
    pub fn say(&self, replayed: bool) -> String {
        let Gone { wanted, low, high } = self;
        let anew = "begin anew in an empty checkpoint directory";
        let why = match self.aged() {
            Some(n) if replayed => {
                format!(
                    "{n} offsets aged out since their batch ran, which cannot run again: replay batches behind a later checkpoint"
                )
            }
            Some(n) => {
                let on = "go on without them and have them counted: fail_on_data_loss(false)";
                format!("{n} offsets aged out before they were read; {anew}, or {on}")
            }
            None if replayed => "its end was cut off, or the topic was deleted and made again since its batch ran".into(),
            None => format!("its end was cut off, or the topic was deleted and made again; {anew}"),
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
pub(super) struct Inbox {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    room: AtomicUsize,
    high: AtomicI64,
    state: Mutex<State>,
}

impl Inbox {
    /// `room` in bytes: a block more than that may be in it, never two.
    pub(super) fn new(topic: Arc<str>, partition: i32, room: usize) -> Self {
        Inbox { topic, partition, room: AtomicUsize::new(room), high: AtomicI64::new(-1), state: Mutex::default() }
    }

    /// More partitions came: each gets less.
    pub(super) fn set_room(&self, room: usize) {
        self.room.store(room, Ordering::Relaxed);
    }

    pub(super) fn has_room(&self) -> bool {
        lock(&self.state).cost < self.room.load(Ordering::Relaxed)
    }

    /// Puts an item in. `true`: there was none before, so somebody may be waiting. Items of an older epoch are dropped.
    pub(super) fn push(&self, epoch: u64, item: Item) -> bool {
        let mut state = lock(&self.state);
        if state.epoch != epoch {
            return false;
        }
        if let Item::Block(block) = &item {
            state.cost += block.cost();
        }
        state.items.push_back(item);
        state.items.len() == 1
    }

    /// Takes an item out, and says whether there is room again because of that.
    pub(super) fn pop(&self) -> (Option<Item>, bool) {
        let mut state = lock(&self.state);
        let item = state.items.pop_front();
        let room = self.room.load(Ordering::Relaxed);
        let full = state.cost >= room;
        if let Some(Item::Block(block)) = &item {
            state.cost -= block.cost();
        }
        (item, full && state.cost < room)
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.state).items.is_empty()
    }

    /// Forgets what is in it, because the partition is read from elsewhere: what is under way belongs to the old epoch.
    pub(super) fn restart(&self) -> u64 {
        let mut state = lock(&self.state);
        state.items.clear();
        (state.cost, state.epoch) = (0, state.epoch + 1);
        state.epoch
    }

    pub(super) fn epoch(&self) -> u64 {
        lock(&self.state).epoch
    }

    /// The end of the partition as far as it is known, -1 if it is not.
    pub(super) fn high(&self) -> i64 {
        self.high.load(Ordering::Relaxed)
    }

    pub(super) fn set_high(&self, high: i64) {
        self.high.store(high, Ordering::Relaxed);
    }
}

/// Wakes the drain thread. librdkafka calls it under its own locks, so it takes none.
#[derive(Default)]
pub(super) struct Signal {
    raised: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Signal {
    /// Says which thread waits: the one that calls.
    pub(super) fn here(&self) {
        let _ = self.thread.set(std::thread::current());
    }

    pub(super) fn raise(&self) {
        if !self.raised.swap(true, Ordering::AcqRel)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Waits until it was raised since the last wait. `false`: the time was up.
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
        let inbox = Inbox::new("t".into(), 0, 150);
        assert!(inbox.push(0, block(0)), "the first wakes");
        assert!(inbox.has_room());
        assert!(!inbox.push(0, block(1)));
        assert!(!inbox.has_room());
        assert!(inbox.pop().1);
        assert!(inbox.has_room() && !inbox.pop().1 && inbox.is_empty());
    }

    #[test]
    fn what_was_under_way_before_a_restart_is_dropped() {
        let inbox = Inbox::new("t".into(), 0, 150);
        inbox.push(0, block(0));
        let epoch = inbox.restart();
        assert!(inbox.is_empty() && !inbox.push(0, block(1)) && inbox.is_empty());
        assert!(inbox.push(epoch, Item::End(7)));
        assert!(matches!(inbox.pop().0, Some(Item::End(7))));
    }

    #[test]
    fn a_signal_raised_before_anybody_waits_is_not_lost() {
        let signal = Signal::default();
        signal.raise();
        signal.here();
        assert!(signal.wait(Duration::from_secs(60)));
        assert!(!signal.wait(Duration::from_millis(1)));
    }
}
