//! The plan log: every plan, durable before its batch closes. It is in segments, and each names the one before it and how
//! long that is, so that what a crash left at its end stays cut, and nothing can be missing in between.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::frame::{Found, HEAD, Kind, frame, frame_len, record, record_head, unframe};
use super::genesis::{DirectoryId, Position};
use super::lease::{Held, generation_of};
use super::loss::{Entry, LossRecord};
use super::store::{self, Store};
use crate::core::data::encoded;
use crate::core::error::{Error, Result};
use crate::core::plan::{BatchSpan, Plan, Split};
use crate::core::time::BatchTime;

/// A new segment begins when one is this long: what is cleaned and what is read at a start is whole segments.
pub(crate) const SEGMENT: u64 = 4 << 20;
/// No plan is longer: a hundred thousand splits.
const LONGEST: usize = 64 << 20;

/// No batch is later, in milliseconds: whatever is added to such a time is a time.
const LAST: u64 = 1 << 53;

/// One entry of the plan log: a plan, and the batch times without data that follow it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// The plan.
    pub plan: Plan,
    /// So many overdue batch times follow, all empty.
    pub run: u32,
    /// Whether outputs see each of them, or only the last.
    pub fill: bool,
}

impl PlanRecord {
    /// What a checkpoint, or a sink's progress, holds on to: the same plan has the same checksum.
    pub fn checksum(&self) -> u64 {
        xxh3_64(&encoded(self))
    }

    /// The batch time of the plan and the overdue ones after it.
    pub(crate) fn span(&self) -> BatchSpan {
        BatchSpan { first: self.plan.time, overdue: self.run }
    }

    /// The last batch time of this record.
    pub fn end(&self, interval_ms: u64) -> BatchTime {
        self.span().end(interval_ms)
    }
}

/// The name of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct PlanFile {
    pub generation: u64,
    /// From 1 in each generation.
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

/// What a segment begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub directory: DirectoryId,
    pub file: PlanFile,
    pub previous: Option<Previous>,
}

/// The segment before: what is behind `len` was never durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Previous {
    pub file: PlanFile,
    pub len: u64,
    /// The last batch time that is planned there or before.
    pub end: BatchTime,
}

/// Where plans have come to: what the next one must begin with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Course {
    interval_ms: u64,
    pub end: BatchTime,
    generation: u64,
    positions: BTreeMap<(u32, Split), i64>,
}

impl Course {
    pub fn new(interval_ms: u64, end: BatchTime, positions: &[Position]) -> Self {
        let positions = positions.iter().map(|p| ((p.source, p.split.clone()), p.next)).collect();
        Course { interval_ms, end, generation: 0, positions }
    }

    /// Takes the next record, if it is one; else nothing is different.
    pub fn follow(&mut self, generation: u64, next: &PlanRecord) -> Result<(), String> {
        let (time, end) = (next.plan.time, next.end(self.interval_ms));
        if time <= self.end {
            return Err(format!("the plan of {time} does not come after {}, which is planned", self.end));
        }
        if end.millis() > LAST {
            return Err(format!("the plan of {time} goes to {end}, where no clock will be"));
        }
        if !time.millis().is_multiple_of(self.interval_ms) {
            return Err(format!("the plan of {time} is not at a multiple of the batch interval, {} ms", self.interval_ms));
        }
        let mut moved = BTreeMap::new();
        for r in &next.plan.ranges {
            let split = (r.source, r.split.clone());
            // What was received is gone with the run that received it: a new one counts from where it likes.
            let known = generation == self.generation || r.split.replayable();
            let before = self.positions.get(&split).filter(|_| known);
            let at = moved.get(&split).or(before).copied().unwrap_or(r.from);
            if r.from != at || r.until < r.from {
                let (name, partition) = (r.split.name(), r.split.partition());
                let what = if r.from > at { "a gap" } else { "an overlap" };
                return Err(format!(
                    "the plan of {time} has [{}, {}) of {name}/{partition}, where {at} is next: {what}",
                    r.from, r.until
                ));
            }
            moved.insert(split, r.until);
        }
        for (split, next) in moved {
            // Nothing follows the end of a split: thousands of files are not remembered.
            match split.1.end() {
                Some(end) if next >= end => self.positions.remove(&split),
                _ => self.positions.insert(split, next),
            };
        }
        (self.end, self.generation) = (end, generation);
        Ok(())
    }
}

/// The plan log of this generation: one record a batch, durable before the batch closes.
pub struct PlanLog {
    store: Arc<dyn Store>,
    /// The right to write, as long as anybody does.
    _held: Arc<Held>,
    head: Head,
    len: u64,
    course: Course,
    log: Option<Box<dyn store::Log>>,
    segment: u64,
}

