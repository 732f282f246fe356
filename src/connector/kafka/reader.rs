//! The worker's half of a Kafka source: emits the records that the fetcher put into the partition buffers, and never waits.
//!
//! `Cursor` has all of the logic and does not depend on Kafka. It tracks a partition's position, where a live batch ends, and when a
//! given range is complete. *Invariant:* a range is complete on a record or an end of the partition whose own offset is not
//! before `until`. An older end proves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use crate::connector::kafka::fetcher::{Command, Fetcher};
use crate::connector::kafka::partition_buffer::{Item, OutOfRange, PartitionBuffer};
use crate::connector::kafka::source::{KafkaSource, Tombstones};
use crate::connector::message::{Block, Message};
use crate::connector::source::{Emit, ReaderContext, Sealed, SourceReader, SplitRange};
use crate::core::error::{Error, Result};
use crate::core::plan::{Limits, Split};

/// The number of rows that one call gives.
const ROWS: usize = 4096;
/// The number that it gives of each partition, if partitions stay near one another in event time.
const ALIGNED_ROWS: usize = 512;
/// The bytes of records that wait in all buffers of a reader; each gets an equal part, within bounds.
const BYTES: usize = 64 << 20;
/// The smallest and the largest buffer.
const BUFFER: (usize, usize) = (1 << 20, 16 << 20);

/// The position in a partition.
struct Cursor {
    split_id: u32,
    split: Split,
    buffer: Arc<PartitionBuffer>,
    skip_nulls: bool,
    /// The open batch's first offset.
    from: i64,
    /// The offset after the last record given; `None` until `assign` or a range sets the beginning.
    next: Option<i64>,
    /// The number of records that the open batch took.
    given: u64,
    /// A partly given block, and its next record.
    front: Option<(Arc<Block>, usize)>,
    /// The last end that was seen: no other record exists before it.
    end: i64,
    /// The end for which the brokers were asked whether the log continues.
    asked: i64,
    /// The last known beginning of the log.
    low: i64,
}

/// What a cursor can give now.
#[derive(Debug, PartialEq, Eq)]
enum Ready {
    /// A block is in front.
    Rows,
    /// The next offset is not in the log.
    OutOfRange(OutOfRange),
    /// Nothing.
    Nothing,
}

impl Cursor {
    fn new(split_id: u32, split: &Split, buffer: PartitionBuffer, skip_nulls: bool) -> Self {
        let (split, buffer) = (split.clone(), Arc::new(buffer));
        Cursor { split_id, split, buffer, skip_nulls, from: 0, next: None, given: 0, front: None, end: -1, asked: -1, low: -1 }
    }

    /// Seeks to `from` and drops records in transit. Returns the new epoch, for the fetcher.
    fn restart(&mut self, from: i64) -> u64 {
        (self.from, self.next, self.front, self.end, self.asked) = (from, Some(from), None, -1, -1);
        self.buffer.restart()
    }

    /// Like `restart`, without beginning a new batch.
    fn pass(&mut self, to: i64) -> u64 {
        let from = self.from;
        let epoch = self.restart(to);
        self.from = from;
        epoch
    }

    /// Puts a block in front if one is available. Sets `room` if the buffer was full and no longer is.
    fn fill(&mut self, room: &mut bool) -> Result<Ready, String> {
        while self.front.is_none() {
            let (item, freed) = self.buffer.pop();
            *room |= freed;
            match item {
                None => return Ok(Ready::Nothing),
                Some(Item::Block(block)) => self.front = Some((block, 0)),
                Some(Item::End(offset)) => self.end = self.end.max(offset),
                Some(Item::OutOfRange(missing)) => return Ok(Ready::OutOfRange(missing)),
                Some(Item::Fault(text)) => return Err(text),
            }
        }
        Ok(Ready::Rows)
    }

