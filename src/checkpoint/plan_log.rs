//! The plan log. Invariant: every plan is durable in it before its batch closes, and no plan can be missing without an error.
//!
//! The log has segments. Each names the previous segment and its length. So bytes after that length, from an append that a crash
//! interrupted, are never read again.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::frame::{Found, HEAD, Kind, frame, frame_len, record, record_head, unframe};
use super::genesis::{DirectoryId, Position};
use super::lease::{self, HeldLease};
use super::loss::{Entry, LossRecord};
use super::store::{self, Store};
use crate::core::data::encoded;
use crate::core::error::{Error, Result};
use crate::core::plan::{BatchSpan, Plan, Split};
use crate::core::time::BatchTime;

/// A segment of this length, in bytes, is followed by a new one. Cleaning deletes whole segments, and a start reads whole segments.
pub(crate) const SEGMENT: u64 = 4 << 20;
/// The maximum length of a plan in bytes: about a hundred thousand splits.
const LONGEST: usize = 64 << 20;

/// The latest possible batch time, in milliseconds. Sums of such times cannot overflow.
const LAST: u64 = 1 << 53;

/// One entry of the plan log: a plan, and the overdue batch times after it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// The plan.
    pub plan: Plan,
    /// The number of overdue batch times after the plan. Their batches are empty.
    pub run: u32,
    /// Whether outputs see each overdue batch, or only the last one.
    pub fill: bool,
}

impl PlanRecord {
    /// The checksum by which checkpoints and the progress of sinks identify a plan. Equal records have equal checksums.
    pub fn checksum(&self) -> u64 {
        xxh3_64(&encoded(self))
    }

    /// The batch time of the plan and the overdue ones after it.
    pub(crate) fn span(&self) -> BatchSpan {
        BatchSpan { first: self.plan.time, overdue: self.run }
    }

    /// The last batch time of this record, for a batch interval in milliseconds.
    pub fn end(&self, interval_ms: u64) -> BatchTime {
        self.span().end(interval_ms)
    }
}

/// The name of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct PlanFile {
    pub generation: u64,
    /// Counts from 1 in each generation.
    pub segment: u32,
}

impl fmt::Display for PlanFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plans/g{:08}-{:06}", self.generation, self.segment)
    }
}

impl PlanFile {
    pub fn parse(name: &str) -> Option<Self> {
        let (generation, segment) = name.strip_prefix("plans/g")?.split_once('-')?;
        let file = PlanFile { generation: generation.parse().ok()?, segment: segment.parse().ok()? };
        (file.to_string() == name).then_some(file)
    }
}

/// The head of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub directory: DirectoryId,
    pub file: PlanFile,
    pub previous: Option<Previous>,
}

/// The previous segment. Bytes after `len` were never durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Previous {
    pub file: PlanFile,
    pub len: u64,
    /// The last batch time that is planned there or earlier.
    pub end: BatchTime,
}

/// The end of a sequence of plans. It checks that the next plan continues it.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlanCursor {
    interval_ms: u64,
    pub end: BatchTime,
    generation: u64,
    positions: BTreeMap<(u32, Split), i64>,
}

impl PlanCursor {
    pub fn new(interval_ms: u64, end: BatchTime, positions: &[Position]) -> Self {
        let positions = positions.iter().map(|p| ((p.source, p.split.clone()), p.next)).collect();
        PlanCursor { interval_ms, end, generation: 0, positions }
    }

