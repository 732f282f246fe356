//! The place of a reader in one shard. It has all of the logic and does not depend on Kinesis.
//!
//! *Invariant:* a live batch ends behind a record, never inside one that the producer library has packed.

use std::ops::Range;
use std::sync::Arc;

use crate::connector::kinesis::number::{Place, compare};
use crate::connector::kinesis::shard_buffer::{Chunk, Item, Left, ShardBuffer};
use crate::connector::message::{Message, Raw};
use crate::core::plan::ShardSpan;

/// A position whose sequence number is known.
type Mark = (i64, Arc<str>);

/// What a cursor found in its buffer.
pub(super) enum Ready {
    /// A chunk is in front.
    Rows,
    /// Nothing.
    Nothing,
    /// The shard has no more records.
    Ended,
    /// Records are gone; what the service says, and whether the shard itself is gone.
    Lost(String, bool),
}

/// The place in a shard.
pub(super) struct Cursor {
    pub split_id: u32,
    pub buffer: Arc<ShardBuffer>,
    pub partition: i32,
    /// Where the open batch begins.
    open: Mark,
    /// The last record that was given completely.
    at: Mark,
    /// The first record that ends at this position. A record from which all messages were left out ends where the one before it ends.
    first_at: Arc<str>,
    /// The position after the last message given; `None` until `assign` or a range sets the beginning.
    next: Option<i64>,
    /// Whether the fetcher reads from here on.
    reads: bool,
    /// The number of messages that the open batch took.
    pub given: u64,
    /// A partly given chunk, and its next message.
    front: Option<(Chunk, usize)>,
    /// Whether the last record of a closed shard was given, and whether a plan has that.
    ended: bool,
    planned_end: bool,
    /// The last batch that was sealed.
    sealed: ShardSpan,
    /// Records of a given range whose beginning is unknown: they are counted back from its end.
    collected: Option<Vec<Message>>,
}

impl Cursor {
    pub fn new(split_id: u32, partition: i32, buffer: ShardBuffer) -> Self {
        let nowhere = || (0, Arc::from(""));
        Cursor {
            split_id,
            buffer: Arc::new(buffer),
            partition,
            open: nowhere(),
            at: nowhere(),
            first_at: "".into(),
            next: None,
            reads: false,
            given: 0,
            front: None,
            ended: false,
            planned_end: false,
            sealed: ShardSpan::default(),
            collected: None,
        }
    }

    /// Goes to a mark and drops records in transit; messages before `next` are left out. Returns the new epoch, for the fetcher.
    pub fn restart(&mut self, mark: Mark, next: i64) -> u64 {
        (self.open, self.at) = ((next, mark.1.clone()), mark);
        self.go_on(next)
    }

    /// Like `restart`, without beginning a new batch.
    pub fn pass(&mut self, mark: Mark) -> u64 {
        let next = mark.0;
        self.at = mark;
        self.go_on(next)
    }

    fn go_on(&mut self, next: i64) -> u64 {
        (self.next, self.front, self.reads, self.ended, self.collected) = (Some(next), None, true, false, None);
        self.first_at = self.at.1.clone();
        self.buffer.restart()
    }

    /// The shard was read to its end by an earlier run.
    pub fn end_at(&mut self, mark: Mark) {
        self.buffer.restart();
        (self.next, self.front, self.reads, self.ended, self.planned_end) = (Some(mark.0), None, true, true, true);
        (self.open, self.at) = (mark.clone(), mark);
    }

    /// Where it is, for the fetcher.
    pub fn mark(&self) -> Mark {
        self.at.clone()
    }

    /// Whether it is there, and reads on.
    pub fn is_at(&self, position: i64) -> bool {
        self.reads && self.next == Some(position)
    }

    /// Whether the open batch, or the given range that is being read, begins there. Then it reads on where it is.
    pub fn began_at(&self, position: i64) -> bool {
        self.reads && self.open.0 == position
    }

    /// Whether a live batch may have something of it.
    pub fn is_live(&self) -> bool {
        self.next.is_some() && !self.planned_end
    }

    pub fn is_idle(&self) -> bool {
        self.front.is_none() && self.buffer.is_empty()
    }

    /// The shard is gone, and whatever it had.
    pub fn give_up(&mut self) {
        self.ended = true;
    }

    /// Whether its last record was given.
    pub fn has_ended(&self) -> bool {
        self.ended && self.front.is_none()
    }

    /// Counts a gap of unknown size as one position. Returns it.
    pub fn skip_one(&mut self) -> Range<i64> {
        let from = self.next.unwrap_or_default();
        from..from + 1
    }

    /// Puts a chunk in front if one is available.
    ///
    /// # Errors
    /// Why the shard cannot be read.
    pub fn fill(&mut self) -> Result<Ready, String> {
        while self.front.is_none() {
            match self.buffer.pop() {
                None => return Ok(Ready::Nothing),
                Some(Item::Chunk(chunk)) => {
                    let skipped = chunk.block.before(0, self.next.unwrap_or_default());
                    self.front = Some((chunk, skipped));
                    self.pass_empty();
                }
                Some(Item::End) => {
                    self.ended = true;
                    return Ok(Ready::Ended);
                }
                Some(Item::Trimmed(text)) => return Ok(Ready::Lost(text, false)),
                Some(Item::Gone(text)) => return Ok(Ready::Lost(text, true)),
                Some(Item::Fault(text)) => return Err(text),
            }
        }
        Ok(Ready::Rows)
    }

