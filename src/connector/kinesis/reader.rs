//! The worker's half of a Kinesis source: emits the records that the fetcher put into the buffers of its shards, and never waits.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use crate::connector::kinesis::cursor::{Cursor, Ready};
use crate::connector::kinesis::fetcher::{Fetcher, Follow};
use crate::connector::kinesis::number::Place;
use crate::connector::kinesis::shard_buffer::{Left, ShardBuffer};
use crate::connector::kinesis::source::KinesisSource;
use crate::connector::message::Message;
use crate::connector::source::{Emit, ReaderContext, Sealed, ShardSpan, SourceReader, SplitRange};
use crate::core::error::{Error, Result};
use crate::core::plan::{Limits, Split};

/// The number of messages that one call gives.
const ROWS: usize = 4096;
/// The number that it gives of each shard, if shards stay near one another in event time.
const ALIGNED_ROWS: usize = 512;
/// The bytes of records that wait in all buffers of a reader; each gets an equal part, within bounds.
const BYTES: usize = 64 << 20;
/// The smallest and the largest buffer: at least one answer fits.
const BUFFER: (usize, usize) = (1 << 20, 16 << 20);

/// Reads the shards of one worker. All readers of the source in a process share a thread.
pub(super) struct KinesisReader {
    kinesis: KinesisSource,
    context: ReaderContext,
    fetcher: Option<Arc<Fetcher>>,
    cursors: Vec<Cursor>,
    limits: Limits,
    /// The shards that are ahead in event time. `None`: they need not stay near one another.
    paused: Option<BTreeSet<u32>>,
    turn: usize,
    lost: Vec<(u32, Range<i64>)>,
}

impl KinesisReader {
    pub fn new(kinesis: &KinesisSource, context: &ReaderContext) -> Self {
        KinesisReader {
            kinesis: kinesis.clone(),
            context: context.clone(),
            fetcher: None,
            cursors: Vec::new(),
            limits: Limits::default(),
            paused: None,
            turn: 0,
            lost: Vec::new(),
        }
    }

    fn fault(&self, text: impl ToString) -> Error {
        self.kinesis.fault(text)
    }

    /// The fetcher reads the shard from the cursor's mark on.
    fn follow(&mut self, i: usize, epoch: u64) -> Result<()> {
        if self.fetcher.is_none() {
            self.fetcher = Some(self.context.shared(|| Fetcher::start(&self.kinesis))?);
        }
        let cursor = &self.cursors[i];
        let (position, after) = cursor.mark();
        let follow = Follow { buffer: cursor.buffer.clone(), epoch, partition: cursor.partition, position, after };
        if let Some(fetcher) = &self.fetcher {
            fetcher.follow(follow);
        }
        Ok(())
    }

    fn begin(&mut self, i: usize, mark: (i64, Arc<str>), next: i64) -> Result<()> {
        let epoch = self.cursors[i].restart(mark, next);
        self.follow(i, epoch)
    }

    /// Records were older than the retention period before they were read. An error, except if the user allows it.
    fn may_lose(&self, i: usize, text: &str) -> Result<()> {
        let cursor = &self.cursors[i];
        let place = cursor.buffer.place();
        if self.kinesis.replayed {
            let remedy = "the batch cannot run again: replay batches behind a later checkpoint";
            return Err(self.fault(format!("{place}: records aged out since their batch ran, {remedy} ({text})")));
        }
        if self.kinesis.stops_at_loss {
            let after = match Place::of(cursor.number()) {
                Place::After(number) => format!("after sequence number {number}"),
                _ => "at the beginning".into(),
            };
            let remedy = "start again with an empty checkpoint directory, or go on without them and have them counted: \
                          fail_on_data_loss(false)";
            return Err(self.fault(format!("{place}: records {after} aged out before they were read; {remedy} ({text})")));
        }
        tracing::error!("{place}: records aged out before they were read: lost ({text})");
        Ok(())
    }

    /// Goes on with the oldest record of a live shard. The gap counts as one record, because nobody knows its size.
    fn pass_lost(&mut self, i: usize, text: &str, gone: bool) -> Result<()> {
        self.may_lose(i, text)?;
        let gap = self.cursors[i].skip_one();
        self.lost.push((self.cursors[i].split_id, gap.clone()));
        let epoch = self.cursors[i].pass((gap.end, "".into()));
        if gone {
            self.cursors[i].give_up();
            return Ok(());
        }
        self.follow(i, epoch)
    }

    /// Gives at most `most` messages of one cursor to a live batch. Returns the number taken.
    fn give(&mut self, i: usize, most: usize, emit: &mut Emit<'_, Message>) -> Result<usize> {
        let mut taken = 0;
        while taken < most && !self.cursors[i].has_ended() {
            match self.cursors[i].fill().map_err(|text| self.fault(text))? {
                Ready::Rows => taken += self.emit_front(i, i64::MAX, most - taken, emit),
                Ready::Lost(text, gone) => self.pass_lost(i, &text, gone)?,
                Ready::Nothing | Ready::Ended => break,
            }
        }
        Ok(taken)
    }