    /// Checks that a record continues the sequence, and takes it. After an error nothing has changed.
    pub fn follow(&mut self, generation: u64, next: &PlanRecord) -> Result<(), String> {
        let (time, end) = (next.plan.time, next.end(self.interval_ms));
        if time <= self.end {
            return Err(format!("the plan of {time} does not come after {}, which is already planned", self.end));
        }
        if end.millis() > LAST {
            return Err(format!("the plan of {time} goes to {end}, which is not a possible time"));
        }
        if !time.millis().is_multiple_of(self.interval_ms) {
            return Err(format!("the plan of {time} is not at a multiple of the batch interval, {} ms", self.interval_ms));
        }
        let mut moved = BTreeMap::new();
        for r in &next.plan.ranges {
            let split = (r.source, r.split.clone());
            // Received records of an older run are lost. A new run may number its own from any offset.
            let known = generation == self.generation || r.split.replayable();
            let before = self.positions.get(&split).filter(|_| known);
            let at = moved.get(&split).or(before).copied().unwrap_or(r.from);
            if r.from != at || r.until < r.from {
                let (name, partition) = (r.split.name(), r.split.partition());
                let what = if r.from > at { "a gap" } else { "an overlap" };
                return Err(format!(
                    "the plan of {time} has [{}, {}) of {name}/{partition}, but the next offset is {at}: {what}",
                    r.from, r.until
                ));
            }
            moved.insert(split, r.until);
        }
        for (split, next) in moved {
            // A split that is read to its end, such as a file, needs no position: there may be thousands.
            match split.1.end() {
                Some(end) if next >= end => self.positions.remove(&split),
                _ => self.positions.insert(split, next),
            };
        }
        (self.end, self.generation) = (end, generation);
        Ok(())
    }
}

/// Writes the plan log of this generation: one record for each plan, durable before its batch closes.
pub struct PlanLog {
    store: Arc<dyn Store>,
    /// The right to write, held as long as the log exists.
    _held: Arc<HeldLease>,
    head: Head,
    len: u64,
    cursor: PlanCursor,
    log: Option<Box<dyn store::Log>>,
    segment: u64,
}

impl PlanLog {
    pub(crate) fn begin(
        store: Arc<dyn Store>,
        held: Arc<HeldLease>,
        directory: DirectoryId,
        previous: Option<Previous>,
        cursor: PlanCursor,
    ) -> Result<Self> {
        let file = PlanFile { generation: held.lease.generation, segment: 1 };
        let head = Head { directory, file, previous };
        let mut log = PlanLog { store, _held: held, head, len: 0, cursor, log: None, segment: SEGMENT };
        log.open_segment()?;
        Ok(log)
    }

    fn open_segment(&mut self) -> Result<()> {
        let head = frame(Kind::Plans, &self.head);
        self.len = head.len() as u64;
        self.log = Some(self.store.begin_log(&self.head.file.to_string(), &head)?);
        Ok(())
    }

    /// Appends a record. It is durable when this returns. Returns its checksum.
    ///
    /// # Errors
    /// The record does not continue the previous one, in its time or in the ranges of a split. Or the disk fails: then the content
    /// of the log is unknown, every later call fails, and the job must stop.
    pub fn append(&mut self, next: &PlanRecord) -> Result<u64> {
        let payload = encoded(next);
        if payload.len() > LONGEST {
            return Err(Error::checkpoint(
                self.name(),
                format!("the plan has {} bytes; at most {LONGEST} are possible", payload.len()),
            ));
        }
        self.cursor.follow(self.head.file.generation, next).map_err(|e| Error::checkpoint(self.name(), e))?;
        self.write(&payload)?;
        Ok(xxh3_64(&payload))
    }

    /// Appends the lost ranges of a batch: before its plan, or, for a replayed batch, before it closes again. They are durable when
    /// this returns.
    ///
    /// # Errors
    /// The disk fails: see [`append`](Self::append).
    pub(crate) fn append_loss(&mut self, loss: &LossRecord) -> Result<()> {
        self.write(&loss.payload())
    }

    fn write(&mut self, payload: &[u8]) -> Result<()> {
        let Some(mut log) = self.log.take() else {
            return Err(Error::checkpoint(self.name(), "an earlier append failed, so the log is closed: start the job again"));
        };
        let mut bytes = record_head(self.len, &[payload]).to_vec();
        bytes.extend_from_slice(payload);
        log.append(&bytes)?;
        self.len += bytes.len() as u64;
        let long = log.is_long();
        self.log = Some(log);
        if self.len >= self.segment || long {
            let file = PlanFile { segment: self.head.file.segment + 1, ..self.head.file };
            self.head.previous = Some(Previous { file: self.head.file, len: self.len, end: self.cursor.end });
            self.head.file = file;
            self.log = None;
            self.open_segment()?;
        }
        Ok(())
    }