impl PlanLog {
    pub(crate) fn begin(
        store: Arc<dyn Store>,
        held: Arc<Held>,
        directory: DirectoryId,
        previous: Option<Previous>,
        course: Course,
    ) -> Result<Self> {
        let file = PlanFile { generation: held.lease.generation, segment: 1 };
        let head = Head { directory, file, previous };
        let mut log = PlanLog { store, _held: held, head, len: 0, course, log: None, segment: SEGMENT };
        log.open_segment()?;
        Ok(log)
    }

    fn open_segment(&mut self) -> Result<()> {
        let head = frame(Kind::Plans, &self.head);
        self.len = head.len() as u64;
        self.log = Some(self.store.begin_log(&self.head.file.to_string(), &head)?);
        Ok(())
    }

    /// Adds a record, durable when this returns, and returns its checksum.
    ///
    /// # Errors
    /// A record that does not follow the one before it: its time, or the ranges of a split. A disk that fails: then the log
    /// takes nothing more, since nobody knows what is on that disk, and the job must stop.
    pub fn append(&mut self, next: &PlanRecord) -> Result<u64> {
        let payload = encoded(next);
        if payload.len() > LONGEST {
            return Err(Error::checkpoint(self.name(), format!("a plan of {} bytes; at most {LONGEST}", payload.len())));
        }
        self.course.follow(self.head.file.generation, next).map_err(|e| Error::checkpoint(self.name(), e))?;
        self.write(&payload)?;
        Ok(xxh3_64(&payload))
    }

    /// Notes what of a batch was not in the sources any more: before its plan, or, if that is there already, before it closes
    /// again. Durable when this returns.
    ///
    /// # Errors
    /// A disk that fails, as in `append`.
    pub fn lost(&mut self, loss: &LossRecord) -> Result<()> {
        self.write(&loss.payload())
    }

    fn write(&mut self, payload: &[u8]) -> Result<()> {
        let Some(mut log) = self.log.take() else {
            return Err(Error::checkpoint(self.name(), "an earlier append failed, nothing more is written: start the job again"));
        };
        let mut bytes = record_head(self.len, &[payload]).to_vec();
        bytes.extend_from_slice(payload);
        log.append(&bytes)?;
        self.len += bytes.len() as u64;
        let long = log.is_long();
        self.log = Some(log);
        if self.len >= self.segment || long {
            let file = PlanFile { segment: self.head.file.segment + 1, ..self.head.file };
            self.head.previous = Some(Previous { file: self.head.file, len: self.len, end: self.course.end });
            self.head.file = file;
            self.log = None;
            self.open_segment()?;
        }
        Ok(())
    }

    /// The last batch time that is planned; 0 before the first.
    pub fn end(&self) -> BatchTime {
        self.course.end
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

/// A record, and where it was found.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub file: PlanFile,
    pub at: u64,
    pub record: PlanRecord,
}

/// What is in the plan log, from some time on.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    pub records: Vec<Logged>,
    /// What of them was not in the sources any more.
    pub losses: Vec<LossRecord>,
    /// The end of the log: what the next segment names as the one before it.
    pub tail: Option<Previous>,
    /// Whether the first record is the first that there ever was.
    pub from_start: bool,
    /// What a crash left at the end, if it did.
    pub torn: Option<String>,
}

/// Closes the logs of all generations before this one: a run that still goes on there plans nothing more.
pub(crate) fn close_older(store: &dyn Store, generation: u64) -> Result<()> {
    // Who has a lease may not have begun a log, and still try to.
    let leases = store.list("leases")?.into_iter().filter_map(|e| generation_of(&e.name));
    let mut last: BTreeMap<u64, u32> = leases.map(|g| (g, 1)).collect();
    for file in store.list("plans")?.iter().filter_map(|e| PlanFile::parse(&e.name)) {
        let segment = last.entry(file.generation).or_default();
        *segment = file.segment.max(*segment);
    }
    // Those before the last were closed when it began.
    for (generation, segment) in last.range(..generation).map(|(g, s)| (*g, *s)) {
        let mut file = PlanFile { generation, segment };
        while store.close_log(&file.to_string())? {
            file.segment += 1;
        }
    }
    Ok(())
}

/// The heads of all segments, in order, each of which names the one before it.
pub(crate) fn heads(store: &dyn Store, directory: DirectoryId) -> Result<VecDeque<Head>> {
    let mut files: Vec<PlanFile> = store.list("plans")?.iter().filter_map(|e| PlanFile::parse(&e.name)).collect();
    files.sort();
    let mut heads: VecDeque<Head> = VecDeque::new();
    for file in files {
        let name = file.to_string();
        let gone = || Error::damaged(&name, "it was deleted while it was read: another run cleans here; try again");
        let start = store.read_range(&name, 0, HEAD as u64)?.ok_or_else(gone)?;
        // A head is short: what claims more is damaged, and not read.
        let len = frame_len(Kind::Plans, &name, &start)?.min(4 << 10);
        let bytes = store.read_range(&name, 0, len)?.ok_or_else(gone)?;
        let (head, _): (Head, _) = unframe(Kind::Plans, &name, &bytes)?;
        if head.directory != directory {
            return Err(foreign(&name, head.directory, directory));
        }
        if head.file != file {
            return Err(Error::damaged(&name, format!("it was written as {}: somebody renamed it", head.file)));
        }
        let before = heads.back().map(|h| h.file);
        if let Some(before) = before.filter(|b| head.previous.map(|p| p.file) != Some(*b)) {
            let named = head.previous.map_or("nothing".into(), |p| p.file.to_string());
            return Err(Error::damaged(
                &name,
                format!("it follows {named}, but what is there before it is {before}: restore it"),
            ));
        }
        heads.push_back(head);
    }
    Ok(heads)
}