    fn emit_front(&mut self, i: usize, until: i64, most: usize, emit: &mut Emit<'_, Message>) -> usize {
        let cursor = &mut self.cursors[i];
        let mut rows = Vec::new();
        let (n, bytes) = cursor.take(until, most, &mut rows);
        if !rows.is_empty() {
            emit(cursor.split_id, rows, bytes);
        }
        n
    }

    fn cursor(&self, split_id: u32) -> Result<usize> {
        let found = self.cursors.iter().position(|c| c.split_id == split_id);
        found.ok_or_else(|| Error::bug(format!("no shard has split id {split_id}")))
    }

    /// Reads a given range from its beginning on. `true`: it is complete.
    fn read_on(&mut self, i: usize, range: &SplitRange, span: &ShardSpan, emit: &mut Emit<'_, Message>) -> Result<bool> {
        let (mut left, whole) = (ROWS, range.until == span.until);
        let done = |c: &Cursor| c.complete(range.until) && (!whole || c.has_passed(&span.through));
        while left > 0 && !done(&self.cursors[i]) {
            match self.cursors[i].fill().map_err(|text| self.fault(text))? {
                // All messages were given, and the next record is a later one than the plan says.
                Ready::Rows if self.cursors[i].complete(range.until) => break,
                Ready::Rows => left = left.saturating_sub(self.emit_front(i, range.until, left, emit)),
                Ready::Nothing => return Ok(false),
                // The range is counted from its end.
                Ready::Lost(text, gone) => return self.recount(i, range, span, &text, gone, emit),
                Ready::Ended => break,
            }
        }
        let cursor = &self.cursors[i];
        if left > 0 && !(whole && cursor.agrees(span.until, &span.through) || !whole && cursor.complete(range.until)) {
            let (place, (position, number)) = (cursor.buffer.place(), cursor.mark());
            let what = format!(
                "{place}: position {position} is at \"{number}\", and the plan says {} at \"{}\"",
                span.until, span.through
            );
            return Err(self.fault(format!("{what}: it is not the stream that was planned")));
        }
        Ok(done(cursor))
    }

    /// The record before a range is gone, and perhaps more: reads from the oldest record on, and counts back from the end of the span.
    fn recount(
        &mut self,
        i: usize,
        range: &SplitRange,
        span: &ShardSpan,
        text: &str,
        gone: bool,
        emit: &mut Emit<'_, Message>,
    ) -> Result<bool> {
        if gone || span.until == range.from || !matches!(Place::of(&span.through), Place::After(_)) {
            self.cursors[i].collect();
            return self.counted(i, range, span, text, emit);
        }
        self.begin(i, (span.from, "".into()), span.from)?;
        self.cursors[i].collect();
        self.collect(i, range, span, text, emit)
    }

    /// Collects the messages of a range until its last record. `true`: it is complete.
    fn collect(
        &mut self,
        i: usize,
        range: &SplitRange,
        span: &ShardSpan,
        text: &str,
        emit: &mut Emit<'_, Message>,
    ) -> Result<bool> {
        loop {
            let complete = match self.cursors[i].fill().map_err(|text| self.fault(text))? {
                Ready::Rows => self.cursors[i].collect_front(&span.through),
                Ready::Nothing if !self.cursors[i].has_passed(&span.through) => return Ok(false),
                Ready::Nothing | Ready::Lost(..) | Ready::Ended => true,
            };
            if complete {
                return self.counted(i, range, span, text, emit);
            }
        }
    }

    /// Gives what was collected of a range. What is missing at its beginning is lost.
    fn counted(
        &mut self,
        i: usize,
        range: &SplitRange,
        span: &ShardSpan,
        text: &str,
        emit: &mut Emit<'_, Message>,
    ) -> Result<bool> {
        let messages = self.cursors[i].collected(span.until, &span.through);
        let first = (span.until - messages.len() as i64).clamp(range.from, range.until);
        if range.from < first {
            self.may_lose(i, text)?;
            self.lost.push((self.cursors[i].split_id, range.from..first));
        }
        let mine = |m: &Message| (range.from..range.until).contains(&m.offset());
        let rows: Vec<Message> = messages.into_iter().filter(mine).collect();
        let bytes = rows.iter().map(|m| m.raw().len()).sum();
        if !rows.is_empty() {
            emit(self.cursors[i].split_id, rows, bytes);
        }
        self.after_range(i, range, span)?;
        Ok(true)
    }

    /// A range was given that was not read in the order of the buffer: what follows begins at its end.
    fn after_range(&mut self, i: usize, range: &SplitRange, span: &ShardSpan) -> Result<()> {
        if range.until != span.until {
            return Ok(());
        }
        let end = (span.until, span.through.clone());
        if span.ended {
            self.cursors[i].end_at(end);
            return Ok(());
        }
        self.begin(i, end, range.until)
    }
}

impl Drop for KinesisReader {
    fn drop(&mut self) {
        // The tasks of these shards end.
        self.cursors.iter().for_each(|c| _ = c.buffer.restart());
    }
}