    /// The last planned batch time; 0 if there is none.
    #[cfg(test)]
    pub(crate) fn end(&self) -> BatchTime {
        self.cursor.end
    }

    fn name(&self) -> String {
        self.head.file.to_string()
    }

    #[cfg(test)]
    pub(crate) fn with_segments_of(mut self, bytes: u64) -> Self {
        self.segment = bytes;
        self
    }
}

/// A record and its location.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub file: PlanFile,
    pub at: u64,
    pub record: PlanRecord,
}

/// The content of the plan log, from some time on.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    pub records: Vec<Logged>,
    /// Ranges of these plans that the sources no longer had.
    pub losses: Vec<LossRecord>,
    /// The end of the log: the next segment names it as the previous one.
    pub tail: Option<Previous>,
    /// Whether the first record is the first one of the job.
    pub from_start: bool,
    /// A description of the incomplete append at the end, if there is one.
    pub torn: Option<String>,
}

/// Closes the logs of all older generations. A run that is still active there cannot plan another batch.
pub(crate) fn close_older(store: &dyn Store, generation: u64) -> Result<()> {
    let parse = |name: &str| PlanFile::parse(name).map(|f| (f.generation, f.segment));
    lease::close_older(store, generation, "plans", parse, |(generation, segment)| PlanFile { generation, segment }.to_string())
}

/// The heads of all segments, in order. Each names the previous one.
pub(crate) fn heads(store: &dyn Store, directory: DirectoryId) -> Result<VecDeque<Head>> {
    let mut files: Vec<PlanFile> = store.list("plans")?.iter().filter_map(|e| PlanFile::parse(&e.name)).collect();
    files.sort();
    let mut heads: VecDeque<Head> = VecDeque::new();
    for file in files {
        let name = file.to_string();
        let gone = || Error::damaged(&name, "it was deleted while it was read, because a job cleans here: try again");
        let start = store.read_range(&name, 0, HEAD as u64)?.ok_or_else(gone)?;
        // A head is short. A longer one is damaged, and is not read as a whole.
        let len = frame_len(Kind::Plans, &name, &start)?.min(4 << 10);
        let bytes = store.read_range(&name, 0, len)?.ok_or_else(gone)?;
        let (head, _): (Head, _) = unframe(Kind::Plans, &name, &bytes)?;
        if head.directory != directory {
            return Err(foreign(&name, head.directory, directory));
        }
        if head.file != file {
            return Err(Error::damaged(&name, format!("it was written as {}, and has been renamed", head.file)));
        }
        let before = heads.back().map(|h| h.file);
        if let Some(before) = before.filter(|b| head.previous.map(|p| p.file) != Some(*b)) {
            let named = head.previous.map_or("nothing".into(), |p| p.file.to_string());
            return Err(Error::damaged(
                &name,
                format!("it names {named} as the previous segment, but that is {before}: restore the missing one"),
            ));
        }
        heads.push_back(head);
    }
    Ok(heads)
}

pub(crate) fn foreign(file: &str, found: DirectoryId, own: DirectoryId) -> Error {
    Error::checkpoint(
        file,
        format!("belongs to the checkpoint directory {found}, but this is {own}: remove it, or restore the right file"),
    )
}

/// Reads the log: at least from the record of `since`, or all of it. An incomplete append at its end is not an error.
///
/// # Errors
/// The log is damaged, or a segment is missing. The error names the file and the byte.
pub(crate) fn read(store: &dyn Store, directory: DirectoryId, interval_ms: u64, since: Option<BatchTime>) -> Result<Plans> {
    let mut heads = heads(store, directory)?;
    let over = |next: &Head| since.is_some_and(|t| next.previous.is_some_and(|p| p.end < t));
    while heads.len() > 1 && over(&heads[1]) {
        heads.pop_front();
    }
    let mut plans = Plans { from_start: heads.front().is_none_or(|h| h.previous.is_none()), ..Plans::default() };
    let begin = heads.front().and_then(|h| h.previous).map_or(BatchTime::default(), |p| p.end);
    let mut cursor = PlanCursor::new(interval_ms, begin, &[]);
    for i in 0..heads.len() {
        let name = heads[i].file.to_string();
        let limit = heads.get(i + 1).and_then(|h| h.previous).map(|p| p.len);
        let (len, torn) = read_segment(store, &heads[i], limit, &mut cursor, &mut plans)?;
        if let Some(p) = heads.get(i + 1).and_then(|h| h.previous).filter(|p| p.end != cursor.end) {
            return Err(Error::damaged(&name, format!("it ends with {}, but the next segment says {}", cursor.end, p.end)));
        }
        plans.torn = torn;
        plans.tail = Some(Previous { file: heads[i].file, len, end: cursor.end });
    }
    Ok(plans)
}