    /// Takes rows of the block in front: at most `most`, all before `until`. Returns their number, including skipped ones, and
    /// their bytes.
    fn take(&mut self, until: i64, most: usize, out: &mut Vec<Message>) -> (usize, usize) {
        let Some((block, at)) = self.front.take() else { return (0, 0) };
        let n = block.before(at, until).min(most);
        let to = at + n;
        if n > 0 {
            let skip = self.skip_nulls && block.has_nulls();
            out.extend(block.messages(at, to).filter(|m| !skip || m.value_opt().is_some()));
            self.next = Some(block.offset(to - 1) + 1);
            self.given += n as u64;
        }
        let bytes = block.span(at, to);
        self.front = (to < block.len()).then_some((block, to));
        (n, bytes)
    }

    /// Moves the position to the last end, over offsets without records: control records, aborted records, gaps.
    fn pass_end(&mut self) {
        if self.front.is_none()
            && let Some(next) = &mut self.next
        {
            *next = (*next).max(self.end);
        }
    }

    /// Whether everything before `until` was given: a record or an end at or behind it was seen.
    fn complete(&self, until: i64) -> bool {
        let Some(next) = self.next else { return false };
        let behind = self.front.as_ref().is_some_and(|(block, at)| block.offset(*at) >= until);
        next >= until || behind || (self.front.is_none() && self.end >= until)
    }

    /// Ends the open batch.
    fn seal(&mut self) -> Option<Range<i64>> {
        let until = self.next?;
        let from = std::mem::replace(&mut self.from, until);
        self.given = 0;
        Some(from..until)
    }

    /// Whether to ask if the log is shorter than the range, because the last end seen is before `until`. `true` once for each
    /// end.
    fn must_ask(&mut self, until: i64) -> bool {
        let ask = self.end >= 0 && self.end < until && self.asked < self.end;
        if ask {
            self.asked = self.end;
        }
        ask
    }

    /// The timestamp of the next record, if it has been fetched.
    fn oldest(&self) -> Option<u64> {
        let time = match &self.front {
            Some((block, at)) => block.timestamp(*at),
            None => self.buffer.oldest(),
        };
        time.and_then(|ms| u64::try_from(ms).ok())
    }

    fn lag(&self) -> Option<u64> {
        let high = self.buffer.high();
        (high >= 0).then(|| u64::try_from(high - self.next.unwrap_or(high)).unwrap_or(0))
    }
}

/// Reads the partitions of one worker. The first partition of a process starts the thread and the connection, which all readers of the
/// source in the process share.
pub struct KafkaReader {
    kafka: KafkaSource,
    /// Whether it reads ahead. If not, it reads only given ranges.
    live: bool,
    context: ReaderContext,
    fetcher: Option<Arc<Fetcher>>,
    cursors: Vec<Cursor>,
    limits: Limits,
    /// The partitions that are ahead in event time. `None`: they need not stay near one another.
    paused: Option<BTreeSet<u32>>,
    turn: usize,
    lost: Vec<(u32, Range<i64>)>,
    /// The trouble before the last seal. The lag of that seal is at least as new.
    trouble: Option<String>,
}

impl KafkaReader {
    /// A reader without partitions.
    ///
    /// # Errors
    /// The description is wrong. No broker is contacted yet.
    pub fn new(kafka: &KafkaSource, context: &ReaderContext) -> Result<Self> {
        kafka.check()?;
        Ok(KafkaReader {
            kafka: kafka.clone(),
            live: true,
            context: context.clone(),
            fetcher: None,
            cursors: Vec::new(),
            limits: Limits::default(),
            paused: None,
            turn: 0,
            lost: Vec::new(),
            trouble: None,
        })
    }

    /// The reader of a planned source.
    pub(super) fn only_ranges(mut self) -> Self {
        self.live = false;
        self
    }

    fn fault(&self, text: impl ToString) -> Error {
        Error::source(format!("Kafka at {}", self.kafka.settings.brokers), text)
    }

    fn fetcher(&mut self) -> Result<&Fetcher> {
        if self.fetcher.is_none() {
            self.fetcher = Some(self.context.shared(|| Fetcher::start(&self.kafka))?);
        }
        self.fetcher.as_deref().ok_or_else(|| Error::config("the fetcher is not there"))
    }