impl SourceReader<Message> for KinesisReader {
    fn assign(&mut self, split_id: u32, split: &Split, from: Option<i64>) -> Result<()> {
        let Split::Shard { stream, shard, span } = split else {
            return Err(self.fault(format!("{} is not a shard of Kinesis", split.name())));
        };
        let i = match self.cursors.iter().position(|c| c.buffer.shard == *shard) {
            Some(i) => i,
            None => {
                let capacity = (BYTES / (self.cursors.len() + 1)).clamp(BUFFER.0, BUFFER.1);
                self.cursors.iter().for_each(|c| c.buffer.set_capacity(capacity));
                let buffer = ShardBuffer::new(stream.clone(), shard.clone(), capacity, self.context.waker().clone());
                self.cursors.push(Cursor::new(split_id, split.partition(), buffer));
                self.cursors.len() - 1
            }
        };
        self.cursors[i].split_id = split_id;
        match from {
            Some(from) if span.ended && from == span.until => self.cursors[i].end_at(span.base(from)),
            Some(from) if !self.cursors[i].is_at(from) => self.begin(i, span.base(from), from)?,
            _ => {}
        }
        Ok(())
    }

    fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    fn pause(&mut self, split_ids: &BTreeSet<u32>) {
        self.paused = Some(split_ids.clone());
    }

    fn read(&mut self, emit: &mut Emit<'_, Message>) -> Result<bool> {
        let (mut left, count) = (ROWS, self.cursors.len());
        let each = if self.paused.is_some() { ALIGNED_ROWS } else { ROWS };
        for k in 0..count {
            let i = (self.turn + k) % count;
            let cursor = &self.cursors[i];
            if !cursor.is_live() || self.paused.as_ref().is_some_and(|paused| paused.contains(&cursor.split_id)) {
                continue;
            }
            let allowed = self.limits.of(cursor.split_id).map_or(u64::MAX, |limit| limit.saturating_sub(cursor.given));
            let most = left.min(each).min(usize::try_from(allowed).unwrap_or(usize::MAX));
            if most > 0 {
                left = left.saturating_sub(self.give(i, most, emit)?);
            }
            if left == 0 {
                // The next call begins with the next shard, so that none starves another.
                self.turn = (i + 1) % count;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn read_so_far(&self) -> BTreeMap<u32, Range<i64>> {
        let open = |c: &Cursor| Some((c.split_id, c.open_range()?));
        self.cursors.iter().filter_map(open).collect()
    }

    fn span(&self, split_id: u32, positions: &Range<i64>) -> Option<ShardSpan> {
        self.cursors.iter().find(|c| c.split_id == split_id).map(|c| c.span(positions))
    }

    fn seal(&mut self, _emit: &mut Emit<'_, Message>) -> Result<Sealed> {
        let (mut sealed, mut waits) = (Sealed::default(), false);
        for cursor in &mut self.cursors {
            waits |= !cursor.is_idle();
            let Some(range) = cursor.seal() else { continue };
            sealed.ranges.insert(cursor.split_id, range);
            // How many records are left is known only if none is.
            match cursor.left() {
                Left::Nothing => drop(sealed.lag.insert(cursor.split_id, 0)),
                Left::Since(ms) => drop(sealed.oldest.insert(cursor.split_id, u64::try_from(ms).unwrap_or(0))),
                Left::Unknown => {}
            }
        }
        // A shard at its limit has rows for the next batch, and no other event wakes the worker for them.
        if waits {
            (self.context.waker())();
        }
        Ok(sealed)
    }

    fn read_range(&mut self, split_id: u32, range: &SplitRange, emit: &mut Emit<'_, Message>) -> Result<bool> {
        let i = self.cursor(split_id)?;
        let Split::Shard { span, .. } = &range.split else {
            return Err(self.fault(format!("{} is not a shard of Kinesis", range.split.name())));
        };
        if range.from == range.until {
            if !self.cursors[i].is_at(range.until) || span.ended {
                self.after_range(i, range, span)?;
            }
            return Ok(true);
        }
        if self.cursors[i].is_collecting() {
            return self.collect(i, range, span, "they are not there", emit);
        }
        // A range with many rows takes several calls, and the later ones go on where the one before stopped.
        if !self.cursors[i].began_at(range.from) {
            self.begin(i, span.base(range.from), range.from)?;
        }
        if Cursor::must_collect(span) && matches!(Place::of(&span.through), Place::After(_)) && range.from < span.until {
            // The first range of a shard begins at a place without a number.
            self.begin(i, (span.from, span.after.clone()), span.from)?;
            self.cursors[i].collect();
            return self.collect(i, range, span, "they are not there", emit);
        }
        let complete = self.read_on(i, range, span, emit)?;
        if complete && span.ended && range.until == span.until {
            self.cursors[i].end_at((span.until, span.through.clone()));
        } else if complete {
            self.cursors[i].passed();
        }
        Ok(complete)
    }

    fn health(&self) -> Result<(), String> {
        self.cursors.iter().find_map(|c| c.buffer.trouble()).map_or(Ok(()), Err)
    }

    fn data_loss(&mut self) -> Vec<(u32, Range<i64>)> {
        std::mem::take(&mut self.lost)
    }
}