    /// Passes records without messages, and a chunk that is given.
    fn pass_empty(&mut self) {
        let Some(next) = self.next else { return };
        let Some((chunk, index)) = &self.front else { return };
        let passed = chunk.records.partition_point(|(until, _)| *until <= next);
        if let Some((until, number)) = chunk.records[..passed].last() {
            if *until > self.at.0 {
                let first = chunk.records.partition_point(|(end, _)| end < until);
                self.first_at = chunk.records[first].1.clone();
            }
            self.at = (*until, number.clone());
        }
        if *index >= chunk.block.len() {
            self.front = None;
        }
    }

    /// Takes messages of the chunk in front before `until`: about `most`, so that it ends behind a record. Returns their number and bytes.
    pub fn take(&mut self, until: i64, most: usize, out: &mut Vec<Message>) -> (usize, usize) {
        let Some((chunk, index)) = &self.front else { return (0, 0) };
        let (block, index) = (chunk.block.clone(), *index);
        let wanted = block.before(index, until).min(most);
        if wanted == 0 {
            return (0, 0);
        }
        let last = block.offset(index + wanted - 1) + 1;
        let border = chunk.records.partition_point(|(end, _)| *end < last);
        let end = chunk.records.get(border).map_or(last, |(end, _)| *end).min(until);
        let to = index + block.before(index, end);
        out.extend(block.messages(index, to));
        self.next = Some(end);
        self.given += (to - index) as u64;
        if let Some((_, index)) = &mut self.front {
            *index = to;
        }
        self.pass_empty();
        (to - index, block.span(index, to))
    }

    /// Whether all messages before `until` were given.
    pub fn complete(&self, until: i64) -> bool {
        self.next.is_some_and(|next| next >= until)
    }

    /// Whether the record `through` was passed, or a later one.
    pub fn has_passed(&self, through: &str) -> bool {
        matches!(Place::of(&self.at.1), Place::After(number) if compare(number, through).is_ge())
    }

    /// Whether the position is behind the record `through`, as a plan says.
    pub fn agrees(&self, until: i64, through: &str) -> bool {
        self.at.0 == until && self.has_passed(through) && (*self.first_at == *through || compare(&self.first_at, through).is_le())
    }

    /// A given range was read to its end: the open batch begins behind it.
    pub fn passed(&mut self) {
        if let Some(next) = self.next {
            (self.open, self.given) = ((next, self.at.1.clone()), 0);
        }
    }

    /// What the open batch has so far.
    pub fn open_range(&self) -> Option<Range<i64>> {
        self.next.filter(|_| !self.planned_end).map(|next| self.open.0..next)
    }

    /// The sequence number of the last record that was given completely.
    pub fn number(&self) -> &str {
        &self.at.1
    }

    /// Ends the open batch. `None`: it has nothing of this shard, and never will.
    pub fn seal(&mut self) -> Option<Range<i64>> {
        let next = self.next.filter(|_| !self.planned_end)?;
        let range = self.open.0..next;
        self.sealed = self.span_to(next);
        self.planned_end = self.sealed.ended;
        (self.open, self.given) = (self.at.clone(), 0);
        self.open.0 = next;
        Some(range)
    }

    fn span_to(&self, next: i64) -> ShardSpan {
        let (from, after) = self.open.clone();
        let (until, through) = self.at.clone();
        ShardSpan { from, after, until, through, ended: self.has_ended() && next >= until }
    }

    /// The sequence numbers of the open batch, or of the one that was sealed last.
    pub fn span(&self, positions: &Range<i64>) -> ShardSpan {
        if positions.start < self.open.0 || (self.planned_end && self.sealed.ended) {
            self.sealed.clone()
        } else {
            self.span_to(self.next.unwrap_or_default())
        }
    }

    /// What was not given.
    pub fn left(&self) -> Left {
        let front = self.front.as_ref().and_then(|(chunk, index)| chunk.block.timestamp(*index));
        match front {
            Some(ms) => Left::Since(ms),
            None if self.ended => Left::Nothing,
            None => self.buffer.left(),
        }
    }

    // --- a given range whose beginning is unknown ---

    /// Whether the messages of a range must be counted from its end: a place without a sequence number does not show whether records are
    /// gone since.
    pub fn must_collect(span: &ShardSpan) -> bool {
        !matches!(Place::of(&span.after), Place::After(_))
    }

    pub fn collect(&mut self) {
        self.collected.get_or_insert_default();
    }

    pub fn is_collecting(&self) -> bool {
        self.collected.is_some()
    }

    /// Collects the messages of the chunk in front up to the record `through`. `true`: they are complete.
    pub fn collect_front(&mut self, through: &str) -> bool {
        let Some((chunk, index)) = self.front.take() else { return false };
        let mine = chunk.records.partition_point(|(_, number)| compare(number, through).is_le());
        let last = chunk.records[..mine].last();
        let until = last.map(|(until, _)| *until);
        let to = until.map_or(index, |until| index + chunk.block.before(index, until));
        if let Some(collected) = &mut self.collected {
            collected.extend(chunk.block.messages(index, to));
        }
        let seen = last.is_some_and(|(_, number)| **number == *through);
        let complete = seen || mine < chunk.records.len();
        self.next = until.or(self.next);
        complete
    }

    /// The messages that were collected, by the positions that they have if the last one is right before `until`. Then the place is behind
    /// them, and the next range must go to its own beginning.
    pub fn collected(&mut self, until: i64, through: &Arc<str>) -> Vec<Message> {
        let messages = self.collected.take().unwrap_or_default();
        let first = until - messages.len() as i64;
        self.buffer.restart();
        (self.next, self.at, self.reads, self.front) = (Some(until), (until, through.clone()), false, None);
        let placed = |(message, offset): (&Message, i64)| {
            let headers = &[];
            let raw = Raw { offset, time: message.timestamp(), key: message.key(), value: message.value_opt(), headers };
            Message::of(message.topic().into(), message.partition(), &raw)
        };
        messages.iter().zip(first..).map(placed).collect()
    }
}