    fn begin(&mut self, i: usize, from: i64) -> Result<()> {
        let epoch = self.cursors[i].restart(from);
        let buffer = self.cursors[i].buffer.clone();
        self.fetcher()?.send(Command::Read { buffer, epoch, from });
        Ok(())
    }

    /// The next offset is not in the log. This is an error, except if the offset expired and the user allows data loss. An
    /// offset that never existed is always an error. In a replay, every missing offset is an error.
    fn pass(&mut self, i: usize, missing: OutOfRange, until: i64) -> Result<()> {
        let replayed = self.kafka.replayed;
        if missing.expired().is_none() || self.kafka.stops_at_loss || replayed {
            let split = &self.cursors[i].split;
            let (topic, partition) = (split.name(), split.partition());
            return Err(self.fault(format!("topic {topic}, partition {partition}: {}", missing.message(replayed))));
        }
        self.cursors[i].low = missing.low;
        let from = missing.wanted.min(until);
        self.pass_expired(i, from, until)
    }

    /// Continues at the first offset of the log, or at `until`, and records the loss.
    fn pass_expired(&mut self, i: usize, from: i64, until: i64) -> Result<()> {
        let cursor = &mut self.cursors[i];
        let to = cursor.low.clamp(from, until);
        if from < to {
            let (topic, partition) = (cursor.split.name(), cursor.split.partition());
            tracing::error!("topic {topic}, partition {partition}: offsets {from} to {to} aged out before they were read: lost");
            self.lost.push((cursor.split_id, from..to));
        }
        let (epoch, buffer) = (cursor.pass(to), cursor.buffer.clone());
        self.fetcher()?.send(Command::Read { buffer, epoch, from: to });
        Ok(())
    }

    fn wake_fetcher_if(&self, room: bool) {
        if room && let Some(fetcher) = &self.fetcher {
            fetcher.wake();
        }
    }

    /// Gives at most `most` rows of one cursor before `until`. Returns the number taken, and whether the buffer is now empty.
    fn give(&mut self, i: usize, until: i64, most: usize, emit: &mut Emit<'_, Message>) -> Result<(usize, bool)> {
        let (mut taken, mut room, mut dry) = (0, false, false);
        while taken < most && !self.cursors[i].complete(until) {
            let cursor = &mut self.cursors[i];
            match cursor.fill(&mut room) {
                Err(text) => return Err(self.fault(text)),
                Ok(Ready::OutOfRange(missing)) => {
                    self.pass(i, missing, until)?;
                    break;
                }
                Ok(Ready::Nothing) => {
                    dry = true;
                    break;
                }
                Ok(Ready::Rows) => {}
            }
            let (block, at) = cursor.front.as_ref().map_or((0, 0), |(b, at)| (b.len(), *at));
            let mut rows = Vec::with_capacity((block - at).min(most - taken));
            let (n, bytes) = cursor.take(until, most - taken, &mut rows);
            if n == 0 {
                break;
            }
            taken += n;
            if !rows.is_empty() {
                emit(cursor.split_id, rows, bytes);
            }
        }
        self.wake_fetcher_if(room);
        Ok((taken, dry))
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        if let Some(fetcher) = &self.fetcher {
            self.cursors.drain(..).for_each(|c| fetcher.send(Command::Forget { buffer: c.buffer }));
        }
    }
}

impl SourceReader<Message> for KafkaReader {
    fn assign(&mut self, split_id: u32, split: &Split, from: Option<i64>) -> Result<()> {
        let Split::Kafka { topic, partition } = split else {
            return Err(self.fault(format!("{} is not a Kafka partition", split.name())));
        };
        let i = match self.cursors.iter().position(|c| c.split == *split) {
            Some(i) => i,
            None => {
                let capacity = (BYTES / (self.cursors.len() + 1)).clamp(BUFFER.0, BUFFER.1);
                self.cursors.iter().for_each(|c| c.buffer.set_capacity(capacity));
                let buffer = PartitionBuffer::new(topic.clone(), *partition, capacity, self.context.waker().clone());
                self.cursors.push(Cursor::new(split_id, split, buffer, self.kafka.tombstones == Tombstones::Skip));
                self.cursors.len() - 1
            }
        };
        self.cursors[i].split_id = split_id;
        match from {
            Some(from) if self.cursors[i].next != Some(from) => self.begin(i, from),
            _ => Ok(()),
        }
    }

    fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    fn pause(&mut self, split_ids: &BTreeSet<u32>) {
        self.paused = Some(split_ids.clone());
    }

    fn read(&mut self, emit: &mut Emit<'_, Message>) -> Result<bool> {
        let (mut left, count) = (ROWS, if self.live { self.cursors.len() } else { 0 });
        let each = if self.paused.is_some() { ALIGNED_ROWS } else { ROWS };
        for k in 0..count {
            let i = (self.turn + k) % count;
            let cursor = &mut self.cursors[i];
            if cursor.next.is_none() || self.paused.as_ref().is_some_and(|paused| paused.contains(&cursor.split_id)) {
                continue;
            }
            let allowed = self.limits.of(cursor.split_id).map_or(u64::MAX, |limit| limit.saturating_sub(cursor.given));
            let most = left.min(each).min(usize::try_from(allowed).unwrap_or(usize::MAX));
            if most > 0 {
                left -= self.give(i, i64::MAX, most, emit)?.0;
                self.cursors[i].pass_end();
            }
            if left == 0 {
                // The next call begins with the next partition, so that none starves another.
                self.turn = (i + 1) % count;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn read_so_far(&self) -> BTreeMap<u32, Range<i64>> {
        self.cursors.iter().filter_map(|c| Some((c.split_id, c.from..c.next?))).collect()
    }

    fn seal(&mut self, _emit: &mut Emit<'_, Message>) -> Result<Sealed> {
        if self.fetcher.as_deref().is_some_and(Fetcher::died) {
            return Err(self.fault("the thread that reads it ended by a panic"));
        }
        self.trouble = self.fetcher.as_deref().and_then(Fetcher::trouble);
        if !self.live {
            return Ok(Sealed::default());
        }
        let ranges = self.cursors.iter_mut().filter_map(|c| Some((c.split_id, c.seal()?))).collect();
        let lag = self.cursors.iter().filter_map(|c| Some((c.split_id, c.lag()?))).collect();
        // A partition at its limit has rows for the next batch, and no other event wakes the worker for them.
        if self.cursors.iter().any(|c| c.front.is_some() || !c.buffer.is_empty()) {
            (self.context.waker())();
        }
        let oldest = self.cursors.iter().filter_map(|c| Some((c.split_id, c.oldest()?))).collect();
        Ok(Sealed { ranges, lag, oldest })
    }

    fn read_range(&mut self, _split_id: u32, range: &SplitRange, emit: &mut Emit<'_, Message>) -> Result<bool> {
        let Some(i) = self.cursors.iter().position(|c| c.split == range.split) else {
            return Err(self.fault(format!("range of {} which is not assigned here", range.split.name())));
        };
        let cursor = &mut self.cursors[i];
        if range.from >= range.until {
            // Records before it are lost, so the next range begins here.
            return if cursor.next.is_some_and(|n| n < range.until) {
                self.begin(i, range.until).map(|()| true)
            } else {
                Ok(true)
            };
        }
        // `from` moves when a range is complete. Until then, calls for the same range continue where the previous one stopped.
        if cursor.next.is_none() || cursor.from != range.from || cursor.next.is_some_and(|n| n < range.from) {
            if cursor.low > range.from {
                cursor.restart(range.from);
                self.pass_expired(i, range.from, range.until)?;
            } else {
                self.begin(i, range.from)?;
            }
        }
        let given = self.give(i, range.until, ROWS, emit);
        let named = |e: Error| match e {
            Error::Source { source_name, reason } => {
                Error::Source { source_name, reason: format!("{reason} (given range [{}, {}))", range.from, range.until) }
            }
            other => other,
        };
        let (_, dry) = given.map_err(named)?;
        let cursor = &mut self.cursors[i];
        if cursor.complete(range.until) {
            (cursor.next, cursor.from, cursor.given) = (Some(range.until), range.until, 0);
            return Ok(true);
        }
        if dry && cursor.must_ask(range.until) {
            let (buffer, epoch) = (cursor.buffer.clone(), cursor.buffer.epoch());
            self.fetcher()?.send(Command::Check { buffer, epoch, until: range.until });
        }
        Ok(false)
    }

    fn health(&self) -> Result<(), String> {
        self.trouble.as_ref().map_or(Ok(()), |t| Err(format!("Kafka at {}: {t}", self.kafka.settings.brokers)))
    }

    fn data_loss(&mut self) -> Vec<(u32, Range<i64>)> {
        std::mem::take(&mut self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::message::Raw;

    fn cursor(from: i64) -> Cursor {
        let split = Split::Kafka { topic: "t".into(), partition: 0 };
        let mut c = Cursor::new(0, &split, PartitionBuffer::new("t".into(), 0, 1 << 20, Arc::new(|| ())), false);
        c.restart(from);
        c
    }

    fn records(offsets: &[i64]) -> Item {
        let mut b = Block::new("t".into(), 0, offsets[0], offsets.len(), 0);
        offsets.iter().for_each(|offset| assert!(b.push(&Raw { offset: *offset, value: Some(b""), ..Raw::default() })));
        Item::Block(Arc::new(b))
    }

    impl Cursor {
        fn comes(&self, item: Item) {
            self.buffer.push(self.buffer.epoch(), item);
        }

        /// Like `KafkaReader::read_range`, on one cursor: the offsets given, and whether the range is complete.
        fn range(&mut self, until: i64) -> (Vec<i64>, bool) {
            let mut out = Vec::new();
            while self.fill(&mut false).unwrap() == Ready::Rows && self.take(until, 2, &mut out).0 > 0 {}
            let done = self.complete(until);
            if done {
                (self.next, self.from) = (Some(until), until);
            }
            (out.iter().map(Message::offset).collect(), done)
        }

        fn live(&mut self, most: usize) -> Vec<i64> {
            let mut out = Vec::new();
            if self.fill(&mut false).unwrap() == Ready::Rows {
                self.take(i64::MAX, most, &mut out);
            }
            self.pass_end();
            out.iter().map(Message::offset).collect()
        }

        fn sealed(&mut self) -> (i64, i64) {
            self.seal().map(|r| (r.start, r.end)).unwrap()
        }
    }

    #[test]
    fn the_readers_of_a_process_share_a_client_until_the_last_one_ends() {
        let kafka = KafkaSource::brokers("127.0.0.1:1").topic("t");
        let readers = |n| {
            let contexts = ReaderContext::of_workers((0..n).map(|_| -> crate::connector::source::Waker { Arc::new(|| ()) }));
            contexts.iter().map(|context| KafkaReader::new(&kafka, context).unwrap()).collect::<Vec<_>>()
        };
        let fetcher = |reader: &mut KafkaReader| std::ptr::from_ref(reader.fetcher().unwrap());
        let mut three = readers(3);
        let [one, two] = [0, 1].map(|i| fetcher(&mut three[i]));
        assert_eq!(one, two);
        assert!(three[2].fetcher.is_none(), "a worker without partitions needs none");
        drop(three.remove(0));
        assert_eq!(fetcher(&mut three[1]), one, "another reader still has it");
        assert_ne!(fetcher(&mut readers(1)[0]), one, "another process, or another source");
        let kept = Arc::downgrade(three[0].fetcher.as_ref().unwrap());
        drop(three);
        assert!(kept.upgrade().is_none());
    }

    #[test]
    fn a_range_ends_before_its_until_and_the_rest_is_kept_for_the_next() {
        let mut c = cursor(0);
        c.comes(records(&[0, 1, 2, 3, 4, 5]));
        assert_eq!(c.range(3), (vec![0, 1, 2], true));
        assert_eq!(c.range(5), (vec![3, 4], true));
        assert_eq!(c.range(7), (vec![5], false));
        c.comes(records(&[6]));
        assert_eq!(c.range(7), (vec![6], true));
    }

    #[test]
    fn a_stale_end_completes_nothing() {
        let mut c = cursor(0);
        c.comes(records(&[0, 1]));
        c.comes(Item::End(2));
        assert_eq!(c.range(4), (vec![0, 1], false));
        assert!(c.must_ask(4) && !c.must_ask(4), "asked once for an end");
        c.comes(records(&[2]));
        c.comes(Item::End(3));
        assert_eq!(c.range(4), (vec![2], false));
        assert!(c.must_ask(4));
        c.comes(records(&[3]));
        assert_eq!(c.range(4), (vec![3], true));
    }

    #[test]
    fn control_records_at_the_end_are_skipped_at_the_end_or_at_a_later_record() {
        let mut c = cursor(0);
        c.comes(records(&[0, 1]));
        assert_eq!(c.range(3), (vec![0, 1], false), "offset 2 is a commit marker");
        c.comes(Item::End(3));
        assert_eq!(c.range(3), (vec![], true));
        let mut c = cursor(0);
        c.comes(records(&[0, 1, 3]));
        assert_eq!(c.range(3), (vec![0, 1], true));
        assert_eq!(c.range(4), (vec![3], true));
    }

    #[test]
    fn one_end_completes_every_range_before_it() {
        let mut c = cursor(10);
        c.comes(Item::End(40));
        assert_eq!(c.range(20), (vec![], true), "all of it was compacted away");
        assert_eq!(c.range(40), (vec![], true));
        assert_eq!(c.range(41), (vec![], false));
    }

    #[test]
    fn a_gap_of_compaction_does_not_hide_later_records() {
        let mut c = cursor(0);
        c.comes(records(&[0, 7, 9]));
        assert_eq!(c.range(5), (vec![0], true));
        assert_eq!(c.range(8), (vec![7], true));
        assert_eq!(c.range(10), (vec![9], true));
    }

    #[test]
    fn a_seek_forgets_everything_that_was_under_way() {
        let mut c = cursor(0);
        c.comes(records(&[0, 1, 2]));
        c.comes(Item::End(3));
        assert_eq!(c.range(1), (vec![0], true));
        c.restart(100);
        assert_eq!(c.range(101), (vec![], false));
        c.comes(records(&[100]));
        assert_eq!(c.range(101), (vec![100], true));
    }

    #[test]
    fn a_live_batch_ends_after_what_was_given_and_an_end_moves_it_over_control_records() {
        let mut c = cursor(5);
        assert_eq!(c.sealed(), (5, 5), "an empty range");
        c.comes(records(&[5, 6, 8]));
        c.comes(Item::End(10));
        assert_eq!((c.live(2), c.sealed()), (vec![5, 6], (5, 7)));
        assert_eq!((c.live(2), c.sealed()), (vec![8], (7, 9)));
        assert_eq!((c.live(2), c.sealed()), (vec![], (9, 10)));
        c.comes(Item::End(3));
        assert_eq!((c.live(2), c.sealed()), (vec![], (10, 10)), "an older end moves nothing");
    }

    #[test]
    fn an_end_waits_for_rows_that_were_not_emitted() {
        let mut c = cursor(0);
        c.comes(Item::End(0));
        c.comes(records(&[4, 5]));
        assert_eq!((c.live(1), c.sealed()), (vec![4], (0, 5)));
        assert_eq!(c.lag(), None);
        c.buffer.set_high(9);
        assert_eq!(c.lag(), Some(4));
    }

    #[test]
    fn skipped_tombstones_count_for_the_position() {
        let mut c = cursor(0);
        c.skip_nulls = true;
        let mut b = Block::new("t".into(), 0, 0, 2, 0);
        assert!(b.push(&Raw { offset: 0, value: Some(b"v"), ..Raw::default() }) && b.push(&Raw { offset: 1, ..Raw::default() }));
        c.comes(Item::Block(Arc::new(b)));
        assert_eq!((c.live(9), c.sealed()), (vec![0], (0, 2)));
    }

    #[test]
    fn a_fault_comes_after_what_was_read_before_it() {
        let mut c = cursor(0);
        c.comes(records(&[0]));
        c.comes(Item::Fault("gone".into()));
        assert_eq!(c.live(9), [0]);
        assert_eq!(c.fill(&mut false), Err("gone".to_string()));
    }
}