/// Reads the records of one segment into `into`. `len`: its length, if a next segment names it. Returns the length that was read,
/// and a description of an incomplete append.
fn read_segment(
    store: &dyn Store,
    head: &Head,
    len: Option<u64>,
    cursor: &mut PlanCursor,
    into: &mut Plans,
) -> Result<(u64, Option<String>)> {
    let name = head.file.to_string();
    let damaged = |what: String| Error::damaged(&name, what);
    let bytes = store.read(&name, SEGMENT + LONGEST as u64 + (8 << 10))?.unwrap_or_default();
    let bytes = match len {
        None => &bytes[..],
        Some(len) => bytes.get(..len as usize).ok_or_else(|| {
            damaged(format!("it has {} bytes, but the next segment says {len}: plans are missing at its end", bytes.len()))
        })?,
    };
    let (_, mut at) = unframe::<Head>(Kind::Plans, &name, bytes)?;
    loop {
        let (payload, next) = match record(&bytes[at..], at as u64) {
            Found::Record { payload, next, .. } => (payload, next),
            Found::End => return Ok((at as u64, None)),
            Found::Torn if len.is_none() => {
                let torn =
                    format!("{name}: a crash interrupted the last append: {} bytes from byte {at} are ignored", bytes.len() - at);
                return Ok((at as u64, Some(torn)));
            }
            Found::Torn => return Err(damaged(format!("the record at byte {at} is incomplete, but another segment follows"))),
            Found::Damaged(what) => return Err(damaged(what)),
        };
        let wrong = |e: String| damaged(format!("record at byte {at}: {e}"));
        match Entry::read(payload).map_err(wrong)? {
            Entry::Plan(record) => {
                cursor.follow(head.file.generation, &record).map_err(wrong)?;
                into.records.push(Logged { file: head.file, at: at as u64, record });
            }
            Entry::Lost(loss) => into.losses.push(loss),
        }
        at += next;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Checkpoints, Origin, Settings};
    use super::*;
    use crate::testing::temp_dir::TempDir;

    /// A log on a full disk.
    struct Full;

    impl store::Log for Full {
        fn append(&mut self, _: &[u8]) -> Result<()> {
            Err(Error::checkpoint("plans", "no space"))
        }
    }

    #[test]
    fn b3_after_a_failed_append_nothing_more_is_written() {
        let dir = TempDir::new("plan-log-full");
        let settings = Settings::new("job", std::time::Duration::from_secs(1));
        let (checkpoints, _) = Checkpoints::open(&dir, settings.clone()).unwrap();
        checkpoints.begin(Origin::default()).unwrap();
        let mut log = checkpoints.plan_log().unwrap();
        let plan = |s: u64| PlanRecord {
            plan: Plan { time: BatchTime::from_millis(1_000 * s), ..Plan::default() },
            ..PlanRecord::default()
        };
        log.append(&plan(1)).unwrap();
        let disk = log.log.replace(Box::new(Full));
        assert!(log.append(&plan(2)).unwrap_err().to_string().contains("no space"));
        // The disk may have room again, but its part of the second plan is unknown.
        assert!(log.log.is_none() && disk.is_some());
        assert!(log.append(&plan(3)).unwrap_err().to_string().contains("an earlier append failed"));
        drop((log, checkpoints));
        assert_eq!(Checkpoints::open(&dir, settings).unwrap().1.replay, [plan(1)]);
    }
}