pub(crate) fn foreign(file: &str, found: DirectoryId, own: DirectoryId) -> Error {
    Error::checkpoint(
        file,
        format!("belongs to the checkpoint directory {found}, and this is {own}: remove it, or restore its own"),
    )
}

/// Reads the log, at least from the record of `since` on, or all of it.
///
/// # Errors
/// Any byte that is not as it was written, named; except what a crash left at the end of the last segment.
pub(crate) fn read(store: &dyn Store, directory: DirectoryId, interval_ms: u64, since: Option<BatchTime>) -> Result<Plans> {
    let mut heads = heads(store, directory)?;
    let over = |next: &Head| since.is_some_and(|t| next.previous.is_some_and(|p| p.end < t));
    while heads.len() > 1 && over(&heads[1]) {
        heads.pop_front();
    }
    let mut plans = Plans { from_start: heads.front().is_none_or(|h| h.previous.is_none()), ..Plans::default() };
    let begin = heads.front().and_then(|h| h.previous).map_or(BatchTime::default(), |p| p.end);
    let mut course = Course::new(interval_ms, begin, &[]);
    for i in 0..heads.len() {
        let name = heads[i].file.to_string();
        let limit = heads.get(i + 1).and_then(|h| h.previous).map(|p| p.len);
        let (len, torn) = read_segment(store, &heads[i], limit, &mut course, &mut plans)?;
        if let Some(p) = heads.get(i + 1).and_then(|h| h.previous).filter(|p| p.end != course.end) {
            return Err(Error::damaged(&name, format!("it ends with {}, and its follower says {}", course.end, p.end)));
        }
        plans.torn = torn;
        plans.tail = Some(Previous { file: heads[i].file, len, end: course.end });
    }
    Ok(plans)
}

/// Reads the records of one segment: `len` bytes of it if it has a follower, else as far as it goes. Returns how long it is,
/// and what was torn off.
fn read_segment(
    store: &dyn Store,
    head: &Head,
    len: Option<u64>,
    course: &mut Course,
    into: &mut Plans,
) -> Result<(u64, Option<String>)> {
    let name = head.file.to_string();
    let damaged = |what: String| Error::damaged(&name, what);
    let bytes = store.read(&name, SEGMENT + LONGEST as u64 + (8 << 10))?.unwrap_or_default();
    let bytes = match len {
        None => &bytes[..],
        Some(len) => bytes.get(..len as usize).ok_or_else(|| {
            damaged(format!("it has {} bytes, and its follower saw {len}: plans are missing at its end", bytes.len()))
        })?,
    };
    let (_, mut at) = unframe::<Head>(Kind::Plans, &name, bytes)?;
    loop {
        let (payload, next) = match record(&bytes[at..], at as u64) {
            Found::Record { payload, next, .. } => (payload, next),
            Found::End => return Ok((at as u64, None)),
            Found::Torn if len.is_none() => {
                let torn =
                    format!("{name}: a crash cut the last append off: {} bytes from byte {at} on are left out", bytes.len() - at);
                return Ok((at as u64, Some(torn)));
            }
            Found::Torn => return Err(damaged(format!("the record at byte {at} is cut off, and others follow"))),
            Found::Damaged(what) => return Err(damaged(what)),
        };
        let wrong = |e: String| damaged(format!("record at byte {at}: {e}"));
        match Entry::read(payload).map_err(wrong)? {
            Entry::Plan(record) => {
                course.follow(head.file.generation, &record).map_err(wrong)?;
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

    /// A disk that is full, once.
    struct Full;

    impl store::Log for Full {
        fn append(&mut self, _: &[u8]) -> Result<()> {
            Err(Error::checkpoint("plans", "no space"))
        }
    }

    #[test]
    fn b3_after_a_failed_append_nothing_more_is_written() {
        let dir = std::env::temp_dir().join(format!("tidemill-plan-log-full-{}", std::process::id()));
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
        // The disk may have room again, but what it holds of the second plan nobody knows.
        assert!(log.log.is_none() && disk.is_some());
        assert!(log.append(&plan(3)).unwrap_err().to_string().contains("an earlier append failed"));
        drop((log, checkpoints));
        assert_eq!(Checkpoints::open(&dir, settings).unwrap().1.replay, [plan(1)]);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
