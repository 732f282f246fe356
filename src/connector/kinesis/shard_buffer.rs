//! A bounded queue for each shard, between the fetcher's thread and the reader.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::connector::message::Block;
use crate::connector::source::Waker;
use crate::core::lock::lock;

/// What a shard delivered, in its order.
pub(super) enum Item {
    /// Records.
    Chunk(Chunk),
    /// The shard is closed, and all of its records were delivered.
    End,
    /// The record from which to go on is no longer in the shard; what the service says.
    Trimmed(String),
    /// The shard itself is no longer there: all of its records were older than the retention period; what the service says.
    Gone(String),
    /// Why the shard cannot be read any further.
    Fault(String),
}

/// Records of one answer.
#[derive(Clone)]
pub(super) struct Chunk {
    /// What they hold. A packed record is several messages.
    pub block: Arc<Block>,
    /// For each record: the position after its last message, and its sequence number.
    pub records: Arc<[(i64, Arc<str>)]>,
}

/// What of a shard was not taken yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    /// The oldest record has this timestamp, in milliseconds since the epoch.
    Since(i64),
    Unknown,
}

struct State {
    items: VecDeque<Item>,
    cost: usize,
    epoch: u64,
    capacity: usize,
    trouble: Option<String>,
    /// What the server has left, by its last answer.
    left: Left,
}

/// The queue of one shard.
pub(super) struct ShardBuffer {
    pub stream: Arc<str>,
    pub shard: Arc<str>,
    state: Mutex<State>,
    /// Wakes the fetcher when there is room, or another epoch.
    pub changed: Notify,
    /// Wakes the worker that reads it.
    waker: Waker,
}

impl ShardBuffer {
    pub fn new(stream: Arc<str>, shard: Arc<str>, capacity: usize, waker: Waker) -> Self {
        let items = VecDeque::new();
        let state = Mutex::new(State { items, cost: 0, epoch: 0, capacity, trouble: None, left: Left::Unknown });
        ShardBuffer { stream, shard, state, changed: Notify::new(), waker }
    }

    /// `shard shardId-000000000003 of stream clicks`.
    pub fn place(&self) -> String {
        format!("shard {} of stream {}", self.shard, self.stream)
    }

    /// Shards share the memory of a reader, so each gets less when there are more.
    pub fn set_capacity(&self, bytes: usize) {
        lock(&self.state).capacity = bytes;
    }

    /// Whether this epoch is over, and whether there is room.
    pub fn state(&self, epoch: u64) -> (bool, bool) {
        let state = lock(&self.state);
        (state.epoch != epoch, state.cost < state.capacity)
    }

    /// Adds an item; drops one of an older epoch. If the buffer was empty, the reader may be waiting, and is woken.
    pub fn push(&self, epoch: u64, item: Item) {
        let mut state = lock(&self.state);
        if state.epoch != epoch {
            return;
        }
        if let Item::Chunk(chunk) = &item {
            state.cost += chunk.block.cost();
        }
        state.items.push_back(item);
        let first = state.items.len() == 1;
        drop(state);
        if first {
            (self.waker)();
        }
    }

    pub fn pop(&self) -> Option<Item> {
        let mut state = lock(&self.state);
        let item = state.items.pop_front();
        if let Some(Item::Chunk(chunk)) = &item {
            let full = state.cost >= state.capacity;
            state.cost -= chunk.block.cost();
            if full && state.cost < state.capacity {
                self.changed.notify_one();
            }
        }
        item
    }

    pub fn is_empty(&self) -> bool {
        lock(&self.state).items.is_empty()
    }

    /// Drops all items and begins a new epoch, because the shard is read from another place.
    pub fn restart(&self) -> u64 {
        let mut state = lock(&self.state);
        state.items.clear();
        (state.cost, state.epoch, state.trouble, state.left) = (0, state.epoch + 1, None, Left::Unknown);
        self.changed.notify_one();
        state.epoch
    }

    pub fn set_left(&self, left: Left) {
        lock(&self.state).left = left;
    }

    /// What was not taken, here and on the server.
    pub fn left(&self) -> Left {
        let state = lock(&self.state);
        let of = |item: &Item| if let Item::Chunk(chunk) = item { chunk.block.timestamp(0) } else { None };
        state.items.iter().find_map(of).map_or(state.left, Left::Since)
    }

    pub fn set_trouble(&self, trouble: Option<String>) {
        lock(&self.state).trouble = trouble;
    }

    pub fn trouble(&self) -> Option<String> {
        lock(&self.state).trouble.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::message::Raw;

    fn chunk() -> Item {
        let mut block = Block::new("clicks".into(), 0, 0, 1, 100);
        assert!(block.push(&Raw { offset: 0, time: Some(700), ..Raw::default() }));
        Item::Chunk(Chunk { block: Arc::new(block), records: [(1, "49".into())].into() })
    }

    #[test]
    fn it_is_bounded_and_forgets_what_belongs_to_an_earlier_place() {
        let buffer = ShardBuffer::new("clicks".into(), "shardId-000000000000".into(), 100, Arc::new(|| ()));
        assert_eq!(buffer.state(0), (false, true));
        buffer.push(0, chunk());
        assert_eq!(buffer.state(0), (false, false));
        let epoch = buffer.restart();
        assert!(buffer.is_empty());
        assert_eq!((buffer.state(0), buffer.state(epoch)), ((true, true), (false, true)));
        buffer.push(0, chunk());
        assert!(buffer.is_empty());
        buffer.push(epoch, Item::End);
        assert!(matches!(buffer.pop(), Some(Item::End)));
    }

    #[test]
    fn the_lag_is_a_time() {
        let buffer = ShardBuffer::new("clicks".into(), "shardId-000000000000".into(), 100, Arc::new(|| ()));
        assert_eq!(buffer.left(), Left::Unknown);
        buffer.set_left(Left::Nothing);
        assert_eq!(buffer.left(), Left::Nothing);
        buffer.set_left(Left::Since(900));
        assert_eq!(buffer.left(), Left::Since(900));
        buffer.push(0, chunk());
        assert_eq!(buffer.left(), Left::Since(700));
    }
}
